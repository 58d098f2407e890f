// SPDX-License-Identifier: GPL-2.0

//! A flip against its event, its time limit, its refusal and the session's end: each ends it, and it ends once.

use core::num::NonZeroU64;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use kernel::{
    time::{self, Delta},
    workqueue,
};
use loom::thread;

use super::{
    buffer, check, cookie, display, drop_session, framebuffer, go_live, session, settle, unbind,
};
use crate::{
    backend::Connector,
    buffer::BufferHandle,
    display::Display,
    displif::message::{FbCookie, Operation},
    framebuffer::FbHandle,
    kms::{
        driver::Driver,
        event::{FlipEvent, LetGo},
    },
};

/// More than a flip may take.
const LONG: Delta = Delta::from_secs(4);

/// A head that is on, in a session, and two framebuffers, the first of them on the screen.
struct Scene {
    display: kernel::sync::Arc<Display>,
    backend: Arc<Connector>,
    fbs: [FbHandle; 2],
    buffer: BufferHandle,
}

impl Scene {
    /// The backend answers all but requests of one kind.
    fn new(silent: Option<Operation>) -> Self {
        let display = display();
        let buffer = buffer(&display).unwrap();
        let fbs = [(); 2].map(|()| framebuffer(&buffer).unwrap());
        Display::enable(&display, 0, &fbs[0]);
        let (session, backend) = session(&display, 1);
        serve(&backend, silent);
        go_live(&display, session);
        settle(&display);
        Self {
            display,
            backend,
            fbs,
            buffer,
        }
    }

    /// Flips to the `index`th.
    fn flip(&self, index: usize) -> LetGo {
        let (event, let_go) = FlipEvent::new();
        Display::flip(&self.display, 0, &self.fbs[index], Some(event));
        let_go
    }

    fn cookie(&self, index: usize) -> u64 {
        cookie(&self.fbs[index])
    }

    /// Flips done, those given up, those refused.
    fn counts(&self) -> (u64, u64, u64) {
        let (counters, under_way) = self.display.heads[0].flips();
        assert!(!under_way);
        (counters.done, counters.timeouts, counters.failed)
    }

    /// All goes.
    fn end(self) {
        unbind(&self.display);
        Display::disable(&self.display, 0);
        drop(self.fbs);
        drop(self.buffer);
        assert!(!self.display.collect(), "something remains");
    }
}

fn serve(backend: &Arc<Connector>, silent: Option<Operation>) {
    let silent = silent.map(Operation::raw);
    backend.serve_at_once(move |request| (Some(request.operation) != silent).then_some(0));
}

/// A frame's time has passed, and long before.
fn time_is_up(display: &kernel::sync::Arc<Display>) {
    time::pass(LONG);
    Display::tick(display, 0);
}

#[test]
fn an_event_and_the_time_limit() {
    check(None, || {
        time::will_pass();
        let scene = Scene::new(None);
        let let_go = scene.flip(1);
        let interrupt = thread::spawn({
            let (backend, cookie) = (scene.backend.clone(), scene.cookie(1));
            move || backend.flip_done(cookie)
        });
        time_is_up(&scene.display);
        interrupt.join().unwrap();
        assert_eq!(let_go.times(), 1);
        let (done, given_up, _) = scene.counts();
        assert_eq!(done + given_up, 1);
        scene.end();
    });
}

#[test]
fn a_late_event_does_not_end_the_next_flip() {
    check(Some(3), || {
        time::will_pass();
        let scene = Scene::new(None);
        let first = scene.flip(1);
        let interrupt = thread::spawn({
            let (backend, cookie) = (scene.backend.clone(), scene.cookie(1));
            move || backend.flip_done(cookie)
        });
        let timer = thread::spawn({
            let display = scene.display.clone();
            move || time_is_up(&display)
        });
        // As a commit does before the next.
        first.wait();
        let second = scene.flip(0);
        interrupt.join().unwrap();
        timer.join().unwrap();
        let (counters, under_way) = scene.display.heads[0].flips();
        if second.times() == 0 {
            assert!(under_way);
            scene.backend.flip_done(scene.cookie(0));
        } else {
            // Only when it has begun before the time passed.
            assert_eq!((counters.timeouts, counters.mismatches), (1, 0));
        }
        assert_eq!((first.times(), second.times()), (1, 1));
        let (done, given_up, _) = scene.counts();
        assert_eq!(done + given_up, 2);
        scene.end();
    });
}

#[test]
fn a_refusal_and_the_time_limit() {
    check(Some(3), || {
        time::will_pass();
        let scene = Scene::new(Some(Operation::PageFlip));
        let let_go = scene.flip(1);
        let refusal = thread::spawn({
            let backend = scene.backend.clone();
            move || backend.answer_unanswered(-16)
        });
        let timer = thread::spawn({
            let display = scene.display.clone();
            move || time_is_up(&display)
        });
        let_go.wait();
        refusal.join().unwrap();
        timer.join().unwrap();
        assert_eq!(let_go.times(), 1);
        let (done, given_up, refused) = scene.counts();
        assert_eq!((done, given_up + refused), (0, 1));
        scene.end();
    });
}

#[test]
fn an_event_and_the_end_of_the_session() {
    check(Some(3), || {
        let scene = Scene::new(None);
        let interrupt = thread::spawn({
            let (backend, cookie) = (scene.backend.clone(), scene.cookie(1));
            move || backend.flip_done(cookie)
        });
        let xenwatch = thread::spawn({
            let display = scene.display.clone();
            move || drop_session(&display)
        });
        let let_go = scene.flip(1);
        interrupt.join().unwrap();
        xenwatch.join().unwrap();
        settle(&scene.display);
        assert_eq!(let_go.times(), 1);
        scene.end();
    });
}
/// A new session, and the work item has told it all.
fn reconnect(display: &kernel::sync::Arc<Display>, silent: Option<Operation>) -> Arc<Connector> {
    let (session, backend) = session(display, 2);
    serve(&backend, silent);
    go_live(display, session);
    settle(display);
    backend
}

#[test]
fn an_event_of_an_older_session_does_not_end_a_flip() {
    check(Some(3), || {
        let scene = Scene::new(None);
        let first = scene.flip(1);
        // Whoever has asked the old session for something has it still.
        let held = scene.display.session.get();
        let interrupt = thread::spawn({
            let (backend, cookie) = (scene.backend.clone(), scene.cookie(1));
            move || backend.flip_done(cookie)
        });
        drop_session(&scene.display);
        let backend = reconnect(&scene.display, None);
        let second = scene.flip(0);
        interrupt.join().unwrap();
        assert_eq!(first.times(), 1);
        assert_eq!(second.times(), 0, "nobody has said that it is done");
        backend.flip_done(scene.cookie(0));
        assert_eq!(second.times(), 1);
        drop(held);
        scene.end();
    });
}

#[test]
fn an_answer_of_an_older_session_is_not_the_new_ones() {
    check(Some(3), || {
        let silent = Some(Operation::SetConfig);
        let scene = Scene::new(silent);
        let held = scene.display.session.get();
        let interrupt = thread::spawn({
            let backend = scene.backend.clone();
            move || backend.answer_unanswered(-5)
        });
        drop_session(&scene.display);
        let backend = reconnect(&scene.display, silent);
        interrupt.join().unwrap();
        let head = &scene.display.heads[0];
        let fb = FbCookie::new(NonZeroU64::new(scene.cookie(0)).unwrap());
        assert!(head.uses(fb), "the new session was asked to show it");
        backend.answer_unanswered(0);
        assert!(head.uses(fb), "it shows it");
        drop(held);
        scene.end();
    });
}

/// What a commit does while a backend comes is what that backend shows in the end.
fn commit_and_a_new_session(commit: impl Fn(&Scene) + Send + Sync + 'static, shown: Option<usize>) {
    check(Some(2), move || {
        let scene = Scene::new(None);
        drop_session(&scene.display);
        settle(&scene.display);
        let (session, backend) = session(&scene.display, 2);
        let on_screen = Arc::new(AtomicU64::new(0));
        backend.serve_at_once({
            let on_screen = on_screen.clone();
            let operations = [Operation::SetConfig.raw(), Operation::PageFlip.raw()];
            move |request| {
                if operations.contains(&request.operation) {
                    on_screen.store(request.cookie(8), Ordering::Relaxed);
                }
                Some(0)
            }
        });
        let xenwatch = thread::spawn({
            let display = scene.display.clone();
            move || go_live(&display, session)
        });
        let keeper = thread::spawn({
            let display = scene.display.clone();
            move || workqueue::serve(&display)
        });
        commit(&scene);
        xenwatch.join().unwrap();
        workqueue::stop(&scene.display);
        keeper.join().unwrap();
        settle(&scene.display);
        let shown = shown.map_or(0, |index| scene.cookie(index));
        assert_eq!(on_screen.load(Ordering::Relaxed), shown);
        scene.end();
    });
}

#[test]
fn a_flip_and_a_new_session() {
    commit_and_a_new_session(|scene| drop(scene.flip(1)), Some(1));
}

#[test]
fn a_mode_and_a_new_session() {
    let set = |scene: &Scene| Display::enable(&scene.display, 0, &scene.fbs[1]);
    commit_and_a_new_session(set, Some(1));
}

#[test]
fn a_head_that_goes_off_and_a_new_session() {
    commit_and_a_new_session(|scene| Display::disable(&scene.display, 0), None);
}
