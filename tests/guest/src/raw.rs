// SPDX-License-Identifier: GPL-2.0

//! The only file with `unsafe`: system calls that the `drm` crate does not offer with the arguments a test needs
//! (a chosen `user_data`, a descriptor number that is none, a mapping at any offset).

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use drm_ffi::drm_sys;
use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const DRM: u8 = b'd';
const PAGE_FLIP: Opcode = opcode::read_write::<drm_sys::drm_mode_crtc_page_flip>(DRM, 0xb0);
const ATOMIC: Opcode = opcode::read_write::<drm_sys::drm_mode_atomic>(DRM, 0xbc);
const DIRTYFB: Opcode = opcode::read_write::<drm_sys::drm_mode_fb_dirty_cmd>(DRM, 0xb1);
const PRIME_FD_TO_HANDLE: Opcode = opcode::read_write::<drm_sys::drm_prime_handle>(DRM, 0x2e);
const DMA_HEAP_ALLOC: Opcode = opcode::read_write::<[u64; 3]>(b'H', 0);
const DMA_BUF_SYNC: Opcode = opcode::write::<u64>(b'b', 0);

/// `DRM_IOCTL_MODE_PAGE_FLIP`, every field as given.
///
/// # Errors
/// The ioctl's errno.
pub fn page_flip(fd: BorrowedFd<'_>, mut flip: drm_sys::drm_mode_crtc_page_flip) -> io::Result<()> {
    // SAFETY: the opcode is that of this structure; it holds no pointer; the kernel writes at most the structure.
    Ok(unsafe { ioctl(fd, Updater::<PAGE_FLIP, _>::new(&mut flip)) }?)
}

/// The properties that one atomic commit sets: one entry of each slice belongs together.
#[derive(Clone, Copy, Debug)]
pub struct AtomicLists<'a> {
    /// Object of each property; an object may come again.
    pub objects: &'a [u32],
    /// Property ids.
    pub properties: &'a [u32],
    /// Values.
    pub values: &'a [u64],
}

/// `DRM_IOCTL_MODE_ATOMIC`.
///
/// # Errors
/// The ioctl's errno, or `InvalidInput` when the slices differ in length.
pub fn atomic(
    fd: BorrowedFd<'_>,
    flags: u32,
    lists: AtomicLists<'_>,
    reserved: u64,
    user_data: u64,
) -> io::Result<()> {
    let len = lists.objects.len();
    if lists.properties.len() != len || lists.values.len() != len {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let one_property_each = vec![1u32; len];
    let mut request = drm_sys::drm_mode_atomic {
        flags,
        count_objs: u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?,
        objs_ptr: lists.objects.as_ptr().expose_provenance() as u64,
        count_props_ptr: one_property_each.as_ptr().expose_provenance() as u64,
        props_ptr: lists.properties.as_ptr().expose_provenance() as u64,
        prop_values_ptr: lists.values.as_ptr().expose_provenance() as u64,
        reserved,
        user_data,
    };
    // SAFETY:
    // - the opcode is that of this structure, and the kernel writes at most the structure;
    // - its pointers are those of four live slices of `count_objs` elements each (one property an object), which the
    //   kernel only reads, and only during the call.
    Ok(unsafe { ioctl(fd, Updater::<ATOMIC, _>::new(&mut request)) }?)
}

/// `DRM_IOCTL_MODE_DIRTYFB` without clips: all of the framebuffer. (An empty list of clips must go with a null pointer,
/// which an empty slice does not give.)
///
/// # Errors
/// The ioctl's errno.
pub fn dirty_whole(fd: BorrowedFd<'_>, fb: u32) -> io::Result<()> {
    let mut dirty = drm_sys::drm_mode_fb_dirty_cmd {
        fb_id: fb,
        ..Default::default()
    };
    // SAFETY: the opcode is that of this structure; its only pointer is null with a count of 0.
    Ok(unsafe { ioctl(fd, Updater::<DIRTYFB, _>::new(&mut dirty)) }?)
}

/// `DRM_IOCTL_PRIME_FD_TO_HANDLE` with any number for a descriptor.
///
/// # Errors
/// The ioctl's errno.
pub fn prime_fd_to_handle(fd: BorrowedFd<'_>, dma_buf: RawFd) -> io::Result<u32> {
    let mut prime = drm_sys::drm_prime_handle {
        fd: dma_buf,
        ..Default::default()
    };
    // SAFETY: the opcode is that of this structure; it holds no pointer; the number is only looked up in our table of
    // descriptors, and the lookup takes its own reference.
    unsafe { ioctl(fd, Updater::<PRIME_FD_TO_HANDLE, _>::new(&mut prime)) }?;
    Ok(prime.handle)
}

/// `DMA_BUF_IOCTL_SYNC` with flags of `linux/dma-buf.h`.
///
/// # Errors
/// The ioctl's errno.
pub fn dma_buf_sync(dma_buf: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    // SAFETY: `struct dma_buf_sync` is one `__u64`, which the kernel reads; it holds no pointer.
    Ok(unsafe { ioctl(dma_buf, Setter::<DMA_BUF_SYNC, u64>::new(flags)) }?)
}

/// `DMA_HEAP_IOCTL_ALLOC`: a dma-buf of `len` bytes.
///
/// # Errors
/// The ioctl's errno.
pub fn dma_heap_alloc(heap: BorrowedFd<'_>, len: u64) -> io::Result<OwnedFd> {
    let flags = u64::from((OFlags::RDWR | OFlags::CLOEXEC).bits());
    // `struct dma_heap_allocation_data` in words of 64 bits: the length; the descriptor, and above it its flags; flags of the heap.
    let mut words = [len, flags << 32, 0];
    // SAFETY: the opcode is that of a structure of this size, which holds no pointer; the kernel writes at most the structure.
    unsafe { ioctl(heap, Updater::<DMA_HEAP_ALLOC, _>::new(&mut words)) }?;
    let fd = RawFd::try_from(words[1] & 0xffff_ffff).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A shared mapping of graphics memory. Others may read or write it at any time, so bytes are only ever copied in
/// and out; no reference into it exists.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes at `offset` of `fd`, to read and write.
    ///
    /// # Errors
    /// The errno of `mmap`.
    pub fn new(fd: BorrowedFd<'_>, len: usize, offset: u64) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                access,
                MapFlags::SHARED,
                fd,
                offset,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, len })
    }

    /// Bytes that are mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Errors
    /// `InvalidInput` when they do not fit.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.check(at, bytes.len())?;
        // SAFETY: the range was checked to lie inside the mapping, which is writable and lives as long as `self`; `bytes`
        // cannot overlap it, as no reference into the mapping exists.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len())
        };
        Ok(())
    }

    /// Copies the bytes at `at` to `out`.
    ///
    /// # Errors
    /// `InvalidInput` when the mapping ends before.
    pub fn read(&self, at: usize, out: &mut [u8]) -> io::Result<()> {
        self.check(at, out.len())?;
        // SAFETY: the range was checked to lie inside the mapping, which is readable and lives as long as `self`; `out`
        // cannot overlap it, as no reference into the mapping exists.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.as_ptr().add(at), out.as_mut_ptr(), out.len())
        };
        Ok(())
    }

    fn check(&self, at: usize, len: usize) -> io::Result<()> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and nothing refers into it.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.len) } {
            eprintln!("cannot unmap {} bytes: {error}", self.len);
        }
    }
}
