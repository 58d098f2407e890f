// SPDX-License-Identifier: GPL-2.0

//! The driver's own logic, from its shipped files, under loom.
//!
//! What is below it stands in for the kernel: the crates `kernel` and `xen_zcopy`, and the files of `kms` and `xen` that are written out here. All else is
//! the driver's.

#![cfg(test)]
// What the models do not need of the shipped files.
#![allow(dead_code, missing_docs)]

#[path = "../../../drm_front/buffer.rs"]
#[rustfmt::skip]
mod buffer;
#[path = "../../../drm_front/display.rs"]
#[rustfmt::skip]
mod display;
#[path = "../../../drm_front/displif/mod.rs"]
#[rustfmt::skip]
mod displif;
#[path = "../../../drm_front/formats.rs"]
#[rustfmt::skip]
mod formats;
#[path = "../../../drm_front/framebuffer.rs"]
#[rustfmt::skip]
mod framebuffer;
#[path = "../../../drm_front/head.rs"]
#[rustfmt::skip]
mod head;
#[path = "../../../drm_front/keeper.rs"]
#[rustfmt::skip]
mod keeper;
#[path = "../../../drm_front/log_limit.rs"]
#[rustfmt::skip]
mod log_limit;
#[path = "../../../drm_front/remote.rs"]
#[rustfmt::skip]
mod remote;
#[path = "../../../drm_front/session.rs"]
#[rustfmt::skip]
mod session;

mod allocation;
mod debugfs;
mod imported;
mod kms;
mod module_parameters;
mod xen;

mod backend;
mod models;
