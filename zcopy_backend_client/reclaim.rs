// SPDX-License-Identifier: GPL-2.0

//! Grants that could not be ended because the peer still has the pages mapped.
//!
//! They are tried again, less and less often, until the peer lets go. Until then their pages stay allocated, their entries
//! count in the budget, and the module stays loaded. Not the grant table's own deferred list: that one frees ten entries
//! a second, whatever they are.
//!
//! # Invariants
//!
//! The module's use count is one higher while the list is not empty. So the list is empty when the module goes, and nothing is added
//! then: whoever has grants uses the module.

use kernel::{
    bindings,
    module::ThisModule,
    prelude::*,
    sync::{
        global_lock,
        Arc, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    workqueue::{
        self,
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork,
        WorkItem, //
    }, //
};

use crate::{
    grant::Ending,
    work, //
};

const FIRST_TRY: Msecs = 20;
const LAST_TRY: Msecs = 5_000;

struct State {
    waiting: Option<KBox<Ending>>,
    next_try: Msecs,
    worker: Option<Arc<Worker>>,
}

impl State {
    fn pages(&self) -> usize {
        let mut pages = 0usize;
        let mut next = &self.waiting;
        while let Some(ending) = next {
            pages = pages.saturating_add(ending.len());
            next = &ending.next;
        }
        pages
    }
}

global_lock! {
    // SAFETY: `Reclaim::start` initialises it, in the module's init and before any grant is made.
    unsafe(uninit) static STATE: Mutex<State> = State {
        waiting: None,
        next_try: FIRST_TRY,
        worker: None,
    };
}

#[pin_data]
struct Worker {
    #[pin]
    work: DelayedWork<Self>,
    module: &'static ThisModule,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Worker { self.work }
}

impl WorkItem for Worker {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut state = STATE.lock();
        let mut queue = state.waiting.take();
        // After a run that has ended all, the use count is not held.
        let held = queue.is_some();
        let mut waiting = None;
        let mut ended = None;
        while let Some(mut ending) = queue {
            queue = ending.next.take();
            let list = match ending.try_end_all() {
                true => &mut ended,
                false => &mut waiting,
            };
            ending.next = list.take();
            *list = Some(ending);
        }
        state.waiting = waiting;
        if state.waiting.is_some() {
            let _ = workqueue::system_freezable()
                .enqueue_delayed(this.clone(), msecs_to_jiffies(state.next_try));
            let next_try = state.next_try.saturating_mul(2).min(LAST_TRY);
            if next_try == LAST_TRY && state.next_try != LAST_TRY {
                pr_warn!(
                    "{} pages are still mapped by another domain, and kept until it lets go\n",
                    state.pages()
                );
            }
            state.next_try = next_try;
        } else if held {
            // SAFETY: Gives back the use count of this file's invariant. The module's exit waits for this function to end
            // (`Reclaim::drop`), so its code stays until then.
            unsafe { bindings::module_put(this.module.as_ptr()) };
        }
        drop(state);
        // Outside the lock: a dma-buf that goes may be one whose exporter has grants to end.
        while let Some(mut ending) = ended {
            ended = ending.next.take();
        }
    }
}

/// Keeps `ending` until the peer lets go. May sleep.
pub(crate) fn adopt(ending: KBox<Ending>) {
    let mut state = STATE.lock();
    let Some(worker) = state.worker.clone() else {
        // Cannot be, by the invariant. The pages are lost rather than freed under the peer.
        KBox::leak(ending);
        return;
    };
    if state.waiting.is_none() {
        // SAFETY: The caller runs this module's code, so its use count may be raised.
        unsafe { bindings::__module_get(worker.module.as_ptr()) };
    }
    let mut ending = ending;
    ending.next = state.waiting.take();
    state.waiting = Some(ending);
    state.next_try = FIRST_TRY;
    work::schedule(&worker, msecs_to_jiffies(FIRST_TRY));
}

/// How many pages wait for their peers.
pub fn waiting() -> usize {
    STATE.lock().pages()
}

/// The reclaim worker, there as long as the module.
pub(crate) struct Reclaim(Arc<Worker>);

impl Reclaim {
    /// Starts it. To be called once, in the module's init, before any grant is made.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn start(module: &'static ThisModule) -> Result<Self> {
        let worker = Arc::pin_init(
            pin_init!(Worker {
                work <- new_delayed_work!("xen_reclaim"),
                module,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: Called once, by this function's contract.
        unsafe { STATE.init() };
        STATE.lock().worker = Some(worker.clone());
        Ok(Self(worker))
    }
}

impl Drop for Reclaim {
    fn drop(&mut self) {
        STATE.lock().worker = None;
        work::cancel(&self.0);
    }
}
