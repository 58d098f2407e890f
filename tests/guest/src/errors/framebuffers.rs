// SPDX-License-Identifier: GPL-2.0

//! Framebuffers.

use std::os::fd::AsFd;

use drm::DriverCapability;
use drm::buffer::DrmFourcc;
use drm_ffi::mode as kms;

use super::Scope::{Core, Own, When};
use super::bench::Bench;
use super::{EINVAL, ENOENT, ERANGE, NO_ID, Table, row};
use crate::raw;

const MODIFIERS: u32 = drm_ffi::drm_sys::DRM_MODE_FB_MODIFIERS;
/// `I915_FORMAT_MOD_X_TILED`: a real layout, of other hardware.
const TILED: u64 = 0x0100_0000_0000_0001;

fn takes_modifiers(bench: &Bench<'_>) -> bool {
    bench.device.capability(DriverCapability::AddFB2Modifiers) == 1
}

fn takes_no_modifiers(bench: &Bench<'_>) -> bool {
    !takes_modifiers(bench)
}

/// virtio-gpu looks neither at the handle nor at the size itself: its host does, later.
fn checks_buffers(bench: &Bench<'_>) -> bool {
    bench.device.driver() != "virtio_gpu"
}

fn plane_lacks_2101010(bench: &Bench<'_>) -> bool {
    checks_buffers(bench)
        && !bench
            .screen
            .output()
            .formats
            .contains(&(DrmFourcc::Xrgb2101010 as u32))
}

/// `DRM_IOCTL_MODE_ADDFB2`.
pub const ADDFB2: Table = Table {
    ioctl: "ADDFB2",
    atomic: false,
    rows: &[
        row(
            "unknown format",
            Core,
            EINVAL,
            "drm_internal_framebuffer_create: __drm_format_info",
            |b| b.add_fb2(|fb| fb.pixel_format = u32::from_le_bytes(*b"ZZZZ")),
        ),
        row(
            "format 0",
            Core,
            EINVAL,
            "drm_internal_framebuffer_create: __drm_format_info",
            |b| b.add_fb2(|fb| fb.pixel_format = 0),
        ),
        row(
            "format of no plane",
            When(plane_lacks_2101010),
            EINVAL,
            "drm_gem_fb_init_with_funcs: drm_any_plane_has_format",
            |b| b.add_fb2(|fb| fb.pixel_format = DrmFourcc::Xrgb2101010 as u32),
        ),
        row(
            "two planes, one handle",
            Core,
            EINVAL,
            "framebuffer_check: no handle for plane 1",
            |b| b.add_fb2(|fb| fb.pixel_format = DrmFourcc::Nv12 as u32),
        ),
        row(
            "two planes",
            Own,
            EINVAL,
            "no plane takes a format of several planes",
            |b| {
                b.add_fb2(|fb| {
                    fb.pixel_format = DrmFourcc::Nv12 as u32;
                    fb.handles[1] = fb.handles[0];
                    fb.pitches[1] = fb.pitches[0];
                })
            },
        ),
        row("width 0", Core, EINVAL, "framebuffer_check", |b| {
            b.add_fb2(|fb| fb.width = 0)
        }),
        row("height 0", Core, EINVAL, "framebuffer_check", |b| {
            b.add_fb2(|fb| fb.height = 0)
        }),
        row(
            "wider than a line",
            Core,
            EINVAL,
            "framebuffer_check: pitch below the smallest",
            |b| b.add_fb2(|fb| fb.width += 8),
        ),
        row(
            "pitch below a line",
            Core,
            EINVAL,
            "framebuffer_check: pitch below the smallest",
            |b| b.add_fb2(|fb| fb.pitches[0] -= 4),
        ),
        row(
            "pitch 0",
            Core,
            EINVAL,
            "framebuffer_check: pitch below the smallest",
            |b| b.add_fb2(|fb| fb.pitches[0] = 0),
        ),
        row(
            "higher than the buffer",
            When(checks_buffers),
            EINVAL,
            "drm_gem_fb_init_with_funcs: object smaller",
            |b| b.add_fb2(|fb| fb.height = 2 * fb.height + 16),
        ),
        row(
            "offset past the end",
            When(checks_buffers),
            EINVAL,
            "drm_gem_fb_init_with_funcs: object smaller",
            |b| b.add_fb2(|fb| fb.offsets[0] = fb.pitches[0] * (fb.height + 16)),
        ),
        row(
            "height times pitch overflows",
            Core,
            ERANGE,
            "framebuffer_check",
            |b| b.add_fb2(|fb| fb.pitches[0] = 0x8000_0000),
        ),
        row(
            "pitch above a line",
            Own,
            EINVAL,
            "backends derive the pitch: it must be 4 * ceil(width * bits / 32)",
            |b| b.add_fb2(|fb| fb.pitches[0] += 4),
        ),
        row(
            "offset of a line",
            Own,
            EINVAL,
            "the protocol has no offset for a framebuffer",
            |b| b.add_fb2(|fb| fb.offsets[0] = fb.pitches[0]),
        ),
        row("16385 wide", Own, EINVAL, "mode_config.max_width", |b| {
            b.add_fb2(|fb| {
                fb.width = 16385;
                fb.height = 1;
                fb.pitches[0] = 4 * 16385;
            })
        }),
        row(
            "handle 0",
            Core,
            EINVAL,
            "framebuffer_check: no handle for plane 0",
            |b| b.add_fb2(|fb| fb.handles[0] = 0),
        ),
        row(
            "unknown handle",
            When(checks_buffers),
            ENOENT,
            "drm_gem_fb_init_with_funcs: lookup",
            |b| b.add_fb2(|fb| fb.handles[0] = NO_ID),
        ),
        row(
            "unknown flag",
            Core,
            EINVAL,
            "drm_internal_framebuffer_create: flags",
            |b| b.add_fb2(|fb| fb.flags = 1 << 7),
        ),
        row(
            "modifier without its flag",
            Core,
            EINVAL,
            "framebuffer_check: modifier",
            |b| b.add_fb2(|fb| fb.modifier[0] = TILED),
        ),
        row(
            "foreign modifier",
            Core,
            EINVAL,
            "drm_internal_framebuffer_create or drm_any_plane_has_format",
            |b| {
                b.add_fb2(|fb| {
                    fb.flags = MODIFIERS;
                    fb.modifier[0] = TILED;
                })
            },
        ),
        row(
            "linear modifier where there are none",
            When(takes_no_modifiers),
            EINVAL,
            "fb_modifiers_not_supported",
            |b| b.add_fb2(|fb| fb.flags = MODIFIERS),
        ),
        row(
            "modifiers, and a pitch for an unused plane",
            When(takes_modifiers),
            EINVAL,
            "framebuffer_check: unused plane",
            |b| {
                b.add_fb2(|fb| {
                    fb.flags = MODIFIERS;
                    fb.pitches[1] = 64;
                })
            },
        ),
    ],
};

fn add_fb(bench: &Bench<'_>, bits: u32, depth: u32, handle: u32) -> std::io::Result<()> {
    let (width, height) = bench.size();
    let made = kms::add_fb(
        bench.device.as_fd(),
        width,
        height,
        bench.spare.pitch,
        bits,
        depth,
        handle,
    )?;
    kms::rm_fb(bench.device.as_fd(), made.fb_id)
}

/// `DRM_IOCTL_MODE_ADDFB`.
pub const ADDFB: Table = Table {
    ioctl: "ADDFB",
    atomic: false,
    rows: &[
        row(
            "depth 7",
            Core,
            EINVAL,
            "drm_mode_addfb: drm_driver_legacy_fb_format",
            |b| add_fb(b, 32, 7, b.spare.handle),
        ),
        row(
            "0 bits",
            Core,
            EINVAL,
            "drm_mode_addfb: drm_driver_legacy_fb_format",
            |b| add_fb(b, 0, 24, b.spare.handle),
        ),
        row(
            "unknown handle",
            When(checks_buffers),
            ENOENT,
            "drm_gem_fb_init_with_funcs: lookup",
            |b| add_fb(b, 32, 24, NO_ID),
        ),
    ],
};

/// `DRM_IOCTL_MODE_RMFB`.
pub const RMFB: Table = Table {
    ioctl: "RMFB",
    atomic: false,
    rows: &[
        row("id 0", Core, ENOENT, "drm_mode_rmfb: lookup", |b| {
            kms::rm_fb(b.device.as_fd(), 0)
        }),
        row("unknown id", Core, ENOENT, "drm_mode_rmfb: lookup", |b| {
            kms::rm_fb(b.device.as_fd(), NO_ID)
        }),
        row(
            "another kind of object",
            Core,
            ENOENT,
            "drm_mode_rmfb: lookup",
            |b| kms::rm_fb(b.device.as_fd(), b.screen.output().crtc.into()),
        ),
        row(
            "another client's framebuffer",
            Core,
            ENOENT,
            "drm_mode_closefb: not on this file's list",
            |b| kms::rm_fb(b.other.as_fd(), b.small.id()),
        ),
    ],
};

/// `DRM_IOCTL_MODE_GETFB2`.
pub const GETFB2: Table = Table {
    ioctl: "GETFB2",
    atomic: false,
    rows: &[row(
        "unknown id",
        Core,
        ENOENT,
        "drm_mode_getfb2_ioctl: lookup",
        |b| kms::get_framebuffer2(b.device.as_fd(), NO_ID).map(drop),
    )],
};

/// `DRM_IOCTL_MODE_DIRTYFB`.
pub const DIRTYFB: Table = Table {
    ioctl: "DIRTYFB",
    atomic: false,
    rows: &[
        row(
            "unknown id",
            Core,
            ENOENT,
            "drm_mode_dirtyfb_ioctl: lookup",
            |b| raw::dirty_whole(b.device.as_fd(), NO_ID),
        ),
        row(
            "257 clips",
            Core,
            EINVAL,
            "DRM_MODE_FB_DIRTY_MAX_CLIPS",
            |b| kms::dirty_fb(b.device.as_fd(), b.frame.id(), &[Default::default(); 257]).map(drop),
        ),
        row(
            "clips at an address without a count",
            Core,
            EINVAL,
            "drm_mode_dirtyfb_ioctl: !num_clips != !clips_ptr",
            |b| kms::dirty_fb(b.device.as_fd(), b.frame.id(), &[]).map(drop),
        ),
    ],
};
