// SPDX-License-Identifier: GPL-2.0

//! Buffers: GEM objects on the shmem helpers, pinned from the start.
//!
//! # Invariants
//!
//! - Every GEM object of a [`Device<T>`] is the `shmem` of a [`Object<T>`] in a `KBox` of its own: only [`dumb_create`]
//!   makes them. DRM frees each through [`free`].
//! - An object's pages are pinned from before it gets a handle until [`free`].
//! - `driver` is set before the object gets a handle, and from then on only read until [`free`].

use core::{
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    alloc::KVVec,
    container_of,
    error::{
        from_result,
        to_result, //
    },
    ffi::c_int,
    page::PAGE_SIZE,
    prelude::*,
    types::Opaque, //
};

use super::{
    device::Device,
    driver::{
        Driver,
        DumbGeometry, //
    }, //
};
use xen_zcopy::page::PageRef;

/// A buffer.
#[repr(C)]
pub(super) struct Object<T: Driver> {
    shmem: Opaque<xen_sys::drm_gem_shmem_object>,
    driver: MaybeUninit<T::Buffer>,
}

impl<T: Driver> Object<T> {
    /// The object around `obj`.
    ///
    /// # Safety
    ///
    /// `obj` is a GEM object of a `Device<T>`, to which the caller has a reference, got by a handle.
    pub(super) unsafe fn from_raw<'a>(obj: *mut xen_sys::drm_gem_object) -> &'a Self {
        // SAFETY: By this file's invariants `obj` is in an `Object<T>`, alive by the caller's reference.
        unsafe { &*Self::container(obj) }
    }

    fn container(obj: *mut xen_sys::drm_gem_object) -> *mut Self {
        let shmem: *mut xen_sys::drm_gem_shmem_object =
            // SAFETY: By this file's invariants `obj` is the `base` of a shmem object; the pointer stays in that allocation.
            unsafe { container_of!(obj, xen_sys::drm_gem_shmem_object, base) };
        // The field `shmem` is the first of a `repr(C)` struct.
        shmem.cast()
    }

    /// What the driver keeps for the buffer.
    pub(super) fn driver(&self) -> &T::Buffer {
        // SAFETY: Whoever has an `&Object` got it by a handle, so `driver` is set, by this file's invariants.
        unsafe { self.driver.assume_init_ref() }
    }
}

const FUNCS_TEMPLATE: xen_sys::drm_gem_object_funcs = {
    let mut funcs: xen_sys::drm_gem_object_funcs = pin_init::zeroed();
    funcs.print_info = Some(xen_sys::xen_sys_gem_shmem_object_print_info);
    funcs.pin = Some(xen_sys::xen_sys_gem_shmem_object_pin);
    funcs.unpin = Some(xen_sys::xen_sys_gem_shmem_object_unpin);
    funcs.get_sg_table = Some(xen_sys::xen_sys_gem_shmem_object_get_sg_table);
    funcs.vmap = Some(xen_sys::xen_sys_gem_shmem_object_vmap);
    funcs.vunmap = Some(xen_sys::xen_sys_gem_shmem_object_vunmap);
    funcs.mmap = Some(xen_sys::xen_sys_gem_shmem_object_mmap);
    funcs.vm_ops = &raw const xen_sys::drm_gem_shmem_vm_ops;
    funcs
};

/// The vtable of a driver's objects.
struct Funcs<T>(core::marker::PhantomData<T>);

impl<T: Driver> Funcs<T> {
    const VTABLE: xen_sys::drm_gem_object_funcs = {
        let mut funcs = FUNCS_TEMPLATE;
        funcs.free = Some(free::<T>);
        funcs
    };
}

/// An object that no handle shows yet; the drop frees it.
struct Unpublished<T: Driver>(NonNull<Object<T>>);

impl<T: Driver> Unpublished<T> {
    /// An object of `size` bytes, its pages pinned, without the driver's part.
    fn new(dev: &Device<T>, size: usize) -> Result<Self> {
        let object = KBox::new(
            Object::<T> {
                shmem: Opaque::zeroed(),
                driver: MaybeUninit::uninit(),
            },
            GFP_KERNEL,
        )?;
        let raw = object.shmem.get();
        // SAFETY: `raw` is zeroed memory of ours; the vtable is static. The helper wants `funcs` to be set first.
        to_result(unsafe {
            (*raw).base.funcs = const { &Funcs::<T>::VTABLE };
            xen_sys::drm_gem_shmem_init(dev.raw(), raw, size)
        })?;
        let object = Self(NonNull::from(KBox::leak(object)));
        // SAFETY: Initialised above.
        if let Err(e) = to_result(unsafe { xen_sys::drm_gem_shmem_pin(raw) }) {
            // SAFETY: Not pinned, no driver's part, and nobody else knows the object.
            unsafe { release(object.0.as_ptr()) };
            core::mem::forget(object);
            return Err(e);
        }
        Ok(object)
    }

    fn shmem(&self) -> *mut xen_sys::drm_gem_shmem_object {
        // SAFETY: The object is ours and alive.
        unsafe { self.0.as_ref() }.shmem.get()
    }

    /// References to the pages, in order.
    fn pages(&self) -> Result<KVVec<PageRef>> {
        let shmem = self.shmem();
        // SAFETY: Initialised by `new`, and pinned: `pages` is an array of that many pages of shmem, each refcounted, and stays.
        let (first, count) = unsafe { ((*shmem).pages, (*shmem).base.size / PAGE_SIZE) };
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL)?;
        for i in 0..count {
            // SAFETY: See above.
            let page = NonNull::new(unsafe { *first.add(i) }).ok_or(EFAULT)?;
            // SAFETY: See above.
            pages.push(unsafe { PageRef::get(page) }, GFP_KERNEL)?;
        }
        Ok(pages)
    }

    /// Adds the driver's part and gives `file` a handle; the handle keeps the object.
    fn publish(self, buffer: T::Buffer, file: *mut xen_sys::drm_file) -> Result<u32> {
        let object = self.0.as_ptr();
        let base = {
            // SAFETY: Nobody else knows the object.
            unsafe { (*object).driver.write(buffer) };
            // SAFETY: The object is alive; only an address is taken.
            unsafe { &raw mut (*self.shmem()).base }
        };
        core::mem::forget(self);
        let mut handle = 0;
        // SAFETY: `file` is the calling client's, `base` a complete object with the reference that its creation gave.
        let err = unsafe { xen_sys::drm_gem_handle_create(file, base, &mut handle) };
        // SAFETY: Gives that reference back; the handle has its own. Without a handle this frees the object.
        unsafe { xen_sys::xen_sys_gem_object_put(base) };
        to_result(err).map(|()| handle)
    }
}

impl<T: Driver> Drop for Unpublished<T> {
    fn drop(&mut self) {
        // SAFETY: Pinned by `new`.
        unsafe { xen_sys::drm_gem_shmem_unpin(self.shmem()) };
        // SAFETY: Unpinned, no driver's part, and nobody else knows the object.
        unsafe { release(self.0.as_ptr()) };
    }
}

/// Frees an object that has no pin and no driver's part.
///
/// # Safety
///
/// As said, and nobody uses the object any more.
unsafe fn release<T: Driver>(object: *mut Object<T>) {
    // SAFETY: By the caller; a shmem object that `drm_gem_shmem_init` has set up.
    unsafe { xen_sys::drm_gem_shmem_release((*object).shmem.get()) };
    // SAFETY: It came out of a `KBox`. `driver` is a `MaybeUninit`: its drop does nothing.
    drop(unsafe { KBox::from_raw(object) });
}

/// DRM's `free`: the last reference is gone.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn free<T: Driver>(obj: *mut xen_sys::drm_gem_object) {
    let object = Object::<T>::container(obj);
    // SAFETY: By this file's invariants an object whose last reference goes has been published: its driver's part is
    // set, and nobody uses it any more.
    unsafe { (*object).driver.assume_init_drop() };
    // SAFETY: Pinned since its creation.
    unsafe { xen_sys::drm_gem_shmem_unpin((*object).shmem.get()) };
    // SAFETY: No pin, no driver's part, no user.
    unsafe { release(object) };
}

/// DRM's `dumb_create`.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
pub(super) unsafe extern "C" fn dumb_create<T: Driver>(
    file: *mut xen_sys::drm_file,
    dev: *mut xen_sys::drm_device,
    args: *mut xen_sys::drm_mode_create_dumb,
) -> c_int {
    // SAFETY: DRM calls this with a registered `Device<T>`, kept by `file`.
    let dev = unsafe { Device::<T>::from_raw(dev) };
    // SAFETY: `args` is a copy in the kernel, valid and ours during the call.
    let args = unsafe { &mut *args };
    from_result(|| {
        let geometry = dumb_geometry(dev, args)?;
        let size = usize::try_from(args.size).map_err(|_| ENOSPC)?;
        dev.driver().admit(args.size)?;
        let object = Unpublished::new(dev, size)?;
        let buffer = T::create_buffer(dev.driver(), geometry, object.pages()?)?;
        args.handle = object.publish(buffer, file)?;
        Ok(0)
    })
}

/// Fills in pitch and size. The pitch is exactly the width rounded up to 32 bits: what the other end assumes.
fn dumb_geometry<T: Driver>(
    dev: &Device<T>,
    args: &mut xen_sys::drm_mode_create_dumb,
) -> Result<DumbGeometry> {
    let wanted = matches!(args.bpp, 16 | 24 | 32) && args.flags == 0;
    if !wanted || args.width > T::MAX_SIZE || args.height > T::MAX_SIZE {
        return Err(EINVAL);
    }
    // SAFETY: `args` is ours, and DRM has checked that it is not absurd.
    to_result(unsafe { xen_sys::drm_mode_size_dumb(dev.raw(), ptr::from_mut(args), 4, 0) })?;
    Ok(DumbGeometry {
        width: args.width,
        height: args.height,
        bpp: args.bpp,
        pitch: args.pitch,
        size: u64::from(args.pitch)
            .checked_mul(u64::from(args.height))
            .ok_or(EINVAL)?,
    })
}
