// SPDX-License-Identifier: GPL-2.0
//! Plain memory as a dma-buf, by the kernel's `/dev/udmabuf`.
#![allow(unsafe_code)]

use crate::mapping::Mapping;
use crate::request::Request;
use rustix::fs::MemfdFlags;
use rustix::fs::SealFlags;
use rustix::fs::fcntl_add_seals;
use rustix::fs::ftruncate;
use rustix::fs::memfd_create;
use rustix::ioctl::Direction;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

/// `UDMABUF_CREATE`.
const CREATE: Request = Request::new(Direction::Write, b'u', 0x42, 24);

/// Memory of this process, and a dma-buf of the same pages.
pub struct Memory {
    /// The memory.
    pub mapping: Mapping,
    /// The dma-buf.
    pub dmabuf: OwnedFd,
}

impl Memory {
    /// New memory of `size` bytes, whole pages.
    ///
    /// # Errors
    ///
    /// The kernel's. `NotFound`: it has no `/dev/udmabuf`.
    pub fn new(size: usize) -> io::Result<Self> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/udmabuf")?;
        let file = memfd_create("xen-zcopy", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, size as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK)?;
        let number = u32::try_from(file.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidData)?;
        let size_of_64_bits = [size as u64 as u32, (size as u64 >> 32) as u32];
        // The descriptor, flags (close on exec), the offset of 64 bits, the size.
        let fd = CREATE.send(
            &device,
            &mut [number, 1, 0, 0, size_of_64_bits[0], size_of_64_bits[1]],
        )?;
        Ok(Self {
            mapping: Mapping::new(&file, size)?,
            // SAFETY: The kernel has just opened it for us.
            dmabuf: unsafe { OwnedFd::from_raw_fd(fd) },
        })
    }
}
