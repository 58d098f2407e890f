// SPDX-License-Identifier: GPL-2.0
//! Granted pages as a dma-buf, and a dma-buf's pages granted, by `/dev/xen/zcopy`.

use crate::memory::{SharedMemory, pages_for};
use crate::protocol::{GrantRef, PAGE_SIZE};
use crate::report::say;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{DupFlags, dup3};
use std::io::{self, stderr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use xen_zcopy::{DEVICE, Memory, Zcopy};

/// How long an end waits for the pages to be unmapped: a display may show them a little longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A dma-buf of a guest's pages. The drop closes it, and waits until the pages are not mapped any more.
pub struct GrantedDmaBuf {
    zcopy: Arc<Zcopy>,
    domid: u32,
    fd: OwnedFd,
}

impl GrantedDmaBuf {
    /// A dma-buf of pages that the domain `domid` granted, one after the other.
    ///
    /// # Errors
    ///
    /// As [`Zcopy::from_refs`].
    pub fn new(zcopy: &Arc<Zcopy>, domid: u32, refs: &[GrantRef]) -> io::Result<Self> {
        let of = u16::try_from(domid).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(GrantedDmaBuf {
            zcopy: zcopy.clone(),
            domid,
            fd: zcopy.from_refs(of, refs)?,
        })
    }
}

impl AsFd for GrantedDmaBuf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for GrantedDmaBuf {
    fn drop(&mut self) {
        let number = self.fd.as_raw_fd();
        // Closes the dma-buf, but keeps its number taken: else another guest's might get it, and would be waited for.
        let released = dup3(stderr(), &mut self.fd, DupFlags::CLOEXEC)
            .map_err(io::Error::from)
            .and_then(|()| self.zcopy.wait_released(number, PATIENCE));
        if let Err(error) = released {
            say!(
                "guest {}: pages of a display buffer that has gone are still mapped: {error}",
                self.domid
            );
        }
    }
}

/// A dma-buf of this domain's whose pages are granted to a guest, until the drop.
pub struct OwnDmaBuf {
    fd: OwnedFd,
    size: usize,
    refs: Vec<GrantRef>,
    is_shown: bool,
    /// A device file of its own for each: its end revokes the grants.
    _zcopy: Zcopy,
}

impl OwnDmaBuf {
    /// Grants `memory`, or new memory, of at least `size` octets to the domain `domid`. The output can show it if `is_shown` says so.
    ///
    /// # Errors
    ///
    /// The kernel's. `NotFound`: this domain has no `/dev/xen/zcopy`, or no `/dev/udmabuf`.
    pub fn new(domid: u32, size: u32, memory: Option<OwnedFd>, is_shown: bool) -> io::Result<Self> {
        let zcopy = Zcopy::open(DEVICE)?;
        let domid = u16::try_from(domid).map_err(|_| io::ErrorKind::InvalidInput)?;
        let fd = match memory {
            Some(memory) => memory,
            None => Memory::new(pages_for(size) * PAGE_SIZE)?.dmabuf,
        };
        // All of it is granted: a display device's buffer may be larger than what was asked for.
        let size = usize::try_from(seek(&fd, SeekFrom::End(0))?)
            .map_err(|_| io::ErrorKind::InvalidData)?;
        let refs = zcopy.to_refs(&fd, domid, size / PAGE_SIZE)?;
        Ok(OwnDmaBuf {
            fd,
            size,
            refs,
            is_shown,
            _zcopy: zcopy,
        })
    }

    /// The references of its pages.
    pub fn refs(&self) -> &[GrantRef] {
        &self.refs
    }

    /// It, if the output can show it.
    pub fn shown(&self) -> Option<BorrowedFd<'_>> {
        self.is_shown.then(|| self.fd.as_fd())
    }

    /// Maps it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn map(&self) -> io::Result<SharedMemory> {
        SharedMemory::map_dmabuf(&self.fd, self.size)
    }
}
