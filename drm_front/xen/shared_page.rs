// SPDX-License-Identifier: GPL-2.0

//! One page that both ends read and write.
//!
//! # Invariants
//!
//! - The page is ours and at its address until the grant has ended.
//! - The peer may write any byte at any moment. So no reference into the page ever exists: each access is one volatile or
//!   atomic access through a pointer, within the page and aligned.

use core::ptr;

use kernel::{
    alloc::KVVec,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    }, //
};

use xen_zcopy::{
    domain::DomId,
    grant::Granted,
    page::PageRef, //
};

/// Bytes of a [`SharedPage::read_block`].
pub(crate) const BLOCK: usize = 64;

/// A page shared with one peer.
pub(crate) struct SharedPage {
    granted: Granted,
    address: *mut u8,
}

// SAFETY: The page belongs to no thread, and every access is atomic or volatile.
unsafe impl Send for SharedPage {}
// SAFETY: As above.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// A new page, all zeroes, granted to `peer`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC`.
    pub(crate) fn new(peer: DomId) -> Result<Self> {
        let page = PageRef::new_zeroed()?;
        let address = page.address();
        let mut pages = KVVec::new();
        pages.push(page, GFP_KERNEL)?;
        // INVARIANT: `granted` keeps the page.
        Ok(Self {
            granted: Granted::new(peer, pages)?,
            address,
        })
    }

    /// The page's grant reference.
    pub(crate) fn reference(&self) -> u32 {
        self.granted.references().next().unwrap_or(0)
    }

    /// A pointer to `size` bytes, a power of two, at `offset`; the offset is brought into the page and aligned, so that a wrong
    /// one harms nobody.
    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        let offset = (offset % PAGE_SIZE) & !(size.wrapping_sub(1));
        // SAFETY: `offset` is below `PAGE_SIZE`, and by the invariant there is a page at `address`.
        unsafe { self.address.add(offset) }
    }

    /// Reads a word; later accesses stay behind it.
    pub(crate) fn load_acquire(&self, offset: usize) -> u32 {
        let word = self.at(offset, 4).cast::<u32>();
        // SAFETY: An aligned word in the page, accessed atomically by us.
        unsafe { Atomic::from_ptr(word) }.load(Acquire)
    }

    /// Writes a word; earlier accesses stay before it.
    pub(crate) fn store_release(&self, offset: usize, value: u32) {
        let word = self.at(offset, 4).cast::<u32>();
        // SAFETY: An aligned word in the page, accessed atomically by us.
        unsafe { Atomic::from_ptr(word) }.store(value, Release);
    }

    /// Nothing passes this, in either direction, as the peer sees it.
    pub(crate) fn full_barrier(&self) {
        // SAFETY: A barrier.
        unsafe { xen_sys::xen_sys_virt_mb() }
    }

    /// Copies a block out, once.
    pub(crate) fn read_block(&self, offset: usize) -> [u8; BLOCK] {
        // SAFETY: A block in the page, aligned to its size. The peer may write there: hence volatile.
        unsafe { ptr::read_volatile(self.at(offset, BLOCK).cast()) }
    }

    /// Copies a block in.
    pub(crate) fn write_block(&self, offset: usize, block: &[u8; BLOCK]) {
        // SAFETY: A block in the page, aligned to its size. The peer may read there: hence volatile.
        unsafe { ptr::write_volatile(self.at(offset, BLOCK).cast(), *block) };
    }
}
