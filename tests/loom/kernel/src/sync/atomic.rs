// SPDX-License-Identifier: GPL-2.0

//! Atomics, their orders being types.

use loom::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// An order of accesses.
pub trait Order {
    /// For loads.
    const LOAD: Ordering;
    /// For stores.
    const STORE: Ordering;
    /// For both at once.
    const BOTH: Ordering;
}

/// No order.
pub struct Relaxed;

impl Order for Relaxed {
    const LOAD: Ordering = Ordering::Relaxed;
    const STORE: Ordering = Ordering::Relaxed;
    const BOTH: Ordering = Ordering::Relaxed;
}

/// Nothing passes it. What loom has is weaker, so what holds here holds there.
pub struct Full;

impl Order for Full {
    const LOAD: Ordering = Ordering::Acquire;
    const STORE: Ordering = Ordering::Release;
    const BOTH: Ordering = Ordering::AcqRel;
}

/// What can be atomic.
pub trait Value: Copy + Eq {
    /// loom's cell for it.
    type Cell;
    /// A new cell.
    fn cell(self) -> Self::Cell;
    /// Reads.
    fn load(cell: &Self::Cell, order: Ordering) -> Self;
    /// Writes.
    fn store(cell: &Self::Cell, value: Self, order: Ordering);
    /// Replaces.
    fn swap(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
    /// Replaces one value.
    fn exchange(cell: &Self::Cell, old: Self, new: Self, order: Ordering) -> Result<Self, Self>;
}

macro_rules! value {
    ($($type:ty: $cell:ty),*) => { $(
        impl Value for $type {
            type Cell = $cell;

            fn cell(self) -> $cell {
                <$cell>::new(self)
            }

            fn load(cell: &$cell, order: Ordering) -> Self {
                cell.load(order)
            }

            fn store(cell: &$cell, value: Self, order: Ordering) {
                cell.store(value, order);
            }

            fn swap(cell: &$cell, value: Self, order: Ordering) -> Self {
                cell.swap(value, order)
            }

            fn exchange(cell: &$cell, old: Self, new: Self, order: Ordering) -> Result<Self, Self> {
                cell.compare_exchange(old, new, order, Ordering::Relaxed)
            }
        }
    )* };
}

value!(bool: AtomicBool, i32: AtomicI32, u64: AtomicU64);

/// An atomic.
pub struct Atomic<T: Value>(T::Cell);

impl<T: Value> Atomic<T> {
    /// With `value`.
    pub fn new(value: T) -> Self {
        Self(value.cell())
    }

    /// Reads.
    pub fn load<O: Order>(&self, _: O) -> T {
        T::load(&self.0, O::LOAD)
    }

    /// Writes.
    pub fn store<O: Order>(&self, value: T, _: O) {
        T::store(&self.0, value, O::STORE);
    }

    /// Replaces.
    pub fn xchg<O: Order>(&self, value: T, _: O) -> T {
        T::swap(&self.0, value, O::BOTH)
    }

    /// Replaces `old`.
    pub fn cmpxchg<O: Order>(&self, old: T, new: T, _: O) -> Result<T, T> {
        T::exchange(&self.0, old, new, O::BOTH)
    }
}

impl Atomic<u64> {
    /// Adds.
    pub fn fetch_add<O: Order>(&self, value: u64, _: O) -> u64 {
        self.0.fetch_add(value, O::BOTH)
    }
}
