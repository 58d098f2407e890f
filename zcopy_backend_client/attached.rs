// SPDX-License-Identifier: GPL-2.0

//! Somebody else's dma-buf, and the frames that its pages are in.
//!
//! # Invariants
//!
//! An [`Attachment`] is one of its dma-buf's, and a table one of its attachment's, until the drop; the frames stay the buffer's until then.

use core::ptr::NonNull;

use kernel::{
    alloc::KVVec,
    bindings,
    device::Device,
    error::{
        from_err_ptr,
        to_result, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        global_lock, //
    }, //
};

use crate::{
    dma,
    dmabuf::DmaBuf,
    domain, //
};

/// The device that dma-bufs are attached to: none that does anything. Its addresses are the domain's own.
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
}

global_lock! {
    // SAFETY: `TargetOfModule::start` initialises it, in the module's init and before anything is attached.
    unsafe(uninit) static TARGET: Mutex<Option<Target>> = None;
}

/// The target of all attachments. The drop takes it back.
pub(crate) struct TargetOfModule(());

impl TargetOfModule {
    /// There is none yet. To be called once, in the module's init, before anything is attached.
    pub(crate) fn start() -> Self {
        // SAFETY: Called once, by this function's contract.
        unsafe { TARGET.init() };
        Self(())
    }

    /// Lets every frame of the domain be mapped for `target`, and dma-bufs be attached to it.
    ///
    /// # Errors
    ///
    /// The DMA layer's.
    pub(crate) fn set(&self, target: Target) -> Result {
        // SAFETY: The device is there, nothing is mapped for it yet, and the operations are there for as long as the module is.
        unsafe { xen_sys::xen_sys_set_dma_ops(target.raw, &dma::IDENTITY) };
        // SAFETY: The device is there, and no driver has set a mask for it.
        to_result(unsafe { xen_sys::xen_sys_dma_coerce_mask_and_coherent(target.raw, u64::MAX) })?;
        *TARGET.lock() = Some(target);
        Ok(())
    }
}

impl Drop for TargetOfModule {
    fn drop(&mut self) {
        drop(TARGET.lock().take());
    }
}

/// A dma-buf's attachment to a [`Target`]. The drop detaches it.
struct Attachment {
    raw: NonNull<xen_sys::dma_buf_attachment>,
    dmabuf: DmaBuf,
    /// Kept for the attachment.
    _target: Target,
}

impl Attachment {
    fn new(dmabuf: DmaBuf, target: Target) -> Result<Self> {
        // SAFETY: Both are there, by the references that we have to them.
        let raw = from_err_ptr(unsafe { xen_sys::dma_buf_attach(dmabuf.as_ptr(), target.raw) })?;
        Ok(Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            dmabuf,
            _target: target,
        })
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // SAFETY: Attached by `new`.
        unsafe { xen_sys::dma_buf_detach(self.dmabuf.as_ptr(), self.raw.as_ptr()) }
    }
}

/// An attached dma-buf, mapped for the device that this module attaches to. The drop lets it go.
pub struct Attached {
    table: NonNull<bindings::sg_table>,
    attachment: Attachment,
}

// SAFETY: None of these belongs to a thread.
unsafe impl Send for Attached {}
// SAFETY: `&Attached` only reads the table, which nobody writes.
unsafe impl Sync for Attached {}

impl Attached {
    /// Attaches `dmabuf`.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`: it is one of ours. `ENODEV`: the module is about to start, or to go. `ENOMEM`. Its exporter's.
    pub fn new(dmabuf: DmaBuf) -> Result<Self> {
        if dmabuf.shared().is_some() {
            // Pages of another domain: only that one can grant them.
            return Err(EOPNOTSUPP);
        }
        let target = TARGET.lock().clone().ok_or(ENODEV)?;
        let attachment = Attachment::new(dmabuf, target)?;
        // SAFETY: Attached just now; nobody holds its reservation for us.
        let table = from_err_ptr(unsafe {
            xen_sys::dma_buf_map_attachment_unlocked(
                attachment.raw.as_ptr(),
                bindings::dma_data_direction::DMA_BIDIRECTIONAL,
            )
        })?;
        Ok(Self {
            table: NonNull::new(table).ok_or(ENOMEM)?,
            attachment,
        })
    }

    /// How many pages it has.
    ///
    /// # Errors
    ///
    /// `EINVAL`: none, or a part of one.
    pub fn pages(&self) -> Result<usize> {
        let size = self.attachment.dmabuf.size();
        match size / PAGE_SIZE {
            pages if pages > 0 && size % PAGE_SIZE == 0 => Ok(pages),
            _ => Err(EINVAL),
        }
    }

    /// The inode of the dma-buf.
    pub(crate) fn inode(&self) -> u64 {
        self.attachment.dmabuf.inode()
    }

    /// The numbers under which the hypervisor knows its `count` frames.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it has not as many, or does not begin at the start of one. `EOPNOTSUPP`: they cannot be told, are not where the
    /// device would look, or are another domain's. `ENOMEM`.
    pub fn frames(&self, count: usize) -> Result<KVVec<usize>> {
        if self.pages()? != count {
            return Err(EINVAL);
        }
        let mut frames = KVVec::with_capacity(count, GFP_KERNEL)?;
        // SAFETY: By the invariants.
        let table = unsafe { self.table.as_ref() };
        let mut next = table.sgl;
        for _ in 0..table.nents {
            let entry = NonNull::new(next).ok_or(EINVAL)?;
            self.frames_of(entry, &mut frames)?;
            // SAFETY: An entry of the table, which has `nents` of them.
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
        let (page, offset, address, length) = unsafe {
            (
                xen_sys::xen_sys_sg_page(raw),
                (*raw).offset,
                bindings::sg_dma_address(raw),
                bindings::sg_dma_len(raw),
            )
        };
        if let Some(page) = NonNull::new(page) {
            // SAFETY: Only computes a number.
            let physical = unsafe { xen_sys::xen_sys_page_to_phys(page.as_ptr()) };
            if physical.checked_add(u64::from(offset)) != Some(address) {
                // Mapped by something else than the target's operations.
                return Err(EOPNOTSUPP);
            }
        }
        let (address, length) = (usize::try_from(address)?, usize::try_from(length)?);
        if address % PAGE_SIZE != 0 || length % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        let (first, count) = (address / PAGE_SIZE, length / PAGE_SIZE);
        for i in 0..count {
            // SAFETY: The entry's pages are `count`, as their frames are, and follow each other.
            if !page.is_null() && unsafe { is_foreign(page.wrapping_add(i)) } {
                return Err(EOPNOTSUPP);
            }
            frames.push(domain::gfn_of(first.saturating_add(i)), GFP_KERNEL)?;
        }
        Ok(())
    }
}

/// Whether another domain's page stands behind `page`: only that domain could grant it.
///
/// # Safety
///
/// There is such a page.
unsafe fn is_foreign(page: *mut bindings::page) -> bool {
    // SAFETY: By the caller. The flag says something else of pages that may be swapped out, which are never another domain's.
    unsafe { xen_sys::xen_sys_page_is_foreign(page) && !xen_sys::xen_sys_page_is_swap_backed(page) }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: Mapped by `new`; what it was mapped from goes after this.
        unsafe {
            xen_sys::dma_buf_unmap_attachment_unlocked(
                self.attachment.raw.as_ptr(),
                self.table.as_ptr(),
                bindings::dma_data_direction::DMA_BIDIRECTIONAL,
            );
        }
    }
}
