// SPDX-License-Identifier: GPL-2.0

//! User space's mappings of buffers.
//!
//! # Invariants
//!
//! An area with [`VM_OPS`] is one that the shmem helper's `mmap` has set up: its `vm_private_data` is a shmem object to which it has a reference, and
//! which has its pages until the area is closed; its offset in pages is counted from the object's node on.
//!
//! An object's pages are only replaced under its reservation lock, after they were taken out of all areas (`foreign`). So what is put into an area
//! under that lock is what the object has, until somebody takes it out.

use core::ptr;

use kernel::{
    bindings,
    mm::virt::VmaRef,
    page::PAGE_SIZE, //
};

/// What one page of a page table shows, in bytes, where pages have 4 KiB.
const TABLE: usize = 512 * PAGE_SIZE;

/// What user space's areas do. As the shmem helper's, but for faults: the helper maps one page at a time, with a fault for the first read and one for the
/// first write, and takes the first page of what is left of an area for the object's first.
pub(super) const VM_OPS: bindings::vm_operations_struct = bindings::vm_operations_struct {
    open: Some(open),
    close: Some(close),
    fault: Some(fault),
    ..pin_init::zeroed()
};

/// # Safety
///
/// The memory management's to call, with an area that has [`VM_OPS`].
unsafe extern "C" fn open(area: *mut bindings::vm_area_struct) {
    // SAFETY: A static of the helper's, whose function is called as the memory management would.
    unsafe {
        if let Some(open) = xen_sys::drm_gem_shmem_vm_ops.open {
            open(area);
        }
    }
}

/// # Safety
///
/// As of [`open`].
unsafe extern "C" fn close(area: *mut bindings::vm_area_struct) {
    // SAFETY: As in `open`.
    unsafe {
        if let Some(close) = xen_sys::drm_gem_shmem_vm_ops.close {
            close(area);
        }
    }
}

/// Maps the page that is missing, and the object's other pages that the same page of the page table shows.
///
/// # Safety
///
/// As of [`open`], with a fault in such an area, which stays as it is meanwhile.
unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: By the caller.
    let (area, offset, address) = unsafe {
        let fault = &(*vmf).__bindgen_anon_1;
        (fault.vma, fault.pgoff, fault.address)
    };
    // SAFETY: By the caller and this file's invariants.
    let (shmem, extent) = unsafe {
        // `base` is the first field.
        let shmem: *mut xen_sys::drm_gem_shmem_object = (*area).vm_private_data.cast();
        let area = VmaRef::from_raw(area);
        (shmem, area.start()..area.end())
    };
    // SAFETY: The object is there.
    let (reservation, count, first) = unsafe {
        let base = &raw const (*shmem).base;
        let count = (*base).size / PAGE_SIZE;
        ((*base).resv, count, (*base).vma_node.vm_node.start)
    };
    // SAFETY: The lock of an object that is there; it is not held by whoever touches user space's memory.
    unsafe { bindings::dma_resv_lock(reservation, ptr::null_mut()) };
    let show = |index: usize, address: usize| {
        // SAFETY: The object has its pages, and under the lock they are what they are.
        let pages = unsafe { (*shmem).pages };
        if pages.is_null() || index >= count {
            return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        }
        // SAFETY: `pages` has `count` pages. The area is one of page frame numbers, as the helper has said, and `address` is in it.
        unsafe {
            let frame = xen_sys::xen_sys_page_to_phys(*pages.add(index)) / PAGE_SIZE as u64;
            bindings::vmf_insert_pfn(area, address, frame as usize)
        }
    };
    let index = offset.wrapping_sub(first as usize);
    let result = show(index, address);
    if result == bindings::vm_fault_reason_VM_FAULT_NOPAGE {
        let start = address - address % TABLE;
        let end = start.saturating_add(TABLE).min(extent.end);
        for other in (start.max(extent.start)..end).step_by(PAGE_SIZE) {
            // What the object does not have, and what there is no memory for, is left out: it has faults of its own.
            let pages = (other / PAGE_SIZE).wrapping_sub(address / PAGE_SIZE);
            let _ = show(index.wrapping_add(pages), other);
        }
    }
    // SAFETY: Locked above.
    unsafe { bindings::dma_resv_unlock(reservation) };
    result
}
