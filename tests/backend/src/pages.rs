// SPDX-License-Identifier: GPL-2.0
//! The pages of a display buffer, as whoever shows them needs them: a dma-buf, memory that is mapped here, or both.

use crate::dmabuf::{GrantedDmaBuf, OwnDmaBuf};
use crate::memory::{Mapper, SharedMemory};
use crate::protocol::GrantRef;
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
        /// None: not wanted.
        dmabuf: Option<io::Result<GrantedDmaBuf>>,
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
        let pages = Pages {
            origin: Origin::Guest {
                mapper: mapper.clone(),
                dmabuf: mapper.dmabuf(&refs),
                refs,
            },
            memory: OnceLock::new(),
        };
        if !matches!(pages.dmabuf(), Some(Ok(_))) {
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

    /// The pages as a dma-buf, or why they are none. None: it was not wanted.
    pub fn dmabuf(&self) -> Option<Result<BorrowedFd<'_>, &io::Error>> {
        match &self.origin {
            Origin::Guest { dmabuf, .. } => {
                let dmabuf = dmabuf.as_ref()?;
                Some(dmabuf.as_ref().map(AsFd::as_fd))
            }
            Origin::Ours(dmabuf) => dmabuf.shown().map(Ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A guest whose page 1 can be mapped; no page makes a dma-buf, though one is wanted.
    #[derive(Default)]
    struct Guest(AtomicU32);

    impl Mapper for Guest {
        fn map(&self, refs: &[GrantRef]) -> io::Result<SharedMemory> {
            self.0.fetch_add(1, Ordering::Relaxed);
            match refs {
                [1] => Ok(SharedMemory::heap(&[0; 1024])),
                _ => Err(io::ErrorKind::InvalidInput.into()),
            }
        }

        fn dmabuf(&self, _: &[GrantRef]) -> Option<io::Result<GrantedDmaBuf>> {
            Some(Err(io::ErrorKind::Unsupported.into()))
        }
    }

    #[test]
    fn what_makes_no_dmabuf_is_mapped_once() {
        let guest = Arc::new(Guest::default());
        let mapper: Arc<dyn Mapper> = guest.clone();
        let pages = Pages::granted(&mapper, vec![1]).expect("mapped");
        for _ in 0..2 {
            assert!(pages.memory().is_ok());
        }
        assert_eq!(guest.0.load(Ordering::Relaxed), 1);
        assert!(matches!(pages.dmabuf(), Some(Err(_))));
        assert!(Pages::granted(&mapper, vec![2]).is_err());
    }
}
