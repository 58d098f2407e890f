// SPDX-License-Identifier: GPL-2.0

//! The rings between two threads, on a machine that reorders as much as it may: nothing lost, nothing seen too early, and no notification
//! missed, which would leave both ends asleep.

use core::num::NonZeroU64;
use std::sync::Arc;

use loom::thread;

use super::{Bell, check};
use crate::{
    backend::Rings,
    displif::{
        events::EventRing,
        message::{Errno, Event, FbCookie, Request},
        ring::RequestRing,
    },
    xen::shared_page::SharedPage,
};

struct Bells {
    backend: Bell,
    frontend: Bell,
}

fn ends() -> (SharedPage, SharedPage, Arc<Rings>, Arc<Bells>) {
    let requests = SharedPage::new(0).unwrap();
    let events = SharedPage::new(0).unwrap();
    let rings = Rings::new(requests.reference(), events.reference());
    let bells = Bells {
        backend: Bell::default(),
        frontend: Bell::default(),
    };
    (requests, events, Arc::new(rings), Arc::new(bells))
}

/// Sends `requests` requests, at most `in_flight` at a time, and sleeps whenever there is nothing to do.
fn requests_and_responses(requests: u64, in_flight: usize) {
    let (page, _, rings, bells) = ends();
    let mut ring = RequestRing::new();
    ring.init(&page);
    let backend = thread::spawn({
        let bells = bells.clone();
        move || {
            let mut answered = 0;
            while answered < requests {
                let Some(request) = rings.take() else {
                    bells.backend.wait();
                    continue;
                };
                let cookie = i32::try_from(request.cookie(8)).unwrap();
                if rings.answer(&request, -cookie) {
                    bells.frontend.ring();
                }
                answered += 1;
            }
        }
    });
    let (mut sent, mut answered) = (0, 0);
    while answered < requests {
        while sent < requests && ring.in_flight() < in_flight {
            sent += 1;
            let fb = FbCookie::new(NonZeroU64::new(sent).unwrap());
            let submitted = ring.submit(&page, &Request::PageFlip { fb }).unwrap();
            if submitted.notify {
                bells.backend.ring();
            }
        }
        let drained = ring.consume(&page, |completion| {
            answered += 1;
            let status = completion.status.map_err(Errno::get);
            assert_eq!(status, Err(i32::try_from(answered).unwrap()));
        });
        if drained.unwrap().responses == 0 {
            bells.frontend.wait();
        }
    }
    backend.join().unwrap();
    assert!(!ring.is_broken());
}

#[test]
fn a_request_and_its_response() {
    check(None, || requests_and_responses(1, 1));
}

#[test]
fn requests_one_after_the_other() {
    check(Some(3), || requests_and_responses(2, 1));
}

#[test]
fn requests_beside_each_other() {
    check(Some(3), || requests_and_responses(2, 2));
}

#[test]
fn events() {
    const EVENTS: u64 = 2;
    check(None, || {
        let (_, page, rings, bells) = ends();
        let mut ring = EventRing::new();
        ring.init(&page);
        let backend = thread::spawn({
            let bells = bells.clone();
            move || {
                for cookie in 1..=EVENTS {
                    rings.put_flip_done(cookie);
                    bells.frontend.ring();
                }
            }
        });
        let mut seen = 0;
        while seen < EVENTS {
            let drained = ring.consume(&page, |event| {
                seen += 1;
                assert_eq!(event, Event::PageFlip { fb_cookie: seen });
            });
            if !drained.more && seen < EVENTS {
                bells.frontend.wait();
            }
        }
        backend.join().unwrap();
        assert_eq!(ring.counters().resyncs, 0);
    });
}
