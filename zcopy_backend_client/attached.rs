// SPDX-License-Identifier: GPL-2.0

//! Somebody else's dma-buf, and the frames that its pages are in.
//!
//! # Invariants
//!
//! `dmabuf`, `attachment` and `table` are there and belong together until the drop undoes them; the frames stay the buffer's until then.

use core::ptr::NonNull;

use kernel::{
    alloc::KVVec,
    bindings,
    device::Device,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_int,
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef, //
};

use crate::domain;

/// The device that dma-bufs are attached to: none that does anything.
#[derive(Clone)]
pub(crate) struct Target {
    /// The device that `_device` keeps.
    raw: *mut bindings::device,
    _device: ARef<Device>,
}

// SAFETY: A device belongs to no thread.
unsafe impl Send for Target {}
// SAFETY: As above.
unsafe impl Sync for Target {}

impl Target {
    /// That of a device file.
    pub(crate) fn new<T: MiscDevice>(registration: &MiscDeviceRegistration<T>) -> Self {
        Self {
            // SAFETY: Registered, so there is a device.
            raw: unsafe { (*registration.as_raw()).this_device },
            _device: registration.device().into(),
        }
    }

    /// Lets every frame of the machine be mapped for it. To be done once, before anything is attached.
    ///
    /// # Errors
    ///
    /// The DMA layer's.
    pub(crate) fn prepare(&self) -> Result {
        // SAFETY: The device is there, and no driver has set a mask for it.
        to_result(unsafe { xen_sys::xen_sys_dma_coerce_mask_and_coherent(self.raw, u64::MAX) })
    }
}

/// An attached dma-buf. The drop lets it go.
pub(crate) struct Attached {
    dmabuf: NonNull<xen_sys::dma_buf>,
    attachment: NonNull<xen_sys::dma_buf_attachment>,
    table: NonNull<bindings::sg_table>,
    /// Kept for the attachment.
    _target: Target,
}

// SAFETY: None of these belongs to a thread.
unsafe impl Send for Attached {}
// SAFETY: `&Attached` only reads the table, which nobody writes.
unsafe impl Sync for Attached {}

impl Attached {
    /// Attaches the dma-buf under a descriptor of this process to `target`.
    ///
    /// # Errors
    ///
    /// `EBADF`: no file. `EINVAL`: no dma-buf. Its exporter's.
    pub(crate) fn new(fd: u32, target: Target) -> Result<Self> {
        // SAFETY: May be called for any number.
        let dmabuf = from_err_ptr(unsafe { xen_sys::dma_buf_get(fd as c_int) })?;
        let dmabuf = NonNull::new(dmabuf).ok_or(EBADF)?;
        // SAFETY: The dma-buf is there, by the reference just got; so is the device.
        let attachment = unsafe { xen_sys::dma_buf_attach(dmabuf.as_ptr(), target.raw) };
        let attachment =
            from_err_ptr(attachment).and_then(|attachment| NonNull::new(attachment).ok_or(ENOMEM));
        let attachment = match attachment {
            Ok(attachment) => attachment,
            Err(e) => {
                // SAFETY: Gives the reference back.
                unsafe { xen_sys::dma_buf_put(dmabuf.as_ptr()) };
                return Err(e);
            }
        };
        // SAFETY: Attached just now; nobody holds its reservation for us.
        let table = from_err_ptr(unsafe {
            xen_sys::dma_buf_map_attachment_unlocked(
                attachment.as_ptr(),
                bindings::dma_data_direction::DMA_BIDIRECTIONAL,
            )
        })
        .and_then(|table| NonNull::new(table).ok_or(ENOMEM));
        match table {
            // INVARIANT: As they were just made.
            Ok(table) => Ok(Self {
                dmabuf,
                attachment,
                table,
                _target: target,
            }),
            Err(e) => {
                // SAFETY: Undoes the above, in reverse.
                unsafe {
                    xen_sys::dma_buf_detach(dmabuf.as_ptr(), attachment.as_ptr());
                    xen_sys::dma_buf_put(dmabuf.as_ptr());
                }
                Err(e)
            }
        }
    }

    /// The numbers under which the hypervisor knows its `count` frames.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it has not as many, or does not begin at the start of one. `EOPNOTSUPP`: they cannot be told, or are not where the
    /// device would look. `ENOMEM`.
    pub(crate) fn frames(&self, count: usize) -> Result<KVVec<usize>> {
        // SAFETY: By the invariants.
        let size = unsafe { self.dmabuf.as_ref() }.size;
        if count.checked_mul(PAGE_SIZE) != Some(size) {
            return Err(EINVAL);
        }
        let mut frames = KVVec::with_capacity(count, GFP_KERNEL)?;
        // SAFETY: By the invariants.
        let table = unsafe { self.table.as_ref() };
        let mut next = table.sgl;
        // Where page tables hold machine frames, a device's address may be any number, and where one of ours is: the pages tell.
        // Elsewhere a device's address is the frame's, unless something stands between.
        let entries = match domain::is_pv() {
            true => table.orig_nents,
            false => table.nents,
        };
        for _ in 0..entries {
            let entry = NonNull::new(next).ok_or(EINVAL)?;
            self.frames_of(entry, &mut frames)?;
            // SAFETY: An entry of the table, which has `entries` of them.
            next = unsafe { bindings::sg_next(entry.as_ptr()) };
        }
        // The last entry may be longer than the buffer.
        match frames.len() == count {
            true => Ok(frames),
            false => Err(EINVAL),
        }
    }

    fn frames_of(
        &self,
        entry: NonNull<bindings::scatterlist>,
        frames: &mut KVVec<usize>,
    ) -> Result {
        let raw = entry.as_ptr();
        // SAFETY: An entry of the table. Its page, if it has one, is the first of as many as its length says.
        let (page, offset, length, address, dma_length) = unsafe {
            (
                xen_sys::xen_sys_sg_page(raw),
                (*raw).offset,
                (*raw).length,
                bindings::sg_dma_address(raw),
                bindings::sg_dma_len(raw),
            )
        };
        let whole = |number: u32| usize::try_from(number).is_ok_and(|n| n % PAGE_SIZE == 0);
        if domain::is_pv() {
            let page = NonNull::new(page).ok_or(EOPNOTSUPP)?;
            if !whole(offset) || !whole(length) {
                return Err(EINVAL);
            }
            let first = offset as usize / PAGE_SIZE;
            for i in first..first.saturating_add(length as usize / PAGE_SIZE) {
                // SAFETY: One of the entry's pages.
                let gfn = unsafe { xen_sys::xen_sys_page_to_gfn(page.as_ptr().add(i)) };
                frames.push(gfn, GFP_KERNEL)?;
            }
            return Ok(());
        }
        if let Some(page) = NonNull::new(page) {
            // SAFETY: Only computes a number.
            let physical = unsafe { xen_sys::xen_sys_page_to_phys(page.as_ptr()) };
            if physical.checked_add(u64::from(offset)) != Some(address) {
                // In a bounce buffer, or behind an IOMMU.
                return Err(EOPNOTSUPP);
            }
        }
        let address = usize::try_from(address)?;
        if address % PAGE_SIZE != 0 || !whole(dma_length) {
            return Err(EINVAL);
        }
        let first = address / PAGE_SIZE;
        for gfn in first..first.saturating_add(dma_length as usize / PAGE_SIZE) {
            frames.push(gfn, GFP_KERNEL)?;
        }
        Ok(())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: By the invariants; undone in reverse.
        unsafe {
            xen_sys::dma_buf_unmap_attachment_unlocked(
                self.attachment.as_ptr(),
                self.table.as_ptr(),
                bindings::dma_data_direction::DMA_BIDIRECTIONAL,
            );
            xen_sys::dma_buf_detach(self.dmabuf.as_ptr(), self.attachment.as_ptr());
            xen_sys::dma_buf_put(self.dmabuf.as_ptr());
        }
    }
}
