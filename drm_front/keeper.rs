// SPDX-License-Identifier: GPL-2.0

//! The work item of a display: whatever waits for the backend and is not a call of user space.
//!
//! It takes a new session into use (replays the live objects and what the heads show), registers the DRM device at the first, asks the
//! backend to forget what user space has dropped, and lets the monitors go when the backend has been gone for long. It runs
//! alone, so none of these ever race with each other.

use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Jiffies,
        Msecs, //
    },
    workqueue::WorkItem, //
};

use crate::{
    display::{
        time_left,
        warn_limited,
        Display,
        DisplaySession, //
    },
    kms::device::Registration,
    module_parameters,
    remote::Object,
    session::CallError, //
};

/// When it is looked again after what is left.
const AGAIN: Msecs = 1_000;

impl WorkItem for Display {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(session) = this.session.get() {
            if session.is_broken() {
                this.disconnect(&session, "the backend broke the rules of a ring");
            } else if session.is_deserted() {
                this.disconnect(&session, "the backend has closed its event channels");
            } else if session.is_stuck() {
                this.disconnect(&session, "the backend answers nothing");
            }
        }
        let monitors = this.update_monitors();
        let mut again = this.leave_backends();
        let mut flips = None;
        if let Some(session) = this.session.get() {
            again |= replay(&this, &session);
            again |= !is_registered(&this);
            let heads = this.heads.iter();
            flips = heads.filter_map(|head| head.flip_again(&session)).min();
        }
        again |= this.collect();
        this.report_links();

        let again = again.then(|| msecs_to_jiffies(AGAIN));
        let flips = flips.map(msecs_to_jiffies);
        let look_again = this.look_again();
        let delays = [again, flips, monitors, look_again];
        if let Some(delay) = delays.into_iter().flatten().min() {
            Display::schedule_after(&this, delay);
        }
    }
}

/// Registers the DRM device, at the first session. Tells whether there is one.
fn is_registered(this: &Arc<Display>) -> bool {
    if this.drm.lock().is_some() {
        return true;
    }
    match Registration::new((*this.dev).as_ref(), this.clone()) {
        Ok(registration) => {
            *this.drm.lock() = Some(registration);
            true
        }
        Err(e) => {
            warn_limited!(this, "the DRM device cannot be registered: {e:?}\n");
            false
        }
    }
}

/// Tells `session` of all live objects, and of what the heads show, if it does not know yet. Tells whether something is left to
/// be told. What the backend refuses is not asked for again.
fn replay(this: &Display, session: &DisplaySession) -> bool {
    let dbufs = this
        .dbufs
        .iter()
        .filter(|dbuf| !dbuf.remote().is_retired())
        .map(|dbuf| dbuf.enter(this));
    let fbs = this
        .fbs
        .iter()
        .filter(|fb| !fb.remote().is_retired())
        .map(|fb| fb.enter(this));
    let mut again = false;
    for result in Iterator::chain(dbufs, fbs) {
        match result {
            Ok(()) | Err(CallError::Refused(_)) => {}
            Err(CallError::Full | CallError::Unsent(_)) => again = true,
            // A silent backend is not to be waited for once for every object.
            Err(CallError::TimedOut | CallError::Killed | CallError::Lost) => return true,
        }
    }
    for head in &this.heads {
        again |= !head.replay(session);
    }
    again
}

impl Display {
    /// Brings what other backends than the session's have allocated to this domain. Tells whether something is left to be brought.
    pub(crate) fn leave_backends(&self) -> bool {
        let session = self.session.get();
        let mut again = false;
        for dbuf in self.dbufs.iter() {
            if let Err(e) = dbuf.leave_backend(session.as_deref()) {
                // A buffer that is gone has none.
                again |= e != ENODEV;
            }
        }
        again
    }

    /// Tells user space of heads that do not show what it set.
    fn report_links(&self) {
        for head in &self.heads {
            if head.take_link_bad() {
                if let Some(drm) = self.drm_device() {
                    drm.link_bad(head.index);
                }
            }
        }
    }

    /// Lets the monitors come with a session, and go when there has been none for the grace time. Tells when to look again.
    fn update_monitors(&self) -> Option<Jiffies> {
        let grace = Delta::from_secs(i64::from(module_parameters::grace.value()));
        let has_session = self.session.get().is_some();
        let (changed, again) = {
            let mut monitors = self.monitors.lock();
            let was = monitors.connected;
            let mut again = None;
            if has_session {
                monitors.alone_since = None;
                monitors.connected = true;
            } else {
                let since = *monitors.alone_since.get_or_insert_with(Instant::now);
                again = time_left(since, grace);
                monitors.connected = again.is_some();
            }
            (was != monitors.connected, again)
        };
        if changed {
            if !has_session {
                warn_limited!(self, "no backend: the monitors are taken for unplugged\n");
            }
            if let Some(drm) = self.drm_device() {
                drm.hotplug();
            }
        }
        again
    }
}
