// SPDX-License-Identifier: GPL-2.0

//! Raw bindings to the kernel's Xen and DRM interfaces, and nothing else.
//!
//! `bindings.rs`, `xen_helpers.rs` and `drm_helpers.rs` are made at build time by bindgen from `bindings_helper.h`, `xen_helpers.c` and
//! `drm_helpers.c`. The crate is linked into `xen_zcopy.ko`, which exports it, with Xen's helpers; DRM's are part of the module that
//! needs them.
//! Types of other kernel subsystems are the `kernel` crate's own. Only `drm_front/xen`, `drm_front/kms` and the mapping
//! files of `zcopy_backend_client` may use this crate: what they export is safe, what is here is not.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    improper_ctypes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    dead_code
)]

#[allow(unused_imports)]
mod bindings {
    include!(concat!(env!("XEN_SYS_OUT"), "/bindings.rs"));
    // One module: the helpers' types are those above, else the kernel crate's.
    include!(concat!(env!("XEN_SYS_OUT"), "/xen_helpers.rs"));
    include!(concat!(env!("XEN_SYS_OUT"), "/drm_helpers.rs"));
}

pub use bindings::*;
