// SPDX-License-Identifier: GPL-2.0

//! Locks and reference counts.

pub mod aref;
pub mod atomic;

use core::ops::Deref;

use loom::sync::MutexGuard;

use crate::{
    alloc::Flags,
    error::{AllocError, Result},
    init::{InPlaceInit, PinInit},
    model,
};

/// A counted reference.
pub struct Arc<T>(loom::sync::Arc<T>);

impl<T> Arc<T> {
    /// The first reference to `value`.
    pub fn new(value: T, _: Flags) -> Result<Self, AllocError> {
        Ok(Self(loom::sync::Arc::new(value)))
    }

    /// Whether both refer to the same.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        loom::sync::Arc::ptr_eq(&this.0, &other.0)
    }
}

impl<T> InPlaceInit<T> for Arc<T> {
    type Pinned = Self;

    fn pin_init(init: impl PinInit<T>, _: Flags) -> Result<Self> {
        Ok(Self(loom::sync::Arc::new(init.make())))
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A lock that sleeps.
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// With `value` in it.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        model::locked(&self.0)
    }
}

/// A lock of interrupts. Interrupts are threads here, so it is a lock like any other.
pub type SpinLockIrq<T> = Mutex<T>;
