// SPDX-License-Identifier: GPL-2.0

//! Domains: this one's kind, and others' numbers.
//!
//! # Invariants
//!
//! None: what is called here only reads what never changes.

/// A domain's number.
pub type DomId = u16;

/// Whether this kernel runs in a Xen domain that may use PV devices.
pub(crate) fn has_pv_devices() -> bool {
    // SAFETY: Both only read variables that Xen's start-up code has set before any module is loaded.
    unsafe { xen_sys::xen_sys_domain() && xen_sys::xen_sys_has_pv_devices() }
}

/// The size of a page in Xen's interfaces, in bytes.
pub(crate) const XEN_PAGE_SIZE: usize = 4096;

/// Whether this domain's page tables are its own, and hold machine frames.
pub fn is_pv() -> bool {
    // SAFETY: Only reads a variable that Xen's start-up code has set before any module is loaded.
    unsafe { xen_sys::xen_sys_pv_domain() }
}
