// SPDX-License-Identifier: GPL-2.0

//! Domains: this one's kind, and others' numbers.
//!
//! # Invariants
//!
//! None: what is called here only reads what never changes.

#[cfg(CONFIG_X86)]
use core::arch::x86_64::__cpuid_count;

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

/// The number under which the hypervisor knows the frame that is `pfn` here.
pub(crate) fn gfn_of(pfn: usize) -> usize {
    // SAFETY: Looks the number up, and says so if there is no such frame.
    unsafe { xen_sys::xen_sys_pfn_to_gfn(pfn) }
}

/// Whether pages of `peer` are lost to it by being mapped here. On x86, where page tables are not the domain's own, Xen lets a frame of
/// the domain be in one place only: what maps its own pages a second time finds nothing where they were.
pub(crate) fn would_lose_pages(peer: DomId) -> bool {
    !is_pv() && own_number() == Some(peer)
}

/// The number of this domain, if Xen tells.
#[cfg(CONFIG_X86)]
fn own_number() -> Option<DomId> {
    /// Of Xen's leaves, the one for domains whose page tables are not their own.
    const HVM: u32 = 4;
    const DOMID_PRESENT: u32 = 1 << 4;
    // SAFETY: Only asks the processor.
    let base = unsafe { xen_sys::xen_sys_cpuid_base() };
    // SAFETY: Every 64-bit processor has the instruction, and no number that it is given does harm.
    let leaf = unsafe { __cpuid_count(base.checked_add(HVM)?, 0) };
    match leaf.eax & DOMID_PRESENT {
        0 => None,
        _ => DomId::try_from(leaf.ecx).ok(),
    }
}

#[cfg(not(CONFIG_X86))]
fn own_number() -> Option<DomId> {
    None
}
