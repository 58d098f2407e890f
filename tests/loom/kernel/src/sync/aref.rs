// SPDX-License-Identifier: GPL-2.0

//! References to what counts its references itself.

use core::ops::Deref;

/// A counted reference.
pub struct ARef<T>(loom::sync::Arc<T>);

impl<T> ARef<T> {
    /// The first reference to `value`.
    pub fn of(value: T) -> Self {
        Self(loom::sync::Arc::new(value))
    }
}

impl<T> Clone for ARef<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for ARef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
