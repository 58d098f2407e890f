// SPDX-License-Identifier: GPL-2.0

//! An answer that a task waits for and an interrupt handler gives.
//!
//! The `kernel` crate's completion has no time limit, and its condition variable cannot wait for a fatal signal only.
//!
//! # Invariants
//!
//! `word` is 0 until the answer is there, and does not change after that; `done` is completed after `word` is set.

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    time::Jiffies,
    types::Opaque, //
};

/// Why there is no answer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum NoAnswer {
    /// Time is up.
    TimedOut,
    /// The waiting task is being killed.
    Killed,
}

/// A place for one answer, a number that is not 0.
#[pin_data]
pub(crate) struct Answer {
    #[pin]
    done: Opaque<bindings::completion>,
    word: Atomic<i32>,
}

// SAFETY: Completions may be used from any thread.
unsafe impl Send for Answer {}
// SAFETY: As above.
unsafe impl Sync for Answer {}

impl Answer {
    /// A place without an answer.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is pinned memory of ours.
            done <- Opaque::ffi_init(|slot| unsafe { bindings::init_completion(slot) }),
            word: Atomic::new(0),
        })
    }

    /// Gives the answer, and wakes whoever waits. May be called in interrupts. Only the first counts.
    pub(crate) fn give(&self, answer: i32) {
        if self.word.cmpxchg(0, answer, Full).is_ok() {
            // SAFETY: Initialised by `new`.
            unsafe { bindings::complete_all(self.done.get()) };
        }
    }

    /// The answer, if it is there.
    pub(crate) fn get(&self) -> Option<i32> {
        match self.word.load(Relaxed) {
            0 => None,
            answer => Some(answer),
        }
    }

    /// Waits for the answer, at most for `limit`. Sleeps; besides the answer and the limit only a fatal signal ends it.
    pub(crate) fn wait(&self, limit: Jiffies) -> Result<i32, NoAnswer> {
        // SAFETY: Initialised by `new`.
        let left =
            unsafe { bindings::wait_for_completion_killable_timeout(self.done.get(), limit) };
        match self.get() {
            Some(answer) => Ok(answer),
            None if left == 0 => Err(NoAnswer::TimedOut),
            None => Err(NoAnswer::Killed),
        }
    }
}
