// SPDX-License-Identifier: GPL-2.0

//! Vectors and boxes.

use core::ops::{Deref, DerefMut};

use crate::error::{AllocError, EINVAL, Result};

/// Flags of an allocation.
#[derive(Copy, Clone)]
pub struct Flags;

/// May sleep.
pub const GFP_KERNEL: Flags = Flags;

/// A box.
pub type KBox<T> = Box<T>;

/// A vector.
pub struct KVec<T>(Vec<T>);

/// A large vector.
pub type KVVec<T> = KVec<T>;

impl<T> KVec<T> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// An empty one with room for `capacity`.
    pub fn with_capacity(capacity: usize, _: Flags) -> Result<Self, AllocError> {
        Ok(Self(Vec::with_capacity(capacity)))
    }

    /// Makes room for `additional` more.
    pub fn reserve(&mut self, additional: usize, _: Flags) -> Result<(), AllocError> {
        self.0.reserve(additional);
        Ok(())
    }

    /// Appends `value`.
    pub fn push(&mut self, value: T, _: Flags) -> Result<(), AllocError> {
        self.0.push(value);
        Ok(())
    }

    /// Takes the `index`th out.
    pub fn remove(&mut self, index: usize) -> Result<T> {
        if index < self.0.len() {
            Ok(self.0.remove(index))
        } else {
            Err(EINVAL)
        }
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> IntoIterator for KVec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a KVec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
