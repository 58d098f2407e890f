// SPDX-License-Identifier: GPL-2.0

//! Dumb buffers and their mappings.

use std::io;
use std::os::fd::AsFd;

use drm_ffi::mode::dumbbuffer;

use super::Scope::{Core, Own};
use super::bench::Bench;
use super::{EACCES, EINVAL, ENOENT, ENOSPC, NO_ID, Table, row};
use crate::raw::Mapping;

const PAGE: u64 = 4096;

/// `DRM_IOCTL_MODE_CREATE_DUMB`.
pub const CREATE_DUMB: Table = Table {
    ioctl: "CREATE_DUMB",
    atomic: false,
    rows: &[
        row(
            "width 0",
            Core,
            EINVAL,
            "drm_mode_create_dumb: !width",
            |b| b.create_dumb(0, 64, 32, 0),
        ),
        row(
            "height 0",
            Core,
            EINVAL,
            "drm_mode_create_dumb: !height",
            |b| b.create_dumb(64, 0, 32, 0),
        ),
        row("0 bits", Core, EINVAL, "drm_mode_create_dumb: !bpp", |b| {
            b.create_dumb(64, 64, 0, 0)
        }),
        row(
            "everything at its largest",
            Core,
            EINVAL,
            "drm_mode_create_dumb: bpp overflow",
            |b| b.create_dumb(u32::MAX, u32::MAX, u32::MAX, 0),
        ),
        row(
            "line overflows 32 bits",
            Core,
            EINVAL,
            "drm_mode_create_dumb: cpp * width",
            |b| b.create_dumb(0x4000_0000, 1, 32, 0),
        ),
        row(
            "size overflows 32 bits",
            Core,
            EINVAL,
            "drm_mode_create_dumb: height * stride",
            |b| b.create_dumb(0x1_0000, 0x1_0000, 32, 0),
        ),
        row(
            "size rounds up to 4 GiB",
            Core,
            EINVAL,
            "drm_mode_create_dumb: PAGE_ALIGN wraps",
            |b| b.create_dumb(0x3fff_ffff, 1, 32, 0),
        ),
        // The C frontend multiplies width by bits in 32 bits: this was its pitch 0.
        row(
            "width times bits overflows",
            Own,
            EINVAL,
            "sizes end at 16384",
            |b| b.create_dumb(0x0800_0000, 1, 32, 0),
        ),
        row("16385 wide", Own, EINVAL, "sizes end at 16384", |b| {
            b.create_dumb(16385, 1, 32, 0)
        }),
        row("16385 high", Own, EINVAL, "sizes end at 16384", |b| {
            b.create_dumb(1, 16385, 32, 0)
        }),
        row("1 bit", Own, EINVAL, "only 16, 24 and 32 bits", |b| {
            b.create_dumb(64, 64, 1, 0)
        }),
        row("8 bits", Own, EINVAL, "only 16, 24 and 32 bits", |b| {
            b.create_dumb(64, 64, 8, 0)
        }),
        row("12 bits", Own, EINVAL, "only 16, 24 and 32 bits", |b| {
            b.create_dumb(64, 64, 12, 0)
        }),
        row("15 bits", Own, EINVAL, "only 16, 24 and 32 bits", |b| {
            b.create_dumb(64, 64, 15, 0)
        }),
        row("30 bits", Own, EINVAL, "only 16, 24 and 32 bits", |b| {
            b.create_dumb(64, 64, 30, 0)
        }),
        row("33 bits", Own, EINVAL, "only 16, 24 and 32 bits", |b| {
            b.create_dumb(64, 64, 33, 0)
        }),
        row("64 bits", Own, EINVAL, "only 16, 24 and 32 bits", |b| {
            b.create_dumb(64, 64, 64, 0)
        }),
        row(
            "a flag",
            Own,
            EINVAL,
            "struct drm_mode_create_dumb: flags must be zero",
            |b| b.create_dumb(64, 64, 32, 1),
        ),
        // 262144 pages: eight times what a guest may grant by default.
        row(
            "more than the grant budget",
            Own,
            ENOSPC,
            "the driver's share of the grant table",
            |b| b.create_dumb(16384, 16384, 32, 0),
        ),
    ],
};

fn map_dumb(bench: &Bench<'_>, handle: u32) -> io::Result<()> {
    dumbbuffer::map(bench.device.as_fd(), handle, 0, 0).map(drop)
}

/// `DRM_IOCTL_MODE_MAP_DUMB`.
pub const MAP_DUMB: Table = Table {
    ioctl: "MAP_DUMB",
    atomic: false,
    rows: &[
        row(
            "handle 0",
            Core,
            ENOENT,
            "drm_gem_dumb_map_offset: lookup",
            |b| map_dumb(b, 0),
        ),
        row(
            "unknown handle",
            Core,
            ENOENT,
            "drm_gem_dumb_map_offset: lookup",
            |b| map_dumb(b, NO_ID),
        ),
        row(
            "another client's handle",
            Core,
            ENOENT,
            "handles belong to an open file",
            |b| dumbbuffer::map(b.other.as_fd(), b.spare.handle, 0, 0).map(drop),
        ),
    ],
};

fn destroy_dumb(bench: &Bench<'_>, handle: u32) -> io::Result<()> {
    dumbbuffer::destroy(bench.device.as_fd(), handle).map(drop)
}

/// `DRM_IOCTL_MODE_DESTROY_DUMB`.
pub const DESTROY_DUMB: Table = Table {
    ioctl: "DESTROY_DUMB",
    atomic: false,
    rows: &[
        // Not ENOENT: drm_gem_handle_delete has always given EINVAL.
        row("handle 0", Core, EINVAL, "drm_gem_handle_delete", |b| {
            destroy_dumb(b, 0)
        }),
        row(
            "unknown handle",
            Core,
            EINVAL,
            "drm_gem_handle_delete",
            |b| destroy_dumb(b, NO_ID),
        ),
        row(
            "a handle twice",
            Core,
            EINVAL,
            "drm_gem_handle_delete",
            |b| {
                let made = dumbbuffer::create(b.device.as_fd(), 64, 64, 32, 0)?;
                destroy_dumb(b, made.handle)?;
                destroy_dumb(b, made.handle)
            },
        ),
        row(
            "another client's handle",
            Core,
            EINVAL,
            "handles belong to an open file",
            |b| dumbbuffer::destroy(b.other.as_fd(), b.spare.handle).map(drop),
        ),
    ],
};

/// `DRM_IOCTL_GEM_CLOSE`.
pub const GEM_CLOSE: Table = Table {
    ioctl: "GEM_CLOSE",
    atomic: false,
    rows: &[row(
        "unknown handle",
        Core,
        EINVAL,
        "drm_gem_handle_delete",
        |b| drm_ffi::gem::close(b.device.as_fd(), NO_ID).map(drop),
    )],
};

fn bytes(size: u64) -> io::Result<usize> {
    usize::try_from(size).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn map_spare(bench: &Bench<'_>, skip: u64, len: u64) -> io::Result<()> {
    let offset = bench.spare.map_offset()? + skip;
    Mapping::new(bench.device.as_fd(), bytes(len)?, offset).map(drop)
}

/// `mmap` of the device node.
pub const MMAP: Table = Table {
    ioctl: "mmap",
    atomic: false,
    rows: &[
        row(
            "a page more than the buffer",
            Core,
            EINVAL,
            "drm_gem_object_lookup_at_offset: no such range",
            |b| map_spare(b, 0, b.spare.size.next_multiple_of(PAGE) + PAGE),
        ),
        row(
            "from the second page on",
            Core,
            EINVAL,
            "drm_gem_object_lookup_at_offset: not a buffer's start",
            |b| map_spare(b, PAGE, PAGE),
        ),
        row(
            "offset 0",
            Core,
            EINVAL,
            "drm_gem_object_lookup_at_offset: no buffer there",
            |b| Mapping::new(b.device.as_fd(), bytes(PAGE)?, 0).map(drop),
        ),
        row(
            "offset inside a page",
            Core,
            EINVAL,
            "the mmap system call",
            |b| map_spare(b, 1, PAGE),
        ),
        row("no bytes", Core, EINVAL, "the mmap system call", |b| {
            map_spare(b, 0, 0)
        }),
        row(
            "another client's buffer",
            Core,
            EACCES,
            "drm_vma_node_is_allowed",
            |b| {
                let offset = b.spare.map_offset()?;
                Mapping::new(b.other.as_fd(), bytes(PAGE)?, offset).map(drop)
            },
        ),
        row(
            "a destroyed buffer",
            Core,
            EINVAL,
            "drm_gem_object_lookup_at_offset: no buffer there",
            |b| {
                let made = dumbbuffer::create(b.device.as_fd(), 64, 64, 32, 0)?;
                let mapped = dumbbuffer::map(b.device.as_fd(), made.handle, 0, 0);
                destroy_dumb(b, made.handle)?;
                Mapping::new(b.device.as_fd(), bytes(PAGE)?, mapped?.offset).map(drop)
            },
        ),
    ],
};
