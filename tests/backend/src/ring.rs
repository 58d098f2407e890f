// SPDX-License-Identifier: GPL-2.0
//! The two shared pages of a connector: requests and responses, and events.
//!
//! Who writes what: the frontend writes requests, `req_prod`, `rsp_event` and `in_cons`; this side writes responses, `rsp_prod`,
//! `req_event`, events and `in_prod`. What this side writes it never reads back: the other one could have changed it.

use crate::memory::SharedMemory;
use crate::protocol::{PAGE_SIZE, SLOT_SIZE, Slot, encode_flip_event};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering, fence};

// Places, in 32-bit words.
pub(crate) const REQ_PROD: usize = 0;
pub(crate) const REQ_EVENT: usize = 1;
pub(crate) const RSP_PROD: usize = 2;
pub(crate) const RSP_EVENT: usize = 3;
pub(crate) const IN_CONS: usize = 0;
pub(crate) const IN_PROD: usize = 1;
pub(crate) const FIRST_SLOT: usize = 16;
const WORDS_PER_SLOT: usize = SLOT_SIZE / 4;

/// Slots of a request ring.
pub const REQUEST_SLOTS: u32 = 32;
/// Slots of an event page: all that fit, not a power of two.
pub const EVENT_SLOTS: u32 = 63;

/// The frontend broke a rule of the rings; nothing more can be said about what it means.
#[derive(Debug, PartialEq, Eq)]
pub enum RingError {
    /// More requests than there are slots.
    Overflow {
        /// The frontend's producer index.
        req_prod: u32,
        /// The index that this side answers next.
        rsp_prod: u32,
    },
    /// The ring was already in use when it was offered.
    Used {
        /// The frontend's producer index.
        req_prod: u32,
        /// Whose responses are these?
        rsp_prod: u32,
    },
    /// A ring is one page.
    Size(usize),
    /// It did not: a fault script has the session end.
    Ordered,
}

impl std::error::Error for RingError {}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Overflow { req_prod, rsp_prod } => write!(
                f,
                "req_prod is {req_prod} where {rsp_prod} requests are answered: more than {REQUEST_SLOTS} in flight"
            ),
            RingError::Used { req_prod, rsp_prod } => {
                write!(
                    f,
                    "the request ring is not new (req_prod {req_prod}, rsp_prod {rsp_prod})"
                )
            }
            RingError::Size(octets) => write!(f, "a ring of {octets} octets"),
            RingError::Ordered => write!(f, "the fault script has it so"),
        }
    }
}

/// The requests of one connector, and their answers.
pub struct RequestRing {
    page: SharedMemory,
    req_cons: u32,
    rsp_prod: u32,
}

impl RequestRing {
    /// Takes up a ring that nobody has used.
    ///
    /// # Errors
    ///
    /// [`RingError::Used`]: the indices are not those of a new ring, such as one that a dead backend has left.
    pub fn new(page: SharedMemory) -> Result<Self, RingError> {
        check_size(&page)?;
        let req_prod = page.words()[REQ_PROD].load(Ordering::Acquire);
        let rsp_prod = page.words()[RSP_PROD].load(Ordering::Acquire);
        if req_prod != 0 || rsp_prod != 0 {
            return Err(RingError::Used { req_prod, rsp_prod });
        }
        Ok(RequestRing {
            page,
            req_cons: 0,
            rsp_prod: 0,
        })
    }

    /// Copies the next request, if there is one.
    ///
    /// # Errors
    ///
    /// [`RingError::Overflow`].
    pub fn take(&mut self) -> Result<Option<Slot>, RingError> {
        // Acquire: the request's octets are not read before the index that covers them.
        let req_prod = self.page.words()[REQ_PROD].load(Ordering::Acquire);
        if req_prod.wrapping_sub(self.rsp_prod) > REQUEST_SLOTS
            || req_prod.wrapping_sub(self.req_cons) > REQUEST_SLOTS
        {
            return Err(RingError::Overflow {
                req_prod,
                rsp_prod: self.rsp_prod,
            });
        }
        if req_prod == self.req_cons {
            return Ok(None);
        }
        let slot = load(slot_words(&self.page, self.req_cons % REQUEST_SLOTS));
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(Some(slot))
    }

    /// Asks for a notification about the next request, and says whether one has come in the meantime.
    ///
    /// # Errors
    ///
    /// [`RingError::Overflow`].
    pub fn rest(&mut self) -> Result<bool, RingError> {
        self.page.words()[REQ_EVENT].store(self.req_cons.wrapping_add(1), Ordering::Relaxed);
        // The frontend does the same the other way round (index, then `req_event`): one of the two must see the other's store.
        fence(Ordering::SeqCst);
        let req_prod = self.page.words()[REQ_PROD].load(Ordering::Acquire);
        if req_prod.wrapping_sub(self.req_cons) > REQUEST_SLOTS {
            return Err(RingError::Overflow {
                req_prod,
                rsp_prod: self.rsp_prod,
            });
        }
        Ok(req_prod != self.req_cons)
    }

    /// The page as it is shared: for faults.
    pub fn words(&self) -> &[AtomicU32] {
        self.page.words()
    }

    /// The index that the next response has.
    pub fn next_response(&self) -> u32 {
        self.rsp_prod
    }

    /// Writes a response where the last one was published, whoever reads it now: for faults.
    pub fn overwrite_last(&self, slot: &Slot) {
        let last = self.rsp_prod.wrapping_sub(1);
        store(slot_words(&self.page, last % REQUEST_SLOTS), slot);
    }

    /// Publishes a response; true: the frontend wants to be notified.
    pub fn answer(&mut self, slot: &Slot) -> bool {
        store(slot_words(&self.page, self.rsp_prod % REQUEST_SLOTS), slot);
        let old = self.rsp_prod;
        self.rsp_prod = old.wrapping_add(1);
        // Release: the response before its index.
        self.page.words()[RSP_PROD].store(self.rsp_prod, Ordering::Release);
        fence(Ordering::SeqCst);
        let rsp_event = self.page.words()[RSP_EVENT].load(Ordering::Relaxed);
        self.rsp_prod.wrapping_sub(rsp_event) < self.rsp_prod.wrapping_sub(old)
    }
}

/// The events of one connector.
pub struct EventPage {
    page: SharedMemory,
    in_prod: u32,
    next_id: u16,
}

impl EventPage {
    /// Takes up an event page.
    ///
    /// # Errors
    ///
    /// [`RingError::Size`].
    pub fn new(page: SharedMemory) -> Result<Self, RingError> {
        check_size(&page)?;
        // Start where the frontend reads, so that it finds the page empty.
        let in_prod = page.words()[IN_CONS].load(Ordering::Acquire);
        page.words()[IN_PROD].store(in_prod, Ordering::Release);
        Ok(EventPage {
            page,
            in_prod,
            next_id: 0,
        })
    }

    /// The page as it is shared: for faults.
    pub fn words(&self) -> &[AtomicU32] {
        self.page.words()
    }

    /// The index that the next event has.
    pub fn next_event(&self) -> u32 {
        self.in_prod
    }

    /// Goes on with the index `in_prod`: for faults.
    pub fn jump(&mut self, in_prod: u32) {
        self.in_prod = in_prod;
        self.page.words()[IN_PROD].store(in_prod, Ordering::Release);
    }

    /// Publishes "this framebuffer is on the screen"; false: no room, the event is dropped.
    pub fn flip_done(&mut self, fb: u64) -> bool {
        self.publish(&encode_flip_event(self.next_id, fb))
    }

    /// Publishes an event; false: no room, it is dropped.
    pub fn publish(&mut self, event: &Slot) -> bool {
        let in_cons = self.page.words()[IN_CONS].load(Ordering::Acquire);
        // More than the size is nonsense, which is as good as full.
        if self.in_prod.wrapping_sub(in_cons) >= EVENT_SLOTS {
            return false;
        }
        store(slot_words(&self.page, self.in_prod % EVENT_SLOTS), event);
        self.next_id = self.next_id.wrapping_add(1);
        self.in_prod = self.in_prod.wrapping_add(1);
        self.page.words()[IN_PROD].store(self.in_prod, Ordering::Release);
        true
    }
}

fn check_size(page: &SharedMemory) -> Result<(), RingError> {
    if page.len() == PAGE_SIZE {
        Ok(())
    } else {
        Err(RingError::Size(page.len()))
    }
}

fn slot_words(page: &SharedMemory, index: u32) -> &[AtomicU32] {
    let first = FIRST_SLOT + index as usize * WORDS_PER_SLOT;
    &page.words()[first..first + WORDS_PER_SLOT]
}

fn load(words: &[AtomicU32]) -> Slot {
    let mut slot = [0; SLOT_SIZE];
    for (octets, word) in slot.chunks_exact_mut(4).zip(words) {
        octets.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    slot
}

fn store(words: &[AtomicU32], slot: &Slot) {
    for (octets, word) in slot.chunks_exact(4).zip(words) {
        word.store(
            u32::from_ne_bytes([octets[0], octets[1], octets[2], octets[3]]),
            Ordering::Relaxed,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: usize = PAGE_SIZE / 4;

    fn page(start: &[(usize, u32)]) -> SharedMemory {
        let mut words = [0; WORDS];
        for (at, value) in start {
            words[*at] = *value;
        }
        SharedMemory::heap(&words)
    }

    fn produce(ring: &RequestRing, count: u32) {
        let words = ring.page.words();
        let from = words[REQ_PROD].load(Ordering::Relaxed);
        for index in from..from + count {
            slot_words(&ring.page, index % REQUEST_SLOTS)[0].store(index, Ordering::Relaxed);
        }
        words[REQ_PROD].store(from + count, Ordering::Relaxed);
    }

    #[test]
    fn requests_come_in_order_and_wrap() {
        let mut ring = RequestRing::new(page(&[(RSP_EVENT, 1)])).expect("a new ring");
        assert_eq!(ring.take(), Ok(None));
        let mut seen = 0;
        for batch in [1, 32, 31, 5] {
            produce(&ring, batch);
            for _ in 0..batch {
                let slot = ring.take().expect("a sound ring").expect("a request");
                assert_eq!(
                    u32::from_ne_bytes([slot[0], slot[1], slot[2], slot[3]]),
                    seen
                );
                ring.answer(&slot);
                seen += 1;
            }
            assert_eq!(ring.take(), Ok(None));
            assert_eq!(ring.rest(), Ok(false));
        }
        assert_eq!(ring.page.words()[RSP_PROD].load(Ordering::Relaxed), seen);
        assert_eq!(
            ring.page.words()[REQ_EVENT].load(Ordering::Relaxed),
            seen + 1
        );
    }

    #[test]
    fn a_request_that_comes_while_going_to_rest_is_seen() {
        let mut ring = RequestRing::new(page(&[])).expect("a new ring");
        produce(&ring, 1);
        assert_eq!(ring.rest(), Ok(true));
    }

    #[test]
    fn hostile_producers_are_refused() {
        for req_prod in [33, 34, 1 << 31, u32::MAX] {
            let mut ring = RequestRing::new(page(&[])).expect("a new ring");
            ring.page.words()[REQ_PROD].store(req_prod, Ordering::Relaxed);
            assert_eq!(
                ring.take(),
                Err(RingError::Overflow {
                    req_prod,
                    rsp_prod: 0
                })
            );
            assert!(ring.rest().is_err());
        }
    }

    #[test]
    fn a_producer_that_goes_back_is_refused() {
        let mut ring = RequestRing::new(page(&[])).expect("a new ring");
        produce(&ring, 2);
        for _ in 0..2 {
            let slot = ring.take().expect("a sound ring").expect("a request");
            ring.answer(&slot);
        }
        ring.page.words()[REQ_PROD].store(1, Ordering::Relaxed);
        assert!(ring.take().is_err());
    }

    #[test]
    fn answers_never_trust_the_shared_response_index() {
        let mut ring = RequestRing::new(page(&[])).expect("a new ring");
        produce(&ring, 1);
        let slot = ring.take().expect("a sound ring").expect("a request");
        ring.page.words()[RSP_PROD].store(0xdead_beef, Ordering::Relaxed);
        ring.answer(&slot);
        assert_eq!(ring.page.words()[RSP_PROD].load(Ordering::Relaxed), 1);
    }

    #[test]
    fn used_rings_and_odd_sizes_are_refused() {
        assert!(matches!(
            RequestRing::new(page(&[(REQ_PROD, 1)])),
            Err(RingError::Used { .. })
        ));
        assert!(matches!(
            RequestRing::new(page(&[(RSP_PROD, 1)])),
            Err(RingError::Used { .. })
        ));
        assert!(matches!(
            RequestRing::new(SharedMemory::heap(&[0; 8])),
            Err(RingError::Size(32))
        ));
    }

    #[test]
    fn notifications_follow_the_hold_off() {
        // The frontend asks with rsp_event = the index after which it wants to hear.
        for (rsp_event, expected) in [(1, true), (2, false), (0, false), (u32::MAX, false)] {
            let mut ring = RequestRing::new(page(&[(RSP_EVENT, rsp_event)])).expect("a new ring");
            produce(&ring, 1);
            let slot = ring.take().expect("a sound ring").expect("a request");
            assert_eq!(ring.answer(&slot), expected, "rsp_event {rsp_event}");
        }
    }

    #[test]
    fn events_fill_the_page_and_no_more() {
        let mut events = EventPage::new(page(&[])).expect("a page");
        for fb in 0..u64::from(EVENT_SLOTS) {
            assert!(events.flip_done(fb));
        }
        assert!(!events.flip_done(99));
        events.page.words()[IN_CONS].store(1, Ordering::Relaxed);
        assert!(events.flip_done(100));
        let first = load(slot_words(&events.page, 0));
        assert_eq!(first, encode_flip_event(63, 100));
    }

    #[test]
    fn events_survive_the_end_of_the_index_and_hostile_consumers() {
        let mut events = EventPage::new(page(&[(IN_CONS, u32::MAX)])).expect("a page");
        assert!(events.flip_done(1));
        assert_eq!(
            load(slot_words(&events.page, u32::MAX % EVENT_SLOTS)),
            encode_flip_event(0, 1)
        );
        assert_eq!(events.page.words()[IN_PROD].load(Ordering::Relaxed), 0);
        assert!(events.flip_done(2));
        assert_eq!(load(slot_words(&events.page, 0)), encode_flip_event(1, 2));
        for in_cons in [2, 5, 1 << 31] {
            events.page.words()[IN_CONS].store(in_cons, Ordering::Relaxed);
            assert!(!events.flip_done(3), "in_cons {in_cons}");
        }
    }
}
