// SPDX-License-Identifier: GPL-2.0

//! The event page of a connector: the backend produces events, the frontend consumes them.
//!
//! `in_prod` is written by the backend, `in_cons` by the frontend, which never reads it back. There are 63 slots, no power of
//! two: a free-running index falls on slot `index % 63`, and when it wraps at 2^32 the slots jump by 4. Both ends compute the
//! same slot, but the last events before the wrap may be overwritten unread. Nobody depends on an event: time-outs
//! tell of lost ones.
//!
//! When `in_prod` is impossible, nothing is done at first: if the backend goes on from where it was, with the next event, nothing is
//! lost, while one that was told a wrong `in_cons` would take its page for full, and say nothing any more. Only when it goes on from
//! the impossible place is it followed there.

use super::{
    bump,
    message::Event,
    page::{
        self,
        SharedPage, //
    },
    ring::Drained, //
};

/// Slots of an event page.
pub const EVENT_ENTRIES: u32 = 63;

/// Offset of the number of events consumed.
const IN_CONS: usize = 0;

/// Offset of the number of events produced.
const IN_PROD: usize = 4;

/// What an event page has seen. All counts saturate.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct EventCounters {
    /// Events consumed.
    pub events: u64,
    /// Events of an unknown kind among them.
    pub unknown_kinds: u64,
    /// Times that the number of events was impossible.
    pub bad_producers: u64,
    /// Times that the backend went on from there, and what was between was skipped.
    pub resyncs: u64,
}

/// The frontend's end of an event page.
#[derive(Debug)]
pub struct EventRing {
    in_cons: u32,
    /// The `in_prod` of the last look, if it was impossible.
    doubted: Option<u32>,
    counters: EventCounters,
}

impl Default for EventRing {
    fn default() -> Self {
        Self::new()
    }
}

impl EventRing {
    /// An event page with no event.
    pub const fn new() -> Self {
        Self::starting_at(0)
    }

    /// The same with indexes that start at `index`. Peers expect 0; tests want to see the wrap at 2^32.
    pub const fn starting_at(index: u32) -> Self {
        Self {
            in_cons: index,
            doubted: None,
            counters: EventCounters {
                events: 0,
                unknown_kinds: 0,
                bad_producers: 0,
                resyncs: 0,
            },
        }
    }

    /// Writes the header of a page that the peer does not know yet.
    pub fn init(&self, page: &impl SharedPage) {
        page.store_release(IN_CONS, self.in_cons);
        page.store_release(IN_PROD, self.in_cons);
    }

    /// What the page has seen.
    pub const fn counters(&self) -> EventCounters {
        self.counters
    }

    /// Consumes the events that are there: at most [`EVENT_ENTRIES`] in a call, whatever the backend writes meanwhile.
    ///
    /// When the number of events is impossible there are none, unless the backend has gone on from there: then those between here and there are
    /// skipped.
    pub fn consume(&mut self, page: &impl SharedPage, mut sink: impl FnMut(Event)) -> Drained {
        let mut budget = EVENT_ENTRIES;
        let more = loop {
            let produced = page.load_acquire(IN_PROD);
            let available = produced.wrapping_sub(self.in_cons);
            if available > EVENT_ENTRIES {
                self.doubt(page, produced);
                break false;
            }
            self.doubted = None;
            if available == 0 || budget == 0 {
                break available != 0;
            }
            let batch = available.min(budget);
            for _ in 0..batch {
                let slot = page.read_slot(page::slot_offset::<EVENT_ENTRIES>(self.in_cons));
                self.in_cons = self.in_cons.wrapping_add(1);
                let event = Event::decode(&slot);
                self.count(&event);
                sink(event);
            }
            budget = budget.saturating_sub(batch);
            page.store_release(IN_CONS, self.in_cons);
        };
        Drained {
            responses: EVENT_ENTRIES.saturating_sub(budget),
            more,
        }
    }

    /// The number of events up to `produced` is impossible.
    fn doubt(&mut self, page: &impl SharedPage, produced: u32) {
        match self.doubted.replace(produced) {
            // Looked at once more, without news.
            Some(before) if before == produced => {}
            Some(_) => {
                self.in_cons = produced;
                self.doubted = None;
                bump(&mut self.counters.resyncs);
                page.store_release(IN_CONS, self.in_cons);
            }
            None => bump(&mut self.counters.bad_producers),
        }
    }

    fn count(&mut self, event: &Event) {
        bump(&mut self.counters.events);
        if let Event::Unknown { .. } = event {
            bump(&mut self.counters.unknown_kinds);
        }
    }
}
