// SPDX-License-Identifier: GPL-2.0

//! What the `kernel` crate's delayed work items lack: to be scheduled anew, and to be cancelled.
//!
//! # Invariants
//!
//! While a work item is pending the work queue owns one reference of its `Arc`, which its run gives back.

use kernel::{
    bindings,
    ffi::c_int,
    sync::Arc,
    time::Jiffies,
    workqueue::{
        HasDelayedWork,
        WorkItem,
        WorkItemPointer, //
    }, //
};

/// The `delayed_work` in `item`.
fn raw<T: HasDelayedWork<T>>(item: &Arc<T>) -> *mut bindings::delayed_work {
    // SAFETY: `item` is valid, and the trait gives the work item inside it.
    let work = unsafe { T::raw_get_work(Arc::as_ptr(item).cast_mut()) };
    // `HasDelayedWork` promises that the `work_struct` is the first field, `work`, of a `delayed_work`.
    const _: () = assert!(core::mem::offset_of!(bindings::delayed_work, work) == 0);
    work.cast()
}

/// Lets `item` run after `delay`, whatever was said before. May be called in interrupts. Never beside [`cancel`].
///
/// An item that schedules itself again uses `enqueue_delayed` of the `kernel` crate instead: a run that was asked for meanwhile is
/// not put off by that.
pub fn schedule<T>(item: &Arc<T>, delay: Jiffies)
where
    T: WorkItem<Pointer = Arc<T>> + HasDelayedWork<T>,
    Arc<T>: WorkItemPointer<0>,
{
    let for_queue = item.clone();
    // SAFETY: The work item was initialised by `new_delayed_work`, with the run function of `Arc<T>`; the work queue is
    // the kernel's own. Not the plain system queue: on this one nothing runs while tasks are frozen for a save.
    let was_pending = unsafe {
        bindings::mod_delayed_work_on(
            bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
            bindings::system_freezable_wq,
            raw(item),
            delay,
        )
    };
    if !was_pending {
        // INVARIANT: Pending now, so the queue owns this reference.
        core::mem::forget(for_queue);
    }
}

/// Cancels `item`, and waits for its end if it is running. May sleep; not from the item itself.
pub fn cancel<T>(item: &Arc<T>)
where
    T: WorkItem<Pointer = Arc<T>> + HasDelayedWork<T>,
{
    // SAFETY: The work item was initialised by `new_delayed_work`.
    if unsafe { bindings::cancel_delayed_work_sync(raw(item)) } {
        // SAFETY: It was pending, so by this file's invariant there is a reference that the queue owned, and nobody else
        // gives it back now.
        drop(unsafe { Arc::from_raw(Arc::as_ptr(item)) });
    }
}
