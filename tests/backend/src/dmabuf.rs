// SPDX-License-Identifier: GPL-2.0
//! Granted pages as a dma-buf, by `/dev/xen/zcopy`.

use crate::protocol::GrantRef;
use crate::report::say;
use rustix::io::{DupFlags, dup3};
use std::io::{self, stderr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use xen_zcopy::Zcopy;

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
