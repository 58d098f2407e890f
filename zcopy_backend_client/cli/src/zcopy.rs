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

/// The devices that may have the operations. The second one does in kernels with `CONFIG_XEN_GNTDEV_DMABUF`.
pub const DEVICES: [&str; 2] = [DEVICE, "/dev/xen/gntdev"];

/// Which of the operations a device knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// [`Zcopy::from_refs`] and [`Zcopy::wait_released`].
    pub from_refs: bool,
    /// [`Zcopy::to_refs`] and [`Zcopy::release`].
    pub to_refs: bool,
}

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

    /// Opens the first of [`DEVICES`] that has the operations.
    ///
    /// # Errors
    ///
    /// `Unsupported`: some can be opened, but none has them. Otherwise why the first one cannot be opened.
    pub fn find() -> io::Result<Self> {
        let mut refused = None;
        for device in DEVICES {
            match Self::open(device) {
                Ok(zcopy) => {
                    let known = zcopy.known()?;
                    if known.from_refs && known.to_refs {
                        return Ok(zcopy);
                    }
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or(rustix::io::Errno::OPNOTSUPP.into()))
    }

    /// Which operations the device knows. Asked for no page at all: that is refused, and nothing done, where they are known.
    ///
    /// # Errors
    ///
    /// The kernel's, other than such refusals.
    pub fn known(&self) -> io::Result<Known> {
        let knows = |request: Request| match request.send(&self.0, &mut [0; 5]) {
            Err(rustix::io::Errno::NOTTY) => Ok(false),
            Err(rustix::io::Errno::INVAL) => Ok(true),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) => Err(io::Error::from(error)),
        };
        Ok(Known {
            from_refs: knows(FROM_REFS)?,
            to_refs: knows(TO_REFS)?,
        })
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
        match self.wait(fd, at_most) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Closes `dmabuf`, and waits until all others who have it have let it go, and its pages are not mapped any more. For a dma-buf that
    /// came from another process, too: it is not known to the device by a number here.
    ///
    /// # Errors
    ///
    /// `NotFound`: it is no dma-buf of this device's; `/dev/xen/gntdev` says so of all that it has not made itself. `TimedOut`. Others: the
    /// kernel's.
    pub fn close_and_wait(&self, dmabuf: OwnedFd, at_most: Duration) -> io::Result<()> {
        let fd = dmabuf.as_raw_fd();
        // Refused here while it is open under its number, rather than after that.
        match self.wait(fd, Duration::ZERO) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            result => return result,
        }
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let waiter = scope.spawn(move || {
                let _ = tell.send(std::fs::read_link("/proc/thread-self"));
                self.wait(fd, at_most)
            });
            let task = told.recv().map_err(io::Error::other)??;
            let stat = Path::new("/proc").join(task).join("stat");
            // The device looks the number up when the call begins: it sleeps after that, and our descriptor has to be closed after that.
            while !waiter.is_finished() && !std::fs::read_to_string(&stat)?.contains(") S ") {
                std::thread::yield_now();
            }
            drop(dmabuf);
            waiter.join().unwrap_or(Err(io::ErrorKind::Other.into()))
        })
    }

    fn wait(&self, fd: RawFd, at_most: Duration) -> io::Result<()> {
        let fd = number(fd)?;
        let at_most = u32::try_from(at_most.as_millis()).unwrap_or(u32::MAX);
        Ok(WAIT_RELEASED.send(&self.0, &mut [fd, at_most]).map(drop)?)
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
