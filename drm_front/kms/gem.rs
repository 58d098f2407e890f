// SPDX-License-Identifier: GPL-2.0

//! Buffers: GEM objects on the shmem helpers, pinned from the start.
//!
//! # Invariants
//!
//! - Every GEM object of a [`Device<T>`] is the `shmem` of a [`Object<T>`] in a `KBox` of its own: only [`dumb_create`] and
//!   [`super::import`] make them. DRM frees each through [`free`].
//! - An object's pages are there, pinned, from before it gets a handle until [`free`]: its own, or those of `foreign`. One that is imported (it has an
//!   `import_attach`) has none: its memory is its dma-buf's.
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
    sync::Arc,
    types::Opaque, //
};

use super::{
    device::Device,
    driver::{
        Driver,
        DumbGeometry, //
    },
    foreign::ForeignMemory,
    mapping, //
};
use xen_zcopy::page::PageRef;

/// A buffer.
#[repr(C)]
pub(super) struct Object<T: Driver> {
    pub(super) shmem: Opaque<xen_sys::drm_gem_shmem_object>,
    foreign: Option<Arc<ForeignMemory>>,
    driver: MaybeUninit<T::Buffer>,
}

impl<T: Driver> Object<T> {
    /// An object that DRM does not know, with nothing but its vtable.
    pub(super) fn new(foreign: Option<Arc<ForeignMemory>>) -> Result<KBox<Self>> {
        let object = KBox::new(
            Self {
                shmem: Opaque::zeroed(),
                foreign,
                driver: MaybeUninit::uninit(),
            },
            GFP_KERNEL,
        )?;
        // SAFETY: `object` is ours, and the vtable is static.
        unsafe { (*object.shmem.get()).base.funcs = const { &Funcs::<T>::VTABLE } };
        Ok(object)
    }

    /// Sets what the driver keeps for the buffer.
    ///
    /// # Safety
    ///
    /// `object` has no driver's part yet, and nobody else knows it.
    pub(super) unsafe fn set_driver(object: *mut Self, buffer: T::Buffer) {
        // SAFETY: By the caller.
        unsafe { (*object).driver.write(buffer) };
    }

    /// The object around `obj`.
    ///
    /// # Safety
    ///
    /// `obj` is a GEM object of a `Device<T>`, to which the caller has a reference, got by a handle.
    pub(super) unsafe fn from_raw<'a>(obj: *mut xen_sys::drm_gem_object) -> &'a Self {
        // SAFETY: By this file's invariants `obj` is in an `Object<T>`, alive by the caller's reference.
        unsafe { &*Self::container(obj) }
    }

    pub(super) fn container(obj: *mut xen_sys::drm_gem_object) -> *mut Self {
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
    funcs.vm_ops = &mapping::VM_OPS;
    funcs
};

/// The vtable of a driver's objects.
struct Funcs<T>(core::marker::PhantomData<T>);

impl<T: Driver> Funcs<T> {
    const VTABLE: xen_sys::drm_gem_object_funcs = {
        let mut funcs = FUNCS_TEMPLATE;
        funcs.free = Some(free::<T>);
        funcs.export = Some(export::<T>);
        funcs
    };
}

/// An object that no handle shows yet; the drop frees it.
struct Unpublished<T: Driver>(NonNull<Object<T>>);

impl<T: Driver> Unpublished<T> {
    /// An object of `size` bytes, its pages pinned, without the driver's part.
    fn new(dev: &Device<T>, size: usize) -> Result<Self> {
        let object = Self::without_pages(dev, size, None)?;
        // SAFETY: Initialised above.
        if let Err(e) = to_result(unsafe { xen_sys::drm_gem_shmem_pin(object.shmem()) }) {
            // SAFETY: Not pinned, no driver's part, and nobody else knows the object.
            unsafe { release(object.0.as_ptr()) };
            core::mem::forget(object);
            return Err(e);
        }
        Ok(object)
    }

    /// The same of `foreign` memory of that size, which is given back on an error.
    fn of_foreign(dev: &Device<T>, size: usize, foreign: Arc<ForeignMemory>) -> Result<Self> {
        let object = match foreign.pages().checked_mul(PAGE_SIZE) == Some(size) {
            true => Self::without_pages(dev, size, Some(foreign.clone())),
            false => Err(EINVAL),
        };
        match object {
            Ok(object) => {
                // SAFETY: A new object; `foreign` is taken from it in `unpin`, before it goes.
                unsafe { foreign.attach(NonNull::new_unchecked(object.shmem())) };
                Ok(object)
            }
            Err(e) => {
                // SAFETY: It never had an object.
                unsafe { foreign.detach() };
                Err(e)
            }
        }
    }

    fn without_pages(
        dev: &Device<T>,
        size: usize,
        foreign: Option<Arc<ForeignMemory>>,
    ) -> Result<Self> {
        let object = Object::<T>::new(foreign)?;
        let raw = object.shmem.get();
        // SAFETY: `raw` is zeroed memory of ours, but for its vtable, as the helper wants it.
        let initialised = to_result(unsafe { xen_sys::drm_gem_shmem_init(dev.raw(), raw, size) });
        // shmem's word for an inode that could not be allocated; there is no limit to their number here.
        initialised.map_err(|e| if e == ENOSPC { ENOMEM } else { e })?;
        Ok(Self(NonNull::from(KBox::leak(object))))
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
            // SAFETY: Nobody else knows the object, and this is the only place for one that is not imported.
            unsafe { Object::set_driver(object, buffer) };
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
        // SAFETY: It has its pages, and nobody else knows it.
        unsafe { unpin(self.0.as_ptr()) };
        // SAFETY: Unpinned, no driver's part, and nobody else knows the object.
        unsafe { release(self.0.as_ptr()) };
    }
}

/// Takes an object's pages away.
///
/// # Safety
///
/// It has them, and nobody uses it any more.
unsafe fn unpin<T: Driver>(object: *mut Object<T>) {
    // SAFETY: By the caller.
    let (foreign, imported) = unsafe {
        let attachment = (*(*object).shmem.get()).base.import_attach;
        (&(*object).foreign, !attachment.is_null())
    };
    match foreign {
        // SAFETY: By the caller.
        Some(foreign) => unsafe { foreign.detach() },
        None if imported => {}
        // SAFETY: Pinned since its creation.
        None => unsafe { xen_sys::drm_gem_shmem_unpin((*object).shmem.get()) },
    }
}

/// Frees an object that has no pin and no driver's part.
///
/// # Safety
///
/// As said, and nobody uses the object any more.
pub(super) unsafe fn release<T: Driver>(object: *mut Object<T>) {
    // SAFETY: By the caller; a shmem object that `drm_gem_shmem_init` has set up.
    unsafe { xen_sys::drm_gem_shmem_release((*object).shmem.get()) };
    // SAFETY: It came out of a `KBox`. `driver` is a `MaybeUninit`: its drop does nothing, and `foreign` is without object.
    drop(unsafe { KBox::from_raw(object) });
}

/// DRM's `free`: the last reference is gone.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn free<T: Driver>(obj: *mut xen_sys::drm_gem_object) {
    let object = Object::<T>::container(obj);
    // The pages before the driver's part: another domain is asked to free its own only when they are not mapped here any more.
    // SAFETY: By this file's invariants an object whose last reference goes has its pages, and nobody uses it any more.
    unsafe { unpin(object) };
    // SAFETY: It has been published: its driver's part is set.
    unsafe { (*object).driver.assume_init_drop() };
    // SAFETY: No pin, no driver's part, no user.
    unsafe { release(object) };
}

/// DRM's `export`: a dma-buf of the object is wanted.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn export<T: Driver>(
    obj: *mut xen_sys::drm_gem_object,
    flags: c_int,
) -> *mut xen_sys::dma_buf {
    // SAFETY: DRM has got it by a handle.
    if let Some(foreign) = unsafe { &Object::<T>::from_raw(obj).foreign } {
        foreign.set_exported();
    }
    // SAFETY: As DRM has called this.
    unsafe { xen_sys::drm_gem_prime_export(obj, flags) }
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
        // SAFETY: `file` is the calling client's.
        let in_kernel = unsafe { (*file).filp.is_null() };
        // The kernel's own clients map their buffers once and for all, so their memory can never be replaced.
        let allocated = match in_kernel {
            true => None,
            false => T::allocate_buffer(dev.driver(), geometry)?,
        };
        let (object, buffer) = match allocated {
            Some((buffer, foreign)) => (Unpublished::of_foreign(dev, size, foreign)?, buffer),
            None => {
                dev.driver().admit(args.size)?;
                let object = Unpublished::new(dev, size)?;
                let buffer = T::create_buffer(dev.driver(), geometry, object.pages()?)?;
                (object, buffer)
            }
        };
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
