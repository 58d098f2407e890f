// SPDX-License-Identifier: GPL-2.0

//! Types of C.

use crate::init::{self, PinInit};

/// A value of C's.
pub struct Opaque<T>(T);

impl<T: Default> Opaque<T> {
    /// One that C initialises.
    pub fn ffi_init(init: impl FnOnce(&T)) -> impl PinInit<Self> {
        init::from_fn(move || {
            let value = T::default();
            init(&value);
            Self(value)
        })
    }

    /// For C.
    pub fn get(&self) -> &T {
        &self.0
    }
}
