// SPDX-License-Identifier: GPL-2.0

//! Time. It stands still, but in models that let it pass.

use core::marker::PhantomData;
use core::ops::Sub;
use std::cell::{Cell, RefCell};

use loom::sync::atomic::{AtomicI64, Ordering};

/// Ticks: milliseconds here.
pub type Jiffies = u64;

/// Milliseconds.
pub type Msecs = u32;

/// As many ticks.
pub fn msecs_to_jiffies(msecs: Msecs) -> Jiffies {
    msecs.into()
}

loom::lazy_static! {
    static ref CLOCK: AtomicI64 = AtomicI64::new(0);
}

type Wake = Box<dyn Fn()>;

thread_local! {
    /// Whether the model lets time pass: if not, reading the clock is nothing that threads can order.
    static PASSES: Cell<bool> = const { Cell::new(false) };
    static SLEEPERS: RefCell<Vec<Wake>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn reset() {
    PASSES.set(false);
    SLEEPERS.take();
}

/// Time will pass in this model: to be called before anything reads the clock.
pub fn will_pass() {
    PASSES.set(true);
}

/// Lets so much time pass.
pub fn pass(time: Delta) {
    assert!(PASSES.get(), "the model has not said that time passes");
    CLOCK.fetch_add(time.0, Ordering::AcqRel);
    let sleepers = SLEEPERS.take();
    for wake in &sleepers {
        wake();
    }
    SLEEPERS.with_borrow_mut(|all| all.extend(sleepers));
}

/// Has `wake` called whenever time has passed.
pub(crate) fn on_passing(wake: Wake) {
    if PASSES.get() {
        SLEEPERS.with_borrow_mut(|all| all.push(wake));
    }
}

/// The time now, in milliseconds.
pub(crate) fn now() -> i64 {
    if PASSES.get() {
        // A plain load might see an older time.
        CLOCK.fetch_add(0, Ordering::AcqRel)
    } else {
        0
    }
}

/// A span of time.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Delta(i64);

impl Delta {
    /// So many milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// So many seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1000)
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whether it is less than nothing.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Sub for Delta {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

/// The clock that never goes back.
pub struct Monotonic;

/// A point in time.
pub struct Instant<C>(i64, PhantomData<C>);

impl<C> Clone for Instant<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Instant<C> {}

impl<C> Instant<C> {
    /// Now.
    pub fn now() -> Self {
        Self(now(), PhantomData)
    }

    /// How long ago it is.
    pub fn elapsed(&self) -> Delta {
        Delta(now() - self.0)
    }
}
