// SPDX-License-Identifier: GPL-2.0

//! The request ring, case by case. The names in brackets are those of the fault catalogue.

use std::num::NonZeroU64;

use displif_host_tests::displif::message::{Errno, FbCookie, Operation, Request};
use displif_host_tests::displif::ring::{
    Completion, RING_ENTRIES, RequestRing, RingCounters, RingDead, SubmitError, Ticket,
};
use displif_host_tests::page::{FIRST_SLOT, Page};
use displif_host_tests::xen::{self, layout::*};

const FLIP: Request = Request::PageFlip {
    fb: FbCookie::new(NonZeroU64::MIN),
};
const EDID: Request = Request::GetEdid {
    buffer_sz: 32768,
    gref_directory: 9,
};

/// A ring and its page, with a backend that does what it is told.
struct Rig {
    page: Page<'static>,
    ring: RequestRing,
}

impl Rig {
    fn new() -> Self {
        Self::starting_at(0)
    }

    fn starting_at(index: u32) -> Self {
        let rig = Self {
            page: Page::new(),
            ring: RequestRing::starting_at(index),
        };
        rig.ring.init(&rig.page);
        rig
    }

    fn submit(&mut self, request: &Request) -> Ticket {
        match self.ring.submit(&self.page, request) {
            Ok(submitted) => submitted.ticket,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn answer(&self, id: u16, operation: u8, status: i32) {
        self.page.peer(|memory| {
            let index = memory.word(SRING_RSP_PROD.offset);
            let offset = FIRST_SLOT + 64 * (index as usize % RING_ENTRIES);
            let mut slot = xen::response(id, operation, status);
            RESP_EDID_SZ.put(&mut slot, 128);
            memory.set_slot(offset, &slot);
            memory.set_word(SRING_RSP_PROD.offset, index.wrapping_add(1));
        });
    }

    fn set(&self, offset: usize, value: u32) {
        self.page.peer(|memory| memory.set_word(offset, value));
    }

    fn try_consume(&mut self) -> Result<Vec<Completion>, RingDead> {
        let mut completions = Vec::new();
        self.ring
            .consume(&self.page, |done| completions.push(done))?;
        Ok(completions)
    }

    fn consume(&mut self) -> Vec<Completion> {
        match self.try_consume() {
            Ok(completions) => completions,
            Err(RingDead) => panic!("the ring died"),
        }
    }

    fn counters(&self) -> RingCounters {
        self.ring.counters()
    }
}

fn flip_done(ticket: Ticket) -> Completion {
    Completion {
        ticket,
        operation: Operation::PageFlip,
        status: Ok(()),
        edid_size: 0,
        abandoned: false,
    }
}

const FLIP_RAW: u8 = Operation::PageFlip.raw();

#[test]
fn answers_in_any_order() {
    // A11
    let mut rig = Rig::new();
    let tickets = [(); 3].map(|()| rig.submit(&FLIP));
    for ticket in [tickets[2], tickets[0], tickets[1]] {
        rig.answer(ticket.id(), FLIP_RAW, 0);
        assert_eq!(rig.consume(), [flip_done(ticket)]);
    }
    assert_eq!(rig.ring.in_flight(), 0);
}

#[test]
fn unknown_id_is_dropped() {
    // A1
    let mut rig = Rig::new();
    let ticket = rig.submit(&FLIP);
    rig.answer(ticket.id() ^ 1, FLIP_RAW, 0);
    assert_eq!(rig.consume(), []);
    assert_eq!(rig.counters().unknown_ids, 1);
    assert_eq!(rig.ring.in_flight(), 1);
}

#[test]
fn first_answer_wins() {
    // A2, in one batch and in two
    let mut rig = Rig::new();
    let ticket = rig.submit(&FLIP);
    let other = rig.submit(&FLIP);
    let third = rig.submit(&FLIP);
    rig.answer(ticket.id(), FLIP_RAW, 0);
    rig.answer(ticket.id(), FLIP_RAW, -5);
    assert_eq!(rig.consume(), [flip_done(ticket)]);
    rig.answer(ticket.id(), FLIP_RAW, 0);
    assert_eq!(rig.consume(), []);
    assert_eq!(rig.counters().unknown_ids, 2);
    assert_eq!(rig.ring.in_flight(), 2);
    // Both wait for ever now: the backend has used their slots up.
    rig.answer(other.id(), FLIP_RAW, 0);
    assert_eq!(rig.try_consume(), Err(RingDead));
    assert_ne!(other, third);
}

#[test]
fn wrong_operation_fails_its_request() {
    // A3
    let mut rig = Rig::new();
    let ticket = rig.submit(&FLIP);
    rig.answer(ticket.id(), Operation::GetEdid.raw(), 0);
    let expected = Completion {
        status: Err(Errno::EIO),
        ..flip_done(ticket)
    };
    assert_eq!(rig.consume(), [expected]);
    assert_eq!(rig.counters().wrong_operations, 1);
    assert_eq!(rig.ring.in_flight(), 0);
}

#[test]
fn impossible_producer_kills_the_ring() {
    // A5, from several starts, with two requests of which one is answered
    for start in [0, 7, 0_u32.wrapping_sub(1), 0_u32.wrapping_sub(33)] {
        for jump in [
            3,
            33,
            34,
            u32::MAX,
            1 << 31,
            (1 << 31) - 1,
            0_u32.wrapping_sub(32),
        ] {
            let mut rig = Rig::starting_at(start);
            let first = rig.submit(&FLIP);
            rig.submit(&FLIP);
            rig.answer(first.id(), FLIP_RAW, 0);
            assert_eq!(rig.consume().len(), 1);
            let cons = start.wrapping_add(1);
            rig.set(SRING_RSP_PROD.offset, cons.wrapping_add(jump));
            assert_eq!(rig.try_consume(), Err(RingDead), "{start} {jump}");
            assert!(rig.ring.is_dead());
            assert_eq!(rig.counters().bad_producers, 1);
            // And stays so when the backend repents.
            rig.set(SRING_RSP_PROD.offset, cons);
            assert_eq!(rig.try_consume(), Err(RingDead));
            assert_eq!(rig.ring.submit(&rig.page, &FLIP), Err(SubmitError::Dead));
            assert_eq!(rig.ring.free(), 0);
        }
    }
}

#[test]
fn producer_beyond_the_requests_kills_the_ring() {
    // A5: within 32 of the consumer, but nothing was asked for
    let mut rig = Rig::new();
    rig.set(SRING_RSP_PROD.offset, 1);
    assert_eq!(rig.try_consume(), Err(RingDead));
}

#[test]
fn responses_before_the_death_count() {
    let mut rig = Rig::new();
    let ticket = rig.submit(&FLIP);
    let mut completions = Vec::new();
    let mut reads = 0;
    let page = Page::meddled(move |memory| {
        reads += 1;
        // After the producer index and one slot comes the final check.
        if reads == 3 {
            memory.set_word(SRING_RSP_PROD.offset, 99);
        }
    });
    page.peer(|memory| {
        memory.set_slot(FIRST_SLOT, &xen::response(ticket.id(), FLIP_RAW, 0));
        memory.set_word(SRING_RSP_PROD.offset, 1);
    });
    let result = rig.ring.consume(&page, |done| completions.push(done));
    assert_eq!(result, Err(RingDead));
    assert_eq!(completions, [flip_done(ticket)]);
}

#[test]
fn garbage_around_the_fields_is_ignored() {
    // A7
    let mut rig = Rig::new();
    let ticket = rig.submit(&FLIP);
    let mut slot = [0xff; 64];
    RESP_ID.put(&mut slot, ticket.id().into());
    RESP_OPERATION.put(&mut slot, FLIP_RAW.into());
    RESP_STATUS.put(&mut slot, 0);
    rig.page.peer(|memory| {
        memory.set_slot(FIRST_SLOT, &slot);
        memory.set_word(SRING_RSP_PROD.offset, 1);
    });
    assert_eq!(rig.consume(), [flip_done(ticket)]);
}

#[test]
fn edid_size_comes_with_success_only() {
    for (status, size) in [(0, 128), (-22, 0)] {
        let mut rig = Rig::new();
        let ticket = rig.submit(&EDID);
        rig.answer(ticket.id(), Operation::GetEdid.raw(), status);
        assert_eq!(rig.consume()[0].edid_size, size);
    }
}

#[test]
fn words_written_by_the_peer_do_not_move_the_ring() {
    // A8
    let mut rig = Rig::new();
    rig.submit(&FLIP);
    for offset in [SRING_REQ_PROD, SRING_REQ_EVENT, SRING_RSP_EVENT] {
        rig.set(offset.offset, 0xdead_beef);
    }
    rig.submit(&FLIP);
    let producer = rig.page.peer(|memory| memory.word(SRING_REQ_PROD.offset));
    assert_eq!(producer, 2);
    assert_eq!(rig.consume(), []);
    let event = rig.page.peer(|memory| memory.word(SRING_RSP_EVENT.offset));
    assert_eq!(event, 1);
}

#[test]
fn notifies_when_asked() {
    let mut rig = Rig::new();
    for (wanted, notify) in [(1, true), (1, false), (4, false), (4, true), (0, false)] {
        rig.set(SRING_REQ_EVENT.offset, wanted);
        let submitted = rig.ring.submit(&rig.page, &FLIP);
        assert_eq!(submitted.map(|submitted| submitted.notify), Ok(notify));
    }
}

#[test]
fn never_more_requests_than_slots() {
    // A9
    let mut rig = Rig::new();
    let tickets: Vec<_> = (0..RING_ENTRIES).map(|_| rig.submit(&FLIP)).collect();
    assert_eq!(rig.ring.submit(&rig.page, &FLIP), Err(SubmitError::Full));
    for ticket in &tickets {
        rig.ring.abandon(*ticket);
    }
    // Given up is not answered.
    assert_eq!(rig.ring.free(), 0);
    for _ in 0..8 {
        assert_eq!(rig.ring.submit(&rig.page, &FLIP), Err(SubmitError::Full));
    }
    assert_eq!(rig.counters().full, 9);
    assert_eq!(rig.counters().abandoned, 32);

    // A10: late answers give the slots back, and say what they are.
    for ticket in &tickets {
        rig.answer(ticket.id(), FLIP_RAW, 0);
    }
    let completions = rig.consume();
    assert_eq!(completions.len(), RING_ENTRIES);
    assert!(completions.iter().all(|done| done.abandoned));
    assert_eq!(rig.counters().late, 32);
    assert_eq!(rig.ring.free(), RING_ENTRIES);
}

#[test]
fn abandoning_an_answered_request_harms_nobody() {
    let mut rig = Rig::new();
    let ticket = rig.submit(&FLIP);
    rig.answer(ticket.id(), FLIP_RAW, 0);
    assert_eq!(rig.consume(), [flip_done(ticket)]);
    rig.ring.abandon(ticket);
    let next = rig.submit(&FLIP);
    assert_eq!(next.index(), ticket.index());
    rig.ring.abandon(ticket);
    assert_eq!(rig.counters().abandoned, 0);
    rig.answer(next.id(), FLIP_RAW, 0);
    assert_eq!(rig.consume(), [flip_done(next)]);
}

#[test]
fn an_index_comes_back_with_another_id() {
    let mut rig = Rig::new();
    let mut old = rig.submit(&FLIP);
    rig.answer(old.id(), FLIP_RAW, 0);
    rig.consume();
    // More than the generations of an id.
    for _ in 0..3000 {
        let new = rig.submit(&FLIP);
        assert_eq!(new.index(), old.index());
        assert_ne!(new, old);
        rig.answer(new.id(), FLIP_RAW, 0);
        assert_eq!(rig.consume(), [flip_done(new)]);
        old = new;
    }
    assert_eq!(rig.counters().unknown_ids, 0);
}

#[test]
fn the_indexes_wrap() {
    // V6 for requests: every start just before the wrap, full and empty in turns
    for before in 1..=70 {
        let mut rig = Rig::starting_at(0_u32.wrapping_sub(before));
        for _ in 0..4 {
            let tickets: Vec<_> = (0..RING_ENTRIES).map(|_| rig.submit(&FLIP)).collect();
            assert_eq!(rig.ring.free(), 0);
            for ticket in &tickets {
                rig.answer(ticket.id(), FLIP_RAW, 0);
            }
            let expected: Vec<_> = tickets.into_iter().map(flip_done).collect();
            assert_eq!(rig.consume(), expected);
        }
    }
}

#[test]
fn a_killed_ring_does_nothing() {
    let mut rig = Rig::new();
    let ticket = rig.submit(&FLIP);
    rig.answer(ticket.id(), FLIP_RAW, 0);
    rig.ring.kill();
    rig.page.take_log();
    assert_eq!(rig.try_consume(), Err(RingDead));
    assert_eq!(rig.ring.submit(&rig.page, &FLIP), Err(SubmitError::Dead));
    assert_eq!(rig.page.take_log(), []);
    assert_eq!(rig.counters().bad_producers, 0);
}
