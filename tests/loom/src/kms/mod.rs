// SPDX-License-Identifier: GPL-2.0

//! What the driver sees of DRM.

#[path = "../../../../drm_front/kms/driver.rs"]
#[rustfmt::skip]
pub(crate) mod driver;

pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod foreign;
