// SPDX-License-Identifier: GPL-2.0

//! The request ring against a peer that writes anything at any moment.
//!
//! The log of accesses is the judge. From the values that the ring really saw, the expected result follows by the rules alone:
//! which responses are accepted, with what outcome, when the ring dies, and where each access must go.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};

use super::messages::{self, AnyRequest};
use super::{ArbitraryOr, start_index};
use crate::displif::message::{Errno, Operation, Response, Slot};
use crate::displif::ring::{Completion, RING_ENTRIES, RequestRing, RingDead, SubmitError, Ticket};
use crate::page::{Access, FIRST_SLOT, Memory, Page};
use crate::xen::{self, layout};

const REQ_PROD: usize = layout::SRING_REQ_PROD.offset;
const REQ_EVENT: usize = layout::SRING_REQ_EVENT.offset;
const RSP_PROD: usize = layout::SRING_RSP_PROD.offset;
const RSP_EVENT: usize = layout::SRING_RSP_EVENT.offset;

/// Something that happens.
#[derive(Arbitrary, Debug)]
enum Step {
    /// The frontend sends a request, up to eight times.
    Submit { request: AnyRequest, times: u8 },
    /// The backend answers one of the requests in flight, as it should.
    Answer { which: u8, status: AnyStatus },
    /// The backend writes a response that it makes up.
    Invent {
        id: Id,
        operation: u8,
        status: AnyStatus,
    },
    /// The backend moves its producer index.
    Produce(i8),
    /// The backend writes any of the words.
    Scribble { word: u8, value: u32 },
    /// The frontend looks for responses.
    Consume,
    /// A waiter gives up.
    Abandon(u8),
}

/// An id that the backend makes up.
#[derive(Arbitrary, Debug)]
enum Id {
    Any(u16),
    InFlight(u8),
    /// The last that this index had, perhaps answered long ago.
    Last(u8),
}

/// A status that the backend writes.
#[derive(Copy, Clone, Arbitrary, Debug)]
enum AnyStatus {
    Success,
    Error(u8),
    Any(i32),
}

impl From<AnyStatus> for i32 {
    fn from(status: AnyStatus) -> Self {
        match status {
            AnyStatus::Success => 0,
            AnyStatus::Error(errno) => -Self::from(errno),
            AnyStatus::Any(status) => status,
        }
    }
}

/// A request in flight, as the test knows it.
#[derive(Copy, Clone)]
struct Sent {
    ticket: Ticket,
    operation: Operation,
    abandoned: bool,
}

/// What the ring should be.
struct Model {
    req_prod: u32,
    rsp_cons: u32,
    sent: BTreeMap<u16, Sent>,
    /// The last id of each index.
    last: [Option<u16>; RING_ENTRIES],
    dead: bool,
}

/// Checks a story.
pub fn check(data: &[u8]) {
    let (story, noise) = data.split_at(data.len() / 2);
    let mut story = Unstructured::new(story);
    let mut noise = Unstructured::new(noise);
    let start = start_index(&mut story);

    let page = Page::meddled(|memory| meddle(memory, &mut noise));
    let mut ring = RequestRing::starting_at(start);
    let mut model = Model {
        req_prod: start,
        rsp_cons: start,
        sent: BTreeMap::new(),
        last: [None; RING_ENTRIES],
        dead: false,
    };
    ring.init(&page);
    page.take_log();

    while !story.is_empty() {
        let Ok(step) = Step::arbitrary(&mut story) else {
            break;
        };
        match step {
            Step::Submit { request, times } => {
                for _ in 0..=times % 8 {
                    model.submit(&mut ring, &page, request);
                }
            }
            Step::Consume => model.consume(&mut ring, &page),
            Step::Abandon(which) => model.abandon(&mut ring, which),
            Step::Answer { which, status } => {
                if let Some(sent) = model.nth(which) {
                    let answer =
                        xen::response(sent.ticket.id(), sent.operation.raw(), status.into());
                    page.peer(|memory| produce(memory, &answer));
                }
            }
            Step::Invent {
                id,
                operation,
                status,
            } => {
                if let Some(id) = model.id(id) {
                    let answer = xen::response(id, operation % 0x20, status.into());
                    page.peer(|memory| produce(memory, &answer));
                }
            }
            Step::Produce(by) => page.peer(|memory| {
                let moved = memory.word(RSP_PROD).wrapping_add_signed(by.into());
                memory.set_word(RSP_PROD, moved);
            }),
            Step::Scribble { word, value } => {
                page.peer(|memory| memory.set_word(usize::from(word % 4) * 4, value));
            }
        }
        model.compare(&ring);
    }
}

/// The backend puts a response where it belongs.
fn produce(memory: &mut Memory, response: &Slot) {
    let index = memory.word(RSP_PROD);
    memory.set_slot(slot_offset(index), response);
    memory.set_word(RSP_PROD, index.wrapping_add(1));
}

/// The backend acts in the middle of the frontend's work.
fn meddle(memory: &mut Memory, noise: &mut Unstructured<'_>) {
    if noise.is_empty() {
        return;
    }
    let byte = u8::arbitrary_or(noise);
    match byte {
        0..=31 => {
            let moved = memory.word(RSP_PROD).wrapping_add(u32::from(byte % 4));
            memory.set_word(RSP_PROD, moved);
        }
        32..=63 => {
            // A request in the ring becomes its own response.
            let offset = slot_offset(byte.into());
            let mut slot = memory.slot(offset);
            layout::RESP_STATUS.put(&mut slot, u64::arbitrary_or(noise));
            memory.set_slot(offset, &slot);
        }
        64..=79 => memory.set_word(usize::from(byte % 4) * 4, u32::arbitrary_or(noise)),
        80..=95 => {
            let slot = <[u8; 32]>::arbitrary_or(noise);
            let mut garbage = [0xff; 64];
            garbage[..32].copy_from_slice(&slot);
            memory.set_slot(slot_offset(byte.into()), &garbage);
        }
        _ => (),
    }
}

fn slot_offset(index: u32) -> usize {
    FIRST_SLOT + 64 * (index as usize % 32)
}

impl Model {
    fn nth(&self, which: u8) -> Option<Sent> {
        let count = self.sent.len().max(1);
        self.sent.values().nth(usize::from(which) % count).copied()
    }

    fn id(&self, id: Id) -> Option<u16> {
        match id {
            Id::Any(id) => Some(id),
            Id::InFlight(which) => self.nth(which).map(|sent| sent.ticket.id()),
            Id::Last(index) => self.last[usize::from(index) % RING_ENTRIES],
        }
    }

    fn compare(&self, ring: &RequestRing) {
        assert_eq!(ring.is_dead(), self.dead);
        assert_eq!(ring.in_flight(), self.sent.len());
        assert!(ring.in_flight() <= RING_ENTRIES);
        let free = if self.dead {
            0
        } else {
            RING_ENTRIES - self.sent.len()
        };
        assert_eq!(ring.free(), free);
        // The slots of all requests without a response: never more than there are.
        assert!(self.req_prod.wrapping_sub(self.rsp_cons) as usize <= self.sent.len());
    }

    fn submit(&mut self, ring: &mut RequestRing, page: &Page<'_>, request: AnyRequest) {
        let request = request.into();
        let before = ring.counters();
        let result = ring.submit(page, &request);
        let log = page.take_log();
        let submitted = match result {
            Err(error) => {
                let expected = if self.dead {
                    SubmitError::Dead
                } else {
                    assert_eq!(self.sent.len(), RING_ENTRIES);
                    assert_eq!(ring.counters().full, before.full + 1);
                    SubmitError::Full
                };
                assert_eq!(error, expected);
                assert_eq!(log, [], "a request that is not sent touches nothing");
                return;
            }
            Ok(submitted) => submitted,
        };
        assert!(!self.dead);
        let ticket = submitted.ticket;
        let sent = Sent {
            ticket,
            operation: request.operation(),
            abandoned: false,
        };
        assert!(ticket.index() < RING_ENTRIES);
        assert!(
            self.sent
                .values()
                .all(|other| other.ticket.index() != ticket.index()),
            "two requests with one index"
        );
        assert!(
            self.sent.insert(ticket.id(), sent).is_none(),
            "two requests with one id"
        );

        let last = self.last[ticket.index()].replace(ticket.id());
        assert_ne!(
            last,
            Some(ticket.id()),
            "a second answer to the last request fits this one"
        );

        let slot = messages::encode(&request, ticket.id());
        let published = self.req_prod.wrapping_add(1);
        let [
            Access::WriteSlot(offset, written),
            Access::Store(REQ_PROD, producer),
            Access::Barrier,
            Access::Load(REQ_EVENT, wanted),
        ] = log[..]
        else {
            panic!("not the accesses of a submission: {log:?}");
        };
        assert_eq!((offset, written), (slot_offset(self.req_prod), slot));
        assert_eq!(producer, published);
        assert_eq!(submitted.notify, wanted == published);
        self.req_prod = published;
    }

    fn abandon(&mut self, ring: &mut RequestRing, which: u8) {
        let Some(sent) = self.nth(which) else {
            return;
        };
        ring.abandon(sent.ticket);
        if let Some(sent) = self.sent.get_mut(&sent.ticket.id()) {
            sent.abandoned = true;
        }
    }

    fn consume(&mut self, ring: &mut RequestRing, page: &Page<'_>) {
        let unanswered = self.req_prod.wrapping_sub(self.rsp_cons);
        let was_dead = self.dead;
        let mut completions = Vec::new();
        let result = ring.consume(page, |completion| completions.push(completion));
        let log = page.take_log();

        let (expected, responses) = self.replay(&log);
        assert_eq!(completions, expected);
        assert!(responses <= unanswered);
        match result {
            Err(RingDead) => {
                assert!(self.dead, "the ring died for nothing");
                if was_dead {
                    assert_eq!(log, [], "a dead ring touches nothing");
                }
            }
            Ok(drained) => {
                assert!(!self.dead, "the ring should be dead");
                assert_eq!(drained.responses, responses);
                assert!(!drained.more);
                let cons = self.rsp_cons;
                assert!(
                    log.ends_with(&[
                        Access::Store(RSP_EVENT, cons.wrapping_add(1)),
                        Access::Barrier,
                        Access::Load(RSP_PROD, cons),
                    ]),
                    "without a final check a notification may be lost"
                );
            }
        }
    }

    /// What follows from the values that were seen.
    fn replay(&mut self, log: &[Access]) -> (Vec<Completion>, u32) {
        let mut completions = Vec::new();
        let mut responses = 0;
        let mut waiting = 0;
        for access in log {
            assert!(!self.dead, "an access after the ring died");
            match *access {
                Access::Load(RSP_PROD, producer) => {
                    assert_eq!(waiting, 0, "a second look while responses wait");
                    waiting = producer.wrapping_sub(self.rsp_cons);
                    self.dead = waiting > self.req_prod.wrapping_sub(self.rsp_cons);
                }
                Access::ReadSlot(offset, slot) => {
                    assert!(waiting > 0, "a slot that is not ours");
                    assert_eq!(offset, slot_offset(self.rsp_cons));
                    waiting -= 1;
                    responses += 1;
                    self.rsp_cons = self.rsp_cons.wrapping_add(1);
                    completions.extend(self.answer(&slot));
                }
                Access::Store(RSP_EVENT, value) => {
                    assert_eq!(waiting, 0);
                    assert_eq!(value, self.rsp_cons.wrapping_add(1));
                }
                Access::Barrier => (),
                ref other => panic!("consuming does not {other:?}"),
            }
        }
        (completions, responses)
    }

    fn answer(&mut self, slot: &Slot) -> Option<Completion> {
        let id = layout::RESP_ID.get(slot) as u16;
        let sent = self.sent.remove(&id)?;
        let right = layout::RESP_OPERATION.get(slot) == u64::from(sent.operation.raw());
        let status = layout::RESP_STATUS.get(slot) as u32 as i32;
        let status = if right {
            messages::status(status)
        } else {
            Err(Errno::EIO.get())
        };
        let edid_size = if sent.operation == Operation::GetEdid && status.is_ok() {
            layout::RESP_EDID_SZ.get(slot) as u32
        } else {
            0
        };
        Some(Completion {
            ticket: sent.ticket,
            operation: sent.operation,
            status: status.map_err(errno),
            edid_size,
            abandoned: sent.abandoned,
        })
    }
}

/// The errno with this number, by way of the decoder, which is tested on its own.
fn errno(number: i32) -> Errno {
    match Response::decode(&xen::response(0, 0, -number)).status {
        Err(errno) => errno,
        Ok(()) => panic!("{number} is no errno"),
    }
}
