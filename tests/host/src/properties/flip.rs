// SPDX-License-Identifier: GPL-2.0

//! Flips against events in any order, compared with the policy told once more and more naively.

use std::num::NonZeroU64;

use arbitrary::{Arbitrary, Unstructured};

use crate::displif::flip::{Busy, Flip, FlipOutcome};
use crate::displif::message::FbCookie;

/// Flips that were given up and may still have an event: so many are remembered.
const MEMORY: usize = 8;

/// Something that happens. Few framebuffers, as in life, so that names come back.
#[derive(Arbitrary, Debug)]
enum Step {
    Begin(u8),
    Event(u8),
    Fail(u8),
    Timeout,
    Reset,
}

/// The framebuffer with a number from 1 to 4.
fn framebuffer(number: u8) -> FbCookie {
    FbCookie::new(NonZeroU64::MIN.saturating_add(u64::from(number % 4)))
}

/// Checks a story.
pub fn check(data: &[u8]) {
    let mut story = Unstructured::new(data);
    let mut flip = Flip::new();
    let mut pending = None;
    let mut given_up: Vec<FbCookie> = Vec::new();
    let (mut begun, mut ended) = (0_u64, 0_u64);

    while !story.is_empty() {
        let Ok(step) = Step::arbitrary(&mut story) else {
            break;
        };
        match step {
            Step::Begin(number) => {
                let fb = framebuffer(number);
                let expected = pending.map_or(Ok(()), |_| Err(Busy));
                assert_eq!(flip.begin(fb), expected);
                if expected.is_ok() {
                    pending = Some(fb);
                    begun += 1;
                }
            }
            Step::Event(number) => {
                // 0 is no framebuffer's name, but a backend may say it.
                let cookie = u64::from(number % 5);
                let late = given_up.iter().position(|fb| fb.get() == cookie);
                let expected = match (pending, late) {
                    (Some(fb), _) if fb.get() == cookie => FlipOutcome::Done,
                    (_, Some(_)) | (None, None) => FlipOutcome::Stray,
                    (Some(_), None) => FlipOutcome::DoneMismatch,
                };
                assert_eq!(flip.event(cookie), expected);
                if expected == FlipOutcome::Stray {
                    late.map(|position| given_up.remove(position));
                } else {
                    pending = None;
                    ended += 1;
                }
            }
            Step::Fail(number) => {
                let fb = framebuffer(number);
                assert_eq!(flip.fail(fb), pending == Some(fb));
                if pending == Some(fb) {
                    given_up.extend(pending.take());
                    ended += 1;
                }
            }
            Step::Timeout => {
                assert_eq!(flip.timeout(), pending);
                ended += u64::from(pending.is_some());
                given_up.extend(pending.take());
            }
            Step::Reset => {
                assert_eq!(flip.reset(), pending);
                ended += u64::from(pending.is_some());
                pending = None;
                given_up.clear();
            }
        }
        if given_up.len() > MEMORY {
            given_up.remove(0);
        }
        assert_eq!(flip.pending(), pending);
        assert_eq!(
            begun,
            ended + u64::from(pending.is_some()),
            "each flip ends once"
        );
    }
}
