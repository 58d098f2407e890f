// SPDX-License-Identifier: GPL-2.0

//! The flip of a connector: at most one at a time, and how it ends.
//!
//! # Which event ends a flip
//!
//! A flip ends with the backend's event, with an error response, or with a time-out. The backend may send the event before
//! the response, twice, much later, never, or with another framebuffer's name. So:
//!
//! - An event with the name of the pending flip ends it.
//! - An event with the name of a flip that was given up (by error or time-out) is that flip's late event. It ends
//!   nothing, and is forgotten: one late event is excused for each flip that was given up, for the last few of them.
//! - Any other event ends the pending flip as well, and is counted: some backends name the wrong framebuffer, and a
//!   compositor must not wait for a time-out on each frame because of that.
//!
//! When the framebuffer of a flip that was given up is shown again, its late event cannot be told from the new one and ends
//! the new flip early; the real event is then taken for the late one. So each flip that is given up shortens one later flip
//! at most.

use super::{
    bump,
    message::FbCookie, //
};

/// How many flips that were given up are remembered: more than a client has framebuffers in turn.
const MEMORY: usize = 8;

/// A flip is pending.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Busy;

/// What an event meant.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FlipOutcome {
    /// The pending flip is done.
    Done,
    /// The pending flip is taken to be done, though the event names another framebuffer.
    DoneMismatch,
    /// Nothing: no flip is pending, or the event is a late one.
    Stray,
}

/// How flips went. All counts saturate.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct FlipCounters {
    /// Flips done, as the backend said.
    pub done: u64,
    /// Flips among them whose event named another framebuffer.
    pub mismatches: u64,
    /// Flips that the backend refused.
    pub failed: u64,
    /// Flips that timed out.
    pub timeouts: u64,
    /// Events of flips that had been given up.
    pub late: u64,
    /// Events with no flip pending.
    pub strays: u64,
}

/// A flip that was given up.
#[derive(Copy, Clone, Debug)]
struct GivenUp {
    fb: FbCookie,
    /// It may still come to the screen: the backend has not refused it, and has done none that was asked for later.
    may_come: bool,
}

/// The flip of one connector.
#[derive(Debug)]
pub struct Flip {
    pending: Option<FbCookie>,
    /// Flips that were given up, the newest first.
    given_up: [Option<GivenUp>; MEMORY],
    counters: FlipCounters,
}

impl Default for Flip {
    fn default() -> Self {
        Self::new()
    }
}

impl Flip {
    /// No flip is pending.
    pub const fn new() -> Self {
        Self {
            pending: None,
            given_up: [None; MEMORY],
            counters: FlipCounters {
                done: 0,
                mismatches: 0,
                failed: 0,
                timeouts: 0,
                late: 0,
                strays: 0,
            },
        }
    }

    /// The framebuffer of the pending flip.
    pub const fn pending(&self) -> Option<FbCookie> {
        self.pending
    }

    /// The framebuffer of this name, if a flip to it was given up and may still come to the screen.
    pub fn overdue(&self, fb_cookie: u64) -> Option<FbCookie> {
        self.given_up
            .iter()
            .flatten()
            .find(|flip| flip.may_come && flip.fb.get() == fb_cookie)
            .map(|flip| flip.fb)
    }

    /// How flips went.
    pub const fn counters(&self) -> FlipCounters {
        self.counters
    }

    /// Starts a flip. To be called before the request is sent: the event may come at once.
    ///
    /// # Errors
    ///
    /// [`Busy`] if one is pending; nothing has changed.
    pub fn begin(&mut self, fb: FbCookie) -> Result<(), Busy> {
        if self.pending.is_some() {
            return Err(Busy);
        }
        self.pending = Some(fb);
        Ok(())
    }

    /// An event came, with this name of a framebuffer.
    pub fn event(&mut self, fb_cookie: u64) -> FlipOutcome {
        if self.pending.is_some_and(|fb| fb.get() == fb_cookie) {
            self.pending = None;
            self.settle(0);
            bump(&mut self.counters.done);
            return FlipOutcome::Done;
        }
        if self.forget(fb_cookie) {
            bump(&mut self.counters.late);
            return FlipOutcome::Stray;
        }
        if self.pending.take().is_some() {
            self.settle(0);
            bump(&mut self.counters.done);
            bump(&mut self.counters.mismatches);
            return FlipOutcome::DoneMismatch;
        }
        bump(&mut self.counters.strays);
        FlipOutcome::Stray
    }

    /// The backend refused the flip to this framebuffer. Returns whether that flip was pending: it is over then, undone.
    ///
    /// It is remembered as given up: a backend that was busy with an earlier flip may name this one when that is done.
    pub fn fail(&mut self, fb: FbCookie) -> bool {
        let pending = self.pending == Some(fb);
        if pending {
            self.pending = None;
            self.remember(fb, false);
            bump(&mut self.counters.failed);
        } else if let Some(flip) = self
            .given_up
            .iter_mut()
            .rev()
            .flatten()
            .find(|flip| flip.may_come && flip.fb == fb)
        {
            flip.may_come = false;
        }
        pending
    }

    /// The backend did not answer in time. Returns the framebuffer of the flip that was pending: it is over then.
    pub fn timeout(&mut self) -> Option<FbCookie> {
        let fb = self.pending.take()?;
        self.remember(fb, true);
        bump(&mut self.counters.timeouts);
        Some(fb)
    }

    /// The backend is gone, and no event can come from it any longer. Returns the framebuffer of the flip that was pending:
    /// it is over then.
    pub fn reset(&mut self) -> Option<FbCookie> {
        self.given_up = [None; MEMORY];
        self.pending.take()
    }

    /// Expects a late event; if there are too many, the oldest is forgotten.
    fn remember(&mut self, fb: FbCookie, may_come: bool) {
        self.given_up.rotate_right(1);
        if let Some(newest) = self.given_up.first_mut() {
            *newest = Some(GivenUp { fb, may_come });
        }
    }

    /// A flip has come to the screen: those given up before it, from this place on, do not come any more.
    fn settle(&mut self, from: usize) {
        for flip in self.given_up.iter_mut().skip(from).flatten() {
            flip.may_come = false;
        }
    }

    /// Whether a late event with this name is expected; not any longer then. The oldest of that name goes.
    fn forget(&mut self, fb_cookie: u64) -> bool {
        let is_it = |entry: &Option<GivenUp>| entry.is_some_and(|flip| flip.fb.get() == fb_cookie);
        let Some(oldest) = self.given_up.iter().rposition(is_it) else {
            return false;
        };
        self.settle(oldest);
        // The older ones close the gap, so that only a full memory forgets.
        if let Some(older) = self.given_up.get_mut(oldest..) {
            older.rotate_left(1);
        }
        if let Some(last) = self.given_up.last_mut() {
            *last = None;
        }
        true
    }
}
