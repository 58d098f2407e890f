// SPDX-License-Identifier: GPL-2.0

//! What `xen/answer.rs` uses of the C bindings: completions.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};

use crate::{model, time};

/// A completion.
#[allow(non_camel_case_types)]
pub struct completion(Arc<State>);

struct State {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Default for completion {
    fn default() -> Self {
        Self(Arc::new(State {
            done: Mutex::new(false),
            changed: Condvar::new(),
        }))
    }
}

/// Nothing is left to be done.
pub fn init_completion(_: &completion) {}

/// Wakes all who wait or will wait.
pub fn complete_all(done: &completion) {
    *model::locked(&done.0.done) = true;
    done.0.changed.notify_all();
}

/// Waits, at most for `limit`. Tells what is left of it, 0 when nothing is. Nobody is ever killed.
pub fn wait_for_completion_killable_timeout(done: &completion, limit: time::Jiffies) -> i64 {
    let state = &done.0;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let deadline = time::now().saturating_add(limit);
    let waiting = state.clone();
    time::on_passing(Box::new(move || {
        // Whoever has looked at the clock with the lock held sleeps by now.
        drop(model::locked(&waiting.done));
        waiting.changed.notify_all();
    }));
    let mut done = model::locked(&state.done);
    loop {
        if *done {
            return 1;
        }
        if time::now() >= deadline {
            return 0;
        }
        done = match state.changed.wait(done) {
            Ok(done) => done,
            Err(poisoned) => poisoned.into_inner(),
        };
    }
}
