// SPDX-License-Identifier: GPL-2.0
//! A guest, as far as memory goes: its pages for us, and ours for it.

use crate::dmabuf::{GrantedDmaBuf, OwnDmaBuf};
use crate::memory::{Mapper, SharedMemory};
use crate::protocol::{DbufCreate, GrantRef};
use crate::report::say;
use crate::session::Environment;
use std::io;
use std::sync::Arc;

/// A guest's domain.
pub struct Domain {
    /// Its number.
    pub domid: u32,
    /// What shows its pictures.
    pub environment: Arc<Environment>,
}

impl Mapper for Domain {
    fn map(&self, refs: &[GrantRef]) -> io::Result<SharedMemory> {
        SharedMemory::map_grants(self.domid, refs)
    }

    fn dmabuf(&self, refs: &[GrantRef]) -> Option<io::Result<GrantedDmaBuf>> {
        let zcopy = self.environment.zcopy.as_ref()?;
        Some(GrantedDmaBuf::new(zcopy, self.domid, refs))
    }

    fn allocate(&self, create: &DbufCreate) -> io::Result<OwnDmaBuf> {
        let shown = self.environment.zcopy.is_some();
        let memory = match shown {
            true => self.environment.output.allocate(create),
            false => Ok(None),
        };
        let memory = memory.unwrap_or_else(|error| {
            say!("a display buffer is not the device's: {error}");
            None
        });
        OwnDmaBuf::new(self.domid, create.buffer_size, memory, shown)
    }
}
