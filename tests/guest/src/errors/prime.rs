// SPDX-License-Identifier: GPL-2.0

//! PRIME handles and descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::Scope::Core;
use super::bench::Bench;
use super::{EBADF, EINVAL, ENOENT, NO_ID, Table, row};
use crate::raw;

fn export(bench: &Bench<'_>, handle: u32, flags: u32) -> io::Result<()> {
    // A wrong success leaves the descriptor open; the failed row is reported, and the process ends soon.
    drm_ffi::gem::handle_to_fd(bench.device.as_fd(), handle, flags).map(drop)
}

/// `DRM_IOCTL_PRIME_HANDLE_TO_FD`.
pub const HANDLE_TO_FD: Table = Table {
    ioctl: "PRIME_HANDLE_TO_FD",
    atomic: false,
    rows: &[
        row(
            "handle 0",
            Core,
            ENOENT,
            "drm_gem_prime_handle_to_dmabuf: lookup",
            |b| export(b, 0, drm::CLOEXEC),
        ),
        row(
            "unknown handle",
            Core,
            ENOENT,
            "drm_gem_prime_handle_to_dmabuf: lookup",
            |b| export(b, NO_ID, drm::CLOEXEC),
        ),
        row(
            "unknown flag",
            Core,
            EINVAL,
            "drm_prime_handle_to_fd_ioctl: flags",
            |b| export(b, b.spare.handle, 1 << 30),
        ),
    ],
};

/// `DRM_IOCTL_PRIME_FD_TO_HANDLE`.
pub const FD_TO_HANDLE: Table = Table {
    ioctl: "PRIME_FD_TO_HANDLE",
    atomic: false,
    rows: &[
        row("no descriptor", Core, EBADF, "dma_buf_get: fget", |b| {
            raw::prime_fd_to_handle(b.device.as_fd(), -1).map(drop)
        }),
        row("closed descriptor", Core, EBADF, "dma_buf_get: fget", |b| {
            raw::prime_fd_to_handle(b.device.as_fd(), i32::MAX).map(drop)
        }),
        row(
            "no dma-buf",
            Core,
            EINVAL,
            "dma_buf_get: not a dma-buf",
            |b| raw::prime_fd_to_handle(b.device.as_fd(), b.null.as_raw_fd()).map(drop),
        ),
        row(
            "the device itself",
            Core,
            EINVAL,
            "dma_buf_get: not a dma-buf",
            |b| raw::prime_fd_to_handle(b.device.as_fd(), b.device.as_fd().as_raw_fd()).map(drop),
        ),
    ],
};
