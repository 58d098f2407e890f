// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of DRM and KMS, sized for a device whose heads each have one primary plane, one CRTC and one
//! virtual connector.
//!
//! The kernel crate's own DRM abstractions are compiled out where `CONFIG_DRM=m`, which is every distribution's kernel, and know
//! no KMS. Of Xen only memory is known here, as `xen_zcopy` has it. `unsafe` is allowed in this folder and in `xen/` only; each file states the invariants
//! that its blocks rely on.

pub(crate) mod commit;
pub(crate) mod debugfs;
pub(crate) mod device;
pub(crate) mod driver;
pub(crate) mod event;
pub(crate) mod foreign;
pub(crate) mod framebuffer;
pub(crate) mod gem;
pub(crate) mod import;
mod mapping;
pub(crate) mod pipe;
