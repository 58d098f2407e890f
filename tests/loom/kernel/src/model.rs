// SPDX-License-Identifier: GPL-2.0

//! Running models.
//!
//! All threads of a model are coroutines on one thread of the machine, of which one runs at a time. So what loom is not to see (what exists,
//! and under which number) is kept in that thread's locals.

use std::cell::RefCell;
use std::sync::PoisonError;

use loom::model::Builder;
use loom::sync::{Mutex, MutexGuard};

use crate::time;

type Reset = fn();

thread_local! {
    static RESETS: RefCell<Vec<Reset>> = const { RefCell::new(Vec::new()) };
}

/// Has `reset` called before and after each run of a model.
pub fn on_reset(reset: Reset) {
    RESETS.with_borrow_mut(|resets| resets.push(reset));
}

fn reset() {
    time::reset();
    let resets = RESETS.with_borrow(Clone::clone);
    for reset in resets {
        reset();
    }
}

/// Runs `model` in every way in which its threads can take turns, with at most so many preemptions in a run; all if `None`.
pub fn check(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = preemptions;
    }
    builder.max_branches = 100_000;
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let began = std::time::Instant::now();
    builder.check({
        let runs = runs.clone();
        move || {
            runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            reset();
            model();
            reset();
        }
    });
    println!(
        "{} runs in {} ms",
        runs.load(std::sync::atomic::Ordering::Relaxed),
        began.elapsed().as_millis()
    );
}

/// Takes a lock.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
