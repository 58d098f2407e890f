// SPDX-License-Identifier: GPL-2.0

//! The only file with `unsafe`: system calls that the `drm` crate does not offer with the arguments a test needs
//! (a chosen `user_data`, a descriptor number that is none, a mapping at any offset), and arguments at bad addresses.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use drm_ffi::drm_sys;
use rustix::fs::OFlags;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};

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

    /// Unmaps the first `len` bytes, which are whole pages, and not all: what is left begins there.
    ///
    /// # Errors
    /// `InvalidInput` when there are not more. The errno of `munmap`.
    pub fn unmap_first(&mut self, len: usize) -> io::Result<()> {
        self.check(len, 1)?;
        // SAFETY: inside of what `new` mapped, and nothing refers into it.
        unsafe { munmap(self.start.as_ptr().cast(), len) }?;
        // SAFETY: the range was checked to lie inside the mapping.
        self.start = unsafe { self.start.add(len) };
        self.len -= len;
        Ok(())
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

/// Where the words of an ioctl's argument are put.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// In memory that ends with them.
    Whole,
    /// In memory that ends before the last of them: only so many are there.
    Cut(usize),
    /// In memory that can only be read, and ends with them.
    ReadOnly,
    /// Nowhere: the pointer is null.
    Null,
}

/// An ioctl's argument of 32-bit words, in memory of its own with no access behind it.
#[derive(Debug)]
pub struct Argument {
    /// All of the memory: pages with the words, then [`FENCE`].
    start: NonNull<u8>,
    len: usize,
    /// What is passed to the kernel.
    pointer: *mut c_void,
    /// The words that are there: they begin at the pointer.
    there: usize,
}

/// Bytes without access behind an argument. No request reads or writes that much.
const FENCE: usize = 1 << 20;

const PAGE: usize = 4096;

impl Argument {
    /// Puts `words` where `place` says.
    ///
    /// # Errors
    /// The errno of `mmap` or `mprotect`.
    pub fn new(words: &[u32], place: Place) -> io::Result<Self> {
        let there = match place {
            Place::Whole | Place::ReadOnly => words.len(),
            Place::Cut(count) => count.min(words.len()),
            Place::Null => 0,
        };
        let room = (there * 4).next_multiple_of(PAGE);
        let len = room + FENCE;
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let start: NonNull<u8> =
            NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        // SAFETY: `there` words before `room` lie in the mapping, and nobody else knows of it.
        let pointer = unsafe {
            let at = start.as_ptr().add(room - there * 4);
            std::ptr::copy_nonoverlapping(words.as_ptr().cast(), at, there * 4);
            at
        };
        let argument = Self {
            start,
            len,
            pointer: match place {
                Place::Null => std::ptr::null_mut(),
                _ => pointer.cast(),
            },
            there,
        };
        let access = match place {
            Place::ReadOnly => MprotectFlags::READ,
            _ => MprotectFlags::READ | MprotectFlags::WRITE,
        };
        // SAFETY: both are parts of the mapping, which no reference refers to.
        unsafe {
            mprotect(start.as_ptr().cast(), room, access)?;
            mprotect(
                start.as_ptr().add(room).cast(),
                FENCE,
                MprotectFlags::empty(),
            )?;
        }
        Ok(argument)
    }

    /// Makes a request with it. Returns the words that are there afterwards.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn send(&self, fd: BorrowedFd<'_>, request: Opcode) -> io::Result<Vec<u32>> {
        let call = Pointed {
            request,
            pointer: self.pointer,
        };
        // SAFETY: what the kernel may read and write from the pointer on is the memory of `self`, then a fence that is longer than any
        // argument, or, from null on, nothing.
        unsafe { ioctl(fd, call) }?;
        let words = self.pointer.cast::<u32>();
        let there = if words.is_null() { 0 } else { self.there };
        Ok((0..there)
            // SAFETY: these words lie in the mapping, which can be read. They are aligned, as its pages are.
            .map(|i| unsafe { words.add(i).read_volatile() })
            .collect())
    }
}

impl Drop for Argument {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and nothing refers into it.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.len) } {
            eprintln!("cannot unmap {} bytes: {error}", self.len);
        }
    }
}

/// A request with a pointer, whatever it is.
struct Pointed {
    request: Opcode,
    pointer: *mut c_void,
}

// SAFETY: the opcode and the pointer are passed on as they are; whoever makes the call answers for them.
unsafe impl Ioctl for Pointed {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.request
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.pointer
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}
