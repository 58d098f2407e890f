// SPDX-License-Identifier: GPL-2.0
//! A backend that misbehaves on order: what a [`script`] says, and what has come of it.

mod script;

pub use script::{Event, Fault, Id, Script, StoreFault, Then, WrongReference};

use crate::report::say;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The faults of a script, and how far they are.
#[derive(Debug, Default)]
pub struct Faults {
    progress: Mutex<Vec<Progress>>,
    store: Vec<StoreFault>,
}

#[derive(Debug)]
struct Progress {
    fault: Arc<Fault>,
    /// Requests that it waits for.
    seen: u32,
    told: bool,
}

/// A fault of the script.
#[derive(Clone, Debug)]
pub struct Order {
    index: usize,
    /// What is to be done.
    pub fault: Arc<Fault>,
}

impl Faults {
    /// None of which has happened yet.
    pub fn new(script: Script) -> Self {
        let progress = script.fault.into_iter().map(|fault| Progress {
            fault: Arc::new(fault),
            seen: 0,
            told: false,
        });
        Faults {
            progress: Mutex::new(progress.collect()),
            store: script.store,
        }
    }

    /// What is written to XenStore.
    pub fn store(&self) -> &[StoreFault] {
        &self.store
    }

    /// The faults that wait for no request and have not come about yet, and when each does, from a connection on.
    pub fn timed(&self) -> Vec<(Duration, Order)> {
        let all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let timed = all.iter().enumerate().filter_map(|(index, progress)| {
            let at = progress.fault.at.filter(|_| !progress.told)?;
            let fault = progress.fault.clone();
            Some((at.0, Order { index, fault }))
        });
        timed.collect()
    }

    /// The fault for a request that has come, by its name in the protocol.
    pub fn for_request(&self, name: &str) -> Option<Order> {
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order = None;
        for (index, progress) in all.iter_mut().enumerate() {
            let fault = &progress.fault;
            let is_for = |on: &str| on == "any" || on == name;
            if !fault.on.as_deref().is_some_and(is_for) {
                continue;
            }
            progress.seen = progress.seen.saturating_add(1);
            let is_due = progress.seen >= fault.from
                && (fault.times == 0 || progress.seen - fault.from < fault.times);
            if is_due && order.is_none() {
                order = Some(Order {
                    index,
                    fault: fault.clone(),
                });
            }
        }
        order
    }

    /// It has been done to the frontend; the first time a line says so.
    pub fn delivered(&self, order: &Order) {
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = all.get_mut(order.index).filter(|progress| !progress.told) {
            progress.told = true;
            say!("fault {} delivered", order.index);
        }
    }
}

/// Stores an index as much too high as a fault has it, if it does.
pub fn shift(word: &AtomicU32, index: u32, by: Option<i64>) {
    if let Some(by) = by {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "indices wrap"
        )]
        word.store(index.wrapping_add(by as u32), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        Faults::new(Script::parse(text).expect("a script"))
    }

    #[test]
    fn requests_are_counted_by_name() {
        let faults = faults("[[fault]]\non = \"PG_FLIP\"\nfrom = 2\ntimes = 2");
        let due = |name| faults.for_request(name).is_some();
        assert!(!due("PG_FLIP"));
        assert!(!due("SET_CONFIG"));
        assert!(due("PG_FLIP"));
        assert!(due("PG_FLIP"));
        assert!(!due("PG_FLIP"));
    }

    #[test]
    fn the_first_that_is_due_is_taken_and_all_count() {
        let text = "[[fault]]\non = \"any\"\nfrom = 2\n[[fault]]\non = \"any\"\ntimes = 0";
        let faults = faults(text);
        let taken = |name| faults.for_request(name).map(|order| order.index);
        assert_eq!(taken("FB_ATTACH"), Some(1));
        assert_eq!(taken("FB_DETACH"), Some(0));
        assert_eq!(taken("FB_DETACH"), Some(1));
    }

    #[test]
    fn what_waits_for_a_time_comes_about_once() {
        let faults = faults("[[fault]]\nat = 2\nstorm = 1");
        assert!(faults.for_request("PG_FLIP").is_none());
        let timed = faults.timed();
        let (at, order) = timed.first().expect("one");
        assert_eq!(*at, Duration::from_secs(2));
        faults.delivered(order);
        assert!(faults.timed().is_empty());
    }
}
