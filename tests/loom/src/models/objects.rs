// SPDX-License-Identifier: GPL-2.0

//! What user space makes and drops, against sessions that begin and end: a backend is told of an object once or not at all, of its end once, and
//! neither uses it after that nor loses it before.

use std::collections::HashMap;
use std::sync::Arc;

use kernel::{model::locked, workqueue};
use loom::{sync::Mutex, thread};

use super::{buffer, check, display, drop_session, framebuffer, go_live, session, settle, unbind};
use crate::{
    backend::{Connector, Request},
    display::{Display, DisplaySession},
    displif::message::Operation,
};
use xen_zcopy::export;

/// What a backend knows.
#[derive(Default)]
struct Known {
    dead: bool,
    /// The buffers' directories.
    dbufs: HashMap<u64, u32>,
    /// The framebuffers' buffers.
    fbs: HashMap<u64, u64>,
    /// All that there ever were.
    made: Vec<u64>,
}

impl Known {
    /// Does what is asked for; all of it has to make sense.
    fn serve(&mut self, request: &Request) -> Option<i32> {
        if self.dead {
            return None;
        }
        let cookie = request.cookie(8);
        match Operation::from_raw(request.operation).unwrap() {
            Operation::DbufCreate => {
                let directory = request.word(36);
                assert!(export::is_granted(directory), "told of before it is there");
                self.make(cookie);
                self.dbufs.insert(cookie, directory);
            }
            Operation::FbAttach => {
                let fb = request.cookie(16);
                assert!(self.dbufs.contains_key(&cookie), "of no buffer");
                self.make(fb);
                self.fbs.insert(fb, cookie);
            }
            Operation::FbDetach => {
                assert!(self.fbs.remove(&cookie).is_some(), "not known, or gone");
            }
            Operation::DbufDestroy => {
                assert!(self.fbs.values().all(|dbuf| *dbuf != cookie), "in use");
                assert!(self.dbufs.remove(&cookie).is_some(), "not known, or gone");
            }
            other => panic!("{other:?}"),
        }
        Some(0)
    }

    fn make(&mut self, cookie: u64) {
        assert!(!self.made.contains(&cookie), "made twice");
        self.made.push(cookie);
    }

    fn counts(&self) -> (usize, usize) {
        (self.dbufs.len(), self.fbs.len())
    }
}

/// A backend with a memory.
struct Backend {
    known: Arc<Mutex<Known>>,
    session: kernel::sync::Arc<DisplaySession>,
    _connector: Arc<Connector>,
}

impl Backend {
    fn new(display: &kernel::sync::Arc<Display>, generation: u64) -> Self {
        let (session, connector) = session(display, generation);
        let known = Arc::new(Mutex::new(Known::default()));
        connector.serve_at_once({
            let known = known.clone();
            move |request| locked(&known).serve(request)
        });
        Self {
            known,
            session,
            _connector: connector,
        }
    }

    /// The frontend has seen it in Connected.
    fn connect(&self, display: &kernel::sync::Arc<Display>) {
        go_live(display, self.session.clone());
    }

    /// It is gone, and the frontend has seen that.
    fn die(&self, display: &kernel::sync::Arc<Display>) {
        locked(&self.known).dead = true;
        drop_session(display);
    }

    /// How many buffers and framebuffers it knows.
    fn counts(&self) -> (usize, usize) {
        locked(&self.known).counts()
    }
}

/// No grant may end that one of these still uses.
fn watch(backends: &[&Backend]) {
    let known: Vec<_> = backends
        .iter()
        .map(|backend| backend.known.clone())
        .collect();
    export::on_end(move |directory| {
        for known in &known {
            let known = locked(known);
            let used = known.dbufs.values().any(|used| *used == directory);
            assert!(known.dead || !used, "the backend still uses it");
        }
    });
}

/// What an object goes through.
#[derive(Copy, Clone, PartialEq)]
enum Life {
    /// It is there before, and dropped meanwhile.
    Ends,
    /// It is made meanwhile.
    Begins,
    /// The same, without a framebuffer.
    BufferBegins,
    /// It is made meanwhile, and dropped again.
    Both,
}

/// A buffer and its framebuffer live, while the sessions change as `watch` has the xenwatch thread do it. In the end the second backend is there.
fn a_life(
    preemptions: usize,
    life: Life,
    connected: bool,
    xenwatch: fn(&kernel::sync::Arc<Display>, &[Backend; 2]),
) {
    check(Some(preemptions), move || {
        let display = display();
        let backends = Arc::new([1, 2].map(|generation| Backend::new(&display, generation)));
        watch(&[&backends[0], &backends[1]]);
        if connected {
            backends[0].connect(&display);
            settle(&display);
        }
        let make = {
            let display = display.clone();
            move || {
                let buffer = buffer(&display).unwrap();
                let fb = life != Life::BufferBegins;
                (fb.then(|| framebuffer(&buffer).unwrap()), buffer)
            }
        };
        let before = (life == Life::Ends).then(&make);
        let xenwatch = thread::spawn({
            let (display, backends) = (display.clone(), backends.clone());
            move || xenwatch(&display, &backends)
        });
        let keeper = thread::spawn({
            let display = display.clone();
            move || workqueue::serve(&display)
        });
        let object = before.unwrap_or_else(&make);
        let object = match life {
            Life::Begins | Life::BufferBegins => Some(object),
            // The framebuffer first.
            Life::Ends | Life::Both => {
                drop(object);
                None
            }
        };
        xenwatch.join().unwrap();
        workqueue::stop(&display);
        keeper.join().unwrap();
        settle(&display);
        if let Some((fb, _)) = &object {
            let fbs = usize::from(fb.is_some());
            assert_eq!(backends[1].counts(), (1, fbs));
            drop(object);
            settle(&display);
        }
        assert_eq!(backends[1].counts(), (0, 0));
        assert_eq!(export::granted(), 0);
        drop(make);
        unbind(&display);
    });
}

fn begins(display: &kernel::sync::Arc<Display>, backends: &[Backend; 2]) {
    backends[1].connect(display);
}

fn ends_and_begins(display: &kernel::sync::Arc<Display>, backends: &[Backend; 2]) {
    backends[0].die(display);
    backends[1].connect(display);
}

#[test]
fn the_last_reference_and_the_first_session() {
    a_life(2, Life::Ends, false, begins);
}

#[test]
fn the_last_reference_and_the_next_session() {
    a_life(2, Life::Ends, true, ends_and_begins);
}

#[test]
fn what_is_made_and_the_first_session() {
    a_life(2, Life::Begins, false, begins);
}

#[test]
fn what_is_made_and_the_next_session() {
    a_life(2, Life::Begins, true, ends_and_begins);
}

#[test]
fn a_buffer_that_is_made_and_the_first_session() {
    a_life(2, Life::BufferBegins, false, begins);
}

#[test]
fn what_is_made_and_dropped_and_the_next_session() {
    a_life(2, Life::Both, true, ends_and_begins);
}

#[test]
fn the_last_reference_and_the_unbinding() {
    check(Some(2), || {
        let display = display();
        let backend = Arc::new(Backend::new(&display, 1));
        watch(&[&backend]);
        backend.connect(&display);
        let buffer = buffer(&display).unwrap();
        let fb = framebuffer(&buffer).unwrap();
        settle(&display);
        let user = thread::spawn(move || {
            drop(fb);
            drop(buffer);
        });
        let keeper = thread::spawn({
            let display = display.clone();
            move || workqueue::serve(&display)
        });
        // Nothing is to wait for it.
        locked(&backend.known).dead = true;
        unbind(&display);
        user.join().unwrap();
        workqueue::stop(&display);
        keeper.join().unwrap();
        assert!(!display.collect());
        assert_eq!(export::granted(), 0);
    });
}
