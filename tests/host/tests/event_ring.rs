// SPDX-License-Identifier: GPL-2.0

//! The event page, case by case. The names in brackets are those of the fault catalogue.

use displif_host_tests::displif::events::{EVENT_ENTRIES, EventRing};
use displif_host_tests::displif::message::Event;
use displif_host_tests::displif::ring::Drained;
use displif_host_tests::page::{FIRST_SLOT, Memory, Page};
use displif_host_tests::xen::{self, layout::*};

const IN_CONS: usize = EVENT_PAGE_IN_CONS.offset;
const IN_PROD: usize = EVENT_PAGE_IN_PROD.offset;

/// The backend sends the event that a flip to this framebuffer is done.
fn send(memory: &mut Memory, fb_cookie: u64) {
    let index = memory.word(IN_PROD);
    let offset = FIRST_SLOT + 64 * (index as usize % EVENT_ENTRIES as usize);
    memory.set_slot(offset, &xen::event(EVT_PG_FLIP as u8, fb_cookie));
    memory.set_word(IN_PROD, index.wrapping_add(1));
}

fn start(index: u32) -> (EventRing, Page<'static>) {
    let page = Page::new();
    let ring = EventRing::starting_at(index);
    ring.init(&page);
    (ring, page)
}

fn consume(ring: &mut EventRing, page: &Page<'_>) -> (Vec<u64>, Drained) {
    let mut cookies = Vec::new();
    let drained = ring.consume(page, |event| match event {
        Event::PageFlip { fb_cookie } => cookies.push(fb_cookie),
        Event::Unknown { .. } => (),
    });
    (cookies, drained)
}

#[test]
fn events_come_in_order_across_the_wrap() {
    // V6: from every start just before the wrap, in batches of every size
    for before in 1..=70 {
        for batch in [1, 2, 61, 62, 63] {
            let (mut ring, page) = start(0_u32.wrapping_sub(before));
            let mut sent = 0;
            while sent < 200 {
                let in_prod = page.peer(|memory| memory.word(IN_PROD));
                // When the index wraps, the slots jump by 4: events in flight across it may overwrite each other. A
                // batch here ends at the wrap.
                let batch = batch.min(in_prod.wrapping_neg().max(1).into());
                let expected: Vec<u64> = (sent..sent + batch).collect();
                page.peer(|memory| expected.iter().for_each(|&cookie| send(memory, cookie)));
                let (cookies, drained) = consume(&mut ring, &page);
                assert_eq!(cookies, expected);
                assert!(!drained.more);
                sent += batch;
                assert_eq!(
                    page.peer(|memory| memory.word(IN_CONS)),
                    page.peer(|memory| memory.word(IN_PROD))
                );
            }
            assert_eq!(ring.counters().bad_producers, 0);
        }
    }
}

#[test]
fn events_in_flight_across_the_wrap_are_bounded() {
    // V6: with many in flight across the wrap some are overwritten; still each slot is read once and nothing more.
    let (mut ring, page) = start(0_u32.wrapping_sub(30));
    page.peer(|memory| (0..63).for_each(|cookie| send(memory, cookie)));
    let (cookies, drained) = consume(&mut ring, &page);
    assert_eq!(cookies.len(), 63);
    assert_eq!(drained.responses, 63);
    // The last, which nothing overwrote, are right.
    assert_eq!(cookies[30..], (30..63).collect::<Vec<_>>());
}

/// Producers that are none at `begin`.
fn impossible(begin: u32) -> impl Iterator<Item = u32> {
    [64, 65, 1 << 31, u32::MAX, 0_u32.wrapping_sub(63)]
        .into_iter()
        .map(move |jump| begin.wrapping_add(jump))
}

const BEGINNINGS: [u32; 3] = [0, 1000, 0_u32.wrapping_sub(20)];

#[test]
fn an_impossible_producer_loses_nothing_if_the_backend_goes_on_as_before() {
    // V5
    for begin in BEGINNINGS {
        for in_prod in impossible(begin) {
            let (mut ring, page) = start(begin);
            page.peer(|memory| {
                send(memory, 4);
                memory.set_word(IN_PROD, in_prod);
            });
            // However often it is looked at.
            for _ in 0..3 {
                let (cookies, drained) = consume(&mut ring, &page);
                assert_eq!(cookies, []);
                assert_eq!((drained.responses, drained.more), (0, false));
            }
            assert_eq!(page.peer(|memory| memory.word(IN_CONS)), begin);
            page.peer(|memory| {
                memory.set_word(IN_PROD, begin.wrapping_add(1));
                send(memory, 5);
            });
            assert_eq!(consume(&mut ring, &page).0, [4, 5]);
            let counters = ring.counters();
            assert_eq!((counters.bad_producers, counters.resyncs), (1, 0));
        }
    }
}

#[test]
fn an_impossible_producer_is_followed_if_the_backend_goes_on_from_there() {
    // V5
    for begin in BEGINNINGS {
        for in_prod in impossible(begin) {
            let (mut ring, page) = start(begin);
            page.peer(|memory| memory.set_word(IN_PROD, in_prod));
            assert_eq!(consume(&mut ring, &page).0, []);
            page.peer(|memory| send(memory, 5));
            let next = in_prod.wrapping_add(1);
            if next.wrapping_sub(begin) <= EVENT_ENTRIES {
                // One before the beginning, and one on: back at it.
                continue;
            }
            assert_eq!(consume(&mut ring, &page).0, []);
            assert_eq!(page.peer(|memory| memory.word(IN_CONS)), next);
            // And then works on.
            page.peer(|memory| send(memory, 6));
            assert_eq!(consume(&mut ring, &page).0, [6]);
            let counters = ring.counters();
            assert_eq!((counters.bad_producers, counters.resyncs), (1, 1));
        }
    }
}

#[test]
fn a_full_page_is_possible() {
    let (mut ring, page) = start(0);
    page.peer(|memory| (0..63).for_each(|cookie| send(memory, cookie)));
    assert_eq!(consume(&mut ring, &page).0, (0..63).collect::<Vec<_>>());
    assert_eq!(ring.counters().bad_producers, 0);
}

#[test]
fn the_consumer_index_is_private() {
    // V5
    let (mut ring, page) = start(0);
    page.peer(|memory| send(memory, 1));
    consume(&mut ring, &page);
    for value in [0, 63, 0xffff_ffff] {
        page.peer(|memory| {
            memory.set_word(IN_CONS, value);
            send(memory, u64::from(value));
        });
        assert_eq!(consume(&mut ring, &page).0, [u64::from(value)]);
    }
}

#[test]
fn a_flood_is_bounded() {
    // V8: one more event before each look
    let page = Page::meddled(|memory| send(memory, 1));
    let mut ring = EventRing::new();
    ring.init(&page);
    for _ in 0..100 {
        let drained = ring.consume(&page, |_| ());
        assert!(drained.responses <= EVENT_ENTRIES);
        assert!(drained.more || ring.counters().bad_producers > 0);
    }
}

#[test]
fn unknown_kinds_are_counted() {
    // V7
    let (mut ring, page) = start(0);
    page.peer(|memory| {
        memory.set_slot(FIRST_SLOT, &xen::event(7, 1));
        memory.set_word(IN_PROD, 1);
        send(memory, 2);
    });
    let (cookies, drained) = consume(&mut ring, &page);
    assert_eq!(cookies, [2]);
    assert_eq!(drained.responses, 2);
    assert_eq!(ring.counters().unknown_kinds, 1);
    assert_eq!(ring.counters().events, 2);
}
