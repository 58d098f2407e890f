// SPDX-License-Identifier: GPL-2.0

//! Work items. A thread of the model is the work queue: [`run`] does what is due.

use loom::sync::{Condvar, Mutex};

use crate::{model, sync::Arc, time::Jiffies};

/// What can be done.
pub trait WorkItem: Sized {
    /// What is owned while it is pending.
    type Pointer;

    /// Does it.
    fn run(this: Self::Pointer);
}

/// What has a work item in it.
pub trait HasDelayedWork: Sized {
    /// That.
    fn work(&self) -> &DelayedWork<Self>;
}

/// Says where the work item is.
#[macro_export]
macro_rules! impl_has_delayed_work {
    (impl HasDelayedWork<Self> for $type:ty { self.$field:ident }) => {
        impl $crate::workqueue::HasDelayedWork for $type {
            fn work(&self) -> &$crate::workqueue::DelayedWork<Self> {
                &self.$field
            }
        }
    };
}
pub use crate::impl_has_delayed_work;

/// An initializer of a work item.
#[macro_export]
macro_rules! new_delayed_work {
    ($name:literal) => {
        $crate::init::from_fn($crate::workqueue::DelayedWork::new)
    };
}
pub use crate::new_delayed_work;

/// How far a work item is.
struct State<T> {
    /// The reference that the queue owns, and when it is due.
    pending: Option<(Arc<T>, Jiffies)>,
    running: bool,
    /// Nothing runs any more.
    stopped: bool,
}

/// A work item.
pub struct DelayedWork<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T> DelayedWork<T> {
    /// One that is not pending.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                pending: None,
                running: false,
                stopped: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> Default for DelayedWork<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A queue.
pub struct Queue;

/// The only one.
pub fn system_freezable() -> Queue {
    Queue
}

impl Queue {
    /// Lets `item` run after `delay`, unless it is pending already.
    pub fn enqueue_delayed<T: HasDelayedWork>(
        &self,
        item: Arc<T>,
        delay: Jiffies,
    ) -> Result<(), Arc<T>> {
        let mut state = model::locked(&item.work().state);
        if state.pending.is_some() {
            drop(state);
            return Err(item);
        }
        state.pending = Some((item.clone(), delay));
        item.work().changed.notify_all();
        drop(state);
        Ok(())
    }
}

/// Lets `item` run after `delay`, whatever was said before.
pub fn schedule<T: HasDelayedWork>(item: &Arc<T>, delay: Jiffies) {
    let for_queue = item.clone();
    let before = {
        let mut state = model::locked(&item.work().state);
        item.work().changed.notify_all();
        state.pending.replace((for_queue, delay))
    };
    drop(before);
}

/// Cancels `item`, and waits for its end if it is running.
pub fn cancel<T: HasDelayedWork>(item: &Arc<T>) {
    let work = item.work();
    let mut state = model::locked(&work.state);
    let before = state.pending.take();
    while state.running {
        state = match work.changed.wait(state) {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
    }
    drop(state);
    drop(before);
}

/// The queue's thread, without an end before [`stop`]: runs `item` whenever it is due at once. What is to be done later is left.
pub fn serve<T: HasDelayedWork + WorkItem<Pointer = Arc<T>>>(item: &Arc<T>) {
    let work = item.work();
    loop {
        let mut state = model::locked(&work.state);
        while !state.stopped && !matches!(state.pending, Some((_, 0))) {
            state = match work.changed.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
        if state.stopped {
            return;
        }
        drop(state);
        run(item, false);
    }
}

/// [`serve`] returns.
pub fn stop<T: HasDelayedWork>(item: &Arc<T>) {
    model::locked(&item.work().state).stopped = true;
    item.work().changed.notify_all();
}

/// Runs `item` if it is due at once, or, if `later`, is pending at all. Tells whether it did.
pub fn run<T: HasDelayedWork + WorkItem<Pointer = Arc<T>>>(item: &Arc<T>, later: bool) -> bool {
    let work = item.work();
    let this = {
        let mut state = model::locked(&work.state);
        if state.running {
            return false;
        }
        let due = matches!(&state.pending, Some((_, delay)) if later || *delay == 0);
        let Some((this, _)) = state.pending.take_if(|_| due) else {
            return false;
        };
        state.running = true;
        this
    };
    T::run(this);
    model::locked(&work.state).running = false;
    work.changed.notify_all();
    true
}
