// SPDX-License-Identifier: GPL-2.0

//! Devices.

/// A device.
#[derive(Default)]
pub struct Device;
