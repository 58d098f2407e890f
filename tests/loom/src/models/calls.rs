// SPDX-License-Identifier: GPL-2.0

//! Whoever waits for an answer, against the interrupt that brings it, the session's end, and the time limit.

use core::num::NonZeroU64;

use kernel::{
    prelude::*,
    sync::Arc,
    time::{self, Delta},
};
use loom::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::check;
use crate::{
    backend::{self, Connector},
    displif::message::{self, DbufCookie, Errno, FbCookie, Status},
    session::{CallError, Origin, Sink},
};

/// What a session has told.
struct Told {
    late_answers: AtomicUsize,
    broken: AtomicBool,
}

impl Told {
    fn new() -> Arc<Self> {
        let told = Self {
            late_answers: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        };
        Arc::new(told, GFP_KERNEL).unwrap()
    }

    fn late_answers(&self) -> usize {
        self.late_answers.fetch_add(0, Ordering::AcqRel)
    }
}

impl Sink for Told {
    fn flip_done(_: &Arc<Self>, _: Origin, _: u64) {}

    fn flip_refused(_: &Arc<Self>, _: Origin, _: FbCookie, _: Errno) {}

    fn config_answered(_: &Arc<Self>, _: Origin, _: Option<FbCookie>, _: Status) {}

    fn late_answer(this: &Arc<Self>) {
        this.late_answers.fetch_add(1, Ordering::AcqRel);
    }

    fn deserted(_: &Arc<Self>) {}

    fn ring_broken(this: &Arc<Self>, _: Origin) {
        this.broken.store(true, Ordering::Release);
    }
}

/// A request that the backend refuses with `errno`, so that its answer is no other request's.
fn request(errno: u64) -> message::Request {
    message::Request::DbufDestroy {
        dbuf: DbufCookie::new(NonZeroU64::new(errno).unwrap()),
    }
}

fn refused(errno: i32) -> Result<(), CallError> {
    Err(CallError::Refused(Error::from_errno(-errno)))
}

/// The backend: waits to be notified, answers so many requests, each with its own errno.
fn serve(connector: &Connector, requests: usize, over: &AtomicBool) {
    let mut served = 0;
    while served < requests {
        if let Some(request) = connector.rings.take() {
            let status = -i32::try_from(request.cookie(8)).unwrap();
            connector.answer(&request, status);
            served += 1;
        } else {
            connector.request_line.wait();
            if over.fetch_or(false, Ordering::AcqRel) {
                return;
            }
        }
    }
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;

#[test]
fn each_caller_gets_its_own_answer() {
    check(Some(2), || {
        let told = Told::new();
        let (session, connector) = backend::session(1, &told);
        let never = AtomicBool::new(false);
        let server = thread::spawn(move || serve(&connector, 2, &never));
        let other = thread::spawn({
            let session = session.clone();
            move || assert_eq!(session.call(&request(1)), refused(EPERM))
        });
        assert_eq!(session.call(&request(2)), refused(ENOENT));
        other.join().unwrap();
        server.join().unwrap();
        assert_eq!(told.late_answers(), 0);
    });
}

#[test]
fn the_end_of_a_session_wakes_who_waits() {
    check(Some(3), || {
        let told = Told::new();
        let (session, connector) = backend::session(1, &told);
        let over = std::sync::Arc::new(AtomicBool::new(false));
        let server = thread::spawn({
            let (connector, over) = (connector.clone(), over.clone());
            move || serve(&connector, 1, &over)
        });
        let killer = thread::spawn({
            let session = session.clone();
            move || {
                session.kill();
                over.store(true, Ordering::Release);
                connector.request_line.notify();
            }
        });
        let result = session.call(&request(1));
        assert!(
            result == refused(EPERM) || result == Err(CallError::Lost),
            "{result:?}"
        );
        killer.join().unwrap();
        server.join().unwrap();
        // Nothing is sent any more.
        assert_eq!(session.call(&request(2)), Err(CallError::Lost));
        assert_eq!(told.late_answers(), 0);
    });
}

#[test]
fn the_end_of_a_session_wakes_all_who_wait() {
    check(Some(2), || {
        let told = Told::new();
        let (session, _connector) = backend::session(1, &told);
        let other = thread::spawn({
            let session = session.clone();
            move || session.call(&request(1))
        });
        let killer = thread::spawn({
            let session = session.clone();
            move || session.kill()
        });
        assert_eq!(session.call(&request(2)), Err(CallError::Lost));
        assert_eq!(other.join().unwrap(), Err(CallError::Lost));
        killer.join().unwrap();
    });
}

#[test]
fn a_ring_that_the_backend_breaks_wakes_all_who_wait() {
    check(Some(2), || {
        let told = Told::new();
        let (session, connector) = backend::session(1, &told);
        let server = thread::spawn(move || {
            let mut request = loop {
                match connector.rings.take() {
                    Some(request) => break request,
                    None => connector.request_line.wait(),
                }
            };
            // Nobody's.
            request.id ^= 0x8000;
            connector.answer(&request, 0);
        });
        let other = thread::spawn({
            let session = session.clone();
            move || session.call(&request(1))
        });
        assert_eq!(session.call(&request(2)), Err(CallError::Lost));
        assert_eq!(other.join().unwrap(), Err(CallError::Lost));
        server.join().unwrap();
        assert!(told.broken.fetch_or(false, Ordering::AcqRel));
    });
}

#[test]
fn an_answer_comes_in_time_or_late_but_once() {
    check(Some(3), || {
        time::will_pass();
        let told = Told::new();
        let (session, connector) = backend::session(1, &told);
        let never = AtomicBool::new(false);
        let server = thread::spawn(move || serve(&connector, 1, &never));
        let clock = thread::spawn(|| {
            // Who waits looks in between whether the backend is there.
            time::pass(Delta::from_secs(1));
            time::pass(Delta::from_secs(10));
        });
        let pending = session.start(&request(1), 0).unwrap();
        let result = session.finish(&pending);
        clock.join().unwrap();
        server.join().unwrap();
        match result {
            Err(CallError::TimedOut) => {
                // Nobody has been told of it, so the late answer is.
                assert_eq!(told.late_answers(), 1);
            }
            result => {
                assert_eq!(result, refused(EPERM));
                assert!(told.late_answers() <= 1);
            }
        }
        assert_eq!(pending.result(), Some(refused(EPERM)));
        // Its place is free again.
        let links: Vec<_> = session.links().collect();
        assert_eq!(links[0].in_flight, 0);
    });
}
