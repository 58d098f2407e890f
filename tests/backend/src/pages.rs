// SPDX-License-Identifier: GPL-2.0
//! The pages of a display buffer, as whoever shows them needs them: a dma-buf, memory that is mapped here, or both.

use crate::dmabuf::{GrantedDmaBuf, OwnDmaBuf};
use crate::memory::{Mapper, SharedMemory};
use crate::protocol::GrantRef;
use crate::report::say;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

/// A display buffer's pages.
pub struct Pages {
    origin: Origin,
    memory: OnceLock<SharedMemory>,
}

/// Whose they are.
enum Origin {
    Guest {
        mapper: Arc<dyn Mapper>,
        refs: Vec<GrantRef>,
        dmabuf: Option<GrantedDmaBuf>,
    },
    Ours(OwnDmaBuf),
}

impl Pages {
    /// Pages that a guest granted, one after the other: a dma-buf, mapped when that is needed, or mapped at once where there is none.
    ///
    /// # Errors
    ///
    /// As [`Mapper::map`].
    pub fn granted(mapper: &Arc<dyn Mapper>, refs: Vec<GrantRef>) -> io::Result<Self> {
        let dmabuf = mapper.dmabuf(&refs).unwrap_or_else(|error| {
            say!("a display buffer is copied: its pages do not make a dma-buf: {error}");
            None
        });
        let pages = Pages {
            origin: Origin::Guest {
                mapper: mapper.clone(),
                refs,
                dmabuf,
            },
            memory: OnceLock::new(),
        };
        if pages.dmabuf().is_none() {
            pages.memory()?;
        }
        Ok(pages)
    }

    /// Pages of this domain's.
    pub fn ours(dmabuf: OwnDmaBuf) -> Self {
        Pages {
            origin: Origin::Ours(dmabuf),
            memory: OnceLock::new(),
        }
    }

    /// The pages as memory, mapped from now on.
    ///
    /// # Errors
    ///
    /// As [`Mapper::map`].
    pub fn memory(&self) -> io::Result<&SharedMemory> {
        if let Some(memory) = self.memory.get() {
            return Ok(memory);
        }
        let memory = match &self.origin {
            Origin::Guest { mapper, refs, .. } => mapper.map(refs)?,
            Origin::Ours(dmabuf) => dmabuf.map()?,
        };
        Ok(self.memory.get_or_init(|| memory))
    }

    /// The pages as a dma-buf, if there is one.
    pub fn dmabuf(&self) -> Option<BorrowedFd<'_>> {
        match &self.origin {
            Origin::Guest { dmabuf, .. } => dmabuf.as_ref().map(AsFd::as_fd),
            Origin::Ours(dmabuf) => dmabuf.shown(),
        }
    }
}
