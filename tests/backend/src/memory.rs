// SPDX-License-Identifier: GPL-2.0
//! Memory that somebody else writes too: a guest's granted pages, or a display device's buffer.
//!
//! The only file with `unsafe`. No reference to the octets ever leaves it, since the other side may change them at any time:
//! they are copied in or out, or reached as atomic words (rings and directories).
#![allow(unsafe_code)]

use crate::dmabuf::{GrantedDmaBuf, OwnDmaBuf};
use crate::protocol::{DbufCreate, GrantRef, PAGE_SIZE};
use drm::buffer::Buffer;
use drm::control::dumbbuffer::DumbBuffer;
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use xengnt::sys::GrantRef as DomainRef;
use xengnt::{GrantTab, MappedMemory};

/// A range of shared memory; dropping it unmaps it.
pub struct SharedMemory {
    base: NonNull<u8>,
    len: usize,
    /// Keeps `base..base + len` mapped, readable and writable.
    _owner: Owner,
}

#[allow(dead_code, reason = "held for their drop")]
enum Owner {
    Grants(MappedMemory<'static>),
    Device(MmapRaw),
    #[cfg(test)]
    Heap(Box<[AtomicU32]>),
}

// SAFETY:
// - The mapping belongs to the process, not to a thread, and `base` is never given out.
// - All access is by copies through raw pointers or by atomics, so several threads may use one value: a torn copy is
//   no worse than what the other side can do anyway.
unsafe impl Send for SharedMemory {}
// SAFETY: as for `Send`; all methods take `&self` and rely on nothing that another thread could change.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps pages that the domain `domid` granted, one after the other, for reading and writing.
    ///
    /// # Errors
    ///
    /// The kernel's: a reference that is not granted to this domain, no memory, too many pages.
    pub fn map_grants(domid: u32, refs: &[GrantRef]) -> io::Result<Self> {
        // A device file of its own for each mapping: when some page cannot be mapped the kernel keeps the whole attempt until
        // the file is closed, and a guest could pile such attempts up.
        let table = GrantTab::open().map_err(io_error)?;
        let refs: Vec<_> = refs
            .iter()
            .map(|&reference| DomainRef { domid, reference })
            .collect();
        let memory = table.map_grant_refs(refs, true, true).map_err(io_error)?;
        let base = NonNull::new(memory.ptr().cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(SharedMemory {
            base,
            len: memory.len(),
            _owner: Owner::Grants(memory),
        })
    }

    /// Maps a dma-buf of this domain's.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn map_dmabuf(dmabuf: impl AsFd, len: usize) -> io::Result<Self> {
        let map = MmapOptions::new()
            .len(len)
            .map_raw(dmabuf.as_fd().as_raw_fd())?;
        let base = NonNull::new(map.as_mut_ptr()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(SharedMemory {
            base,
            len,
            _owner: Owner::Device(map),
        })
    }

    /// Maps a dumb buffer of a display device.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn map_dumb(device: &(impl AsFd + AsRawFd), buffer: &DumbBuffer) -> io::Result<Self> {
        let place = drm_ffi::mode::dumbbuffer::map(device.as_fd(), buffer.handle().into(), 0, 0)?;
        // The kernel made the buffer at least this long; it is asked for a range inside it.
        let len = buffer.pitch() as usize * buffer.size().1 as usize;
        let map = MmapOptions::new()
            .offset(place.offset)
            .len(len)
            .map_raw(device)?;
        let base = NonNull::new(map.as_mut_ptr()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(SharedMemory {
            base,
            len,
            _owner: Owner::Device(map),
        })
    }

    /// Ordinary memory, to test users of shared memory with.
    #[cfg(test)]
    pub fn heap(words: &[u32]) -> Self {
        let memory: Box<[AtomicU32]> = words.iter().map(|word| AtomicU32::new(*word)).collect();
        let base = NonNull::from(&*memory).cast();
        SharedMemory {
            base,
            len: 4 * memory.len(),
            _owner: Owner::Heap(memory),
        }
    }

    /// Octets; a whole number of pages for grants.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies `to.len()` octets from `offset` on.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof`: the range is not inside the memory; nothing is copied.
    pub fn read(&self, offset: usize, to: &mut [u8]) -> io::Result<()> {
        let from = self.range(offset, to.len())?;
        // SAFETY:
        // - `range` made sure that `to.len()` octets from `from` on are inside the mapping, which lives as long as `self`.
        // - `to` is private memory, so the two do not overlap.
        // - Any value is a valid `u8`. The other side may write meanwhile: no reference is formed and the copy is judged
        //   only after it is complete.
        unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies `from` to `offset` and on.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof`: the range is not inside the memory; nothing is copied.
    pub fn write(&self, offset: usize, from: &[u8]) -> io::Result<()> {
        let to = self.range(offset, from.len())?;
        // SAFETY: as in `read`, the other way round; the mapping is writable.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
        Ok(())
    }

    /// Copies `len` octets of `from` at `from_offset` to `offset`, without a stop on the way.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof`: one of the ranges is not inside its memory; nothing is copied.
    pub fn copy_from(
        &self,
        offset: usize,
        from: &SharedMemory,
        from_offset: usize,
        len: usize,
    ) -> io::Result<()> {
        let to = self.range(offset, len)?;
        let from = from.range(from_offset, len)?;
        // SAFETY: `range` checked both ends, both mappings live, and `copy_to` allows an overlap.
        unsafe { from.copy_to(to, len) };
        Ok(())
    }

    /// The memory as words, for rings and directories: each load or store is one access, and has an order.
    pub fn words(&self) -> &[AtomicU32] {
        // SAFETY:
        // - `base` starts a page or an allocation of words, so it is aligned, and `len / 4` words are inside the mapping.
        // - `AtomicU32` allows for changes behind a shared reference, and has no invalid values.
        // - The result borrows `self`, so it ends before the mapping.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.len / 4) }
    }

    fn range(&self, offset: usize, len: usize) -> io::Result<*mut u8> {
        match offset.checked_add(len) {
            // SAFETY: `offset` is not beyond the end of the mapping.
            Some(end) if end <= self.len => Ok(unsafe { self.base.as_ptr().add(offset) }),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Maps pages of one guest; tests put something else in its place.
pub trait Mapper: Send + Sync {
    /// Maps granted pages, one after the other.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::map_grants`].
    fn map(&self, refs: &[GrantRef]) -> io::Result<SharedMemory>;

    /// Pages of this domain for the buffer that `create` asks for, granted to the guest.
    ///
    /// # Errors
    ///
    /// The kernel's. `NotFound`: this domain cannot do that.
    fn allocate(&self, _create: &DbufCreate) -> io::Result<OwnDmaBuf> {
        Err(io::ErrorKind::NotFound.into())
    }

    /// Granted pages, one after the other, as a dma-buf, by [`GrantedDmaBuf::new`]. None: such are not wanted.
    fn dmabuf(&self, _refs: &[GrantRef]) -> Option<io::Result<GrantedDmaBuf>> {
        None
    }
}

fn io_error(error: xengnt::error::Error) -> io::Error {
    use xengnt::error::Error;
    match error {
        Error::Io(error) => error,
        Error::Kernel(errno) | Error::MmapFailed(errno) => {
            io::Error::from_raw_os_error(errno as i32)
        }
        error => io::Error::other(error),
    }
}

/// Pages that hold so many octets.
pub fn pages_for(octets: u32) -> usize {
    (octets as usize).div_ceil(PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_inside() {
        let memory = SharedMemory::heap(&[0x0403_0201, 0x0807_0605]);
        let mut octets = [0; 4];
        memory.read(4, &mut octets).expect("the last four octets");
        assert_eq!(u32::from_ne_bytes(octets), 0x0807_0605);
        for (offset, len) in [(5, 4), (8, 1), (9, 0), (usize::MAX, 2)] {
            assert!(memory.read(offset, &mut vec![0; len]).is_err());
            assert!(memory.write(offset, &vec![0; len]).is_err());
            assert!(memory.copy_from(0, &memory, offset, len).is_err());
            assert!(memory.copy_from(offset, &memory, 0, len).is_err());
        }
        assert!(memory.write(8, &[]).is_ok());
    }

    #[test]
    fn pages_are_rounded_up() {
        assert_eq!(
            [0, 1, 4096, 4097, u32::MAX].map(pages_for),
            [0, 1, 1, 2, 1 << 20]
        );
    }
}
