// SPDX-License-Identifier: GPL-2.0

//! One connection to one backend: rings, the requests in flight on them, and its end.
//!
//! A session is made anew for every connection, with new pages and ports, and never revived. Whoever waits for an answer when
//! it ends is told that it is lost.
//!
//! Lock order: [`CurrentSession`] > [`Requests::ring`], which is innermost; nothing is called with either held.

use kernel::{
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic,
        Msecs, //
    }, //
};

use xen_zcopy::domain::DomId;

use crate::{
    displif::{
        config::Version,
        events::{
            EventCounters,
            EventRing, //
        },
        message::{
            Config,
            Errno,
            Event,
            FbCookie,
            Request,
            Slot,
            Status, //
        },
        page,
        ring::{
            Completion,
            RequestRing,
            RingCounters,
            SubmitError,
            Ticket,
            RING_ENTRIES, //
        }, //
    },
    xen::{
        answer::{
            Answer,
            NoAnswer, //
        },
        evtchn::{
            Channel,
            Eoi,
            Handler, //
        },
        shared_page::SharedPage, //
    }, //
};

/// How long a request may take when it is the backend's turn to answer it. Not less than 2.5 s: a backend may wait 2 s for its display
/// before it answers a DBUF_DESTROY.
pub(crate) const REQUEST_LIMIT: Msecs = 3_000;

/// How long it may take in all, however many the backend answers before it.
const QUEUE_LIMIT: Msecs = 3 * REQUEST_LIMIT;

/// After how long a backend that has been asked something, and has answered nothing at all since, is taken for stuck: five time-outs.
const STUCK_LIMIT: Delta = Delta::from_millis(5 * REQUEST_LIMIT as i64);

/// After how long it is looked whether a backend that says nothing has died.
pub(crate) const SUSPICION: Msecs = 250;

/// Slots of the first ring that user space's calls leave to its head's modes and flips.
const CALL_RESERVE: usize = 4;

/// Events handled per notification at most.
const EVENT_BATCHES: usize = 2;
/// Events in one batch: one more than the page has.
const EVENT_BATCH: usize = 64;

impl page::SharedPage for SharedPage {
    fn load_acquire(&self, offset: usize) -> u32 {
        SharedPage::load_acquire(self, offset)
    }

    fn store_release(&self, offset: usize, value: u32) {
        SharedPage::store_release(self, offset, value);
    }

    fn full_barrier(&self) {
        SharedPage::full_barrier(self);
    }

    fn read_slot(&self, offset: usize) -> Slot {
        self.read_block(offset)
    }

    fn write_slot(&self, offset: usize, slot: &Slot) {
        self.write_block(offset, slot);
    }
}

/// Where news come from.
#[derive(Copy, Clone)]
pub(crate) struct Origin {
    /// The session's generation.
    pub(crate) generation: u64,
    /// The connector.
    pub(crate) connector: usize,
}

/// Where a session's news go. All may be called in interrupts, and also after [`Session::kill`]: an interrupt may be on its way
/// then, and those of the event pages go on until nobody has the session any more. So whoever keeps something that belongs to one session
/// looks at the news' origin.
pub(crate) trait Sink: Send + Sync + Sized + 'static {
    /// The backend says that a framebuffer is on the screen.
    fn flip_done(this: &Arc<Self>, origin: Origin, fb_cookie: u64);
    /// The backend has refused a PG_FLIP.
    fn flip_refused(this: &Arc<Self>, origin: Origin, fb: FbCookie, errno: Errno);
    /// The backend has answered a SET_CONFIG that turned the head on with `fb`, or off.
    fn config_answered(this: &Arc<Self>, origin: Origin, fb: Option<FbCookie>, status: Status);
    /// A request that nobody waited for any more has been answered.
    fn late_answer(this: &Arc<Self>);
    /// The backend has let go of the session's ports.
    fn deserted(this: &Arc<Self>);
    /// The backend has broken the rules of a ring: the session is to end.
    fn ring_broken(this: &Arc<Self>, origin: Origin);
}

/// Why a request has no answer, or not the one that was hoped for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum CallError {
    /// The backend has refused it, with this error.
    Refused(Error),
    /// It could not be sent.
    Unsent(Error),
    /// The session ended.
    Lost,
    /// Too many requests are in flight.
    Full,
    /// No answer in time: it may still come, and the request be executed.
    TimedOut,
    /// The waiting task is being killed; the request may still be executed.
    Killed,
}

impl From<CallError> for Error {
    fn from(e: CallError) -> Self {
        match e {
            CallError::Refused(e) | CallError::Unsent(e) => e,
            CallError::Lost => EIO,
            CallError::Full => EBUSY,
            CallError::TimedOut => ETIMEDOUT,
            CallError::Killed => EINTR,
        }
    }
}

/// A request in flight that somebody waits for, or will look at.
pub(crate) struct Pending {
    answer: Arc<Answer>,
    connector: usize,
    ticket: Ticket,
    sent: Instant<Monotonic>,
}

const DONE: i32 = 1;
const LOST: i32 = i32::MIN;

fn encode(status: Status) -> i32 {
    match status {
        Ok(()) => DONE,
        Err(errno) => -errno.for_caller().get(),
    }
}

fn decode(answer: i32) -> Result<(), CallError> {
    match answer {
        DONE => Ok(()),
        LOST => Err(CallError::Lost),
        refused => Err(CallError::Refused(Error::from_errno(refused))),
    }
}

impl Pending {
    /// The result, if it is there.
    pub(crate) fn result(&self) -> Option<Result<(), CallError>> {
        self.answer.get().map(decode)
    }
}

/// Who is told of a request's answer.
enum Waiter {
    Call(Arc<Answer>),
    Flip(FbCookie),
    Config(Option<FbCookie>),
}

/// A request that somebody is to be told of.
struct Waiting {
    waiter: Waiter,
    /// Which of the ring's requests it is, counted from 1.
    order: u64,
    /// When it was sent, or when the last one before it was answered.
    since: Instant<Monotonic>,
}

struct RingState {
    ring: RequestRing,
    waiting: [Option<Waiting>; RING_ENTRIES],
    /// When the backend has answered last, or got something to answer.
    heard: Instant<Monotonic>,
}

/// A connector's request ring.
#[pin_data]
struct Requests<S: Sink> {
    origin: Origin,
    page: SharedPage,
    #[pin]
    ring: SpinLockIrq<RingState>,
    sink: Arc<S>,
}

impl RingState {
    /// The time of all that were sent after the one with this number begins anew: the backend is still at work on what was before them.
    fn answered(&mut self, order: u64) {
        let now = Instant::now();
        self.heard = now;
        for waiting in self.waiting.iter_mut().flatten() {
            if waiting.order > order {
                waiting.since = now;
            }
        }
    }
}

impl<S: Sink> Requests<S> {
    fn dispatch(&self, completion: Completion, waiter: Option<Waiter>) {
        if completion.abandoned {
            S::late_answer(&self.sink);
        }
        match (waiter, completion.status) {
            (Some(Waiter::Call(answer)), status) => answer.give(encode(status)),
            (Some(Waiter::Flip(fb)), Err(errno)) => {
                S::flip_refused(&self.sink, self.origin, fb, errno)
            }
            (Some(Waiter::Config(fb)), status) => {
                S::config_answered(&self.sink, self.origin, fb, status)
            }
            _ => {}
        }
    }

    /// Makes the ring refuse everything, and tells all who wait.
    fn kill(&self) {
        let waiting = {
            let mut state = self.ring.lock();
            state.ring.kill();
            core::mem::replace(&mut state.waiting, [const { None }; RING_ENTRIES])
        };
        for waiting in waiting.into_iter().flatten() {
            if let Waiter::Call(answer) = waiting.waiter {
                answer.give(LOST);
            }
        }
    }
}

impl<S: Sink> Handler for Requests<S> {
    fn handle(&self) -> Eoi {
        let mut news = [const { None }; RING_ENTRIES];
        let (drained, broken) = {
            let mut guard = self.ring.lock();
            let state = &mut *guard;
            if state.ring.is_dead() {
                return Eoi::Never;
            }
            let waiting = &mut state.waiting;
            let mut free = news.iter_mut();
            let mut first = None;
            let drained = state.ring.consume(&self.page, |completion| {
                let waiting = waiting
                    .get_mut(completion.ticket.index())
                    .and_then(Option::take);
                let order = waiting.as_ref().map(|waiting| waiting.order);
                first = [first, order].into_iter().flatten().min();
                if let Some(place) = free.next() {
                    *place = Some((completion, waiting.map(|waiting| waiting.waiter)));
                }
            });
            if let Some(first) = first {
                state.answered(first);
            }
            (drained, state.ring.is_broken())
        };
        for (completion, waiter) in news.into_iter().flatten() {
            self.dispatch(completion, waiter);
        }
        if broken {
            // At once: who ends the session may itself wait for somebody who waits for an answer from this ring.
            self.kill();
            S::ring_broken(&self.sink, self.origin);
        }
        match drained {
            Ok(drained) if drained.responses > 0 || drained.more => Eoi::Work,
            Ok(_) => Eoi::Spurious,
            Err(_) => Eoi::Never,
        }
    }
}

/// A connector's event page.
#[pin_data]
struct Events<S: Sink> {
    origin: Origin,
    page: SharedPage,
    #[pin]
    ring: SpinLockIrq<EventRing>,
    sink: Arc<S>,
}

impl<S: Sink> Handler for Events<S> {
    fn handle(&self) -> Eoi {
        let mut any = false;
        for _ in 0..EVENT_BATCHES {
            let mut news = [const { None }; EVENT_BATCH];
            let drained = {
                let mut free = news.iter_mut();
                self.ring.lock().consume(&self.page, |event| {
                    if let Some(place) = free.next() {
                        *place = Some(event);
                    }
                })
            };
            for event in news.into_iter().flatten() {
                any = true;
                if let Event::PageFlip { fb_cookie } = event {
                    S::flip_done(&self.sink, self.origin, fb_cookie);
                }
            }
            if !drained.more {
                break;
            }
        }
        if any {
            Eoi::Work
        } else {
            Eoi::Spurious
        }
    }
}

/// A connector's two channels. The drop takes the interrupts down before the pages.
struct Link<S: Sink> {
    requests: Channel<Requests<S>>,
    events: Channel<Events<S>>,
}

impl<S: Sink> Link<S> {
    fn new(peer: DomId, origin: Origin, sink: &Arc<S>) -> Result<Self> {
        let ring = RequestRing::new();
        let page = SharedPage::new(peer)?;
        ring.init(&page);
        let requests = Arc::pin_init(
            pin_init!(Requests {
                origin,
                page,
                ring <- new_spinlock_irq!(RingState {
                    ring,
                    waiting: [const { None }; RING_ENTRIES],
                    heard: Instant::now(),
                }),
                sink: sink.clone(),
            }),
            GFP_KERNEL,
        )?;
        let page = SharedPage::new(peer)?;
        let ring = EventRing::new();
        ring.init(&page);
        let events = Arc::pin_init(
            pin_init!(Events {
                origin,
                page,
                ring <- new_spinlock_irq!(ring),
                sink: sink.clone(),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self {
            requests: Channel::new(peer, c"xen-displ-req", requests)?,
            events: Channel::new(peer, c"xen-displ-evt", events)?,
        })
    }
}

/// What debugfs shows of a connector's rings.
pub(crate) struct LinkState {
    /// Requests without an answer.
    pub(crate) in_flight: usize,
    /// Whether the ring still works.
    pub(crate) dead: bool,
    /// Whether the backend has the two ports bound.
    pub(crate) bound: (bool, bool),
    /// The request ring's counters.
    pub(crate) requests: RingCounters,
    /// The event page's counters.
    pub(crate) events: EventCounters,
}

/// A connection.
pub(crate) struct Session<S: Sink> {
    /// Which connection of this device it is, from 1.
    pub(crate) generation: u64,
    /// The backend's domain.
    pub(crate) peer: DomId,
    /// What both sides speak.
    pub(crate) version: Version,
    links: KVec<Link<S>>,
}

impl<S: Sink> Session<S> {
    /// Makes rings and ports for `connectors` connectors. The backend does not know them yet: see [`Self::nodes`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC`: no room in the grant table, no free port.
    pub(crate) fn new(
        generation: u64,
        peer: DomId,
        version: Version,
        connectors: usize,
        sink: &Arc<S>,
    ) -> Result<Self> {
        let mut links = KVec::with_capacity(connectors, GFP_KERNEL)?;
        for connector in 0..connectors {
            let origin = Origin {
                generation,
                connector,
            };
            links.push(Link::new(peer, origin, sink)?, GFP_KERNEL)?;
        }
        Ok(Self {
            generation,
            peer,
            version,
            links,
        })
    }

    /// What the backend must find in XenStore: nodes below the frontend's directory, and their values.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn nodes(&self) -> Result<KVec<(CString, CString)>> {
        let mut nodes = KVec::new();
        nodes.push(
            (
                CString::try_from_fmt(fmt!("version"))?,
                CString::try_from_fmt(fmt!("{}", self.version.name()))?,
            ),
            GFP_KERNEL,
        )?;
        for (i, link) in self.links.iter().enumerate() {
            for (node, value) in [
                ("req-ring-ref", link.requests.handler().page.reference()),
                ("req-event-channel", link.requests.port()),
                ("evt-ring-ref", link.events.handler().page.reference()),
                ("evt-event-channel", link.events.port()),
            ] {
                nodes.push(
                    (
                        CString::try_from_fmt(fmt!("{i}/{node}"))?,
                        CString::try_from_fmt(fmt!("{value}"))?,
                    ),
                    GFP_KERNEL,
                )?;
            }
        }
        Ok(nodes)
    }

    /// Sends a request; does not wait.
    fn submit(
        &self,
        connector: usize,
        request: &Request,
        reserve: usize,
        waiter: Waiter,
    ) -> Result<Ticket, CallError> {
        let link = self.links.get(connector).ok_or(CallError::Lost)?;
        let requests = link.requests.handler();
        let submitted = {
            let mut guard = requests.ring.lock();
            let state = &mut *guard;
            if !state.ring.is_dead() && state.ring.free() <= reserve {
                return Err(CallError::Full);
            }
            if state.ring.in_flight() == 0 {
                state.heard = Instant::now();
            }
            let submitted = state
                .ring
                .submit(&requests.page, request)
                .map_err(|e| match e {
                    SubmitError::Full => CallError::Full,
                    SubmitError::Dead => CallError::Lost,
                })?;
            if let Some(place) = state.waiting.get_mut(submitted.ticket.index()) {
                *place = Some(Waiting {
                    waiter,
                    order: state.ring.counters().requests,
                    since: Instant::now(),
                });
            }
            submitted
        };
        if submitted.notify {
            link.requests.notify();
        }
        Ok(submitted.ticket)
    }

    /// Sends a request about buffers, on the first connector's ring, which carries all of these, unless fewer than `reserve`
    /// slots would be left.
    ///
    /// # Errors
    ///
    /// [`CallError::Full`], [`CallError::Lost`], [`CallError::Unsent`].
    pub(crate) fn start(&self, request: &Request, reserve: usize) -> Result<Pending, CallError> {
        let answer = Arc::pin_init(Answer::new(), GFP_KERNEL).map_err(CallError::Unsent)?;
        let ticket = self.submit(0, request, reserve, Waiter::Call(answer.clone()))?;
        Ok(Pending {
            answer,
            connector: 0,
            ticket,
            sent: Instant::now(),
        })
    }

    /// Sends a request of user space's, and waits for the answer.
    ///
    /// # Errors
    ///
    /// As of [`Self::start`] and [`Self::finish`].
    pub(crate) fn call(&self, request: &Request) -> Result<(), CallError> {
        let pending = self.start(request, CALL_RESERVE)?;
        self.finish(&pending)
    }

    /// Waits for the answer. When it does not come, the request's id stays taken, and so must everything that it named.
    ///
    /// # Errors
    ///
    /// All of [`CallError`] but [`CallError::Full`].
    pub(crate) fn finish(&self, pending: &Pending) -> Result<(), CallError> {
        let limit = self.time_left(pending);
        let mut answer = pending.answer.wait(msecs_to_jiffies(limit.min(SUSPICION)));
        if matches!(answer, Err(NoAnswer::TimedOut)) && limit > SUSPICION && self.is_deserted() {
            if let Some(link) = self.links.get(pending.connector) {
                S::deserted(&link.requests.handler().sink);
            }
            return Err(CallError::Lost);
        }
        // The time may grow while it is waited.
        while matches!(answer, Err(NoAnswer::TimedOut)) {
            match self.time_left(pending) {
                0 => break,
                left => answer = pending.answer.wait(msecs_to_jiffies(left)),
            }
        }
        match answer {
            Ok(answer) => decode(answer),
            Err(why) => {
                if let Some(link) = self.links.get(pending.connector) {
                    let requests = link.requests.handler();
                    // It may lie there, and only its notification be lost.
                    requests.handle();
                    if !requests.ring.lock().ring.abandon(pending.ticket) {
                        // An interrupt has taken it out, and is about to give it.
                        let _ = pending.answer.wait(msecs_to_jiffies(SUSPICION));
                    }
                }
                // It may have come just now.
                pending.result().unwrap_or(Err(match why {
                    NoAnswer::TimedOut => CallError::TimedOut,
                    NoAnswer::Killed => CallError::Killed,
                }))
            }
        }
    }

    /// How long the answer may still be waited for. The time runs from the sending, so that requests sent together time out together; but not
    /// while the backend answers those that were sent before.
    fn time_left(&self, pending: &Pending) -> Msecs {
        let since = |start: Instant<Monotonic>| {
            Msecs::try_from(start.elapsed().as_millis()).unwrap_or(Msecs::MAX)
        };
        let turn = self.links.get(pending.connector).and_then(|link| {
            let state = link.requests.handler().ring.lock();
            let waiting = state.waiting.get(pending.ticket.index())?.as_ref()?;
            Some(waiting.since)
        });
        REQUEST_LIMIT
            .saturating_sub(since(turn.unwrap_or(pending.sent)))
            .min(QUEUE_LIMIT.saturating_sub(since(pending.sent)))
    }

    /// Sends a PG_FLIP; a refusal goes to the sink.
    ///
    /// # Errors
    ///
    /// [`CallError::Full`], [`CallError::Lost`].
    pub(crate) fn flip(&self, connector: usize, fb: FbCookie) -> Result<(), CallError> {
        self.submit(connector, &Request::PageFlip { fb }, 0, Waiter::Flip(fb))
            .map(|_| ())
    }

    /// Sends a SET_CONFIG; its answer goes to the sink.
    ///
    /// # Errors
    ///
    /// [`CallError::Full`], [`CallError::Lost`].
    pub(crate) fn set_config(
        &self,
        connector: usize,
        config: Option<Config>,
    ) -> Result<(), CallError> {
        let fb = config.as_ref().map(|config| config.fb);
        let request = Request::SetConfig(config);
        self.submit(connector, &request, 0, Waiter::Config(fb))
            .map(|_| ())
    }

    /// Ends the session: nothing is sent any more, and everybody who waits is told. Does not sleep.
    pub(crate) fn kill(&self) {
        for link in &self.links {
            link.requests.handler().kill();
        }
    }

    /// Whether the backend has let go of all ports, as one does that dies.
    pub(crate) fn is_deserted(&self) -> bool {
        !self
            .links
            .iter()
            .any(|link| link.requests.is_bound() || link.events.is_bound())
    }

    /// Whether the backend has broken the rules of some ring.
    pub(crate) fn is_broken(&self) -> bool {
        self.links.iter().any(|link| {
            let requests = link.requests.handler().ring.lock();
            requests.ring.is_broken()
        })
    }

    /// Whether the backend has something to answer on some ring, and has been silent there for too long.
    pub(crate) fn is_stuck(&self) -> bool {
        self.links.iter().any(|link| {
            let requests = link.requests.handler().ring.lock();
            requests.ring.in_flight() > 0 && requests.heard.elapsed() > STUCK_LIMIT
        })
    }

    /// What debugfs shows of the connectors' rings.
    pub(crate) fn links(&self) -> impl Iterator<Item = LinkState> + '_ {
        self.links.iter().map(|link| {
            let events = link.events.handler().ring.lock().counters();
            let requests = link.requests.handler().ring.lock();
            LinkState {
                in_flight: requests.ring.in_flight(),
                dead: requests.ring.is_dead(),
                bound: (link.requests.is_bound(), link.events.is_bound()),
                requests: requests.ring.counters(),
                events,
            }
        })
    }
}

/// The session there is now, if there is one.
#[pin_data]
pub(crate) struct CurrentSession<S: Sink> {
    #[pin]
    session: Mutex<Option<Arc<Session<S>>>>,
}

impl<S: Sink> CurrentSession<S> {
    /// None.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            session <- new_mutex!(None),
        })
    }

    /// The session.
    pub(crate) fn get(&self) -> Option<Arc<Session<S>>> {
        self.session.lock().clone()
    }

    /// Replaces it.
    pub(crate) fn set(&self, session: Option<Arc<Session<S>>>) {
        let before = core::mem::replace(&mut *self.session.lock(), session);
        // Its interrupts are taken down outside the lock.
        drop(before);
    }

    /// Whether it is still this one.
    pub(crate) fn is_current(&self, session: &Arc<Session<S>>) -> bool {
        self.session
            .lock()
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, session))
    }
}
