// SPDX-License-Identifier: GPL-2.0
//! Shared memory that is mapped into this process.
#![allow(unsafe_code)]

use memmap2::MmapOptions;
use memmap2::MmapRaw;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

/// A mapping. The other domain may write there at any moment: so bytes are copied out and in, and no reference to them exists.
pub struct Mapping(MmapRaw);

impl Mapping {
    /// Maps the first `len` bytes of `file`, for reading and writing.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new(file: impl AsFd, len: usize) -> io::Result<Self> {
        MmapOptions::new()
            .len(len)
            .map_raw(file.as_fd().as_raw_fd())
            .map(Self)
    }

    /// A copy of its bytes.
    #[must_use]
    pub fn read(&self) -> Vec<u8> {
        (0..self.0.len())
            // SAFETY: Within the mapping. The other domain may write there: hence volatile.
            .map(|i| unsafe { self.0.as_ptr().add(i).read_volatile() })
            .collect()
    }

    /// Copies `bytes` to its beginning, as many as there is room for.
    pub fn write(&self, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate().take(self.0.len()) {
            // SAFETY: Within the mapping, which is writable. The other domain may read there: hence volatile.
            unsafe { self.0.as_mut_ptr().add(i).write_volatile(*byte) }
        }
    }
}
