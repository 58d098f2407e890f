// SPDX-License-Identifier: GPL-2.0

//! Both ends in threads of their own over real atomics, each asleep until the other notifies it: no message may be lost or
//! mixed up, and no notification missed.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use displif_host_tests::displif::events::{EVENT_ENTRIES, EventRing};
use displif_host_tests::displif::message::{Event, FbCookie, Request, Slot};
use displif_host_tests::displif::page::SharedPage;
use displif_host_tests::displif::ring::{RING_ENTRIES, RequestRing, SubmitError};
use displif_host_tests::page::{FIRST_SLOT, PAGE_SIZE};
use displif_host_tests::xen::{self, layout::*};

const MESSAGES: u64 = 200_000;

/// Long enough for any honest notification, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A page of memory.
struct Page(Vec<AtomicU32>);

impl Page {
    fn new() -> Self {
        Self((0..PAGE_SIZE / 4).map(|_| AtomicU32::new(0)).collect())
    }

    fn words(&self, offset: usize) -> &[AtomicU32] {
        &self.0[offset / 4..offset / 4 + 16]
    }
}

impl SharedPage for Page {
    fn load_acquire(&self, offset: usize) -> u32 {
        self.0[offset / 4].load(Ordering::Acquire)
    }

    fn store_release(&self, offset: usize, value: u32) {
        self.0[offset / 4].store(value, Ordering::Release);
    }

    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    fn read_slot(&self, offset: usize) -> Slot {
        let mut slot = [0; 64];
        for (bytes, word) in slot.chunks_exact_mut(4).zip(self.words(offset)) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        slot
    }

    fn write_slot(&self, offset: usize, slot: &Slot) {
        for (bytes, word) in slot.chunks_exact(4).zip(self.words(offset)) {
            let value = bytes.try_into().map_or(0, u32::from_ne_bytes);
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// An event channel: pending, or not.
#[derive(Default)]
struct Channel {
    pending: Mutex<bool>,
    changed: Condvar,
}

impl Channel {
    fn notify(&self) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut pending, timeout) = self
            .changed
            .wait_timeout_while(pending, PATIENCE, |pending| !*pending)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "a notification was missed");
        *pending = false;
    }
}

/// Page and event channels of one direction.
struct Shared {
    page: Page,
    to_backend: Channel,
    to_frontend: Channel,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            page: Page::new(),
            to_backend: Channel::default(),
            to_frontend: Channel::default(),
        })
    }
}

fn slot_offset(index: u32, entries: u32) -> usize {
    FIRST_SLOT + 64 * (index % entries) as usize
}

/// The backend's end of a request ring, by Xen's macros: answers each request, the last of a batch first.
fn serve(shared: &Shared, total: u64) {
    let page = &shared.page;
    let (mut req_cons, mut rsp_prod) = (0_u32, 0_u32);
    let mut answered = 0;
    while answered < total {
        let mut batch = Vec::new();
        while page.load_acquire(SRING_REQ_PROD.offset) != req_cons {
            batch.push(page.read_slot(slot_offset(req_cons, 32)));
            req_cons = req_cons.wrapping_add(1);
        }
        for request in batch.iter().rev() {
            let id = REQ_ID.get(request) as u16;
            let operation = REQ_OPERATION.get(request) as u8;
            // The status tells the cookie back.
            let cookie = PG_FLIP_FB_COOKIE.get(request);
            let status = -((cookie % 4000) as i32);
            let response = xen::response(id, operation, status);
            page.write_slot(slot_offset(rsp_prod, 32), &response);
            rsp_prod = rsp_prod.wrapping_add(1);
            answered += 1;

            page.store_release(SRING_RSP_PROD.offset, rsp_prod);
            page.full_barrier();
            if page.load_acquire(SRING_RSP_EVENT.offset) == rsp_prod {
                shared.to_frontend.notify();
            }
        }
        page.store_release(SRING_REQ_EVENT.offset, req_cons.wrapping_add(1));
        page.full_barrier();
        if answered < total && page.load_acquire(SRING_REQ_PROD.offset) == req_cons {
            shared.to_backend.wait();
        }
    }
}

#[test]
fn requests_and_responses() {
    let shared = Shared::new();
    let mut ring = RequestRing::new();
    ring.init(&shared.page);
    let backend = thread::spawn({
        let shared = Arc::clone(&shared);
        move || serve(&shared, MESSAGES)
    });

    let mut cookies = [0; RING_ENTRIES];
    let (mut sent, mut answered) = (0, 0);
    while answered < MESSAGES {
        while sent < MESSAGES {
            let fb = FbCookie::new(NonZeroU64::MIN.saturating_add(sent));
            match ring.submit(&shared.page, &Request::PageFlip { fb }) {
                Ok(submitted) => {
                    cookies[submitted.ticket.index()] = fb.get();
                    sent += 1;
                    if submitted.notify {
                        shared.to_backend.notify();
                    }
                }
                Err(SubmitError::Full) => break,
                Err(SubmitError::Dead) => panic!("the ring died"),
            }
        }
        let drained = ring.consume(&shared.page, |done| {
            let expected = (cookies[done.ticket.index()] % 4000) as i32;
            let status = done.status.map_or_else(|errno| errno.get(), |()| 0);
            assert_eq!(status, expected);
            answered += 1;
        });
        let Ok(drained) = drained else {
            panic!("the ring died");
        };
        if drained.responses == 0 && answered < MESSAGES {
            shared.to_frontend.wait();
        }
    }
    assert!(backend.join().is_ok());
    let counters = ring.counters();
    assert_eq!(counters.responses, MESSAGES);
    assert_eq!(counters.unknown_ids, 0);
}

/// The backend's end of an event page: drops nothing here, but waits until there is room.
fn send_events(shared: &Shared, total: u64) {
    let page = &shared.page;
    let mut in_prod = 0_u32;
    for cookie in 0..total {
        while in_prod.wrapping_sub(page.load_acquire(EVENT_PAGE_IN_CONS.offset)) >= EVENT_ENTRIES {
            thread::yield_now();
        }
        let event = xen::event(EVT_PG_FLIP as u8, cookie);
        page.write_slot(slot_offset(in_prod, EVENT_ENTRIES), &event);
        in_prod = in_prod.wrapping_add(1);
        page.store_release(EVENT_PAGE_IN_PROD.offset, in_prod);
        shared.to_frontend.notify();
    }
}

#[test]
fn events() {
    let shared = Shared::new();
    let mut ring = EventRing::new();
    ring.init(&shared.page);
    let backend = thread::spawn({
        let shared = Arc::clone(&shared);
        move || send_events(&shared, MESSAGES)
    });
    let mut next = 0;
    while next < MESSAGES {
        let drained = ring.consume(&shared.page, |event| {
            assert_eq!(event, Event::PageFlip { fb_cookie: next });
            next += 1;
        });
        if !drained.more && next < MESSAGES {
            shared.to_frontend.wait();
        }
    }
    assert!(backend.join().is_ok());
    assert_eq!(ring.counters().bad_producers, 0);
}
