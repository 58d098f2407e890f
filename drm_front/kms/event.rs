// SPDX-License-Identifier: GPL-2.0

//! The event that tells user space, and the atomic helpers, that a flip is done.
//!
//! # Invariants
//!
//! - A [`FlipEvent`] owns its `drm_pending_vblank_event` and one reference to its CRTC's vertical blank, so the vblank timer runs
//!   until the event is let go.
//! - Its CRTC exists: a driver drops or lets go every event in [`super::driver::Driver::disable`] at the latest, and DRM
//!   disables every CRTC before the device's last reference goes.

use core::ptr::NonNull;

use kernel::sync::lock::{
    spinlock::SpinLockIrqBackend,
    Lock, //
};

/// An event of a flip under way. The drop lets it go: user space gets every event exactly once.
pub(crate) struct FlipEvent {
    event: NonNull<xen_sys::drm_pending_vblank_event>,
    crtc: NonNull<xen_sys::drm_crtc>,
}

// SAFETY: The event belongs to no thread; it is handed on under the device's event lock.
unsafe impl Send for FlipEvent {}

impl FlipEvent {
    /// Takes over `event`; sends it at once, and gives `None`, when there is no vertical blank to wait for.
    ///
    /// # Safety
    ///
    /// `event` is pending, owned by the caller, and for `crtc`. A driver's commit callback is running.
    pub(super) unsafe fn new(
        event: NonNull<xen_sys::drm_pending_vblank_event>,
        crtc: NonNull<xen_sys::drm_crtc>,
    ) -> Option<Self> {
        // SAFETY: The CRTC exists, by the caller.
        if unsafe { xen_sys::drm_crtc_vblank_get(crtc.as_ptr()) } == 0 {
            // INVARIANT: The reference just taken; the event is the caller's.
            return Some(Self { event, crtc });
        }
        // SAFETY: By the caller.
        unsafe { send_now(event, crtc) };
        None
    }
}

impl Drop for FlipEvent {
    /// The next vertical blank delivers the event: so sequence numbers grow, and whoever answers faster than the screen
    /// refreshes does not unpace user space. May run in interrupt context.
    fn drop(&mut self) {
        let crtc = self.crtc.as_ptr();
        with_event_lock(self.crtc, || {
            // SAFETY: The event is ours, its CRTC exists and the event lock is held. With the event goes our vblank reference:
            // whoever delivers the event gives it back.
            unsafe { xen_sys::drm_crtc_arm_vblank_event(crtc, self.event.as_ptr()) }
        });
    }
}

/// Delivers `event` without waiting for a vertical blank.
///
/// # Safety
///
/// `event` is pending, owned by the caller, and for `crtc`, which exists.
pub(super) unsafe fn send_now(
    event: NonNull<xen_sys::drm_pending_vblank_event>,
    crtc: NonNull<xen_sys::drm_crtc>,
) {
    with_event_lock(crtc, || {
        // SAFETY: By the caller, and the event lock is held.
        unsafe { xen_sys::drm_crtc_send_vblank_event(crtc.as_ptr(), event.as_ptr()) }
    });
}

fn with_event_lock(crtc: NonNull<xen_sys::drm_crtc>, f: impl FnOnce()) {
    // SAFETY: The CRTC exists, by the callers, and so does its device, whose event lock is initialised, and is a spin lock
    // that is only taken with interrupts off.
    let lock = unsafe {
        let dev = (*crtc.as_ptr()).dev;
        Lock::<(), SpinLockIrqBackend>::from_raw(&raw mut (*dev).event_lock)
    };
    let _guard = lock.lock();
    f();
}
