// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of the kernel's Xen interfaces: the bus, event channels, granted memory.
//!
//! Nothing here knows what is said over them. `unsafe` is allowed in this folder and in `kms/` only; each file states
//! the invariants that its blocks rely on.

pub(crate) mod answer;
pub(crate) mod domain;
pub(crate) mod evtchn;
pub(crate) mod grant;
pub(crate) mod granted_buffer;
pub(crate) mod page;
pub(crate) mod pgdir;
pub(crate) mod reclaim;
pub(crate) mod shared_page;
pub(crate) mod work;
pub(crate) mod xenbus;
