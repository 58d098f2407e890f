// SPDX-License-Identifier: GPL-2.0
//! What a picture must look like, and whether it does.

pub mod card;
pub mod picture;
