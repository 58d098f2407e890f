// SPDX-License-Identifier: GPL-2.0

//! The DRM device, to which nothing happens.

use core::marker::PhantomData;

use kernel::{
    prelude::*,
    sync::{Arc, aref::ARef},
};

use super::driver::Driver;

pub(crate) struct Device<T>(PhantomData<fn(T)>);

impl<T> Device<T> {
    pub(crate) fn hotplug(&self) {}

    pub(crate) fn link_bad(&self, _pipe: usize) {}
}

pub(crate) struct Registration<T>(ARef<Device<T>>);

impl<T: Driver> Registration<T> {
    pub(crate) fn new(_: &kernel::device::Device, _: Arc<T>) -> Result<Self> {
        Ok(Self(ARef::of(Device(PhantomData))))
    }

    pub(crate) fn device(&self) -> &ARef<Device<T>> {
        &self.0
    }
}
