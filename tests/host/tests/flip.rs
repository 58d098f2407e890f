// SPDX-License-Identifier: GPL-2.0

//! Flips, case by case. The names in brackets are those of the fault catalogue.

use std::num::NonZeroU64;

use displif_host_tests::displif::flip::{Busy, Flip, FlipOutcome};
use displif_host_tests::displif::message::FbCookie;

use FlipOutcome::{Done, DoneMismatch, Stray};

fn fb(number: u64) -> FbCookie {
    FbCookie::new(NonZeroU64::MIN.saturating_add(number - 1))
}

fn begun(number: u64) -> Flip {
    let mut flip = Flip::new();
    assert_eq!(flip.begin(fb(number)), Ok(()));
    flip
}

/// A flip to each of so many framebuffers was given up.
fn given_up(count: u64) -> Flip {
    let mut flip = Flip::new();
    for number in 1..=count {
        assert_eq!(flip.begin(fb(number)), Ok(()));
        flip.timeout();
    }
    flip
}

#[test]
fn an_event_ends_a_flip_once() {
    // V1, V3
    let mut flip = begun(1);
    assert_eq!(flip.begin(fb(2)), Err(Busy));
    assert_eq!(flip.pending(), Some(fb(1)));
    assert_eq!(flip.event(1), Done);
    assert_eq!(flip.event(1), Stray);
    assert_eq!(flip.counters().strays, 1);
    // Nothing is left to fail or to time out.
    assert!(!flip.fail(fb(1)));
    assert_eq!(flip.timeout(), None);
    assert_eq!(flip.begin(fb(2)), Ok(()));
}

#[test]
fn an_event_with_nothing_pending_does_not_end_the_next_flip() {
    // V3
    let mut flip = Flip::new();
    assert_eq!(flip.event(1), Stray);
    assert_eq!(flip.begin(fb(1)), Ok(()));
    assert_eq!(flip.pending(), Some(fb(1)));
}

#[test]
fn a_wrong_name_is_accepted_and_counted() {
    // V2
    for cookie in [0, 7, u64::MAX] {
        let mut flip = begun(1);
        assert_eq!(flip.event(cookie), DoneMismatch);
        assert_eq!(flip.counters().mismatches, 1);
        assert_eq!(flip.counters().done, 1);
    }
}

#[test]
fn a_late_event_does_not_end_the_next_flip() {
    // V3
    let mut flip = begun(1);
    assert_eq!(flip.timeout(), Some(fb(1)));
    assert_eq!(flip.begin(fb(2)), Ok(()));
    assert_eq!(flip.event(1), Stray);
    assert_eq!(flip.counters().late, 1);
    assert_eq!(flip.pending(), Some(fb(2)));
    assert_eq!(flip.event(2), Done);
}

#[test]
fn one_late_event_is_excused_for_each_flip() {
    let mut flip = begun(1);
    flip.timeout();
    assert_eq!(flip.begin(fb(2)), Ok(()));
    assert_eq!(flip.event(1), Stray);
    // There is no reason for another one: a backend that names framebuffers wrongly must not hang us.
    assert_eq!(flip.event(1), DoneMismatch);
}

#[test]
fn the_event_of_a_refused_flip_does_not_end_the_next() {
    // V2: the backend was busy with flip 1, refuses flip 2, and names 2 when 1 is done.
    let mut flip = begun(1);
    flip.timeout();
    assert_eq!(flip.begin(fb(2)), Ok(()));
    assert!(flip.fail(fb(2)));
    assert_eq!(flip.begin(fb(3)), Ok(()));
    assert_eq!(flip.event(2), Stray);
    assert_eq!(flip.event(3), Done);
    assert_eq!(flip.counters().failed, 1);
}

#[test]
fn the_same_framebuffer_again_is_early_once() {
    // V3: all flips to one framebuffer, the first event late
    let mut flip = begun(1);
    flip.timeout();
    assert_eq!(flip.begin(fb(1)), Ok(()));
    assert_eq!(flip.event(1), Done);
    // The real one, while another flip is pending.
    assert_eq!(flip.begin(fb(2)), Ok(()));
    assert_eq!(flip.event(1), Stray);
    assert_eq!(flip.event(2), Done);
}

#[test]
fn a_refusal_after_the_event_changes_nothing() {
    // V1
    let mut flip = begun(1);
    assert_eq!(flip.event(1), Done);
    assert_eq!(flip.begin(fb(2)), Ok(()));
    assert!(!flip.fail(fb(1)));
    assert_eq!(flip.pending(), Some(fb(2)));
}

#[test]
fn a_flip_that_was_given_up_may_come_until_a_later_one_is_done() {
    // F12
    let mut flip = begun(1);
    assert_eq!(flip.overdue(1), None);
    flip.timeout();
    assert_eq!(flip.overdue(1), Some(fb(1)));
    assert_eq!(flip.begin(fb(2)), Ok(()));
    assert_eq!(flip.overdue(1), Some(fb(1)));
    assert_eq!(flip.event(2), Done);
    assert_eq!(flip.overdue(1), None);
}

#[test]
fn a_flip_that_was_given_up_and_then_refused_does_not_come() {
    let mut flip = begun(1);
    flip.timeout();
    assert_eq!(flip.begin(fb(2)), Ok(()));
    assert!(!flip.fail(fb(1)));
    assert_eq!(flip.overdue(1), None);
    assert!(flip.fail(fb(2)));
    assert_eq!(flip.overdue(2), None);
}

#[test]
fn a_late_event_settles_what_was_given_up_before() {
    let mut flip = given_up(3);
    assert_eq!(flip.event(2), Stray);
    assert_eq!(flip.overdue(1), None);
    assert_eq!(flip.overdue(2), None);
    assert_eq!(flip.overdue(3), Some(fb(3)));
    flip.reset();
    assert_eq!(flip.overdue(3), None);
}

#[test]
fn the_memory_is_small() {
    let mut flip = given_up(9);
    assert_eq!(flip.begin(fb(10)), Ok(()));
    for number in 2..=9 {
        assert_eq!(flip.event(number), Stray);
    }
    assert_eq!(flip.event(1), DoneMismatch);
}

#[test]
fn the_memory_has_no_gaps() {
    let mut flip = given_up(8);
    // One leaves from the middle, so one more fits.
    assert_eq!(flip.event(4), Stray);
    assert_eq!(flip.begin(fb(9)), Ok(()));
    flip.timeout();
    assert_eq!(flip.begin(fb(10)), Ok(()));
    for number in [1, 2, 3, 5, 6, 7, 8, 9] {
        assert_eq!(flip.event(number), Stray, "{number}");
    }
    assert_eq!(flip.event(10), Done);
}

#[test]
fn a_new_session_expects_nothing_of_the_old_one() {
    let mut flip = begun(1);
    flip.timeout();
    assert_eq!(flip.begin(fb(2)), Ok(()));
    assert_eq!(flip.reset(), Some(fb(2)));
    assert_eq!(flip.reset(), None);
    assert_eq!(flip.begin(fb(3)), Ok(()));
    assert_eq!(flip.event(1), DoneMismatch);
}
