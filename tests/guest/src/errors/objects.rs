// SPDX-License-Identifier: GPL-2.0

//! Reading objects, and setting properties by the legacy ioctls.

use std::io;
use std::os::fd::AsFd;

use drm_ffi::drm_sys as sys;
use drm_ffi::mode as kms;

use super::Scope::Core;
use super::bench::Bench;
use super::{EINVAL, ENOENT, NO_ID, Table, row};

/// The ioctls that read objects.
pub const GET: Table = Table {
    ioctl: "GET",
    atomic: false,
    rows: &[
        row("unknown CRTC", Core, ENOENT, "drm_mode_getcrtc", |b| {
            kms::get_crtc(b.device.as_fd(), NO_ID).map(drop)
        }),
        row(
            "unknown connector",
            Core,
            ENOENT,
            "drm_mode_getconnector",
            |b| {
                kms::get_connector(b.device.as_fd(), NO_ID, None, None, None, None, false).map(drop)
            },
        ),
        row(
            "unknown encoder",
            Core,
            ENOENT,
            "drm_mode_getencoder",
            |b| kms::get_encoder(b.device.as_fd(), NO_ID).map(drop),
        ),
        row("unknown plane", Core, ENOENT, "drm_mode_getplane", |b| {
            kms::get_plane(b.device.as_fd(), NO_ID, None).map(drop)
        }),
        row("unknown framebuffer", Core, ENOENT, "drm_mode_getfb", |b| {
            kms::get_framebuffer(b.device.as_fd(), NO_ID).map(drop)
        }),
        row(
            "unknown property",
            Core,
            ENOENT,
            "drm_mode_getproperty_ioctl",
            |b| kms::get_property(b.device.as_fd(), NO_ID, None, None).map(drop),
        ),
        row(
            "properties of an unknown object",
            Core,
            ENOENT,
            "drm_mode_obj_get_properties_ioctl",
            |b| {
                kms::get_properties(
                    b.device.as_fd(),
                    NO_ID,
                    sys::DRM_MODE_OBJECT_ANY,
                    None,
                    None,
                )
                .map(drop)
            },
        ),
        row(
            "properties of an encoder",
            Core,
            EINVAL,
            "drm_mode_obj_get_properties_ioctl: has none",
            |b| {
                let mut encoders = Vec::new();
                kms::get_resources(b.device.as_fd(), None, None, None, Some(&mut encoders))?;
                let encoder = encoders.first().copied().unwrap_or(0);
                kms::get_properties(
                    b.device.as_fd(),
                    encoder,
                    sys::DRM_MODE_OBJECT_ENCODER,
                    None,
                    None,
                )
                .map(drop)
            },
        ),
    ],
};

fn connector_property(bench: &Bench<'_>, property: u32, value: u64) -> io::Result<()> {
    let connector = bench.screen.output().connector.into();
    kms::set_connector_property(bench.device.as_fd(), connector, property, value).map(drop)
}

fn connector_property_id(bench: &Bench<'_>, name: &str) -> io::Result<u32> {
    bench
        .screen
        .pipe()
        .connector
        .id(name)
        .map_err(io::Error::other)
}

/// `DRM_IOCTL_MODE_SETPROPERTY`.
pub const PROPERTY: Table = Table {
    ioctl: "SETPROPERTY",
    atomic: false,
    rows: &[
        // Not ENOENT: drm_mode_obj_set_property_ioctl knows the object, and gives EINVAL for what it has not.
        row(
            "unknown property",
            Core,
            EINVAL,
            "drm_mode_obj_set_property_ioctl",
            |b| connector_property(b, NO_ID, 0),
        ),
        row(
            "unknown connector",
            Core,
            ENOENT,
            "drm_mode_obj_set_property_ioctl",
            |b| {
                let dpms = connector_property_id(b, "DPMS")?;
                kms::set_connector_property(b.device.as_fd(), NO_ID, dpms, 0).map(drop)
            },
        ),
        row(
            "constant property",
            Core,
            EINVAL,
            "drm_property_change_valid_get: immutable",
            |b| connector_property(b, connector_property_id(b, "non-desktop")?, 0),
        ),
    ],
};

/// The ioctls of property blobs.
pub const BLOB: Table = Table {
    ioctl: "PROPBLOB",
    atomic: false,
    rows: &[
        row(
            "empty",
            Core,
            EINVAL,
            "drm_property_create_blob: !length",
            |b| kms::create_property_blob(b.device.as_fd(), &mut []).map(drop),
        ),
        row(
            "unknown, to read",
            Core,
            ENOENT,
            "drm_mode_getblob_ioctl",
            |b| kms::get_property_blob(b.device.as_fd(), NO_ID, None).map(drop),
        ),
        row(
            "unknown, to destroy",
            Core,
            ENOENT,
            "drm_mode_destroyblob_ioctl",
            |b| kms::destroy_property_blob(b.device.as_fd(), NO_ID).map(drop),
        ),
    ],
};

/// `DRM_IOCTL_SET_CLIENT_CAP`.
pub const CLIENT_CAP: Table = Table {
    ioctl: "SET_CLIENT_CAP",
    atomic: false,
    rows: &[row(
        "unknown capability",
        Core,
        EINVAL,
        "drm_setclientcap",
        |b| drm_ffi::set_capability(b.device.as_fd(), 0xdead, true).map(drop),
    )],
};
