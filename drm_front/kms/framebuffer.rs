// SPDX-License-Identifier: GPL-2.0

//! Framebuffers.
//!
//! # Invariants
//!
//! - Every `drm_framebuffer` of a [`Device<T>`] is the `raw` of a [`Framebuffer<T>`] in a `KBox` of its own: only [`fb_create`]
//!   makes them. DRM destroys each through [`destroy`].
//! - A framebuffer owns a reference to its GEM object, `obj[0]`.

use core::ptr;

use kernel::{
    prelude::*,
    types::Opaque, //
};

use super::{
    device::Device,
    driver::{
        Driver,
        FbGeometry, //
    },
    gem::Object, //
};

/// A framebuffer.
#[repr(C)]
pub(super) struct Framebuffer<T: Driver> {
    raw: Opaque<xen_sys::drm_framebuffer>,
    driver: T::Framebuffer,
}

impl<T: Driver> Framebuffer<T> {
    /// What the driver keeps for `fb`.
    ///
    /// # Safety
    ///
    /// `fb` is a framebuffer of a `Device<T>`, to which the caller has a reference for as long as the result lives.
    pub(super) unsafe fn driver<'a>(fb: *mut xen_sys::drm_framebuffer) -> &'a T::Framebuffer {
        // SAFETY: By this file's invariants `fb` is the first field of a `Framebuffer<T>`, alive by the caller's reference.
        unsafe { &(*fb.cast::<Self>()).driver }
    }
}

struct Funcs<T>(core::marker::PhantomData<T>);

impl<T: Driver> Funcs<T> {
    const VTABLE: xen_sys::drm_framebuffer_funcs = xen_sys::drm_framebuffer_funcs {
        destroy: Some(destroy::<T>),
        create_handle: Some(xen_sys::drm_gem_fb_create_handle),
        dirty: Some(xen_sys::drm_atomic_helper_dirtyfb),
    };
}

/// A counted reference to a GEM object.
struct GemRef(*mut xen_sys::drm_gem_object);

impl Drop for GemRef {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { xen_sys::xen_sys_gem_object_put(self.0) };
    }
}

/// DRM's `fb_create`. DRM has checked the request against the format: planes, sizes, the least pitch.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
pub(super) unsafe extern "C" fn fb_create<T: Driver>(
    dev: *mut xen_sys::drm_device,
    file: *mut xen_sys::drm_file,
    info: *const xen_sys::drm_format_info,
    request: *const xen_sys::drm_mode_fb_cmd2,
) -> *mut xen_sys::drm_framebuffer {
    // SAFETY: DRM calls this with a registered `Device<T>`, kept by `file`.
    let dev = unsafe { Device::<T>::from_raw(dev) };
    // SAFETY: DRM passes valid pointers that nobody changes during the call, and the calling client's file.
    match unsafe { create(dev, file, &*info, &*request) } {
        Ok(fb) => KBox::into_raw(fb).cast(),
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// `file` is a client's of `dev`, in an ioctl.
unsafe fn create<T: Driver>(
    dev: &Device<T>,
    file: *mut xen_sys::drm_file,
    info: &xen_sys::drm_format_info,
    request: &xen_sys::drm_mode_fb_cmd2,
) -> Result<KBox<Framebuffer<T>>> {
    let [pitch, ..] = request.pitches;
    let [offset, ..] = request.offsets;
    let [modifier, ..] = request.modifier;
    let [handle, ..] = request.handles;
    if info.num_planes != 1 || modifier != 0 || !T::FORMATS.contains(&request.pixel_format) {
        return Err(EINVAL);
    }
    // SAFETY: `file` is valid, by the caller.
    let gem = unsafe { xen_sys::drm_gem_object_lookup(file, handle) };
    if gem.is_null() {
        return Err(ENOENT);
    }
    let gem = GemRef(gem);
    // SAFETY: Got by a handle; `gem` keeps it.
    let object = unsafe { Object::<T>::from_raw(gem.0) };
    // The union's two arrays are the same bytes per pixel under two names.
    let [cpp, ..] = info.__bindgen_anon_1.bindgen_union_field;

    let driver = T::create_framebuffer(
        object.driver(),
        FbGeometry {
            width: request.width,
            height: request.height,
            format: request.pixel_format,
            cpp,
            pitch,
            offset,
        },
    )?;
    let fb = KBox::new(
        Framebuffer::<T> {
            raw: Opaque::zeroed(),
            driver,
        },
        GFP_KERNEL,
    )?;
    let raw = fb.raw.get();
    // SAFETY: `raw` is zeroed memory of ours, and all else is valid, by the caller. Last of all the framebuffer becomes visible.
    let err = unsafe {
        xen_sys::drm_helper_mode_fill_fb_struct(
            dev.raw(),
            raw,
            ptr::from_ref(info),
            ptr::from_ref(request),
        );
        (*raw).obj[0] = gem.0;
        xen_sys::drm_framebuffer_init(dev.raw(), raw, const { &Funcs::<T>::VTABLE })
    };
    if err != 0 {
        return Err(Error::from_errno(err));
    }
    // INVARIANT: The framebuffer owns the reference now.
    core::mem::forget(gem);
    Ok(fb)
}

/// DRM's `destroy`: the last reference is gone.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn destroy<T: Driver>(fb: *mut xen_sys::drm_framebuffer) {
    // SAFETY: By this file's invariants.
    let gem = GemRef(unsafe { (*fb).obj[0] });
    // SAFETY: DRM calls this once, for a framebuffer that nobody uses any more.
    unsafe { xen_sys::drm_framebuffer_cleanup(fb) };
    // SAFETY: By this file's invariants it came out of such a `KBox`.
    drop(unsafe { KBox::from_raw(fb.cast::<Framebuffer<T>>()) });
    // The buffer after the framebuffer, in that order.
    drop(gem);
}
