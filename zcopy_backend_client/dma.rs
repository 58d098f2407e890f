// SPDX-License-Identifier: GPL-2.0

//! DMA operations for a device that never reads or writes: whatever is mapped for it stays where it is, at the address by which the domain
//! itself knows it.
//!
//! Those of a real device may copy to where the device can reach. In a PV domain swiotlb-xen does so with whatever is not contiguous in the
//! machine, and fails when that is much.
//!
//! # Invariants
//!
//! The operations have no state, and only touch the addresses in the entries that the DMA layer passes to them.

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*, //
};

/// The operations.
pub(crate) static IDENTITY: xen_sys::dma_map_ops = xen_sys::dma_map_ops {
    map_phys: Some(map_phys),
    map_sg: Some(map_sg),
    ..pin_init::zeroed()
};

/// Of one range. See the struct in `linux/dma-map-ops.h`.
extern "C" fn map_phys(
    _device: *mut bindings::device,
    address: bindings::phys_addr_t,
    _size: usize,
    _direction: bindings::dma_data_direction,
    _attributes: usize,
) -> bindings::dma_addr_t {
    address
}

/// Of `count` entries, of which it returns how many it has mapped.
///
/// # Safety
///
/// As the DMA layer calls it: there are as many entries, each with its page, and nobody else uses them.
unsafe extern "C" fn map_sg(
    _device: *mut bindings::device,
    first: *mut bindings::scatterlist,
    count: c_int,
    _direction: bindings::dma_data_direction,
    _attributes: usize,
) -> c_int {
    let mut next = first;
    for _ in 0..count {
        let Some(entry) = NonNull::new(next) else {
            return EINVAL.to_errno();
        };
        // SAFETY: One of the entries, by this function's contract; the rest of it stays as it is.
        next = unsafe {
            let entry = entry.as_ptr();
            let page = xen_sys::xen_sys_page_to_phys(xen_sys::xen_sys_sg_page(entry));
            (*entry).dma_address = page.wrapping_add(u64::from((*entry).offset));
            (*entry).dma_length = (*entry).length;
            bindings::sg_next(entry)
        };
    }
    count
}
