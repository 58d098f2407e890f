// SPDX-License-Identifier: GPL-2.0

//! Initializers. What they make may be moved, so they just make it.

use core::pin::Pin;

use crate::{
    alloc::{Flags, KBox},
    error::Result,
};

/// Makes a value.
pub trait PinInit<T> {
    /// Makes it.
    fn make(self) -> T;
}

/// See [`from_fn`].
pub struct FromFn<F>(F);

/// An initializer that calls `make`.
pub fn from_fn<T, F: FnOnce() -> T>(make: F) -> FromFn<F> {
    FromFn(make)
}

impl<T, F: FnOnce() -> T> PinInit<T> for FromFn<F> {
    fn make(self) -> T {
        (self.0)()
    }
}

/// Smart pointers to what initializers make.
pub trait InPlaceInit<T>: Sized {
    /// The pointer.
    type Pinned;

    /// Makes one.
    fn pin_init(init: impl PinInit<T>, flags: Flags) -> Result<Self::Pinned>;
}

impl<T> InPlaceInit<T> for KBox<T> {
    type Pinned = Pin<Self>;

    fn pin_init(init: impl PinInit<T>, _: Flags) -> Result<Pin<Self>> {
        Ok(Box::pin(init.make()))
    }
}
