// SPDX-License-Identifier: GPL-2.0

//! Modes, flips, planes and cursors by the legacy ioctls.

use std::os::fd::AsFd;

use drm::DriverCapability;
use drm_ffi::drm_sys as sys;

use super::Scope::{Core, Own, When};
use super::bench::Bench;
use super::{EACCES, EINVAL, ENOENT, ENOSPC, ENXIO, ERANGE, NO_ID, Table, row};
use crate::atomic::Placement;

/// `DRM_IOCTL_MODE_SETCRTC`.
pub const SETCRTC: Table = Table {
    ioctl: "SETCRTC",
    atomic: false,
    rows: &[
        row(
            "unknown CRTC",
            Core,
            ENOENT,
            "drm_mode_setcrtc: drm_crtc_find",
            |b| b.set_crtc(|set| set.crtc = NO_ID),
        ),
        row(
            "a connector for the CRTC",
            Core,
            ENOENT,
            "drm_mode_setcrtc: drm_crtc_find",
            |b| b.set_crtc(|set| set.crtc = b.screen.output().connector.into()),
        ),
        row(
            "unknown framebuffer",
            Core,
            ENOENT,
            "drm_mode_setcrtc: lookup",
            |b| b.set_crtc(|set| set.fb = NO_ID),
        ),
        row(
            "a mode without a framebuffer",
            Core,
            ENOENT,
            "drm_mode_setcrtc: lookup",
            |b| b.set_crtc(|set| set.fb = 0),
        ),
        row(
            "unknown connector",
            Core,
            ENOENT,
            "drm_mode_setcrtc: drm_connector_lookup",
            |b| b.set_crtc(|set| set.connectors = vec![NO_ID]),
        ),
        row(
            "a CRTC for the connector",
            Core,
            ENOENT,
            "drm_mode_setcrtc: drm_connector_lookup",
            |b| b.set_crtc(|set| set.connectors = vec![set.crtc]),
        ),
        row(
            "a mode without connectors",
            Core,
            EINVAL,
            "drm_mode_setcrtc: count 0 but mode",
            |b| b.set_crtc(|set| set.connectors.clear()),
        ),
        row(
            "connectors without a mode",
            Core,
            EINVAL,
            "drm_mode_setcrtc: connectors but no mode",
            |b| b.set_crtc(|set| set.mode = None),
        ),
        row(
            "more connectors than there are",
            Core,
            EINVAL,
            "drm_mode_setcrtc: num_connector",
            |b| b.set_crtc(|set| set.connectors = vec![set.connectors[0]; 64]),
        ),
        row(
            "framebuffer smaller than the mode",
            Core,
            ENOSPC,
            "drm_crtc_check_viewport",
            |b| b.set_crtc(|set| set.fb = b.small.id()),
        ),
        row(
            "x past the framebuffer",
            Core,
            ENOSPC,
            "drm_crtc_check_viewport",
            |b| b.set_crtc(|set| set.x = 1),
        ),
        row(
            "y past the framebuffer",
            Core,
            ENOSPC,
            "drm_crtc_check_viewport",
            |b| b.set_crtc(|set| set.y = 1),
        ),
        row(
            "x of more than 16 bits",
            Core,
            ERANGE,
            "drm_mode_setcrtc: 16.16",
            |b| b.set_crtc(|set| set.x = 0x1_0000),
        ),
        row(
            "y of more than 16 bits",
            Core,
            ERANGE,
            "drm_mode_setcrtc: 16.16",
            |b| b.set_crtc(|set| set.y = u32::MAX),
        ),
        row("empty mode", Core, EINVAL, "drm_mode_validate_basic", |b| {
            b.set_crtc(|set| set.mode = Some(sys::drm_mode_modeinfo::default()))
        }),
        row("clock 0", Core, EINVAL, "drm_mode_validate_basic", |b| {
            b.set_crtc(|set| {
                set.mode = set
                    .mode
                    .map(|mode| sys::drm_mode_modeinfo { clock: 0, ..mode })
            })
        }),
        row(
            "sync before the picture's end",
            Core,
            EINVAL,
            "drm_mode_validate_basic",
            |b| {
                b.set_crtc(|set| {
                    set.mode = set.mode.map(|mode| sys::drm_mode_modeinfo {
                        hsync_start: 1,
                        ..mode
                    })
                })
            },
        ),
        row(
            "clock of more than 31 bits",
            Core,
            ERANGE,
            "drm_mode_convert_umode",
            |b| {
                b.set_crtc(|set| {
                    set.mode = set.mode.map(|mode| sys::drm_mode_modeinfo {
                        clock: u32::MAX,
                        ..mode
                    })
                })
            },
        ),
        row(
            "mode of a size that the connector has not",
            Own,
            EINVAL,
            "mode_valid: backends show the connector's size only",
            |b| {
                let (width, height) = (b.mode.size().0 / 2, b.mode.size().1 / 2);
                b.set_crtc(|set| {
                    set.fb = b.small.id();
                    set.mode = set.mode.map(|mode| sys::drm_mode_modeinfo {
                        hdisplay: width,
                        vdisplay: height,
                        ..mode
                    });
                })
            },
        ),
        row(
            "panning",
            Own,
            EINVAL,
            "no panning: a head shows the top left part of a framebuffer",
            |b| {
                b.set_crtc(|set| {
                    set.fb = b.large.id();
                    (set.x, set.y) = (8, 8);
                })
            },
        ),
        row("not the master", Core, EACCES, "drm_ioctl_permit", |b| {
            b.set_crtc_on(&b.other, |_| ())
        }),
    ],
};

fn no_async_flips(bench: &Bench<'_>) -> bool {
    bench.device.capability(DriverCapability::ASyncPageFlip) == 0
}

fn no_flip_targets(bench: &Bench<'_>) -> bool {
    bench.device.capability(DriverCapability::PageFlipTarget) == 0
}

/// `DRM_IOCTL_MODE_PAGE_FLIP`.
pub const PAGE_FLIP: Table = Table {
    ioctl: "PAGE_FLIP",
    atomic: false,
    rows: &[
        row(
            "unknown CRTC",
            Core,
            ENOENT,
            "drm_mode_page_flip_ioctl: drm_crtc_find",
            |b| b.page_flip(|flip| flip.crtc_id = NO_ID),
        ),
        row(
            "unknown framebuffer",
            Core,
            ENOENT,
            "drm_mode_page_flip_ioctl: lookup",
            |b| b.page_flip(|flip| flip.fb_id = NO_ID),
        ),
        row(
            "framebuffer 0",
            Core,
            ENOENT,
            "drm_mode_page_flip_ioctl: lookup",
            |b| b.page_flip(|flip| flip.fb_id = 0),
        ),
        row(
            "unknown flag",
            Core,
            EINVAL,
            "DRM_MODE_PAGE_FLIP_FLAGS",
            |b| b.page_flip(|flip| flip.flags = 0x80),
        ),
        row(
            "sequence without a target flag",
            Core,
            EINVAL,
            "drm_mode_page_flip_ioctl: sequence",
            |b| b.page_flip(|flip| flip.reserved = 1),
        ),
        row(
            "both target flags",
            Core,
            EINVAL,
            "drm_mode_page_flip_ioctl: DRM_MODE_PAGE_FLIP_TARGET",
            |b| b.page_flip(|flip| flip.flags = sys::DRM_MODE_PAGE_FLIP_TARGET),
        ),
        row(
            "target where there are none",
            When(no_flip_targets),
            EINVAL,
            "no page_flip_target",
            |b| b.page_flip(|flip| flip.flags = sys::DRM_MODE_PAGE_FLIP_TARGET_RELATIVE),
        ),
        row(
            "tearing where there is none",
            When(no_async_flips),
            EINVAL,
            "mode_config.async_page_flip",
            |b| b.page_flip(|flip| flip.flags = sys::DRM_MODE_PAGE_FLIP_ASYNC),
        ),
        row(
            "smaller framebuffer",
            Core,
            ENOSPC,
            "drm_framebuffer_check_src_coords",
            |b| b.page_flip(|flip| flip.fb_id = b.small.id()),
        ),
        row(
            "framebuffer of another format",
            When(|b| b.other_format.is_some()),
            EINVAL,
            "drm_mode_page_flip_ioctl: format change",
            |b| {
                b.page_flip(|flip| {
                    flip.fb_id = b.other_format.as_ref().map_or(0, |frame| frame.id())
                })
            },
        ),
        row("not the master", Core, EACCES, "drm_ioctl_permit", |b| {
            b.page_flip_on(&b.other, |_| ())
        }),
    ],
};

/// `DRM_IOCTL_MODE_SETPLANE`.
pub const SETPLANE: Table = Table {
    ioctl: "SETPLANE",
    atomic: false,
    rows: &[
        row(
            "unknown plane",
            Core,
            ENOENT,
            "drm_mode_setplane: drm_plane_find",
            |b| b.set_plane(|set| set.plane = NO_ID),
        ),
        row(
            "unknown CRTC",
            Core,
            ENOENT,
            "drm_mode_setplane: drm_crtc_find",
            |b| b.set_plane(|set| set.crtc = NO_ID),
        ),
        row(
            "unknown framebuffer",
            Core,
            ENOENT,
            "drm_mode_setplane: lookup",
            |b| b.set_plane(|set| set.placement.fb = NO_ID),
        ),
        row(
            "source past the framebuffer",
            Core,
            ENOSPC,
            "__setplane_check: drm_framebuffer_check_src_coords",
            |b| b.set_plane(|set| set.placement.source[0] = 1),
        ),
        row(
            "target past the largest coordinate",
            Core,
            ERANGE,
            "__setplane_check",
            |b| b.set_plane(|set| set.placement.target[2] = 0x8000_0000),
        ),
        row(
            "scaling",
            Core,
            ERANGE,
            "drm_atomic_helper_check_plane_state: no scaling",
            |b| b.set_plane(|set| set.placement.source = b.half()),
        ),
        row(
            "part of the CRTC",
            When(|b| b.must_cover()),
            EINVAL,
            "drm_atomic_helper_check_plane_state: must cover the CRTC",
            |b| {
                b.set_plane(|set| {
                    set.placement = Placement {
                        source: b.half(),
                        target: b.half(),
                        ..set.placement
                    }
                })
            },
        ),
        row(
            "panning",
            Own,
            EINVAL,
            "no panning: a head shows the top left part of a framebuffer",
            |b| {
                b.set_plane(|set| {
                    set.placement.fb = b.large.id();
                    set.placement.source[0] = 8;
                })
            },
        ),
    ],
};

/// `DRM_IOCTL_MODE_CURSOR`.
pub const CURSOR: Table = Table {
    ioctl: "CURSOR",
    atomic: false,
    rows: &[
        row(
            "unknown CRTC",
            Core,
            ENOENT,
            "drm_mode_cursor_common: drm_crtc_find",
            |b| {
                #[expect(deprecated, reason = "the ioctl is there, so its errors are tested")]
                drm_ffi::mode::set_cursor(b.device.as_fd(), NO_ID, 0, 0, 0).map(drop)
            },
        ),
        row(
            "no cursor plane",
            Own,
            ENXIO,
            "drm_mode_cursor_common: no cursor_set",
            |b| {
                #[expect(deprecated, reason = "the ioctl is there, so its errors are tested")]
                drm_ffi::mode::set_cursor(
                    b.device.as_fd(),
                    b.screen.output().crtc.into(),
                    0,
                    64,
                    64,
                )
                .map(drop)
            },
        ),
    ],
};

/// `DRM_IOCTL_WAIT_VBLANK`.
pub const WAIT_VBLANK: Table = Table {
    ioctl: "WAIT_VBLANK",
    atomic: false,
    rows: &[
        row(
            "unknown CRTC",
            Core,
            EINVAL,
            "drm_wait_vblank_ioctl: pipe",
            |b| {
                let pipe_31 = sys::drm_vblank_seq_type::_DRM_VBLANK_HIGH_CRTC_MASK;
                let relative = sys::drm_vblank_seq_type::_DRM_VBLANK_RELATIVE;
                drm_ffi::wait_vblank(b.device.as_fd(), relative | pipe_31, 0, 0).map(drop)
            },
        ),
        row(
            "signal instead of an event",
            Core,
            EINVAL,
            "drm_wait_vblank_ioctl: _DRM_VBLANK_SIGNAL",
            |b| {
                let signal = sys::drm_vblank_seq_type::_DRM_VBLANK_SIGNAL;
                drm_ffi::wait_vblank(b.device.as_fd(), signal, 0, 0).map(drop)
            },
        ),
    ],
};
