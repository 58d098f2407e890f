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
        warn_limited,
        Display,
        DisplaySession, //
    },
    kms::device::Registration,
    module_parameters,
    remote::Object,
    session::CallError, //
};

/// When retired objects are looked at again.
const COLLECT_AGAIN: Msecs = 1_000;

impl WorkItem for Display {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(session) = this.session.get() {
            if session.is_broken() {
                this.disconnect();
            }
        }
        let mut again = this.update_monitors();
        if let Some(session) = this.session.get() {
            take_into_use(&this, &session);
        }
        let remain = collect(&this);
        this.report_links();
        if remain {
            let delay = msecs_to_jiffies(COLLECT_AGAIN);
            again = Some(again.map_or(delay, |other| other.min(delay)));
        }
        if let Some(delay) = again {
            Display::schedule_after(&this, delay);
        }
    }
}

/// Tells `session` what it has not been told yet.
fn take_into_use(this: &Arc<Display>, session: &DisplaySession) {
    if replay(this, session).is_err() {
        return;
    }
    if this.drm.lock().is_some() {
        return;
    }
    match Registration::new((*this.dev).as_ref(), this.clone()) {
        Ok(registration) => *this.drm.lock() = Some(registration),
        Err(e) => dev_err!(this.dev, "no DRM device: {e:?}\n"),
    }
}

fn replay(this: &Display, session: &DisplaySession) -> Result<(), CallError> {
    for dbuf in this.dbufs.iter().filter(|dbuf| !dbuf.remote().is_retired()) {
        dbuf.enter(this)?;
    }
    for fb in this.fbs.iter().filter(|fb| !fb.remote().is_retired()) {
        fb.enter(this)?;
    }
    for head in &this.heads {
        if head
            .shown()
            .is_some_and(|fb| !fb.remote().is_known(session.generation))
        {
            head.set_link_bad();
        }
        head.replay(session);
    }
    Ok(())
}

/// Looks after retired objects. Tells whether some remain.
fn collect(this: &Display) -> bool {
    let session = this.session.get();
    let session = session.as_deref();
    // Framebuffers before their buffers: on one ring, so in this order.
    let asked = this
        .fbs
        .leave(session)
        .and_then(|()| this.dbufs.leave(session));
    let fbs = this.fbs.collect(session);
    let dbufs = this.dbufs.collect(session);
    asked.is_err() || fbs || dbufs
}

impl Display {
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
                let left = grace - since.elapsed();
                if left.is_negative() || left.is_zero() {
                    monitors.connected = false;
                } else {
                    again = Some(left);
                }
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
        again.map(|left| {
            let millis = Msecs::try_from(left.as_millis()).unwrap_or(Msecs::MAX);
            msecs_to_jiffies(millis.saturating_add(1))
        })
    }
}
