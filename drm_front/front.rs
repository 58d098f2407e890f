// SPDX-License-Identifier: GPL-2.0

//! The xenbus driver: a device's configuration, and the connection to its backend.
//!
//! `otherend_changed` runs in the xenwatch thread, which serves all devices of the guest: nothing here waits for the backend's
//! rings. What has to wait is `keeper`'s.

use kernel::{
    device::{
        Bound,
        Core, //
    },
    prelude::*,
    str::CString,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta,
        Msecs, //
    }, //
};

use crate::{
    allocation::Allocation,
    display::{
        warn_limited,
        Connection,
        Display, //
    },
    displif::{
        config,
        state::{
            step,
            Action,
            BackendState,
            Phase, //
        }, //
    },
    head::Head,
    session::Session,
    xen::xenbus::{
        self,
        Device,
        IdTable, //
    }, //
};

/// How long an unbinding waits for the backend to let go, in steps.
const FAREWELL_STEPS: usize = 100;
const FAREWELL_STEP: Delta = Delta::from_millis(20);

/// When a session that could not be published is tried again.
const PUBLISH_AGAIN: Msecs = 1_000;

/// The driver.
pub(crate) struct Front;

static DEVICES: IdTable = IdTable::new(c"vdispl");

impl xenbus::Driver for Front {
    type Data = Arc<Display>;

    const NAME: &'static CStr = c"xen_drm_front";
    const DEVICES: &'static IdTable = &DEVICES;

    fn probe(dev: &Device<Core<'_>>) -> Result<Arc<Display>> {
        probe(dev)
    }

    fn otherend_changed(dev: &Device<Bound>, display: &Arc<Display>, state: xenbus::RawState) {
        connect(dev, display, BackendState::from_raw(state));
    }

    fn suspend(_dev: &Device<Bound>, display: &Arc<Display>) -> Result {
        if !display.dbufs.iter().any(|dbuf| dbuf.is_there()) {
            return Ok(());
        }
        // What a backend has allocated is not saved with this domain, and only the end of a session brings it here.
        if let Some(session) = display.session.get() {
            display.disconnect(&session, "the domain is to be saved");
        }
        match display.leave_backends() {
            false => Ok(()),
            true => Err(ENOMEM),
        }
    }

    fn resume(_dev: &Device<Bound>, display: &Arc<Display>) -> Result {
        let mut connection = display.connection.lock();
        Display::drop_session(display, &mut connection);
        for dbuf in display.dbufs.iter() {
            dbuf.void_grants();
        }
        // xenbus has set our state to Initialising.
        connection.phase = Phase::Unconnected;
        Ok(())
    }

    fn unbind(dev: &Device<Bound>, display: &Arc<Display>) {
        unbind(dev, display);
    }
}

fn probe(dev: &Device<Core<'_>>) -> Result<Arc<Display>> {
    let heads = read_heads(dev)?;
    let be_alloc = read_optional(dev.read(c"be-alloc"))?;
    let be_alloc = config::parse_be_alloc(be_alloc.as_ref().map(|text| text.as_bytes()));
    dev_info!(dev, "{} connectors\n", heads.len());
    // After an unbinding our state is Closed: the first look at the backend's state takes it from there.
    let phase = if dev.state() == xenbus::INITIALISING {
        Phase::Unconnected
    } else {
        Phase::Closing
    };
    Display::new((&**dev).into(), phase, heads, Allocation::new(be_alloc))
}

fn read_optional(text: Result<xenbus::Text>) -> Result<Option<xenbus::Text>> {
    match text {
        Ok(text) => Ok(Some(text)),
        Err(e) if e == ENOENT => Ok(None),
        Err(e) => Err(e),
    }
}

/// The connectors, from 0 to the first that is not there.
fn read_heads(dev: &Device<Core<'_>>) -> Result<KVec<Pin<KBox<Head>>>> {
    let mut heads = KVec::new();
    for index in 0..config::MAX_CONNECTORS {
        let node = CString::try_from_fmt(fmt!("{index}/resolution"))?;
        let Some(text) = read_optional(dev.read(&node))? else {
            break;
        };
        let resolution = match config::parse_resolution(text.as_bytes()) {
            Ok(resolution) => resolution,
            Err(e) => {
                dev_err!(dev, "connector {index}: resolution {}\n", e.as_str());
                return Err(EINVAL);
            }
        };
        let node = CString::try_from_fmt(fmt!("{index}/unique-id"))?;
        let mut unique_id = KVec::new();
        if let Some(text) = read_optional(dev.read(&node))? {
            match config::parse_unique_id(text.as_bytes()) {
                Ok(id) => unique_id.extend_from_slice(id.as_str().as_bytes(), GFP_KERNEL)?,
                Err(e) => dev_warn!(dev, "connector {index}: unique-id {}\n", e.as_str()),
            }
        }
        let head = KBox::pin_init(Head::new(index, resolution, unique_id), GFP_KERNEL)?;
        heads.push(head, GFP_KERNEL)?;
    }
    if heads.is_empty() {
        dev_err!(dev, "no connector 0 in the configuration\n");
        return Err(ENODEV);
    }
    Ok(heads)
}

/// Does what the backend's state asks for, step after step.
fn connect(dev: &Device<Bound>, display: &Arc<Display>, backend: BackendState) {
    // Held all the time: what is said in XenStore and the phase belong together, and `keeper` may want to leave the session.
    let mut connection = display.connection.lock();
    if dev.state() == xenbus::CLOSING {
        // The guest shuts down, and waits for this device.
        if backend != BackendState::Connected {
            Display::drop_session(display, &mut connection);
            dev.closed();
        }
        return;
    }
    loop {
        let action = step(connection.phase, backend);
        match action {
            Action::Ignore => return,
            Action::Publish => {
                let now = u64::try_from(connection.since.elapsed().as_millis()).unwrap_or(0);
                let published = match connection.flapping.reconnect(now) {
                    Ok(()) => publish(dev, display, &mut connection).map_err(|e| {
                        warn_limited!(display, "the backend cannot be connected to: {e:?}\n");
                        PUBLISH_AGAIN
                    }),
                    Err(wait) => {
                        if connection.flaps() {
                            dev_warn!(
                                dev,
                                "the backend comes and goes: not said again until it stays\n"
                            );
                        }
                        Err(Msecs::try_from(wait).unwrap_or(Msecs::MAX))
                    }
                };
                if let Err(wait) = published {
                    Display::look_again_after(display, &mut connection, wait);
                    return;
                }
            }
            Action::GoLive => go_live(dev, display, &mut connection),
            Action::Drop => {
                if connection.end() {
                    dev_info!(dev, "the backend is gone ({})\n", backend.name());
                }
                Display::drop_session(display, &mut connection);
                dev.closed();
            }
            Action::RestartUnlessDetached if is_being_detached(dev) => return,
            Action::Restart | Action::RestartUnlessDetached => {
                dev.switch_state(xenbus::INITIALISING);
            }
        }
        connection.phase = action.phase_after(connection.phase);
    }
}

/// Whether the toolstack takes the device away: it waits to see the backend stay in Closed.
fn is_being_detached(dev: &Device<Bound>) -> bool {
    match dev.read_otherend(c"online") {
        Ok(text) => text.as_bytes() == b"0",
        Err(e) => e == ENOENT,
    }
}

fn publish(dev: &Device<Bound>, display: &Arc<Display>, connection: &mut Connection) -> Result {
    let offered = read_optional(dev.read_otherend(c"versions"))?;
    let version = config::choose_version(offered.as_ref().map(|text| text.as_bytes()));
    connection.sessions = connection.sessions.saturating_add(1);
    let session = Session::new(
        connection.sessions,
        dev.otherend_id(),
        version,
        display.heads.len(),
        display,
    )?;
    dev.write_all(&session.nodes()?)?;
    connection.published = Some(Arc::new(session, GFP_KERNEL)?);
    dev.switch_state(xenbus::INITIALISED);
    Ok(())
}

fn go_live(dev: &Device<Bound>, display: &Arc<Display>, connection: &mut Connection) {
    let session = connection.published.take();
    if let Some(session) = session.as_ref().filter(|_| connection.begin()) {
        dev_info!(
            dev,
            "connected to domain {}, protocol version {}\n",
            session.peer,
            session.version.name()
        );
    }
    display.session.set(session);
    dev.switch_state(xenbus::CONNECTED);
    Display::schedule(display);
}

fn unbind(dev: &Device<Bound>, display: &Arc<Display>) {
    // Nobody waits for the backend from here on. The rings stay until the backend has let go of them.
    let (published, session) = {
        let mut connection = display.connection.lock();
        connection.phase = Phase::Closing;
        (connection.published.take(), display.session.get())
    };
    display.kill_session();
    Display::close_work(display);

    let drm = display.drm.lock().take();
    drop(drm);
    // What the backend has allocated it is to have back, even while files are open.
    display.leave_backends();

    if dev.state() == xenbus::CONNECTED || dev.state() == xenbus::INITIALISED {
        dev.switch_state(xenbus::CLOSED);
        for _ in 0..FAREWELL_STEPS {
            match dev.otherend_state() {
                xenbus::CONNECTED | xenbus::CLOSING => fsleep(FAREWELL_STEP),
                _ => break,
            }
        }
    }
    drop(published);
    drop(session);
    display.collect();
}
