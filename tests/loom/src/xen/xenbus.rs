// SPDX-License-Identifier: GPL-2.0

//! The device on xenbus. The models play the xenwatch thread themselves.

use kernel::{prelude::*, sync::aref::ARef};

use xen_zcopy::domain::DomId;

#[derive(Default)]
pub(crate) struct Device(kernel::device::Device);

pub(crate) type DeviceRef = ARef<Device>;

impl Device {
    pub(crate) fn otherend_id(&self) -> DomId {
        0
    }

    pub(crate) fn closed(&self) {}

    pub(crate) fn look_again(&self) -> Result {
        Ok(())
    }
}

impl AsRef<kernel::device::Device> for Device {
    fn as_ref(&self) -> &kernel::device::Device {
        &self.0
    }
}
