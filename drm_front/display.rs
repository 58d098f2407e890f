// SPDX-License-Identifier: GPL-2.0

//! The display: what lives as long as the xenbus device, or as its last open file, and outlives every session.
//!
//! Lock order: [`Display::connection`] and [`Display::drm`] > DRM's locks > a head's `shown` > [`Display::collecting`] > a remote's
//! `presence` > the registries > [`CurrentSession`] > locks of interrupts.

use kernel::{
    alloc::KVVec,
    new_mutex,
    new_spinlock_irq,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Jiffies,
        Monotonic,
        Msecs, //
    },
    workqueue::{
        self,
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork, //
    }, //
};

use xen_zcopy::{
    dmabuf::DmaBuf,
    domain::DomId,
    grant,
    page::PageRef,
    pgdir,
    work, //
};

use crate::{
    allocation::{
        self,
        Allocation, //
    },
    buffer::{
        BufferHandle,
        Cookies,
        Dbuf, //
    },
    debugfs,
    displif::{
        self,
        message::{
            Errno,
            FbCookie,
            Operation,
            Status, //
        },
        state::{
            Flapping,
            Phase, //
        }, //
    },
    formats,
    framebuffer::{
        Fb,
        FbHandle, //
    },
    head::{
        Head,
        Tick, //
    },
    kms::{
        self,
        driver::{
            DebugfsFile,
            DumbGeometry,
            FbGeometry,
            ModeSize, //
        },
        event::FlipEvent,
        foreign::ForeignMemory, //
    },
    log_limit::LogLimit,
    remote::{
        Object,
        Registry, //
    },
    session::{
        self,
        CallError,
        Origin,
        Session,
        Sink, //
    },
    xen::xenbus::DeviceRef, //
};

/// Logs a warning about a display, unless there have been many lately.
macro_rules! warn_limited {
    ($display:expr, $($arg:tt)*) => {
        if $display.may_log() {
            ::kernel::dev_warn!($display.dev, $($arg)*);
        }
    };
}
pub(crate) use warn_limited;

/// A session of a display.
pub(crate) type DisplaySession = Session<Display>;

/// The session there is now.
pub(crate) type CurrentSession = session::CurrentSession<Display>;

/// How far the connection is.
pub(crate) struct Connection {
    /// What this end has said.
    pub(crate) phase: Phase,
    /// A session that the backend has not taken up yet.
    pub(crate) published: Option<Arc<DisplaySession>>,
    /// How many sessions there have been.
    pub(crate) sessions: u64,
    /// What [`Self::flapping`] counts its milliseconds from.
    pub(crate) since: Instant<Monotonic>,
    /// Keeps a backend that comes and goes all the time from keeping the guest busy.
    pub(crate) flapping: Flapping,
    /// Since when a session has been in use.
    live: Option<Instant<Monotonic>>,
    /// The backend comes and goes, and its doing so is not worth a line any more.
    quiet: bool,
    /// From when, and after how long, the backend's state is to be looked at again.
    look_again: Option<(Instant<Monotonic>, Delta)>,
}

/// The window of [`Flapping`], in milliseconds.
const FLAPPING_WINDOW: u64 = 10_000;

/// When it is tried again to have the backend's state looked at.
const LOOK_AGAIN: Msecs = 1_000;

/// How long a session lasts that does not count as coming and going.
const LASTING: Delta = Delta::from_millis(FLAPPING_WINDOW as i64);

impl Connection {
    /// A session is in use. Tells whether that is worth a line.
    pub(crate) fn begin(&mut self) -> bool {
        self.live = Some(Instant::now());
        !self.quiet
    }

    /// No session is, from now on. Tells whether that is worth a line.
    pub(crate) fn end(&mut self) -> bool {
        if self
            .live
            .take()
            .is_some_and(|since| since.elapsed() > LASTING)
        {
            self.quiet = false;
        }
        !self.quiet
    }

    /// The backend has come and gone too often. Tells whether that is news.
    pub(crate) fn flaps(&mut self) -> bool {
        !core::mem::replace(&mut self.quiet, true)
    }
}

/// The display.
#[pin_data]
pub(crate) struct Display {
    /// The xenbus device.
    pub(crate) dev: DeviceRef,
    /// The heads, one per connector.
    pub(crate) heads: KVec<Pin<KBox<Head>>>,
    /// How far the connection is.
    #[pin]
    pub(crate) connection: Mutex<Connection>,
    /// The session in use.
    #[pin]
    pub(crate) session: CurrentSession,
    /// The buffers.
    #[pin]
    pub(crate) dbufs: Registry<Dbuf>,
    /// The framebuffers.
    #[pin]
    pub(crate) fbs: Registry<Fb>,
    /// For both.
    pub(crate) cookies: Cookies,
    /// Whether the backend allocates buffers.
    pub(crate) allocation: Allocation,
    /// The registered DRM device: from the first connection until the xenbus device goes.
    #[pin]
    pub(crate) drm: Mutex<Option<kms::device::Registration<Display>>>,
    /// The monitors.
    #[pin]
    pub(crate) monitors: SpinLockIrq<Monitors>,
    /// How often a call of user space has waited for the backend.
    pub(crate) waits: Atomic<u64>,
    #[pin]
    collecting: Mutex<()>,
    #[pin]
    log: LogLimit,
    #[pin]
    work: DelayedWork<Self>,
    /// Whether the work item may be scheduled.
    #[pin]
    work_open: SpinLockIrq<bool>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Display { self.work }
}

/// Whether the monitors are there.
pub(crate) struct Monitors {
    /// They are.
    pub(crate) connected: bool,
    /// Since when there has been no session.
    pub(crate) alone_since: Option<Instant<Monotonic>>,
}

impl Display {
    /// A display without a session.
    pub(crate) fn new(
        dev: DeviceRef,
        phase: Phase,
        heads: KVec<Pin<KBox<Head>>>,
        allocation: Allocation,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                dev,
                heads,
                connection <- new_mutex!(Connection {
                    phase,
                    published: None,
                    sessions: 0,
                    since: Instant::now(),
                    flapping: Flapping::new(FLAPPING_WINDOW),
                    live: None,
                    quiet: false,
                    look_again: None,
                }),
                session <- CurrentSession::new(),
                dbufs <- Registry::new(),
                fbs <- Registry::new(),
                cookies: Cookies::new(),
                allocation,
                drm <- new_mutex!(None),
                monitors <- new_spinlock_irq!(Monitors {
                    connected: true,
                    alone_since: None,
                }),
                waits: Atomic::new(0),
                collecting <- new_mutex!(()),
                log <- LogLimit::new(),
                work <- new_delayed_work!("xen_display"),
                work_open <- new_spinlock_irq!(true),
            }),
            GFP_KERNEL,
        )
    }

    /// The backend's domain.
    pub(crate) fn peer(&self) -> DomId {
        self.dev.otherend_id()
    }

    /// Lets the work item (`keeper`) run soon. May be called in interrupts.
    pub(crate) fn schedule(this: &Arc<Self>) {
        let open = this.work_open.lock();
        if *open {
            work::schedule(this, 0);
        }
    }

    /// Lets the work item run after `delay`, or earlier if that was asked for.
    pub(crate) fn schedule_after(this: &Arc<Self>, delay: Jiffies) {
        let open = this.work_open.lock();
        if *open {
            let _ = workqueue::system_freezable().enqueue_delayed(this.clone(), delay);
        }
    }

    /// The work item does not run any more once this has returned.
    pub(crate) fn close_work(this: &Arc<Self>) {
        *this.work_open.lock() = false;
        work::cancel(this);
    }

    /// Retired objects are to be looked after.
    pub(crate) fn collect_soon(this: &Arc<Self>) {
        let open = *this.work_open.lock();
        if open {
            Self::schedule(this);
        } else {
            // No session comes any more: they can go at once.
            this.collect();
        }
    }

    /// Asks the backend, if there is one, to forget the retired objects, and lets go of those that it has forgotten. Waits for it.
    /// Tells whether some remain.
    pub(crate) fn collect(&self) -> bool {
        let _one_at_a_time = self.collecting.lock();
        // A framebuffer goes when no head shows it any more, a buffer after its framebuffers: all on one ring, so in this order.
        let asked = self
            .fbs
            .leave(&self.session, |fb| {
                self.heads.iter().any(|head| head.uses(fb.cookie))
            })
            .and_then(|()| {
                self.dbufs.leave(&self.session, |dbuf| {
                    self.fbs
                        .iter()
                        .any(|fb| fb.dbuf_cookie() == dbuf.cookie && fb.remote().is_in_use())
                })
            });
        let fbs = self.fbs.collect(&self.session);
        let dbufs = self.dbufs.collect(&self.session);
        asked.is_err() || fbs || dbufs
    }

    /// Takes a share of something bounded. If none is left, it waits until the backend has forgotten what user space has dropped,
    /// which makes room, and tries once more.
    ///
    /// # Errors
    ///
    /// As of `take`.
    pub(crate) fn take_with_room<T>(&self, take: impl Fn() -> Result<T>) -> Result<T> {
        take().or_else(|_| {
            self.collect();
            take()
        })
    }

    /// The backend has not done what a request asked for.
    pub(crate) fn refused(&self, operation: Operation, e: CallError) {
        let operation = operation.name();
        match e {
            CallError::Refused(e) => {
                warn_limited!(self, "the backend refused {operation}: {e:?}\n")
            }
            CallError::TimedOut => warn_limited!(self, "the backend did not answer {operation}\n"),
            CallError::Full => {
                warn_limited!(self, "{operation}: too many requests without an answer\n")
            }
            CallError::Unsent(e) => warn_limited!(self, "{operation} could not be sent: {e:?}\n"),
            CallError::Lost | CallError::Killed => {}
        }
    }

    /// Whether one more line may be logged now.
    pub(crate) fn may_log(&self) -> bool {
        self.log.allow()
    }

    /// A call of user space is about to wait for the backend, if there is one.
    pub(crate) fn count_wait(&self) {
        if self.session.get().is_some() {
            self.waits.fetch_add(1, Relaxed);
        }
    }

    /// The registered DRM device.
    pub(crate) fn drm_device(&self) -> Option<ARef<kms::device::Device<Self>>> {
        self.drm.lock().as_ref().map(|drm| drm.device().clone())
    }

    /// Ends the session: whoever waits is told, and flips under way are let go. Does not wait.
    pub(crate) fn kill_session(&self) {
        let Some(session) = self.session.get() else {
            return;
        };
        session.kill();
        self.session.set(None);
        for head in &self.heads {
            head.session_lost(session.generation);
        }
    }

    /// Ends the session, and forgets one that was only published.
    pub(crate) fn drop_session(this: &Arc<Self>, connection: &mut Connection) {
        drop(connection.published.take());
        this.kill_session();
        Self::schedule(this);
    }

    /// Leaves the backend of `session`, for the reason `why`. It is free to start again.
    pub(crate) fn disconnect(&self, session: &Arc<DisplaySession>, why: &str) {
        let mut connection = self.connection.lock();
        if connection.phase == Phase::Connected && self.session.is_current(session) {
            if connection.end() {
                warn_limited!(self, "the connection is given up: {why}\n");
            }
            self.kill_session();
            connection.phase = Phase::Closing;
            self.dev.closed();
        }
    }

    /// Has the backend's state looked at again after `wait`.
    pub(crate) fn look_again_after(this: &Arc<Self>, connection: &mut Connection, wait: Msecs) {
        connection.look_again = Some((Instant::now(), Delta::from_millis(i64::from(wait))));
        Self::schedule(this);
    }

    /// Has the backend's state looked at, if the time has come. Else tells when it will.
    pub(crate) fn look_again(&self) -> Option<Jiffies> {
        let mut connection = self.connection.lock();
        let (since, wait) = connection.look_again?;
        if let Some(left) = time_left(since, wait) {
            return Some(left);
        }
        connection.look_again = None;
        drop(connection);
        let e = self.dev.look_again().err()?;
        warn_limited!(self, "the backend's state cannot be looked at: {e:?}\n");
        if e == ENOENT {
            // The device has been taken away.
            return None;
        }
        // No memory, or no room in XenStore. Nobody else would look, since nothing changes there.
        let wait = Delta::from_millis(i64::from(LOOK_AGAIN));
        let since = Instant::now();
        self.connection
            .lock()
            .look_again
            .get_or_insert((since, wait));
        time_left(since, wait)
    }

    fn configure(this: &Arc<Self>, pipe: usize, fb: Option<&Arc<Fb>>) {
        if let Some(head) = this.head(pipe) {
            if head.configure(fb, &this.session) {
                Self::schedule(this);
            }
        }
    }

    fn head(&self, index: usize) -> Option<&Head> {
        self.heads.get(index).map(|head| &**head)
    }
}

/// What is left of `wait`, if something is.
pub(crate) fn time_left(since: Instant<Monotonic>, wait: Delta) -> Option<Jiffies> {
    let left = wait - since.elapsed();
    if left.is_negative() || left.is_zero() {
        return None;
    }
    let millis = Msecs::try_from(left.as_millis()).unwrap_or(Msecs::MAX);
    Some(msecs_to_jiffies(millis.saturating_add(1)))
}

impl Sink for Display {
    fn flip_done(this: &Arc<Self>, origin: Origin, fb_cookie: u64) {
        if let Some(head) = this.head(origin.connector) {
            if head.flip_done(origin.generation, fb_cookie) {
                Self::schedule(this);
            }
        }
    }

    fn flip_refused(this: &Arc<Self>, origin: Origin, fb: FbCookie, errno: Errno) {
        if let Some(head) = this.head(origin.connector) {
            head.flip_refused(origin.generation, fb);
            warn_limited!(
                this,
                "{head}: the backend refused PG_FLIP: errno {}\n",
                errno.get()
            );
            Self::schedule(this);
        }
    }

    fn config_answered(this: &Arc<Self>, origin: Origin, fb: Option<FbCookie>, status: Status) {
        let Some(head) = this.head(origin.connector) else {
            return;
        };
        if let Err(errno) = status {
            warn_limited!(
                this,
                "{head}: the backend refused SET_CONFIG: errno {}\n",
                errno.get()
            );
        }
        if head.configured(origin.generation, fb, status.is_ok()) {
            head.set_link_bad();
            Self::schedule(this);
        }
    }

    fn late_answer(this: &Arc<Self>) {
        Self::schedule(this);
    }

    fn deserted(this: &Arc<Self>) {
        Self::schedule(this);
    }

    fn ring_broken(this: &Arc<Self>, origin: Origin) {
        warn_limited!(
            this,
            "connector {}: the backend broke the rules of the ring\n",
            origin.connector
        );
        Self::schedule(this);
    }
}

impl kms::driver::Driver for Display {
    type Buffer = BufferHandle;
    type Framebuffer = FbHandle;

    const NAME: &'static CStr = c"xendrm-du";
    const DESCRIPTION: &'static CStr = c"Xen PV display";
    const VERSION: (i32, i32) = (2, 0);
    const FORMATS: &'static [u32] = &formats::ALL;
    const MAX_SIZE: u32 = displif::config::MAX_EDGE;
    const DEBUGFS: &'static [DebugfsFile<Self>] = debugfs::FILES;

    fn pipes(&self) -> usize {
        self.heads.len()
    }

    fn admit(&self, size: u64) -> Result {
        let pages = usize::try_from(size.div_ceil(PAGE_SIZE as u64)).map_err(|_| ENOSPC)?;
        let grants = pages.checked_add(pgdir::pages(pages)).ok_or(ENOSPC)?;
        let grants = u64::try_from(grants)?;
        self.take_with_room(|| grant::admit(grants))
    }

    fn allocate_buffer(
        this: &Arc<Self>,
        geometry: DumbGeometry,
    ) -> Result<Option<(BufferHandle, Arc<ForeignMemory>)>> {
        allocation::allocate(this, geometry)
    }

    fn create_buffer(
        this: &Arc<Self>,
        geometry: DumbGeometry,
        pages: KVVec<PageRef>,
    ) -> Result<BufferHandle> {
        BufferHandle::new(this, geometry, pages)
    }

    fn import_buffer(this: &Arc<Self>, dmabuf: DmaBuf) -> Result<BufferHandle> {
        BufferHandle::import(this, dmabuf)
    }

    fn create_framebuffer(buffer: &BufferHandle, geometry: FbGeometry) -> Result<FbHandle> {
        FbHandle::new(buffer, geometry)
    }

    fn connected(&self, _pipe: usize) -> bool {
        self.monitors.lock().connected
    }

    fn mode(&self, pipe: usize) -> ModeSize {
        self.head(pipe).map_or(
            ModeSize {
                width: 0,
                height: 0,
            },
            Head::mode,
        )
    }

    fn mode_valid(&self, pipe: usize, size: ModeSize) -> bool {
        self.mode(pipe) == size
    }

    fn can_show(&self, pipe: usize, fb: &FbHandle) -> bool {
        fb.shown_at(self.mode(pipe)).is_some()
    }

    fn enable(this: &Arc<Self>, pipe: usize, fb: &FbHandle) {
        Self::configure(this, pipe, fb.shown_at(this.mode(pipe)));
    }

    fn disable(this: &Arc<Self>, pipe: usize) {
        Self::configure(this, pipe, None);
    }

    fn flip(this: &Arc<Self>, pipe: usize, fb: &FbHandle, event: Option<FlipEvent>) {
        if let Some((head, fb)) = this.head(pipe).zip(fb.shown_at(this.mode(pipe))) {
            if let Err(e) = head.flip(fb, event, &this.session) {
                this.refused(Operation::PageFlip, e);
                Self::schedule(this);
            }
        }
    }

    fn tick(this: &Arc<Self>, pipe: usize) {
        if let Some(head) = this.head(pipe) {
            match head.tick() {
                Tick::Quiet => {}
                // It looks whether the backend has died.
                Tick::Late => Self::schedule(this),
                Tick::GivenUp => {
                    warn_limited!(this, "{head}: the backend did not finish a flip\n");
                    // One that came meanwhile may wait for its end.
                    Self::schedule(this);
                }
            }
        }
    }
}
