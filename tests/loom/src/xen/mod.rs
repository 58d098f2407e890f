// SPDX-License-Identifier: GPL-2.0

//! What the driver sees of Xen.

/// Its completion is the crate `kernel`'s, which is safe.
#[path = "../../../../drm_front/xen/answer.rs"]
#[rustfmt::skip]
#[allow(unsafe_code, unused_unsafe)]
pub(crate) mod answer;

pub(crate) mod evtchn;
pub(crate) mod shared_page;
pub(crate) mod xenbus;
