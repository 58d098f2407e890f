// SPDX-License-Identifier: GPL-2.0

//! Files for people, whom no model has.

use crate::{display::Display, kms::driver::DebugfsFile};

pub(crate) const FILES: &[DebugfsFile<Display>] = &[];
