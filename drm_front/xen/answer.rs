// SPDX-License-Identifier: GPL-2.0

//! An answer that a task waits for and an interrupt handler gives.
//!
//! The `kernel` crate's completion has no time limit, and its condition variable cannot wait for a fatal signal only.
//!
//! # Invariants
//!
//! `word` is 0 until the answer is there, and does not change after that.

use kernel::{
    bindings,
    ffi::c_long,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed,
            Release, //
        },
        LockClassKey, //
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
    queue: Opaque<bindings::wait_queue_head_t>,
    word: Atomic<i32>,
}

// SAFETY: Wait queues may be used from any thread.
unsafe impl Send for Answer {}
// SAFETY: As above.
unsafe impl Sync for Answer {}

impl Answer {
    /// A place without an answer.
    pub(crate) fn new(key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is pinned memory of ours; name and key are static.
            queue <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, c"xen_answer".as_char_ptr(), key.as_ptr())
            }),
            word: Atomic::new(0),
        })
    }

    /// Gives the answer, and wakes whoever waits. May be called in interrupts. Only the first counts.
    pub(crate) fn give(&self, answer: i32) {
        if self.word.cmpxchg(0, answer, Release).is_ok() {
            // SAFETY: Initialised by `new`.
            unsafe { xen_sys::xen_sys_wake_up_all(self.queue.get()) };
        }
    }

    /// The answer, if it is there.
    pub(crate) fn get(&self) -> Option<i32> {
        match self.word.load(Relaxed) {
            0 => None,
            answer => Some(answer),
        }
    }

    /// Waits for the answer, at most for `limit`. Sleeps; a fatal signal ends it, and so does nothing else; it does not hold up the
    /// freezing of tasks.
    pub(crate) fn wait(&self, limit: Jiffies) -> Result<i32, NoAnswer> {
        let limit = c_long::try_from(limit).unwrap_or(c_long::MAX);
        // SAFETY: The queue is initialised, the word outlives the call.
        let left = unsafe {
            xen_sys::xen_sys_wait_nonzero_killable_freezable(
                self.queue.get(),
                self.word.as_ptr(),
                limit,
            )
        };
        match self.get() {
            Some(answer) => Ok(answer),
            None if left == 0 => Err(NoAnswer::TimedOut),
            None => Err(NoAnswer::Killed),
        }
    }
}
