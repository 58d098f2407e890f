// SPDX-License-Identifier: GPL-2.0

//! The grant table, which has room.

use kernel::error::Result;

/// Whether there is room for so many.
pub fn admit(_: u64) -> Result {
    Ok(())
}
