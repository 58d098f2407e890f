// SPDX-License-Identifier: GPL-2.0
//! `/dev/xen/zcopy`: see `include/uapi/xen_zcopy.h`.
#![allow(unsafe_code)]

use crate::request::Request;
use rustix::ioctl::Direction;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

/// The device.
pub const DEVICE: &str = "/dev/xen/zcopy";

const FROM_REFS: Request = Request::new(Direction::None, b'G', 9, 20);
const WAIT_RELEASED: Request = Request::new(Direction::None, b'G', 10, 8);
const TO_REFS: Request = Request::new(Direction::None, b'G', 11, 20);
const RELEASE: Request = Request::new(Direction::None, b'G', 12, 8);

/// The opened device.
#[derive(Debug)]
pub struct Zcopy(File);

impl Zcopy {
    /// Opens a device: [`DEVICE`], or another one that has the same operations, such as `/dev/xen/gntdev` in some kernels.
    ///
    /// # Errors
    ///
    /// `NotFound`: there is none; the module `xen_zcopy` is not loaded. Others: the kernel's.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        File::options().read(true).write(true).open(path).map(Self)
    }

    /// A dma-buf of the pages that the domain `domid` has granted to this one under `refs`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no reference, too many, or one that is not granted. Others: the kernel's.
    pub fn from_refs(&self, domid: u16, refs: &[u32]) -> io::Result<OwnedFd> {
        let count = u32::try_from(refs.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut words = vec![0, count, 0, u32::from(domid)];
        words.extend_from_slice(refs);
        FROM_REFS.send(&self.0, &mut words)?;
        let fd = RawFd::try_from(words[2]).map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: The kernel has just opened it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Waits until the dma-buf that was made under the number `fd` is gone, and its pages are not mapped any more. One that has been gone
    /// for a while is unknown to the device, and so gone.
    ///
    /// # Errors
    ///
    /// `TimedOut`. Others: the kernel's.
    pub fn wait_released(&self, fd: RawFd, at_most: Duration) -> io::Result<()> {
        let fd = number(fd)?;
        let at_most = u32::try_from(at_most.as_millis()).unwrap_or(u32::MAX);
        match WAIT_RELEASED.send(&self.0, &mut [fd, at_most]) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }

    /// Grants the pages of a dma-buf, as many as there are, to the domain `domid`, until [`Self::release`]: their references.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it has not as many. `EOPNOTSUPP`: they cannot be granted. `ENOSPC`: no room in the grant table. Others: the kernel's.
    pub fn to_refs(&self, dmabuf: impl AsFd, domid: u16, pages: usize) -> io::Result<Vec<u32>> {
        let count = u32::try_from(pages).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut words = vec![
            number(dmabuf.as_fd().as_raw_fd())?,
            count,
            u32::from(domid),
            0,
        ];
        words.resize(4 + pages.max(1), 0);
        TO_REFS.send(&self.0, &mut words)?;
        Ok(words.split_off(4))
    }

    /// Revokes what [`Self::to_refs`] has granted of the dma-buf whose number was `fd`.
    ///
    /// # Errors
    ///
    /// `NotFound`: nothing was. Others: the kernel's.
    pub fn release(&self, fd: RawFd) -> io::Result<()> {
        RELEASE.send(&self.0, &mut [number(fd)?, 0])?;
        Ok(())
    }
}

impl AsFd for Zcopy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Zcopy {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A descriptor's number as the requests have it.
fn number(fd: RawFd) -> io::Result<u32> {
    u32::try_from(fd).map_err(|_| io::ErrorKind::InvalidInput.into())
}
