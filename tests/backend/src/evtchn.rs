// SPDX-License-Identifier: GPL-2.0
//! Event channels: ports bound to guests, and one thread that tells a port's session when it was hit.
//!
//! The crate's raw interface is used, not its asynchronous one: that one unbinds from a task of its own when a port is
//! dropped, at a time when the port's number may belong to another guest already.

use crate::session::Message;
use anyhow::{Context, Result};
use log::error;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use xenevtchn::raw::{EVENT_CHANNEL_DEVICE, RawEventChannelService};

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// The event channels of this process.
pub struct EventChannels {
    control: RawEventChannelService,
    device: File,
    routes: Mutex<HashMap<u32, Sender<Message>>>,
}

impl EventChannels {
    /// Opens the device and starts the thread.
    ///
    /// # Errors
    ///
    /// `/dev/xen/evtchn` cannot be opened (is the module `xen-evtchn` loaded?), or there is no thread to be had.
    pub fn open() -> Result<Arc<Self>> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open(EVENT_CHANNEL_DEVICE)
            .with_context(|| {
                format!("cannot open {EVENT_CHANNEL_DEVICE} (is the module xen-evtchn loaded?)")
            })?;
        // One service to read and one for everything else: a service is locked while it waits.
        let reader = RawEventChannelService::from_handle(device.try_clone()?)?;
        let control = RawEventChannelService::from_handle(device.try_clone()?)?;
        let channels = Arc::new(EventChannels {
            control,
            device,
            routes: Mutex::default(),
        });
        let dispatcher = channels.clone();
        thread::Builder::new()
            .name("event channels".into())
            .spawn(move || dispatcher.dispatch(&reader))?;
        Ok(channels)
    }

    /// Binds to a port that a guest offers; `session` gets a [`Message::Port`] with the local port's number whenever it is hit.
    ///
    /// # Errors
    ///
    /// The guest offers no such port.
    pub fn bind(
        self: &Arc<Self>,
        domid: u32,
        remote: u32,
        session: Sender<Message>,
    ) -> Result<Port> {
        // Held over the bind: the dispatcher must not see the port before the route.
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let local = self
            .control
            .bind_interdomain(domid, remote)
            .with_context(|| format!("cannot bind to event channel {remote} of domain {domid}"))?;
        routes.insert(local, session);
        Ok(Port {
            channels: self.clone(),
            local,
        })
    }

    /// Hits the other end of a local port.
    pub fn notify(&self, local: u32) {
        if let Err(error) = self.control.notify(local) {
            // The guest has closed its end: its state in XenStore will say so.
            log::debug!("cannot notify on port {local}: {error}");
        }
    }

    fn dispatch(&self, reader: &RawEventChannelService) {
        loop {
            match reader.pending() {
                Ok(port) => {
                    let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
                    // No route: the port was unbound after the hit. A session that has ended needs no message.
                    if let Some(session) = routes.get(&port) {
                        let _ = session.send(Message::Port(port));
                    }
                }
                Err(error) => {
                    error!("cannot read from {EVENT_CHANNEL_DEVICE}: {error}");
                    thread::sleep(PAUSE_AFTER_ERROR);
                }
            }
        }
    }
}

/// A bound port; unbound when dropped.
pub struct Port {
    channels: Arc<EventChannels>,
    local: u32,
}

impl Port {
    /// The local port's number.
    pub fn number(&self) -> u32 {
        self.local
    }

    /// Hits the guest's end.
    pub fn notify(&self) {
        self.channels.notify(self.local);
    }

    /// Lets the next hit through. The kernel masks a port when it reports it, so a guest that hits it without end costs
    /// one message for each time that its ring was looked at.
    pub fn unmask(&self) {
        if let Err(error) = (&self.channels.device).write_all(&self.local.to_ne_bytes()) {
            error!("cannot unmask port {}: {error}", self.local);
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut routes = self
            .channels
            .routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        routes.remove(&self.local);
        // In this version of the crate the numbers of two ioctls are exchanged: what it calls `unbind` makes a new port, and this
        // unbinds one.
        if let Err(error) = self.channels.control.bind_unbound_port(self.local) {
            error!("cannot unbind port {}: {error}", self.local);
        }
    }
}
