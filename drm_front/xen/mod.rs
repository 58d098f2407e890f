// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of the kernel's Xen interfaces: the bus, event channels, shared pages. Memory shared at large is `xen_zcopy`'s.
//!
//! Nothing here knows what is said over them. `unsafe` is allowed in this folder and in `kms/` only; each file states
//! the invariants that its blocks rely on.

pub(crate) mod answer;
pub(crate) mod evtchn;
pub(crate) mod shared_page;
pub(crate) mod xenbus;
