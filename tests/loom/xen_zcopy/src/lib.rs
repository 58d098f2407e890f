// SPDX-License-Identifier: GPL-2.0

//! What the driver uses of `xen_zcopy`. Memory is only numbers here: which grants there are, and whether they end too early.

#[path = "../../../../zcopy_backend_client/pgdir.rs"]
#[rustfmt::skip]
pub mod pgdir;

pub mod attached;
pub mod dmabuf;
pub mod domain;
pub mod export;
pub mod grant;
pub mod page;
pub mod work;
