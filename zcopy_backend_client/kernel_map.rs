// SPDX-License-Identifier: GPL-2.0

//! Imported pages in one piece for the kernel of a PV domain.
//!
//! `vmap` of placeholders gives an address there behind which there is nothing: only the hypervisor puts a frame of another domain into a
//! page table. So an area is made of a page of ours, and the hypervisor is told to map the grants once more, in the area's page table
//! entries. It does not look at the peer's grant table again for what it has mapped already, so nothing that the peer does makes that fail.
//!
//! # Invariants
//!
//! - `area` is from `vmap`, and has as many pages as were imported.
//! - `unmaps` are the operations that undo what is mapped in its entries. It goes when all of them are done, or never.

use core::{
    mem,
    ptr::NonNull, //
};

use kernel::{
    alloc::KVVec,
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*, //
};

use crate::{
    domain::DomId,
    import::{
        self,
        Imported,
        CHUNK, //
    },
    page::PageRef, //
};

/// The second mapping of imported pages. The drop undoes it.
pub(crate) struct KernelMap {
    area: NonNull<c_void>,
    unmaps: KVVec<xen_sys::gnttab_unmap_grant_ref>,
    /// What the entries have where nothing is mapped.
    filler: PageRef,
}

// SAFETY: An area of the kernel's address space and grant handles belong to no thread.
unsafe impl Send for KernelMap {}
// SAFETY: `&KernelMap` gives away the area's address only.
unsafe impl Sync for KernelMap {}

impl KernelMap {
    /// Maps the pages of `imported`, in their order. To be dropped before `imported` is.
    ///
    /// # Errors
    ///
    /// As [`Imported::new`].
    pub(crate) fn new(imported: &Imported) -> Result<Self> {
        let references = imported.references();
        let filler = PageRef::new_zeroed()?;
        let mut pages = KVVec::from_elem(filler.as_ptr(), references.len(), GFP_KERNEL)?;
        let unmaps = KVVec::with_capacity(references.len(), GFP_KERNEL)?;
        let count = u32::try_from(references.len())?;
        // SAFETY: `pages` are `count` times the page, which stays as long as the area.
        let area = unsafe { xen_sys::xen_sys_vmap_kernel(pages.as_mut_ptr(), count) };
        // INVARIANT: Nothing is mapped yet.
        let mut map = Self {
            area: NonNull::new(area).ok_or(ENOMEM)?,
            unmaps,
            filler,
        };
        for chunk in references.chunks(CHUNK) {
            // On an error the drop undoes what was done.
            map.map(imported.peer(), chunk)?;
        }
        Ok(map)
    }

    /// Where the pages are. Valid as long as `self`.
    pub(crate) fn address(&self) -> *mut c_void {
        self.area.as_ptr()
    }

    /// The machine address of the page table entry of a page of the area.
    fn entry(&self, page: usize) -> Result<u64> {
        let offset = page.checked_mul(PAGE_SIZE).ok_or(EINVAL)?;
        // SAFETY: An address in the area, whose page table stays as long as it.
        match unsafe { xen_sys::xen_sys_pte_maddr(self.area.as_ptr().wrapping_byte_add(offset)) } {
            0 => Err(EIO),
            entry => Ok(entry),
        }
    }

    /// Maps `references` behind those that are mapped.
    fn map(&mut self, peer: DomId, references: &[u32]) -> Result {
        let first = self.unmaps.len();
        let mut maps: KVVec<xen_sys::gnttab_map_grant_ref> =
            KVVec::with_capacity(references.len(), GFP_KERNEL)?;
        for (index, reference) in references.iter().enumerate() {
            let map = xen_sys::gnttab_map_grant_ref {
                host_addr: self.entry(first.saturating_add(index))?,
                flags: xen_sys::GNTMAP_host_map | xen_sys::GNTMAP_contains_pte,
                ref_: *reference,
                dom: peer,
                ..Default::default()
            };
            maps.push(map, GFP_KERNEL)?;
        }
        // SAFETY: The operations change entries of the area, which nobody uses yet, and `maps`.
        unsafe { xen_sys::gnttab_batch_map(maps.as_mut_ptr(), u32::try_from(maps.len())?) };
        let mut outcome = Ok(());
        for map in &maps {
            match import::judge(map.status) {
                Ok(()) => {
                    let unmap = xen_sys::gnttab_unmap_grant_ref {
                        host_addr: map.host_addr,
                        handle: map.handle,
                        ..Default::default()
                    };
                    // Cannot fail: `new` has made room for all.
                    // INVARIANT: Mapped just now, and this undoes it.
                    self.unmaps.push(unmap, GFP_KERNEL)?;
                }
                error => outcome = error,
            }
        }
        outcome
    }

    /// Unmaps everything; tells whether that was done.
    fn unmap(&mut self) -> bool {
        self.unmaps.chunks_mut(CHUNK).all(|unmaps| {
            // SAFETY: By the invariant the operations are those of what is mapped in the area, which nobody uses any more.
            let result = unsafe {
                xen_sys::xen_sys_gnttab_unmap_grant_ref(unmaps.as_mut_ptr(), unmaps.len() as u32)
            };
            result == 0
                && unmaps
                    .iter()
                    .all(|unmap| import::judge(unmap.status).is_ok())
        })
    }
}

impl Drop for KernelMap {
    fn drop(&mut self) {
        if !self.unmap() {
            pr_err!(
                "the kernel's mapping of another domain's pages cannot be undone, and is lost\n"
            );
            // Its entries may still have the page.
            mem::forget(self.filler.clone());
            return;
        }
        // SAFETY: From `vmap`, and nothing of another domain is mapped in it.
        unsafe { xen_sys::vunmap(self.area.as_ptr()) }
    }
}
