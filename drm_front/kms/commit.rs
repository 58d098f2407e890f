// SPDX-License-Identifier: GPL-2.0

//! The steps of an atomic commit, in this driver's order.
//!
//! # Invariants
//!
//! DRM calls the vtable's function with a commit that has been checked and swapped in, once, from one thread.

/// Makes DRM commit through [`commit_tail`].
pub(super) static HELPER_FUNCS: xen_sys::drm_mode_config_helper_funcs =
    xen_sys::drm_mode_config_helper_funcs {
        atomic_commit_tail: Some(commit_tail),
        atomic_commit_setup: None,
    };

/// Heads off, heads on, then planes of heads that are on: a head that is off never gets a flip. The old framebuffers are
/// let go when the flips that replace them are done, not before: a backend may show a framebuffer until then.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn commit_tail(commit: *mut xen_sys::drm_atomic_commit) {
    // SAFETY: By this file's invariant `commit` is valid and these steps are due, each once, in an order that the helpers allow
    // (`drm_atomic_helper_commit_tail_rpm` has the same).
    unsafe {
        let dev = (*commit).dev;
        xen_sys::drm_atomic_helper_commit_modeset_disables(dev, commit);
        xen_sys::drm_atomic_helper_commit_modeset_enables(dev, commit);
        xen_sys::drm_atomic_helper_commit_planes(
            dev,
            commit,
            xen_sys::XEN_SYS_PLANE_COMMIT_ACTIVE_ONLY,
        );
        xen_sys::drm_atomic_helper_fake_vblank(commit);
        xen_sys::drm_atomic_helper_commit_hw_done(commit);
        xen_sys::drm_atomic_helper_wait_for_flip_done(dev, commit);
        xen_sys::drm_atomic_helper_cleanup_planes(dev, commit);
    }
}
