// SPDX-License-Identifier: GPL-2.0
//! One connector of a connected guest: its shared pages and ports, its output, what it shows and the flip in flight.

use crate::buffer::Framebuffer;
use crate::connector::Connector;
use crate::evtchn::{EventChannels, Port};
use crate::faults::{Event, Faults, Order, shift};
use crate::memory::SharedMemory;
use crate::output::{Completion, Head as OutputHead, Output, Picture, Transfer};
use crate::protocol::{Errno, SetConfig, encode_flip_event};
use crate::refusal::Refusal;
use crate::report::say;
use crate::ring::{EventPage, IN_CONS, IN_PROD, RequestRing};
use crate::session::Message;
use crate::stats::{HeadCounters, HeadName};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// The picture that a head shows.
struct Shown {
    framebuffer: Arc<Framebuffer>,
    width: u32,
    height: u32,
}

/// A flip that was accepted and is not on the screen yet.
struct PendingFlip {
    fb: u64,
    /// None: the output will say so.
    due: Option<Instant>,
    /// How its end is told, if not as it should be.
    fault: Option<Order>,
}

/// An event that is told later than it should be.
struct LateEvent {
    due: Instant,
    fb: u64,
    order: Order,
}

/// One connector of a connected guest.
pub struct Head {
    // The order of the fields is the order of their ends: first the picture goes, then the ports, last the pages.
    output: Box<dyn OutputHead>,
    shown: Option<Shown>,
    pending: Option<PendingFlip>,
    late: Vec<LateEvent>,
    /// For the next flip that is accepted.
    event_fault: Option<Order>,
    faults: Arc<Faults>,
    /// Events of the output that belong to flips which were completed without waiting for them.
    stale_events: u32,
    dropped_events: u64,
    req_port: Port,
    evt_port: Port,
    /// The connector's requests.
    pub requests: RequestRing,
    events: EventPage,
    /// What the head has done.
    pub counters: Arc<HeadCounters>,
    name: HeadName,
    width: u32,
    height: u32,
}

impl Head {
    /// Takes up what a frontend has published for a connector.
    ///
    /// # Errors
    ///
    /// Nothing to show it on; pages that cannot be mapped; ports that cannot be bound; a ring that is not new.
    pub fn bind(
        connector: &Connector,
        name: HeadName,
        counters: Arc<HeadCounters>,
        output: &dyn Output,
        channels: &Arc<EventChannels>,
        session: &Sender<Message>,
        faults: Arc<Faults>,
    ) -> Result<Self> {
        let index = connector.index as usize;
        let flips = session.clone();
        // A session that has ended needs no message.
        let flip_done = Box::new(move || drop(flips.send(Message::FlipDone(index))));
        let output = output.open(&name, flip_done)?;
        let page = |reference: u32| {
            SharedMemory::map_grants(name.domid, &[reference])
                .with_context(|| format!("cannot map page {reference} of domain {}", name.domid))
        };
        let requests = RequestRing::new(page(connector.req_ring)?)?;
        let events = EventPage::new(page(connector.evt_ring)?)?;
        let req_port = channels.bind(name.domid, connector.req_port, session.clone())?;
        let evt_port = channels.bind(name.domid, connector.evt_port, session.clone())?;
        Ok(Head {
            output,
            shown: None,
            pending: None,
            late: Vec::new(),
            event_fault: None,
            faults,
            stale_events: 0,
            dropped_events: 0,
            req_port,
            evt_port,
            requests,
            events,
            counters,
            name,
            width: connector.width,
            height: connector.height,
        })
    }

    /// The port of requests.
    pub fn req_port(&self) -> &Port {
        &self.req_port
    }

    /// The port of events; a frontend has no reason to hit it.
    pub fn evt_port(&self) -> &Port {
        &self.evt_port
    }

    /// The connector's resolution.
    pub fn resolution(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The connector's name.
    pub fn unique_id(&self) -> &str {
        &self.name.connector
    }

    /// SET_CONFIG with a framebuffer.
    ///
    /// # Errors
    ///
    /// EINVAL: a place or size that the connector or the framebuffer does not have. Others: the output's.
    pub fn set_config(
        &mut self,
        config: &SetConfig,
        framebuffer: Arc<Framebuffer>,
    ) -> Result<(), Refusal> {
        let SetConfig {
            x,
            y,
            width,
            height,
            bpp,
            ..
        } = *config;
        if (x, y) != (0, 0) {
            return Err(Refusal::invalid(format!(
                "a picture at {x},{y}: this backend shows pictures at 0,0 only"
            )));
        }
        if !(1..=self.width).contains(&width) || !(1..=self.height).contains(&height) {
            return Err(Refusal::invalid(format!(
                "a size of {width}x{height} on a connector of {}x{}",
                self.width, self.height
            )));
        }
        if width > framebuffer.width || height > framebuffer.height {
            return Err(Refusal::invalid(format!(
                "a size of {width}x{height} from a framebuffer of {}x{}",
                framebuffer.width, framebuffer.height
            )));
        }
        if bpp != framebuffer.format.bits_per_pixel() {
            return Err(Refusal::invalid(format!(
                "{bpp} bits per pixel for {}",
                framebuffer.format.fourcc()
            )));
        }
        self.finish_early();
        let picture = Picture {
            framebuffer: &framebuffer,
            width,
            height,
        };
        let transfer = self.output.set_config(picture)?;
        self.count(transfer, picture);
        self.counters.set_config();
        log::info!(
            "{}: {width}x{height} {}",
            self.name,
            framebuffer.format.fourcc()
        );
        self.shown = Some(Shown {
            framebuffer,
            width,
            height,
        });
        Ok(())
    }

    /// SET_CONFIG with all zeros: the connector is switched off.
    pub fn off(&mut self) {
        log::info!("{}: off", self.name);
        self.finish_early();
        self.output.off();
        self.shown = None;
    }

    /// PG_FLIP.
    ///
    /// # Errors
    ///
    /// EBUSY: the last flip is not done. EINVAL: the connector is off, or the framebuffer is smaller than what it shows.
    pub fn flip(&mut self, framebuffer: Arc<Framebuffer>) -> Result<(), Refusal> {
        if let Some(pending) = &self.pending {
            return Err(Refusal::new(
                Errno::EBUSY,
                format!("the flip to {:#x} is not done", pending.fb),
            ));
        }
        let Some(shown) = &mut self.shown else {
            return Err(Refusal::invalid("a flip on a connector that is off"));
        };
        let (width, height) = (shown.width, shown.height);
        if width > framebuffer.width || height > framebuffer.height {
            return Err(Refusal::invalid(format!(
                "a flip to a framebuffer of {}x{} where {width}x{height} is shown",
                framebuffer.width, framebuffer.height
            )));
        }
        let picture = Picture {
            framebuffer: &framebuffer,
            width,
            height,
        };
        let (completion, transfer) = self.output.flip(picture)?;
        let due = match completion {
            Completion::Now => Some(Instant::now()),
            Completion::At(time) => Some(time),
            Completion::OnEvent => None,
        };
        self.pending = Some(PendingFlip {
            fb: framebuffer.cookie,
            due,
            fault: self.event_fault.take(),
        });
        self.count(transfer, picture);
        self.shown = Some(Shown {
            framebuffer,
            width,
            height,
        });
        Ok(())
    }

    /// A framebuffer is detached: what shows it shows nothing any more, as on a real display device.
    pub fn forget(&mut self, framebuffer: &Arc<Framebuffer>) {
        if self
            .shown
            .as_ref()
            .is_some_and(|shown| Arc::ptr_eq(&shown.framebuffer, framebuffer))
        {
            say!(
                "{}: the framebuffer that is shown was detached: off",
                self.name
            );
            self.off();
        }
        self.output.forget(framebuffer);
    }

    /// When [`Self::complete_due`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        let late = self.late.iter().map(|late| late.due).min();
        self.flip_due().into_iter().chain(late).min()
    }

    fn flip_due(&self) -> Option<Instant> {
        self.pending.as_ref().and_then(|pending| pending.due)
    }

    /// Completes the flip in flight, if its time has come.
    pub fn complete_due(&mut self, now: Instant) {
        if self.flip_due().is_some_and(|due| due <= now) {
            self.complete();
        }
        let (due, later) = std::mem::take(&mut self.late)
            .into_iter()
            .partition::<Vec<_>, _>(|late| late.due <= now);
        self.late = later;
        for late in due {
            let event = late.order.fault.event.clone().unwrap_or_default();
            self.tell(late.fb, &event, &late.order);
        }
    }

    /// How the end of the next flip is told.
    pub fn set_event_fault(&mut self, order: Option<Order>) {
        self.event_fault = order;
    }

    /// Tells of the end of a flip as a fault has it, now or later.
    pub fn misinform(&mut self, fb: u64, order: &Order) {
        let event = order.fault.event.clone().unwrap_or_default();
        if event.late.0.is_zero() {
            self.tell(fb, &event, order);
        } else {
            self.late.push(LateEvent {
                due: Instant::now() + event.late.0,
                fb,
                order: order.clone(),
            });
        }
    }

    fn tell(&mut self, fb: u64, event: &Event, order: &Order) {
        for _ in 0..event.copies {
            let mut slot = encode_flip_event(0, event.cookie.unwrap_or(fb));
            if let Some(id) = event.id {
                slot[0..2].copy_from_slice(&id.to_ne_bytes());
            }
            if let Some(kind) = event.kind {
                slot[2] = kind;
            }
            self.events.publish(&slot);
        }
        let indices = &order.fault.page;
        let words = self.events.words();
        shift(
            &words[IN_CONS],
            words[IN_CONS].load(Ordering::Relaxed),
            indices.in_cons,
        );
        shift(&words[IN_PROD], self.events.next_event(), indices.in_prod);
        if let Some(in_prod) = indices.jump {
            self.events.jump(in_prod);
        }
        self.evt_port.notify();
        self.faults.delivered(order);
    }

    /// The output says that a flip is done.
    pub fn output_flip_done(&mut self) {
        if self.stale_events > 0 {
            self.stale_events -= 1;
        } else if self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.due.is_none())
        {
            self.complete();
        }
    }

    /// Writes what the guest's framebuffer on the screen holds now to a file.
    pub fn snapshot(&mut self) {
        let Some(shown) = &self.shown else { return };
        let picture = Picture {
            framebuffer: &shown.framebuffer,
            width: shown.width,
            height: shown.height,
        };
        if let Err(error) = self.output.snapshot(picture) {
            say!("{}: no snapshot: {error:#}", self.name);
        }
    }

    /// Completes the flip in flight before something takes its place.
    fn finish_early(&mut self) {
        if self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.due.is_none())
        {
            self.stale_events += 1;
        }
        self.complete();
    }

    fn complete(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        self.counters.flip();
        if let Some(order) = pending.fault {
            let event = order.fault.event.as_ref();
            if !event.is_some_and(|event| event.early) {
                self.misinform(pending.fb, &order);
            }
            return;
        }
        if self.events.flip_done(pending.fb) {
            self.evt_port.notify();
        } else {
            if self.dropped_events == 0 {
                say!("{}: the guest does not read its events: dropped", self.name);
            }
            self.dropped_events += 1;
        }
    }

    fn count(&self, transfer: Transfer, picture: Picture<'_>) {
        match transfer {
            Transfer::Copied => {
                let line = picture.framebuffer.line_octets(picture.width);
                self.counters
                    .copied(line as u64 * u64::from(picture.height));
            }
            Transfer::InPlace => self.counters.in_place(),
        }
    }
}
