// SPDX-License-Identifier: GPL-2.0

//! The event page against a peer that writes anything at any moment. As in `request_ring`, the log of accesses is the judge.

use arbitrary::{Arbitrary, Unstructured};

use super::{ArbitraryOr, start_index};
use crate::displif::events::{EVENT_ENTRIES, EventRing};
use crate::displif::message::Event;
use crate::page::{Access, FIRST_SLOT, Memory, Page};
use crate::xen::{self, layout};

const IN_CONS: usize = layout::EVENT_PAGE_IN_CONS.offset;
const IN_PROD: usize = layout::EVENT_PAGE_IN_PROD.offset;

/// Something that happens.
#[derive(Arbitrary, Debug)]
enum Step {
    /// The backend sends events.
    Send { kind: u8, cookie: u64, times: u8 },
    /// The backend moves its producer index.
    Produce(i8),
    /// The backend writes one of the words.
    Scribble { word: bool, value: u32 },
    /// The frontend looks for events.
    Consume,
}

/// Checks a story.
pub fn check(data: &[u8]) {
    let (story, noise) = data.split_at(data.len() / 2);
    let mut story = Unstructured::new(story);
    let mut noise = Unstructured::new(noise);
    let start = start_index(&mut story);

    let page = Page::meddled(|memory| meddle(memory, &mut noise));
    let mut ring = EventRing::starting_at(start);
    let mut seen = Seen {
        in_cons: start,
        doubted: None,
    };
    ring.init(&page);
    page.take_log();

    while !story.is_empty() {
        let Ok(step) = Step::arbitrary(&mut story) else {
            break;
        };
        match step {
            Step::Send {
                kind,
                cookie,
                times,
            } => page.peer(|memory| {
                for _ in 0..times % 70 {
                    produce(memory, kind % 3, cookie);
                }
            }),
            Step::Produce(by) => page.peer(|memory| {
                let moved = memory.word(IN_PROD).wrapping_add_signed(by.into());
                memory.set_word(IN_PROD, moved);
            }),
            Step::Scribble { word, value } => {
                let offset = if word { IN_CONS } else { IN_PROD };
                page.peer(|memory| memory.set_word(offset, value));
            }
            Step::Consume => consume(&mut ring, &page, &mut seen),
        }
    }
}

fn produce(memory: &mut Memory, kind: u8, cookie: u64) {
    let index = memory.word(IN_PROD);
    memory.set_slot(slot_offset(index), &xen::event(kind, cookie));
    memory.set_word(IN_PROD, index.wrapping_add(1));
}

fn meddle(memory: &mut Memory, noise: &mut Unstructured<'_>) {
    if noise.is_empty() {
        return;
    }
    match u8::arbitrary_or(noise) {
        0..=63 => produce(
            memory,
            u8::arbitrary_or(noise) % 3,
            u64::arbitrary_or(noise),
        ),
        64..=67 => memory.set_word(IN_PROD, u32::arbitrary_or(noise)),
        68..=95 => memory.set_word(IN_CONS, u32::arbitrary_or(noise)),
        _ => (),
    }
}

fn slot_offset(index: u32) -> usize {
    FIRST_SLOT + 64 * (index as usize % 63)
}

/// What the frontend has come to.
struct Seen {
    in_cons: u32,
    /// An impossible producer that it has seen last.
    doubted: Option<u32>,
}

/// Consumes, and judges by the log.
fn consume(ring: &mut EventRing, page: &Page<'_>, seen: &mut Seen) {
    let mut in_cons = seen.in_cons;
    let before = ring.counters();
    let mut events = Vec::new();
    let drained = ring.consume(page, |event| events.push(event));
    let after = ring.counters();
    let log = page.take_log();

    let mut expected = Vec::new();
    let (mut doubts, mut resyncs) = (0, 0);
    let mut ended = false;
    // The last look: how many events of it are still to be read, and what the backend was last told.
    let (mut available, mut told) = (0, in_cons);
    for access in &log {
        match *access {
            Access::Load(IN_PROD, producer) => {
                assert!(!ended, "another look after an impossible one");
                assert_eq!(told, in_cons, "another look before the backend was told");
                available = producer.wrapping_sub(in_cons);
                if available > EVENT_ENTRIES {
                    ended = true;
                    available = 0;
                    match seen.doubted {
                        None => {
                            doubts += 1;
                            seen.doubted = Some(producer);
                        }
                        Some(before) if before != producer => {
                            resyncs += 1;
                            in_cons = producer;
                            seen.doubted = None;
                        }
                        Some(_) => {}
                    }
                } else {
                    seen.doubted = None;
                }
            }
            Access::ReadSlot(offset, slot) => {
                assert!(available > 0, "a slot that is not ours");
                assert_eq!(offset, slot_offset(in_cons));
                in_cons = in_cons.wrapping_add(1);
                available -= 1;
                expected.push(Event::decode(&slot));
            }
            Access::Store(IN_CONS, value) => {
                assert_eq!(value, in_cons);
                told = value;
            }
            ref other => panic!("consuming does not {other:?}"),
        }
    }
    assert_eq!(events, expected);
    assert_eq!(drained.responses as usize, events.len());
    assert!(events.len() <= EVENT_ENTRIES as usize);
    assert_eq!(told, in_cons);
    assert_eq!(drained.more, available > 0);
    assert_eq!(after.events - before.events, events.len() as u64);
    assert_eq!(after.bad_producers - before.bad_producers, doubts);
    assert_eq!(after.resyncs - before.resyncs, resyncs);
    let unknown = events
        .iter()
        .filter(|event| matches!(event, Event::Unknown { .. }))
        .count();
    assert_eq!(after.unknown_kinds - before.unknown_kinds, unknown as u64);
    seen.in_cons = in_cons;
}
