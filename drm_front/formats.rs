// SPDX-License-Identifier: GPL-2.0

//! The pixel formats that are offered.
//!
//! displif has no list of formats: these are what backends are known to take, the one that every backend takes first.

const fn fourcc(name: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*name)
}

/// The formats' FOURCCs (`include/uapi/drm/drm_fourcc.h`).
pub(crate) const ALL: [u32; 9] = [
    fourcc(b"XR24"),
    fourcc(b"AR24"),
    fourcc(b"RG24"),
    fourcc(b"RG16"),
    fourcc(b"XR15"),
    fourcc(b"AR15"),
    fourcc(b"XR12"),
    fourcc(b"AR12"),
    fourcc(b"YUYV"),
];
