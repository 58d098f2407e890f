// SPDX-License-Identifier: GPL-2.0

//! The driver's pure code, compiled for the host, and the means to test it.
//!
//! The tests are in `tests/`. What they share with the fuzz targets is here: Xen's own idea of the layout, shared pages with
//! a peer that writes whenever it likes, and properties that hold for any behaviour of that peer.

pub mod page;
pub mod properties;
pub mod xen;

#[path = "../../../drm_front/displif/mod.rs"]
pub mod displif;

#[path = "../../../zcopy_backend_client/pgdir.rs"]
pub mod pgdir;
#[cfg(test)]
mod pgdir_tests;
