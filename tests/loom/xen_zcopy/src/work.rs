// SPDX-License-Identifier: GPL-2.0

//! Work items.

pub use kernel::workqueue::{cancel, schedule};
