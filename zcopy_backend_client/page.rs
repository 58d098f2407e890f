// SPDX-License-Identifier: GPL-2.0

//! References to pages of memory.
//!
//! # Invariants
//!
//! A [`PageRef`] owns one reference of a refcounted page from the page allocator (never slab memory), so the page is neither
//! freed nor given to anyone else while it exists.

use core::{
    mem::size_of,
    ptr::NonNull, //
};

use kernel::{
    alloc::{
        flags::__GFP_ZERO,
        KVVec, //
    },
    bindings,
    page::{
        Page,
        PAGE_SIZE, //
    },
    prelude::*, //
};

use crate::pgdir;

// A grant is for 4096 bytes: a page of a kernel with larger ones would take several.
const _: () = assert!(PAGE_SIZE == size_of::<u32>() * pgdir::WORDS);

/// One reference to one page.
pub struct PageRef(NonNull<bindings::page>);

// SAFETY: A page's reference count is atomic, and the page itself belongs to no thread.
unsafe impl Send for PageRef {}
// SAFETY: `&PageRef` gives away the page's address and frame number only.
unsafe impl Sync for PageRef {}

impl PageRef {
    /// A new page, filled with zeroes, with an address in the kernel's own map.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new_zeroed() -> Result<Self> {
        let page = Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?;
        let raw = NonNull::new(page.as_ptr()).ok_or(ENOMEM)?;
        // INVARIANT: A new page has one reference: instead of `page` we have it now.
        core::mem::forget(page);
        Ok(Self(raw))
    }

    /// Takes a reference of its own to `page`.
    ///
    /// # Safety
    ///
    /// `page` is a refcounted page whose count is not zero.
    pub unsafe fn get(page: NonNull<bindings::page>) -> Self {
        // SAFETY: By the caller.
        unsafe { xen_sys::xen_sys_get_page(page.as_ptr()) };
        // INVARIANT: The reference just taken.
        Self(page)
    }

    /// The page. Valid as long as `self`.
    pub fn as_ptr(&self) -> *mut bindings::page {
        self.0.as_ptr()
    }

    /// The number under which the hypervisor and other domains know the page's frame.
    pub(crate) fn gfn(&self) -> usize {
        // SAFETY: By the invariant the page exists.
        unsafe { xen_sys::xen_sys_page_to_gfn(self.0.as_ptr()) }
    }

    /// The page's address in the kernel's own map.
    ///
    /// Valid as long as `self`; null only for a page of high memory, which [`PageRef::new_zeroed`] never gives.
    pub fn address(&self) -> *mut u8 {
        // SAFETY: By the invariant the page exists.
        unsafe { xen_sys::xen_sys_page_address(self.0.as_ptr()) }.cast()
    }
}

/// References of their own to all of `pages`, in their order.
///
/// # Errors
///
/// `ENOMEM`.
pub fn clone_all(pages: &[PageRef]) -> Result<KVVec<PageRef>> {
    let mut clones = KVVec::with_capacity(pages.len(), GFP_KERNEL)?;
    for page in pages {
        clones.push(page.clone(), GFP_KERNEL)?;
    }
    Ok(clones)
}

impl Clone for PageRef {
    fn clone(&self) -> Self {
        // SAFETY: By the invariant the count is not zero.
        unsafe { Self::get(self.0) }
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        // SAFETY: By the invariant the reference is ours to give back.
        unsafe { xen_sys::xen_sys_put_page(self.0.as_ptr()) }
    }
}
