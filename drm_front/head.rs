// SPDX-License-Identifier: GPL-2.0

//! A connector's head: what it shows, and its flip under way.
//!
//! Lock order: [`Head::shown`] > [`CurrentSession`] > [`Head::flip`] > the session's ring locks. [`Head::flip`] is also taken in
//! interrupts; an event is let go outside it.

use kernel::{
    fmt,
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        Delta,
        Instant,
        Monotonic,
        Msecs, //
    }, //
};

use crate::{
    display::{
        CurrentSession,
        DisplaySession, //
    },
    displif::{
        config::Resolution,
        flip::{
            Busy,
            Flip,
            FlipCounters,
            FlipOutcome, //
        },
        message::{
            Config,
            FbCookie, //
        }, //
    },
    framebuffer::Fb,
    kms::{
        driver::ModeSize,
        event::FlipEvent, //
    },
    session::{
        CallError,
        SUSPICION, //
    }, //
};

/// How long a flip may take. A backend may be held up for 2 s by a DBUF_DESTROY; DRM gives up after 10 s.
const FLIP_LIMIT: Delta = Delta::from_millis(3_000);

/// As for requests.
const FLIP_SUSPICION: Delta = Delta::from_millis(SUSPICION as i64);

/// How long after a refused flip, in ms, and how often, it is tried again. A backend that still works on a flip that was given up here
/// refuses the next one, and without a further try the last picture would never be seen.
const FLIP_AGAIN: Msecs = 100;
const FLIP_TRIES: u32 = 10;

/// What a head's vertical blank has found.
pub(crate) enum Tick {
    /// No flip is late.
    Quiet,
    /// A flip is late, as it is when the backend has died. Said now and then.
    Late,
    /// A flip was given up.
    GivenUp,
}

/// What a head shows.
struct Shown {
    /// The framebuffer, when the head is on.
    fb: Option<Arc<Fb>>,
    /// The generation of the session that was told so; 0: none.
    told: u64,
}

/// Whether what is to be shown must be asked for once more.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Again {
    /// No.
    No,
    /// As soon as the flip under way is over: it is one that was tried again, and another came meanwhile. The event is the other one's.
    Next,
    /// [`FLIP_AGAIN`] after the last one, which was refused.
    Later,
}

/// What the backend has been asked for, and what it has done.
struct FlipState {
    /// The generation of the last session that was told of the head, or lost.
    session: u64,
    /// That session is over: nothing that it says is heard any more.
    over: bool,
    flip: Flip,
    event: Option<FlipEvent>,
    since: Instant<Monotonic>,
    /// When [`Tick::Late`] was last said of the flip under way, or it began.
    looked: Instant<Monotonic>,
    again: Again,
    /// How often a refused flip was tried again.
    tries: u32,
    /// The framebuffer that the backend shows, as it has said itself.
    screen: Option<FbCookie>,
    /// The framebuffer of a SET_CONFIG that is not answered.
    asked: Option<FbCookie>,
    /// Whether a refused SET_CONFIG has been reported since the last one that was not.
    reported: bool,
}

impl FlipState {
    /// A flip to `fb` begins. To be called before the backend is asked for it.
    fn begin(&mut self, fb: FbCookie) -> Result<(), Busy> {
        self.flip.begin(fb)?;
        self.since = Instant::now();
        self.looked = self.since;
        self.again = Again::No;
        Ok(())
    }

    /// Whether what the session of this generation says is heard.
    fn hears(&self, generation: u64) -> bool {
        !self.over && self.session == generation
    }

    /// All that the last session was asked for is void. Gives the event of a flip under way.
    fn void(&mut self) -> Option<FlipEvent> {
        self.flip.reset();
        self.again = Again::No;
        self.screen = None;
        self.asked = None;
        self.event.take()
    }
}

/// A head.
#[pin_data]
pub(crate) struct Head {
    /// Its connector's index.
    pub(crate) index: usize,
    /// The connector's size.
    pub(crate) resolution: Resolution,
    /// The name that the toolstack gave the connector; empty if it gave none.
    pub(crate) unique_id: KVec<u8>,
    #[pin]
    shown: Mutex<Shown>,
    #[pin]
    flip: SpinLockIrq<FlipState>,
    link_bad: Atomic<bool>,
}

impl Head {
    /// A head that is off.
    pub(crate) fn new(
        index: usize,
        resolution: Resolution,
        unique_id: KVec<u8>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            index,
            resolution,
            unique_id,
            shown <- new_mutex!(Shown { fb: None, told: 0 }),
            flip <- new_spinlock_irq!(FlipState {
                session: 0,
                over: true,
                flip: Flip::new(),
                event: None,
                since: Instant::now(),
                looked: Instant::now(),
                again: Again::No,
                tries: 0,
                screen: None,
                asked: None,
                reported: false,
            }),
            link_bad: Atomic::new(false),
        })
    }

    /// The size of its mode.
    pub(crate) fn mode(&self) -> ModeSize {
        ModeSize {
            width: self.resolution.width,
            height: self.resolution.height,
        }
    }

    /// Turns it on, with `fb`; or off. Without a session that is only noted. Tells whether [`Self::replay`] has to tell the
    /// session.
    pub(crate) fn configure(&self, fb: Option<&Arc<Fb>>, sessions: &CurrentSession) -> bool {
        let mut shown = self.shown.lock();
        // Read under the lock: a session that begins after this is told what is noted here.
        let session = sessions.get();
        shown.fb = fb.cloned();
        self.flip.lock().again = Again::No;
        if fb.is_none() {
            self.give_up_flip();
        }
        match session.as_deref() {
            Some(session) if shown.told == session.generation => !self.tell(&mut shown, session),
            Some(_) => true,
            None => false,
        }
    }

    /// Tells a new session what the head shows, once. Tells whether that is done.
    pub(crate) fn replay(&self, session: &DisplaySession) -> bool {
        let mut shown = self.shown.lock();
        if shown.told != session.generation {
            if !self.session_begun(session.generation) {
                return true;
            }
            shown.told = session.generation;
            if shown.fb.is_some() {
                return self.tell(&mut shown, session);
            }
        }
        true
    }

    /// From here on the session of this generation is heard, and no older one. Tells whether it is: one that is over already never is.
    fn session_begun(&self, generation: u64) -> bool {
        let event = {
            let mut state = self.flip.lock();
            if state.session >= generation {
                return state.hears(generation);
            }
            state.session = generation;
            state.over = false;
            state.reported = false;
            state.void()
        };
        drop(event);
        true
    }

    /// The session of this generation is gone: nothing more comes for a flip under way, and what is still on its way is not heard.
    pub(crate) fn session_lost(&self, generation: u64) {
        let event = {
            let mut state = self.flip.lock();
            if state.session > generation {
                return;
            }
            state.session = generation;
            state.over = true;
            state.void()
        };
        drop(event);
    }

    /// Sends the configuration; if that cannot be now it is left to [`Self::replay`]. Tells whether it could.
    fn tell(&self, shown: &mut Shown, session: &DisplaySession) -> bool {
        let config = shown.fb.as_ref().map(|fb| Config {
            fb: fb.cookie,
            x: 0,
            y: 0,
            width: fb.geometry.width,
            height: fb.geometry.height,
            bpp: u32::from(fb.geometry.cpp).wrapping_mul(8),
        });
        {
            let mut state = self.flip.lock();
            if state.hears(session.generation) {
                state.asked = config.as_ref().map(|config| config.fb);
            }
        }
        let sent = session.set_config(self.index, config).is_ok();
        if !sent {
            shown.told = 0;
        }
        sent
    }

    /// The backend has answered a SET_CONFIG. Tells whether a refusal is to be reported: once, until one is accepted, since
    /// user space answers a report by setting the mode again. In interrupt context.
    pub(crate) fn configured(&self, generation: u64, fb: Option<FbCookie>, accepted: bool) -> bool {
        let mut state = self.flip.lock();
        if !state.hears(generation) {
            return false;
        }
        if state.asked == fb {
            state.asked = None;
        }
        if accepted || fb.is_none() {
            state.screen = fb;
            state.reported = false;
            false
        } else {
            !core::mem::replace(&mut state.reported, true)
        }
    }

    /// Whether the backend may be showing this framebuffer, or be about to.
    pub(crate) fn uses(&self, fb: FbCookie) -> bool {
        let state = self.flip.lock();
        [state.screen, state.asked, state.flip.pending()].contains(&Some(fb))
            || state.flip.overdue(fb.get()).is_some()
    }

    /// Shows `fb` on a head that is on. `event` is let go when the backend says that it is on the screen, or soon when there is
    /// nobody to say so.
    pub(crate) fn flip(
        &self,
        fb: &Arc<Fb>,
        event: Option<FlipEvent>,
        sessions: &CurrentSession,
    ) -> Result<(), CallError> {
        let mut shown = self.shown.lock();
        // As in `configure`.
        let session = sessions.get();
        shown.fb = Some(fb.clone());
        let Some(session) = session.filter(|session| shown.told == session.generation) else {
            return Ok(());
        };
        {
            let mut state = self.flip.lock();
            if !state.hears(session.generation) {
                // Over meanwhile: the next one is told.
                return Ok(());
            }
            // The commit before this one has waited for its event.
            let before = core::mem::replace(&mut state.event, event);
            let begun = state.begin(fb.cookie);
            state.tries = 0;
            if begun.is_err() {
                // One that is tried again is under way.
                state.again = Again::Next;
            }
            drop(state);
            drop(before);
            if begun.is_err() {
                return Ok(());
            }
        }
        let sent = session.flip(self.index, fb.cookie);
        if sent.is_err() {
            self.flip_refused(session.generation, fb.cookie);
        }
        sent
    }

    /// The backend says that a framebuffer is shown. Tells whether [`Self::flip_again`] has something to do. In interrupt context.
    pub(crate) fn flip_done(&self, generation: u64, fb_cookie: u64) -> bool {
        let (event, again) = {
            let mut state = self.flip.lock();
            if !state.hears(generation) {
                return false;
            }
            let pending = state.flip.pending();
            let overdue = state.flip.overdue(fb_cookie);
            match state.flip.event(fb_cookie) {
                FlipOutcome::Done | FlipOutcome::DoneMismatch => {
                    state.screen = pending;
                    if state.again == Again::Next {
                        (None, true)
                    } else {
                        (state.event.take(), false)
                    }
                }
                FlipOutcome::Stray => {
                    state.screen = overdue.or(state.screen);
                    (None, false)
                }
            }
        };
        drop(event);
        again
    }

    /// The backend has refused a flip: the one under way, or one that was given up, which may have been the last. In interrupt context.
    pub(crate) fn flip_refused(&self, generation: u64, fb: FbCookie) {
        let event = {
            let mut state = self.flip.lock();
            if !state.hears(generation) {
                return;
            }
            let failed = state.flip.fail(fb);
            let event = if failed && state.again != Again::Next {
                state.event.take()
            } else {
                None
            };
            if state.flip.pending().is_none() {
                state.again = Again::Later;
            }
            event
        };
        drop(event);
    }

    /// Asks once more for the framebuffer that is to be shown now, if that is due. Tells when to come again, in ms.
    pub(crate) fn flip_again(&self, session: &DisplaySession) -> Option<Msecs> {
        let shown = self.shown.lock();
        let fb = shown
            .fb
            .as_ref()
            .filter(|_| shown.told == session.generation)?;
        let event = {
            let mut state = self.flip.lock();
            if !state.hears(session.generation) {
                return None;
            }
            let waited = state.since.elapsed() > Delta::from_millis(i64::from(FLIP_AGAIN));
            match state.again {
                Again::No => return None,
                Again::Later if !waited => return Some(FLIP_AGAIN),
                Again::Later | Again::Next => {}
            }
            if state.tries >= FLIP_TRIES {
                state.again = Again::No;
                state.event.take()
            } else if state.begin(fb.cookie).is_err() {
                // Its end comes first.
                return None;
            } else {
                state.tries = state.tries.saturating_add(1);
                drop(state);
                if session.flip(self.index, fb.cookie).is_ok() {
                    return None;
                }
                self.flip_refused(session.generation, fb.cookie);
                return Some(FLIP_AGAIN);
            }
        };
        drop(event);
        None
    }

    /// A frame's time has passed. In interrupt context.
    pub(crate) fn tick(&self) -> Tick {
        let event = {
            let mut state = self.flip.lock();
            if state.flip.pending().is_none() {
                return Tick::Quiet;
            }
            if state.since.elapsed() <= FLIP_LIMIT {
                if state.looked.elapsed() <= FLIP_SUSPICION {
                    return Tick::Quiet;
                }
                state.looked = Instant::now();
                return Tick::Late;
            }
            state.flip.timeout();
            state.event.take()
        };
        drop(event);
        Tick::GivenUp
    }

    fn give_up_flip(&self) {
        let event = {
            let mut state = self.flip.lock();
            state.flip.timeout();
            state.event.take()
        };
        drop(event);
    }

    /// How its flips went, and whether one is under way.
    pub(crate) fn flips(&self) -> (FlipCounters, bool) {
        let state = self.flip.lock();
        (state.flip.counters(), state.flip.pending().is_some())
    }

    /// The framebuffer shown, for debugfs.
    pub(crate) fn shown(&self) -> Option<Arc<Fb>> {
        self.shown.lock().fb.clone()
    }

    /// Notes that what user space set is not shown. In interrupt context.
    pub(crate) fn set_link_bad(&self) {
        self.link_bad.store(true, Relaxed);
    }

    /// Whether that was noted; not any more then.
    pub(crate) fn take_link_bad(&self) -> bool {
        self.link_bad.xchg(false, Relaxed)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connector {}", self.index)
    }
}
