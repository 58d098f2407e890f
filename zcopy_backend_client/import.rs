// SPDX-License-Identifier: GPL-2.0

//! Pages of another domain, mapped here by the references that it gave.
//!
//! They come to stand behind placeholders: pages without memory of their own, which the kernel's grant table code keeps for this.
//!
//! # Invariants
//!
//! - `placeholders` are from `gnttab_alloc_pages`, and are given back when nothing is mapped behind any of them, or never.
//! - `mapped` are those of them behind which a grant is mapped, and `unmaps` are the operations that undo it, in the same order.

use core::{
    mem::MaybeUninit,
    ptr, //
};

use kernel::{
    alloc::KVVec,
    bindings,
    error::to_result,
    ffi::c_int,
    prelude::*, //
};

use crate::{
    domain::{
        self,
        DomId, //
    },
    ledger::{
        Direction,
        Entry,
        State, //
    }, //
};

/// Pages mapped or unmapped by one call of the hypervisor.
pub(crate) const CHUNK: usize = 256;

const OKAY: i32 = xen_sys::GNTST_okay as i32;
const NO_DEVICE_SPACE: i32 = xen_sys::GNTST_no_device_space;
const NO_SPACE: i32 = xen_sys::GNTST_no_space;

type Placeholder = *mut bindings::page;

/// What the hypervisor says of one page.
///
/// # Errors
///
/// As [`Imported::new`].
pub(crate) fn judge(status: i16) -> Result {
    match i32::from(status) {
        OKAY => Ok(()),
        NO_DEVICE_SPACE | NO_SPACE => Err(ENOSPC),
        _ => Err(EPROTO),
    }
}

/// Mapped pages of another domain. The drop unmaps them, and waits until nobody has a reference to one of them.
pub struct Imported {
    peer: DomId,
    references: KVVec<u32>,
    placeholders: KVVec<Placeholder>,
    mapped: KVVec<Placeholder>,
    unmaps: KVVec<xen_sys::gnttab_unmap_grant_ref>,
    /// For the drop, which must not need to allocate.
    queue: KBox<MaybeUninit<xen_sys::gntab_unmap_queue_data>>,
    entry: Entry,
}

// SAFETY: Pages and grant handles belong to no thread.
unsafe impl Send for Imported {}
// SAFETY: `&Imported` gives away the placeholders' addresses only.
unsafe impl Sync for Imported {}

impl Imported {
    /// Maps the pages of `peer` that `references` name, in their order.
    ///
    /// # Errors
    ///
    /// `EPROTO`: a reference is not one of a page for us, or the pages would be our own and lost by it. `ENOSPC`: Xen has no room to note
    /// the mappings. `ENOMEM`. Nothing stays mapped then.
    pub fn new(peer: DomId, references: &[u32]) -> Result<Self> {
        if domain::would_lose_pages(peer) {
            return Err(EPROTO);
        }
        let pages = references.len();
        let count = c_int::try_from(pages).map_err(|_| ENOSPC)?;
        let mut placeholders = KVVec::from_elem(ptr::null_mut(), pages, GFP_KERNEL)?;
        let mut kept = KVVec::with_capacity(pages, GFP_KERNEL)?;
        kept.extend_from_slice(references, GFP_KERNEL)?;
        let mut imported = Self {
            peer,
            references: kept,
            placeholders: KVVec::new(),
            mapped: KVVec::with_capacity(pages, GFP_KERNEL)?,
            unmaps: KVVec::with_capacity(pages, GFP_KERNEL)?,
            queue: KBox::new_uninit(GFP_KERNEL)?,
            entry: Entry::new(Direction::Mapped, peer, pages)?,
        };
        // SAFETY: `placeholders` has room for `count` pointers.
        to_result(unsafe { xen_sys::gnttab_alloc_pages(count, placeholders.as_mut_ptr()) })?;
        // INVARIANT: Nothing is mapped yet.
        imported.placeholders = placeholders;
        for (index, chunk) in references.chunks(CHUNK).enumerate() {
            // On an error the drop undoes what was done.
            imported.map(index.saturating_mul(CHUNK), chunk)?;
        }
        Ok(imported)
    }

    /// The placeholders, in the order of the references. Valid as long as `self`.
    pub fn pages(&self) -> &[Placeholder] {
        &self.placeholders
    }

    /// The number of its entry in the ledger.
    pub(crate) fn number(&self) -> u64 {
        self.entry.number()
    }

    /// Whose they are.
    pub(crate) fn peer(&self) -> DomId {
        self.peer
    }

    /// The references that they were mapped by.
    pub(crate) fn references(&self) -> &[u32] {
        &self.references
    }

    /// Maps `references` behind the placeholders from the `first` on.
    fn map(&mut self, first: usize, references: &[u32]) -> Result {
        let pages = self.placeholders.get_mut(first..).ok_or(EINVAL)?;
        let mut maps: KVVec<xen_sys::gnttab_map_grant_ref> =
            KVVec::with_capacity(references.len(), GFP_KERNEL)?;
        for (page, reference) in pages.iter().zip(references) {
            let mut map = xen_sys::gnttab_map_grant_ref::default();
            // SAFETY: `map` is ours to be filled in, `page` a placeholder.
            unsafe { xen_sys::xen_sys_gnttab_set_map_op(&mut map, *page, *reference, self.peer) };
            maps.push(map, GFP_KERNEL)?;
        }
        let count = u32::try_from(maps.len())?;
        // SAFETY: There are at least `count` placeholders from `first` on, with nothing behind them.
        let result = to_result(unsafe {
            xen_sys::gnttab_map_refs(
                maps.as_mut_ptr(),
                ptr::null_mut(),
                pages.as_mut_ptr(),
                count,
            )
        });
        let mut outcome = Ok(());
        for (page, map) in pages.iter().zip(&maps) {
            match judge(map.status) {
                Ok(()) => {
                    let mut unmap = xen_sys::gnttab_unmap_grant_ref::default();
                    // SAFETY: `unmap` is ours to be filled in, `page` a placeholder.
                    unsafe { xen_sys::xen_sys_gnttab_set_unmap_op(&mut unmap, *page, map.handle) };
                    // Neither can fail: `new` has made room for all.
                    // INVARIANT: Mapped just now, and this undoes it.
                    self.mapped.push(*page, GFP_KERNEL)?;
                    self.unmaps.push(unmap, GFP_KERNEL)?;
                }
                error => outcome = error,
            }
        }
        result?;
        outcome
    }

    /// Unmaps everything; tells whether that was done.
    fn unmap(&mut self) -> bool {
        let queue = self.queue.as_mut_ptr();
        for (pages, unmaps) in self
            .mapped
            .chunks_mut(CHUNK)
            .zip(self.unmaps.chunks_mut(CHUNK))
        {
            let count = pages.len() as u32;
            // SAFETY:
            // - `queue` is ours to be written, and stays until the call returns, which is when it is not used any more.
            // - By the invariant the operations are those of the placeholders' mappings.
            let result = unsafe {
                ptr::write_bytes(queue, 0, 1);
                (*queue).unmap_ops = unmaps.as_mut_ptr();
                (*queue).pages = pages.as_mut_ptr();
                (*queue).count = count;
                xen_sys::gnttab_unmap_refs_sync(queue)
            };
            if result != 0 || !unmaps.iter().all(|unmap| judge(unmap.status).is_ok()) {
                return false;
            }
        }
        true
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        self.entry.note(State::Leaving, self.mapped.len());
        if !self.unmap() {
            // The placeholders cannot be used for anything else any more.
            self.entry.note(State::Lost, self.mapped.len());
            pr_err!("pages of another domain cannot be unmapped, and are lost\n");
            return;
        }
        // SAFETY: Nothing is mapped behind the placeholders, which were allocated as many.
        unsafe {
            xen_sys::gnttab_free_pages(
                self.placeholders.len() as c_int,
                self.placeholders.as_mut_ptr(),
            );
        }
    }
}
