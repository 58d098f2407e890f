// SPDX-License-Identifier: GPL-2.0

//! A head: primary plane, CRTC, encoder and virtual connector.
//!
//! # Invariants
//!
//! - A [`Pipe<T>`] is pinned in its device's `pipes` from before its mode objects are initialised until after DRM has cleaned them
//!   up. So from a pointer to one of them the pipe is found, and the pipe is alive, whenever DRM calls a function of the
//!   vtables below.
//! - Every plane, CRTC and connector of a [`Device<T>`] is part of a `Pipe<T>`.

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    container_of,
    error::to_result,
    ffi::c_int,
    prelude::*,
    types::Opaque, //
};

use super::{
    device::Device,
    driver::{
        Driver,
        ModeSize, //
    },
    event::{
        self,
        FlipEvent, //
    },
    framebuffer::Framebuffer, //
};

/// Plane positions and sizes in a framebuffer are 16.16 fixed point.
const FIXED: u32 = 16;

/// The refresh rate of the vblank timer, in Hz.
const REFRESH: c_int = 60;

/// The refresh rates that user space may set, in Hz.
const REFRESH_RANGE: core::ops::RangeInclusive<c_int> = 20..=240;

/// A head.
#[repr(C)]
pub(super) struct Pipe<T: Driver> {
    plane: Opaque<xen_sys::drm_plane>,
    crtc: Opaque<xen_sys::drm_crtc>,
    encoder: Opaque<xen_sys::drm_encoder>,
    connector: Opaque<xen_sys::drm_connector>,
    index: usize,
    driver: PhantomData<T>,
}

macro_rules! pipe_of {
    ($object:expr, $field:ident) => {
        // SAFETY: By this file's invariants `$object` is this field of a live `Pipe<T>`.
        unsafe { &*container_of!(Opaque::cast_from($object), Pipe<T>, $field) }
    };
}

impl<T: Driver> Pipe<T> {
    /// A head without its mode objects.
    pub(super) fn new(index: usize) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::pin(
            Self {
                plane: Opaque::zeroed(),
                crtc: Opaque::zeroed(),
                encoder: Opaque::zeroed(),
                connector: Opaque::zeroed(),
                index,
                driver: PhantomData,
            },
            GFP_KERNEL,
        )?)
    }

    /// Initialises the mode objects. The pipe is in `dev`'s `pipes` already; what has been initialised when this fails, DRM cleans
    /// up with the device.
    pub(super) fn init(&self, dev: &Device<T>) -> Result {
        let vtables = const { &Vtables::<T>::NEW };
        let (plane, crtc) = (self.plane.get(), self.crtc.get());
        let (encoder, connector) = (self.encoder.get(), self.connector.get());
        // SAFETY: The objects are zeroed, pinned, and in a device under construction; vtables and formats are static, with
        // no modifier list and no names.
        unsafe {
            to_result(xen_sys::drm_universal_plane_init(
                dev.raw(),
                plane,
                1 << self.index,
                &vtables.plane,
                T::FORMATS.as_ptr(),
                T::FORMATS.len() as u32,
                ptr::null(),
                xen_sys::drm_plane_type_DRM_PLANE_TYPE_PRIMARY,
                ptr::null(),
            ))?;
            xen_sys::xen_sys_plane_helper_add(plane, &vtables.plane_helper);
            // Over black both come to the colours as they are.
            to_result(xen_sys::drm_plane_create_blend_mode_property(
                plane,
                1 << xen_sys::DRM_MODE_BLEND_PREMULTI | 1 << xen_sys::DRM_MODE_BLEND_PIXEL_NONE,
            ))?;
            xen_sys::drm_plane_enable_fb_damage_clips(plane);
            to_result(xen_sys::drm_crtc_init_with_planes(
                dev.raw(),
                crtc,
                plane,
                ptr::null_mut(),
                &vtables.crtc,
                ptr::null(),
            ))?;
            xen_sys::xen_sys_crtc_helper_add(crtc, &vtables.crtc_helper);
            to_result(xen_sys::drm_encoder_init(
                dev.raw(),
                encoder,
                &vtables.encoder,
                xen_sys::DRM_MODE_ENCODER_VIRTUAL as c_int,
                ptr::null(),
            ))?;
            (*encoder).possible_crtcs = xen_sys::xen_sys_crtc_mask(crtc);
            to_result(xen_sys::drm_connector_init(
                dev.raw(),
                connector,
                &vtables.connector,
                xen_sys::DRM_MODE_CONNECTOR_VIRTUAL as c_int,
            ))?;
            xen_sys::xen_sys_connector_helper_add(connector, &vtables.connector_helper);
            (*connector).polled = xen_sys::DRM_CONNECTOR_POLL_HPD as u8;
            to_result(xen_sys::drm_connector_attach_encoder(connector, encoder))
        }
    }

    /// Sets the link status to bad.
    pub(super) fn link_bad(&self) {
        // SAFETY: The connector is initialised, of a registered device.
        unsafe {
            xen_sys::drm_connector_set_link_status_property(
                self.connector.get(),
                u64::from(xen_sys::DRM_MODE_LINK_STATUS_BAD),
            )
        };
    }

    fn dev(&self) -> &Device<T> {
        // SAFETY: The CRTC is initialised, and its device is a `Device<T>` that outlives it.
        unsafe { Device::from_raw((*self.crtc.get()).dev) }
    }

    /// What the driver keeps for the plane's framebuffer in `state`, if it has one that can be seen.
    ///
    /// # Safety
    ///
    /// `state` is null or a state of this pipe's plane that stays as long as the result lives.
    unsafe fn visible_fb<'a>(state: *const xen_sys::drm_plane_state) -> Option<&'a T::Framebuffer> {
        // SAFETY: By the caller.
        let state = unsafe { state.as_ref() }?;
        if !state.visible || state.fb.is_null() {
            return None;
        }
        // SAFETY: The state holds a reference to the framebuffer, which is of the same device.
        Some(unsafe { Framebuffer::<T>::driver(state.fb) })
    }
}

fn size(mode: &xen_sys::drm_display_mode) -> ModeSize {
    ModeSize {
        width: u32::from(mode.hdisplay),
        height: u32::from(mode.vdisplay),
    }
}

struct Vtables<T: Driver> {
    plane: xen_sys::drm_plane_funcs,
    plane_helper: xen_sys::drm_plane_helper_funcs,
    crtc: xen_sys::drm_crtc_funcs,
    crtc_helper: xen_sys::drm_crtc_helper_funcs,
    encoder: xen_sys::drm_encoder_funcs,
    connector: xen_sys::drm_connector_funcs,
    connector_helper: xen_sys::drm_connector_helper_funcs,
    driver: PhantomData<T>,
}

impl<T: Driver> Vtables<T> {
    const NEW: Self = {
        let mut plane: xen_sys::drm_plane_funcs = pin_init::zeroed();
        plane.update_plane = Some(xen_sys::drm_atomic_helper_update_plane);
        plane.disable_plane = Some(xen_sys::drm_atomic_helper_disable_plane);
        plane.destroy = Some(xen_sys::drm_plane_cleanup);
        plane.reset = Some(xen_sys::drm_atomic_helper_plane_reset);
        plane.atomic_duplicate_state = Some(xen_sys::drm_atomic_helper_plane_duplicate_state);
        plane.atomic_destroy_state = Some(xen_sys::drm_atomic_helper_plane_destroy_state);

        let mut plane_helper: xen_sys::drm_plane_helper_funcs = pin_init::zeroed();
        plane_helper.prepare_fb = Some(xen_sys::drm_gem_plane_helper_prepare_fb);
        plane_helper.atomic_check = Some(plane_check::<T>);
        plane_helper.atomic_update = Some(plane_update);

        let mut crtc: xen_sys::drm_crtc_funcs = pin_init::zeroed();
        crtc.set_config = Some(xen_sys::drm_atomic_helper_set_config);
        crtc.page_flip = Some(xen_sys::drm_atomic_helper_page_flip);
        crtc.destroy = Some(xen_sys::drm_crtc_cleanup);
        crtc.reset = Some(xen_sys::drm_atomic_helper_crtc_reset);
        crtc.atomic_duplicate_state = Some(xen_sys::drm_atomic_helper_crtc_duplicate_state);
        crtc.atomic_destroy_state = Some(xen_sys::drm_atomic_helper_crtc_destroy_state);
        crtc.enable_vblank = Some(xen_sys::drm_crtc_vblank_helper_enable_vblank_timer);
        crtc.disable_vblank = Some(xen_sys::drm_crtc_vblank_helper_disable_vblank_timer);
        crtc.get_vblank_timestamp =
            Some(xen_sys::drm_crtc_vblank_helper_get_vblank_timestamp_from_timer);

        let mut crtc_helper: xen_sys::drm_crtc_helper_funcs = pin_init::zeroed();
        crtc_helper.mode_valid = Some(crtc_mode_valid::<T>);
        crtc_helper.atomic_check = Some(crtc_check);
        crtc_helper.atomic_flush = Some(crtc_flush::<T>);
        crtc_helper.atomic_enable = Some(crtc_enable::<T>);
        crtc_helper.atomic_disable = Some(crtc_disable::<T>);
        crtc_helper.handle_vblank_timeout = Some(crtc_tick::<T>);

        let mut encoder: xen_sys::drm_encoder_funcs = pin_init::zeroed();
        encoder.destroy = Some(xen_sys::drm_encoder_cleanup);

        let mut connector: xen_sys::drm_connector_funcs = pin_init::zeroed();
        connector.fill_modes = Some(xen_sys::drm_helper_probe_single_connector_modes);
        connector.destroy = Some(xen_sys::drm_connector_cleanup);
        connector.reset = Some(xen_sys::drm_atomic_helper_connector_reset);
        connector.atomic_duplicate_state =
            Some(xen_sys::drm_atomic_helper_connector_duplicate_state);
        connector.atomic_destroy_state = Some(xen_sys::drm_atomic_helper_connector_destroy_state);

        let mut connector_helper: xen_sys::drm_connector_helper_funcs = pin_init::zeroed();
        connector_helper.get_modes = Some(connector_modes::<T>);
        connector_helper.detect_ctx = Some(connector_detect::<T>);

        Self {
            plane,
            plane_helper,
            crtc,
            crtc_helper,
            encoder,
            connector,
            connector_helper,
            driver: PhantomData,
        }
    };
}

/// The plane shows the top left part of a framebuffer, unscaled, over the whole screen, or nothing.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn plane_check<T: Driver>(
    plane: *mut xen_sys::drm_plane,
    commit: *mut xen_sys::drm_atomic_commit,
) -> c_int {
    let pipe = pipe_of!(plane, plane);
    // SAFETY: DRM checks a plane that is part of `commit`. A plane of ours goes on its own CRTC only, which is part of the
    // commit as soon as the plane is on it.
    unsafe {
        let state = xen_sys::xen_sys_new_plane_state(commit, plane);
        let crtc = pipe.crtc.get();
        let crtc_state = if (*state).crtc.is_null() {
            ptr::null_mut()
        } else {
            xen_sys::xen_sys_new_crtc_state(commit, crtc)
        };
        if crtc_state.is_null() {
            // Off: nothing to see. DRM has checked that there is no framebuffer either.
            (*state).visible = false;
            return 0;
        }
        let err = xen_sys::drm_atomic_helper_check_plane_state(
            state,
            crtc_state,
            1 << FIXED,
            1 << FIXED,
            false,
            true,
        );
        if err != 0 || !(*state).visible {
            return err;
        }
        // Clipped to the screen, all of which is covered. A fraction of a pixel counts as unscaled.
        let (src, dst) = (&(*state).src, &(*state).dst);
        let shown = src.x1 == 0
            && src.y1 == 0
            && src.x2 == dst.x2.wrapping_shl(FIXED)
            && src.y2 == dst.y2.wrapping_shl(FIXED);
        let fb = Framebuffer::<T>::driver((*state).fb);
        if shown && pipe.dev().driver().can_show(pipe.index, fb) {
            0
        } else {
            EINVAL.to_errno()
        }
    }
}

/// Everything is done in [`crtc_flush`], where the event is.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn plane_update(
    _plane: *mut xen_sys::drm_plane,
    _commit: *mut xen_sys::drm_atomic_commit,
) {
}

/// Whether the head can show a mode.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn crtc_mode_valid<T: Driver>(
    crtc: *mut xen_sys::drm_crtc,
    mode: *const xen_sys::drm_display_mode,
) -> xen_sys::drm_mode_status {
    let pipe = pipe_of!(crtc, crtc);
    // SAFETY: DRM passes a valid mode.
    let (mode, refresh) = unsafe { (&*mode, xen_sys::drm_mode_vrefresh(mode)) };
    // The vblank timer runs at the mode's rate, whatever user space has made of it.
    let progressive =
        mode.flags & (xen_sys::DRM_MODE_FLAG_INTERLACE | xen_sys::DRM_MODE_FLAG_DBLSCAN) == 0;
    let timed = progressive && REFRESH_RANGE.contains(&refresh);
    if timed && pipe.dev().driver().mode_valid(pipe.index, size(mode)) {
        xen_sys::drm_mode_status_MODE_OK
    } else {
        xen_sys::drm_mode_status_MODE_BAD
    }
}

/// A CRTC that is on shows something.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn crtc_check(
    crtc: *mut xen_sys::drm_crtc,
    commit: *mut xen_sys::drm_atomic_commit,
) -> c_int {
    // SAFETY: DRM checks a CRTC that is part of `commit`.
    unsafe {
        let state = xen_sys::xen_sys_new_crtc_state(commit, crtc);
        if (*state).enable {
            xen_sys::drm_atomic_helper_check_crtc_primary_plane(state)
        } else {
            0
        }
    }
}

/// Turns the head on, with the plane's picture.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn crtc_enable<T: Driver>(
    crtc: *mut xen_sys::drm_crtc,
    commit: *mut xen_sys::drm_atomic_commit,
) {
    let pipe = pipe_of!(crtc, crtc);
    // SAFETY: DRM enables a CRTC of `commit`; the plane is part of a commit that sets a mode, and its state stays until the commit's end.
    let fb = unsafe {
        xen_sys::drm_crtc_vblank_on(crtc);
        Pipe::<T>::visible_fb(xen_sys::xen_sys_new_plane_state(commit, pipe.plane.get()))
    };
    if let Some(fb) = fb {
        T::enable(pipe.dev().driver(), pipe.index, fb);
    }
}

/// Turns the head off.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn crtc_disable<T: Driver>(
    crtc: *mut xen_sys::drm_crtc,
    commit: *mut xen_sys::drm_atomic_commit,
) {
    let pipe = pipe_of!(crtc, crtc);
    // Lets an event of an earlier flip go, if there is one; `drm_crtc_vblank_off` delivers it.
    T::disable(pipe.dev().driver(), pipe.index);
    // SAFETY: DRM disables a CRTC of `commit`, that was on.
    unsafe { xen_sys::drm_crtc_vblank_off(crtc) };
    // SAFETY: As above. A commit that leaves the CRTC on (a new mode) delivers its event in the flush.
    let event = unsafe {
        let state = xen_sys::xen_sys_new_crtc_state(commit, crtc);
        if (*state).active {
            None
        } else {
            NonNull::new(ptr::replace(&raw mut (*state).event, ptr::null_mut()))
        }
    };
    if let (Some(event), Some(crtc)) = (event, NonNull::new(crtc)) {
        // SAFETY: The event was the commit's, for this CRTC.
        unsafe { event::send_now(event, crtc) };
    }
}

/// The commit's picture and its event, for a CRTC that is on.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn crtc_flush<T: Driver>(
    crtc: *mut xen_sys::drm_crtc,
    commit: *mut xen_sys::drm_atomic_commit,
) {
    let pipe = pipe_of!(crtc, crtc);
    // SAFETY: DRM flushes a CRTC of `commit`, whose states stay until the commit's end.
    let (event, modeset, plane_state) = unsafe {
        let state = xen_sys::xen_sys_new_crtc_state(commit, crtc);
        (
            NonNull::new(ptr::replace(&raw mut (*state).event, ptr::null_mut())),
            xen_sys::xen_sys_crtc_needs_modeset(state),
            xen_sys::xen_sys_new_plane_state(commit, pipe.plane.get()),
        )
    };
    let event = event.zip(NonNull::new(crtc)).and_then(|(event, crtc)| {
        // SAFETY: The event was the commit's, for this CRTC.
        unsafe { FlipEvent::new(event, crtc) }
    });
    // SAFETY: See above.
    match unsafe { Pipe::<T>::visible_fb(plane_state) } {
        // The mode was set with this picture: it is there already, and the event goes with the next vertical blank.
        Some(fb) if !modeset => T::flip(pipe.dev().driver(), pipe.index, fb, event),
        _ => drop(event),
    }
}

/// The vblank timer, in interrupt context.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn crtc_tick<T: Driver>(crtc: *mut xen_sys::drm_crtc) -> bool {
    let pipe = pipe_of!(crtc, crtc);
    T::tick(pipe.dev().driver(), pipe.index);
    // SAFETY: A CRTC whose vblank is on.
    unsafe { xen_sys::drm_crtc_handle_vblank(crtc) }
}

/// The one mode of the connector.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn connector_modes<T: Driver>(connector: *mut xen_sys::drm_connector) -> c_int {
    let pipe = pipe_of!(connector, connector);
    let size = pipe.dev().driver().mode(pipe.index);
    let (Ok(width), Ok(height)) = (c_int::try_from(size.width), c_int::try_from(size.height))
    else {
        return 0;
    };
    // SAFETY: DRM probes a connector of a live device, under the mode configuration's mutex. The mode is new, and goes to
    // the connector's list.
    unsafe {
        let mode = xen_sys::drm_cvt_mode(
            (*connector).dev,
            width,
            height,
            REFRESH,
            false,
            false,
            false,
        );
        if mode.is_null() {
            return 0;
        }
        // CVT rounds widths down to 8 pixels.
        (*mode).hdisplay = size.width as u16;
        (*mode).type_ |= xen_sys::DRM_MODE_TYPE_PREFERRED as u8;
        xen_sys::drm_mode_set_name(mode);
        xen_sys::drm_mode_probed_add(connector, mode);
    }
    1
}

/// Whether the monitor is there.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn connector_detect<T: Driver>(
    connector: *mut xen_sys::drm_connector,
    _ctx: *mut xen_sys::drm_modeset_acquire_ctx,
    _force: bool,
) -> c_int {
    let pipe = pipe_of!(connector, connector);
    if pipe.dev().driver().connected(pipe.index) {
        xen_sys::drm_connector_status_connector_status_connected as c_int
    } else {
        xen_sys::drm_connector_status_connector_status_disconnected as c_int
    }
}
