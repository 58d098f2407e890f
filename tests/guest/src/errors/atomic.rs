// SPDX-License-Identifier: GPL-2.0

//! Atomic commits.

use std::io;
use std::os::fd::AsFd;

use drm::control::Device as _;
use drm::{ClientCapability, Device as _, DriverCapability};
use drm_ffi::drm_sys as sys;
use drm_ffi::mode as kms;

use super::Scope::{Core, Own, When};
use super::bench::Bench;
use super::{EACCES, EINVAL, ENOENT, ENOSPC, ERANGE, NO_ID, Table, row};
use crate::atomic::Request;
use crate::properties::Properties;
use crate::raw;

const ALLOW_MODESET: u32 = sys::DRM_MODE_ATOMIC_ALLOW_MODESET;
const TEST_ONLY: u32 = sys::DRM_MODE_ATOMIC_TEST_ONLY;

/// Commits one property of the CRTC.
fn crtc(bench: &Bench<'_>, name: &str, value: u64) -> io::Result<()> {
    set(bench, &bench.screen.pipe().crtc, name, value)
}

/// Commits one property of the plane.
fn plane(bench: &Bench<'_>, name: &str, value: u64) -> io::Result<()> {
    set(bench, &bench.screen.pipe().plane, name, value)
}

fn set(bench: &Bench<'_>, of: &Properties, name: &str, value: u64) -> io::Result<()> {
    bench.commit(|request| request.set(of, name, value))
}

/// Commits one property by ids.
fn ids(bench: &Bench<'_>, object: u32, property: u32) -> io::Result<()> {
    bench.commit(|request| {
        request.set_raw(object, property, 0);
        Ok(())
    })
}

/// `DRM_IOCTL_MODE_ATOMIC`.
pub const ATOMIC: Table = Table {
    ioctl: "ATOMIC",
    atomic: true,
    rows: &[
        row(
            "unknown object",
            Core,
            ENOENT,
            "drm_mode_atomic_ioctl: drm_mode_object_find",
            |b| {
                ids(
                    b,
                    NO_ID,
                    b.screen
                        .pipe()
                        .plane
                        .id("FB_ID")
                        .map_err(io::Error::other)?,
                )
            },
        ),
        row(
            "object without properties",
            Core,
            ENOENT,
            "drm_mode_atomic_ioctl: has no properties",
            |b| {
                let encoder = b
                    .device
                    .resource_handles()?
                    .encoders()
                    .first()
                    .map_or(0, |id| (*id).into());
                ids(b, encoder, 1)
            },
        ),
        row(
            "unknown property",
            Core,
            ENOENT,
            "drm_mode_obj_find_prop_id",
            |b| ids(b, b.screen.pipe().plane.object(), NO_ID),
        ),
        row(
            "another object's property",
            Core,
            ENOENT,
            "drm_mode_obj_find_prop_id",
            |b| {
                let active = b
                    .screen
                    .pipe()
                    .crtc
                    .id("ACTIVE")
                    .map_err(io::Error::other)?;
                ids(b, b.screen.pipe().plane.object(), active)
            },
        ),
        row(
            "constant property",
            Core,
            EINVAL,
            "drm_property_change_valid_get: immutable",
            |b| plane(b, "type", 1),
        ),
        row(
            "value out of range",
            Core,
            EINVAL,
            "drm_property_change_valid_get: range",
            |b| crtc(b, "ACTIVE", 2),
        ),
        row(
            "unknown framebuffer",
            Core,
            EINVAL,
            "drm_property_change_valid_get: object",
            |b| plane(b, "FB_ID", NO_ID.into()),
        ),
        row(
            "a CRTC for the framebuffer",
            Core,
            EINVAL,
            "drm_property_change_valid_get: object",
            |b| plane(b, "FB_ID", b.screen.pipe().crtc.object().into()),
        ),
        row(
            "a connector for the CRTC",
            Core,
            EINVAL,
            "drm_property_change_valid_get: object",
            |b| plane(b, "CRTC_ID", b.screen.pipe().connector.object().into()),
        ),
        row(
            "unknown mode",
            Core,
            EINVAL,
            "drm_property_change_valid_get: blob",
            |b| crtc(b, "MODE_ID", NO_ID.into()),
        ),
        row(
            "mode of another size",
            Core,
            EINVAL,
            "drm_atomic_set_mode_prop_for_crtc: blob length",
            |b| {
                let blob = kms::create_property_blob(b.device.as_fd(), &mut [0; 4])?;
                let result = crtc(b, "MODE_ID", blob.blob_id.into());
                kms::destroy_property_blob(b.device.as_fd(), blob.blob_id)?;
                result
            },
        ),
        row(
            "empty mode",
            Core,
            EINVAL,
            "drm_atomic_set_mode_prop_for_crtc: drm_mode_convert_umode",
            |b| {
                let mut zeros = [0; size_of::<sys::drm_mode_modeinfo>()];
                let blob = kms::create_property_blob(b.device.as_fd(), &mut zeros)?;
                let result = crtc(b, "MODE_ID", blob.blob_id.into());
                kms::destroy_property_blob(b.device.as_fd(), blob.blob_id)?;
                result
            },
        ),
        row(
            "active without a mode",
            Core,
            EINVAL,
            "drm_atomic_crtc_check: active without enabled",
            |b| crtc(b, "MODE_ID", 0),
        ),
        row(
            "CRTC without a connector",
            Core,
            EINVAL,
            "drm_atomic_helper_check_modeset: connectors mismatch",
            |b| set(b, &b.screen.pipe().connector, "CRTC_ID", 0),
        ),
        row(
            "framebuffer without a CRTC",
            Core,
            EINVAL,
            "drm_atomic_plane_check: FB set but no CRTC",
            |b| plane(b, "CRTC_ID", 0),
        ),
        row(
            "CRTC without a framebuffer",
            Core,
            EINVAL,
            "drm_atomic_plane_check: CRTC set but no FB",
            |b| plane(b, "FB_ID", 0),
        ),
        row(
            "CRTC without its primary plane",
            Own,
            EINVAL,
            "drm_atomic_helper_check_crtc_primary_plane",
            |b| {
                b.commit(|request| {
                    request.set(&b.screen.pipe().plane, "FB_ID", 0u64)?;
                    request.set(&b.screen.pipe().plane, "CRTC_ID", 0u64)
                })
            },
        ),
        row(
            "mode change without leave",
            Core,
            EINVAL,
            "drm_atomic_check_only: requires full modeset",
            |b| {
                b.commit_with(0, |request| {
                    request.set(&b.screen.pipe().crtc, "ACTIVE", 0u64)
                })
            },
        ),
        row(
            "source past the framebuffer",
            Core,
            ENOSPC,
            "drm_atomic_plane_check: source coordinates",
            |b| b.place(|place| place.source[0] = 1),
        ),
        row(
            "source larger than the framebuffer",
            Core,
            ENOSPC,
            "drm_atomic_plane_check: source coordinates",
            |b| b.place(|place| place.fb = b.small.id()),
        ),
        row(
            "target past the largest coordinate",
            Core,
            ERANGE,
            "drm_atomic_plane_check: CRTC coordinates",
            |b| b.place(|place| place.target[0] = 0x7fff_ffff),
        ),
        row(
            "enlarging",
            Core,
            ERANGE,
            "drm_atomic_helper_check_plane_state: no scaling",
            |b| b.place(|place| place.source = b.half()),
        ),
        row(
            "shrinking",
            Core,
            ERANGE,
            "drm_atomic_helper_check_plane_state: no scaling",
            |b| b.place(|place| place.target = b.half()),
        ),
        row(
            "part of the CRTC",
            When(|b| b.must_cover()),
            EINVAL,
            "drm_atomic_helper_check_plane_state: must cover the CRTC",
            |b| b.place(|place| (place.source, place.target) = (b.half(), b.half())),
        ),
        row(
            "panning",
            Own,
            EINVAL,
            "no panning: a head shows the top left part of a framebuffer",
            |b| {
                b.place(|place| {
                    place.fb = b.large.id();
                    (place.source[0], place.source[1]) = (8, 8);
                })
            },
        ),
        row("unknown flag", Core, EINVAL, "DRM_MODE_ATOMIC_FLAGS", |b| {
            b.commit_with(1 << 20, |_| Ok(()))
        }),
        row(
            "a test with an event",
            Core,
            EINVAL,
            "drm_mode_atomic_ioctl: can't test and expect an event",
            |b| b.commit_with(TEST_ONLY | sys::DRM_MODE_PAGE_FLIP_EVENT, |_| Ok(())),
        ),
        row(
            "an event of no CRTC",
            Core,
            EINVAL,
            "prepare_signaling: need at least one CRTC",
            |b| b.commit_with(sys::DRM_MODE_PAGE_FLIP_EVENT, |_| Ok(())),
        ),
        row(
            "tearing where there is none",
            When(|b| b.device.capability(DriverCapability::ASyncPageFlip) == 0),
            EINVAL,
            "mode_config.async_page_flip",
            |b| {
                b.commit_with(sys::DRM_MODE_PAGE_FLIP_ASYNC, |request| {
                    request.set(&b.screen.pipe().plane, "FB_ID", b.frame.id())
                })
            },
        ),
        row(
            "reserved field",
            Core,
            EINVAL,
            "drm_mode_atomic_ioctl: reserved field set",
            |b| {
                raw::atomic(
                    b.device.as_fd(),
                    ALLOW_MODESET,
                    Request::default().lists(),
                    1,
                    0,
                )
            },
        ),
        row(
            "without the client capability",
            Core,
            EINVAL,
            "drm_mode_atomic_ioctl: atomic cap not enabled",
            |b| {
                b.device
                    .set_client_capability(ClientCapability::Atomic, false)?;
                let result = b.commit(|_| Ok(()));
                b.device
                    .set_client_capability(ClientCapability::Atomic, true)?;
                result
            },
        ),
        row("not the master", Core, EACCES, "drm_ioctl_permit", |b| {
            Request::default().commit_raw(&b.other, 0, 0)
        }),
    ],
};
