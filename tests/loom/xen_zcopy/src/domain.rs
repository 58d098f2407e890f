// SPDX-License-Identifier: GPL-2.0

//! Domains.

/// A domain's number.
pub type DomId = u16;
