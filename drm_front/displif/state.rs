// SPDX-License-Identifier: GPL-2.0

//! The states of both ends in XenStore, and what the frontend does when the backend's state is seen.
//!
//! A state is a level, not an edge: the frontend may see it twice, late, or not at all, when the backend has moved on.
//! So [`step`] depends on what is seen now and on what the frontend last said, and on nothing else. Its order:
//!
//! ```text
//!   frontend says        backend says                  frontend does
//!   Initialising         InitWait                      Publish: makes rings, says Initialised
//!   Initialised          Connected                     GoLive: says Connected
//!   Initialised,         Closing, Closed, gone,        Drop: forgets the rings, says Closed
//!    Connected            or back at its start
//!   Closed               at its start                  Restart: says Initialising
//!   Closed               Closed                        RestartUnlessDetached: the same, if the toolstack lets it
//! ```
//!
//! - A backend may go through Closing, Closed, Initialising and InitWait before it is first used: while nothing is
//!   published, only InitWait means something.
//! - A backend that tears down ends in InitWait or in Closed.
//! - A backend that died and came back would take the old rings if it found the frontend in Initialised or Connected, so
//!   the first sign of it makes the frontend leave these states.
//! - A backend may look only at changes of the frontend's state. From Closed there is always a change, to Initialising;
//!   a backend in Closed may wait for just that.

/// State of the backend, as read from XenStore.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum BackendState {
    /// Not there, not readable, or not a state.
    Unknown,
    /// Starting.
    Initialising,
    /// Waiting for the frontend to publish its rings.
    InitWait,
    /// Not used by displif backends.
    Initialised,
    /// Serving the frontend.
    Connected,
    /// Tearing down.
    Closing,
    /// Torn down.
    Closed,
    /// Not used by displif backends.
    Reconfiguring,
    /// Not used by displif backends.
    Reconfigured,
}

impl BackendState {
    /// The state with this number; anything else is [`BackendState::Unknown`].
    pub const fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Initialising,
            2 => Self::InitWait,
            3 => Self::Initialised,
            4 => Self::Connected,
            5 => Self::Closing,
            6 => Self::Closed,
            7 => Self::Reconfiguring,
            8 => Self::Reconfigured,
            _ => Self::Unknown,
        }
    }

    /// Its name in the words of `xenbus.h`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Initialising => "Initialising",
            Self::InitWait => "InitWait",
            Self::Initialised => "Initialised",
            Self::Connected => "Connected",
            Self::Closing => "Closing",
            Self::Closed => "Closed",
            Self::Reconfiguring => "Reconfiguring",
            Self::Reconfigured => "Reconfigured",
        }
    }
}

/// How far the frontend is.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// Said Initialising; nothing is published.
    Unconnected,
    /// Said Initialised; the rings are published.
    Published,
    /// Said Connected; in use.
    Connected,
    /// Said Closed; the session is dropped, and the backend is to come back.
    Closing,
}

/// What the frontend does.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Nothing.
    Ignore,
    /// Make fresh rings, write the nodes, say Initialised.
    Publish,
    /// Say Connected, and use the session.
    GoLive,
    /// The session is dead: drop it, say Closed.
    Drop,
    /// Say Initialising, to be connected anew.
    Restart,
    /// As [`Action::Restart`], unless the toolstack is taking the device away: it then has set the backend's `online` node to 0,
    /// and waits to see the backend stay in Closed.
    RestartUnlessDetached,
}

impl Action {
    /// The frontend's phase once the action is done.
    pub const fn phase_after(self, phase: Phase) -> Phase {
        match self {
            Self::Ignore => phase,
            Self::Publish => Phase::Published,
            Self::GoLive => Phase::Connected,
            Self::Drop => Phase::Closing,
            Self::Restart | Self::RestartUnlessDetached => Phase::Unconnected,
        }
    }
}

/// What to do when the backend's state is seen.
///
/// After any action that was done, step again with the new phase and the same state, until there is nothing to do: the
/// backend may have no reason to say more. That takes at most three actions.
pub const fn step(phase: Phase, backend: BackendState) -> Action {
    use BackendState as B;
    match (phase, backend) {
        (Phase::Unconnected, B::InitWait) => Action::Publish,
        (Phase::Unconnected, _) => Action::Ignore,

        (Phase::Published, B::Connected) => Action::GoLive,
        // What made us publish, seen once more.
        (Phase::Published, B::InitWait) => Action::Ignore,

        (Phase::Published, B::Initialising | B::Closing | B::Closed | B::Unknown) => Action::Drop,
        (Phase::Connected, B::Initialising | B::InitWait | B::Closing | B::Closed | B::Unknown) => {
            Action::Drop
        }

        (Phase::Closing, B::Initialising | B::InitWait) => Action::Restart,
        (Phase::Closing, B::Closed) => Action::RestartUnlessDetached,
        // It still tears down, or has not yet seen that we left.
        (Phase::Closing, B::Closing | B::Connected | B::Unknown) => Action::Ignore,

        (Phase::Connected, B::Connected) => Action::Ignore,
        // States that say nothing in displif.
        (_, B::Initialised | B::Reconfiguring | B::Reconfigured) => Action::Ignore,
    }
}

/// How many reconnects are free within a window.
const FREE_RECONNECTS: usize = 4;

/// Keeps a backend that comes and goes from keeping the guest busy: in any window of time there are at most four
/// reconnects.
#[derive(Debug)]
pub struct Flapping {
    window: u64,
    /// When the last reconnects were, the newest first.
    recent: [Option<u64>; FREE_RECONNECTS],
}

impl Flapping {
    /// With a window of so many ticks, of whatever clock the caller uses.
    pub const fn new(window: u64) -> Self {
        Self {
            window,
            recent: [None; FREE_RECONNECTS],
        }
    }

    /// Asks to reconnect now.
    ///
    /// # Errors
    ///
    /// The ticks to wait, at least 1 and at most the window, before asking again.
    pub fn reconnect(&mut self, now: u64) -> Result<(), u64> {
        if let Some(Some(oldest)) = self.recent.last() {
            // A clock that runs backwards makes this a full window, never more.
            let wait = self.window.saturating_sub(now.saturating_sub(*oldest));
            if wait != 0 {
                return Err(wait);
            }
        }
        self.recent.rotate_right(1);
        if let Some(newest) = self.recent.first_mut() {
            *newest = Some(now);
        }
        Ok(())
    }
}
