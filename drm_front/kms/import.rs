// SPDX-License-Identifier: GPL-2.0

//! dma-bufs of other drivers as buffers.
//!
//! # Invariants
//!
//! An imported object has the driver's part from the end of [`prime_import`] on; before that nobody else knows it.

use core::ptr::NonNull;

use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

use xen_zcopy::dmabuf::DmaBuf;

use super::{
    device::Device,
    driver::Driver,
    gem::{
        self,
        Object, //
    }, //
};

/// DRM's `gem_create_object`: the helpers are about to make an object, to import something.
///
/// # Safety
///
/// DRM's to call. The object is in a `KBox`, which the helpers may free as the `kmalloc` memory that it is: it owns nothing yet.
pub(super) unsafe extern "C" fn create_object<T: Driver>(
    _dev: *mut xen_sys::drm_device,
    _size: usize,
) -> *mut xen_sys::drm_gem_object {
    match Object::<T>::new(None) {
        // `base` is the first field of the first field.
        Ok(object) => KBox::into_raw(object).cast(),
        Err(e) => e.to_ptr(),
    }
}

/// DRM's `gem_prime_import`.
///
/// # Safety
///
/// DRM's to call, with a dma-buf to which it has a reference.
pub(super) unsafe extern "C" fn prime_import<T: Driver>(
    dev: *mut xen_sys::drm_device,
    dmabuf: *mut xen_sys::dma_buf,
) -> *mut xen_sys::drm_gem_object {
    // SAFETY: DRM calls this with a registered `Device<T>`, and the rest is the caller's.
    match unsafe { import::<T>(dev, dmabuf) } {
        Ok(object) => object,
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// As of [`prime_import`]; `dev` is that of a registered `Device<T>`.
unsafe fn import<T: Driver>(
    dev: *mut xen_sys::drm_device,
    dmabuf: *mut xen_sys::dma_buf,
) -> Result<*mut xen_sys::drm_gem_object> {
    // SAFETY: By the caller.
    let obj = from_err_ptr(unsafe { xen_sys::drm_gem_shmem_prime_import_no_map(dev, dmabuf) })?;
    // SAFETY: Got just now.
    if unsafe { (*obj).import_attach }.is_null() {
        // Our own export come back: the object that it is of.
        return Ok(obj);
    }
    let object = Object::<T>::container(obj);
    // SAFETY: By the caller.
    let driver = unsafe { Device::<T>::from_raw(dev) }.driver();
    let import = |dmabuf| {
        // SAFETY: By the caller.
        let dmabuf = unsafe { DmaBuf::from_raw(dmabuf) };
        T::import_buffer(driver, dmabuf)
    };
    match NonNull::new(dmabuf).ok_or(EINVAL).and_then(import) {
        Ok(buffer) => {
            // SAFETY: A new object, that only we know.
            unsafe { Object::set_driver(object, buffer) };
            Ok(obj)
        }
        Err(e) => {
            // SAFETY: No pages, no driver's part, and nobody else knows it. The dma-buf is let go by this.
            unsafe { gem::release(object) };
            Err(e)
        }
    }
}
