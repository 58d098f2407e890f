// SPDX-License-Identifier: GPL-2.0

//! The event of a flip, which is counted when it is let go.

use std::sync::Arc;

use kernel::model::locked;
use loom::sync::{Condvar, Mutex};

#[derive(Default)]
struct State {
    times: Mutex<usize>,
    changed: Condvar,
}

/// How often an event was let go.
#[derive(Clone)]
pub(crate) struct LetGo(Arc<State>);

impl LetGo {
    pub(crate) fn times(&self) -> usize {
        *locked(&self.0.times)
    }

    /// Waits until it was, as a commit does.
    pub(crate) fn wait(&self) {
        let mut times = locked(&self.0.times);
        while *times == 0 {
            times = self.0.changed.wait(times).unwrap();
        }
    }
}

/// An event of a flip under way. The drop lets it go.
pub(crate) struct FlipEvent(LetGo);

impl FlipEvent {
    pub(crate) fn new() -> (Self, LetGo) {
        let let_go = LetGo(Arc::new(State::default()));
        (Self(let_go.clone()), let_go)
    }
}

impl Drop for FlipEvent {
    fn drop(&mut self) {
        let state = &self.0.0;
        let mut times = locked(&state.times);
        *times += 1;
        assert_eq!(*times, 1, "a flip's event was let go twice");
        state.changed.notify_all();
    }
}
