// SPDX-License-Identifier: GPL-2.0
//! One connection to one guest device: a thread that serves its requests until it is told to stop or the guest breaks a rule.
//!
//! A thread for each device: a guest with large pictures or a slow display delays nobody but itself. Within a device
//! everything happens in order.

mod misconduct;

use crate::connector::Connector;
use crate::device::Versions;
use crate::directory;
use crate::domain::Domain;
use crate::edid;
use crate::evtchn::EventChannels;
use crate::faults::Faults;
use crate::head::Head;
use crate::output::Output;
use crate::protocol::{
    Command, EDID_BLOCK_SIZE, EDID_MAX_SIZE, Errno, GetEdid, Request, Response, Slot,
};
use crate::refusal::Refusal;
use crate::report::Complaints;
use crate::resources::{Limits, Resources};
use crate::ring::{REQUEST_SLOTS, RingError};
use crate::session::misconduct::Misconduct;
use crate::stats::{HeadName, Stats};
use anyhow::{Context, Result, anyhow};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use tokio::sync::Notify;
use xen_zcopy::Zcopy;

/// What a session is told.
pub enum Message {
    /// This local port was hit.
    Port(u32),
    /// The output of this head has shown a flip.
    FlipDone(usize),
    /// Write what is on the screen to files.
    Snapshot,
    /// End.
    Stop,
}

/// What all sessions share.
pub struct Environment {
    /// Where pictures go.
    pub output: Box<dyn Output>,
    /// The event channels of this process.
    pub channels: Arc<EventChannels>,
    /// What frontends are offered.
    pub versions: Versions,
    /// Counters.
    pub stats: Stats,
    /// What a guest may take.
    pub limits: Limits,
    /// Makes dma-bufs of guests' pages, if the output is to show those.
    pub zcopy: Option<Arc<Zcopy>>,
    /// Refuse requests with reserved octets that are not 0, and EDID buffers that are too small.
    pub strict: bool,
    /// What is to be done wrong.
    pub faults: Arc<Faults>,
    /// Hit when a session ends.
    pub session_ended: Notify,
}

/// Whose session.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its domain.
    pub domid: u32,
    /// Its name.
    pub name: String,
    /// The device's number.
    pub device: u32,
    /// The protocol version that its frontend chose.
    pub version: u32,
}

/// A running session, seen from outside.
pub struct Handle {
    /// What it was started with.
    pub connectors: Vec<Connector>,
    messages: Sender<Message>,
    thread: JoinHandle<Result<(), RingError>>,
}

impl Handle {
    /// Binds to what a frontend has published and starts to serve it.
    ///
    /// # Errors
    ///
    /// As [`Head::bind`].
    pub fn start(
        guest: Guest,
        connectors: Vec<Connector>,
        environment: &Arc<Environment>,
    ) -> Result<Self> {
        let (messages, queue) = channel();
        let mut heads = Vec::new();
        for connector in &connectors {
            let name = HeadName {
                domid: guest.domid,
                guest: guest.name.clone(),
                device: guest.device,
                index: connector.index,
                connector: connector.unique_id.clone(),
            };
            let counters = environment.stats.head(name.clone());
            let head = Head::bind(
                connector,
                name,
                counters,
                &*environment.output,
                &environment.channels,
                &messages,
                environment.faults.clone(),
            );
            heads.push(head.with_context(|| {
                format!("connector {} ({})", connector.index, connector.unique_id)
            })?);
        }
        let memory = Domain {
            domid: guest.domid,
            environment: environment.clone(),
        };
        let session = Session {
            complaints: Complaints::new(format!("guest {} device {}", guest.domid, guest.device)),
            resources: Resources::new(Arc::new(memory), environment.limits),
            heads,
            version: guest.version,
            strict: environment.strict,
            misconduct: Misconduct::new(environment),
            messages: messages.clone(),
        };
        let environment = environment.clone();
        let thread = thread::Builder::new()
            .name(format!("guest {}/{}", guest.domid, guest.device))
            .spawn(move || {
                // Dropped last, and also after a panic.
                let _ended = EndNotice(environment);
                session.run(&queue)
            })?;
        Ok(Handle {
            connectors,
            messages,
            thread,
        })
    }

    /// Asks the session to end.
    pub fn stop(&self) {
        self.send(Message::Stop);
    }

    /// Asks for files of what is on the screen.
    pub fn snapshot(&self) {
        self.send(Message::Snapshot);
    }

    /// Whether the session has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// The guest broke a rule, or the session panicked.
    pub fn join(self) -> Result<()> {
        let ended = self
            .thread
            .join()
            .map_err(|_| anyhow!("its session has panicked"))?;
        Ok(ended?)
    }

    fn send(&self, message: Message) {
        // A session that has ended needs no message.
        let _ = self.messages.send(message);
    }
}

struct EndNotice(Arc<Environment>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        self.0.session_ended.notify_one();
    }
}

struct Session {
    // The order of the fields is the order of their ends: the heads show what the resources hold.
    heads: Vec<Head>,
    resources: Resources,
    version: u32,
    strict: bool,
    misconduct: Misconduct,
    complaints: Complaints,
    /// To this session itself.
    messages: Sender<Message>,
}

impl Session {
    fn run(mut self, queue: &Receiver<Message>) -> Result<(), RingError> {
        // Requests may be there already, and their notifications gone.
        for index in 0..self.heads.len() {
            self.serve(index)?;
        }
        loop {
            let flips = self.heads.iter().filter_map(Head::due);
            let due = flips.chain(self.misconduct.due()).min();
            let message = match due {
                Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => queue.recv().map_err(RecvTimeoutError::from),
            };
            match message {
                Ok(Message::Port(port)) => self.port_hit(port)?,
                Ok(Message::FlipDone(index)) => {
                    if let Some(head) = self.heads.get_mut(index) {
                        head.output_flip_done();
                    }
                }
                Ok(Message::Snapshot) => self.heads.iter_mut().for_each(Head::snapshot),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => (),
            }
            let now = Instant::now();
            self.heads
                .iter_mut()
                .for_each(|head| head.complete_due(now));
            self.answer_late(now);
            self.misbehave_in_time(now);
            self.misconduct.goes_on()?;
        }
        Ok(())
    }

    fn port_hit(&mut self, port: u32) -> Result<(), RingError> {
        if let Some(index) = self
            .heads
            .iter()
            .position(|head| head.req_port().number() == port)
        {
            return self.serve(index);
        }
        if let Some(head) = self
            .heads
            .iter()
            .find(|head| head.evt_port().number() == port)
        {
            head.evt_port().unmask();
        }
        Ok(())
    }

    /// Answers the requests of one ring, at most as many as it has slots: other messages have their turn too.
    fn serve(&mut self, index: usize) -> Result<(), RingError> {
        for _ in 0..REQUEST_SLOTS {
            let Some(head) = self.heads.get_mut(index) else {
                return Ok(());
            };
            match head.requests.take()? {
                Some(slot) => {
                    if self.misbehaves(index, &slot) {
                        self.misconduct.goes_on()?;
                        continue;
                    }
                    let response = self.execute(index, &slot).encode();
                    self.answer(index, &response);
                }
                None => {
                    if !head.requests.rest()? {
                        head.req_port().unmask();
                        return Ok(());
                    }
                }
            }
        }
        // The port stays masked meanwhile. `self` holds the queue's other end, so it is open.
        if let Some(head) = self.heads.get(index) {
            let _ = self.messages.send(Message::Port(head.req_port().number()));
        }
        Ok(())
    }

    fn answer(&mut self, index: usize, response: &Slot) {
        if let Some(head) = self.heads.get_mut(index) {
            if head.requests.answer(response) {
                head.req_port().notify();
            }
        }
        self.answer_held(index);
    }

    fn execute(&mut self, index: usize, slot: &Slot) -> Response {
        let request = Request::decode(slot);
        let outcome = self.judge(index, &request);
        if let Err(refusal) = &outcome {
            let name = request.command.name();
            self.complaints
                .line(format!("connector {index}: {name} refused: {refusal}"));
            if let Some(head) = self.heads.get(index) {
                head.counters.refused();
            }
        } else {
            log::debug!("connector {index}: {request:?}");
        }
        Response {
            id: request.id,
            operation: request.operation,
            outcome: outcome.map_err(|refusal| refusal.errno),
        }
    }

    fn judge(&mut self, index: usize, request: &Request) -> Result<u32, Refusal> {
        if index != 0 && request.command.is_for_first_ring() {
            return Err(Refusal::invalid("it belongs on the ring of connector 0"));
        }
        if self.strict && !request.reserved_clear {
            return Err(Refusal::invalid("reserved octets are not 0"));
        }
        let Some(head) = self.heads.get_mut(index) else {
            return Err(Refusal::invalid(format!("there is no connector {index}")));
        };
        match request.command {
            Command::DbufCreate(mut create) => {
                if self.version < 2 {
                    // Version 1 has no such field.
                    create.data_offset = 0;
                }
                self.resources.create_buffer(&create)?;
            }
            Command::DbufDestroy { dbuf } => self.resources.destroy_buffer(dbuf)?,
            Command::FbAttach(attach) => self.resources.attach(&attach)?,
            Command::FbDetach { fb } => {
                let framebuffer = self.resources.detach(fb)?;
                self.heads
                    .iter_mut()
                    .for_each(|head| head.forget(&framebuffer));
            }
            Command::SetConfig(config) if config.is_off() => head.off(),
            Command::SetConfig(config) => {
                head.set_config(&config, self.resources.framebuffer(config.fb)?)?
            }
            Command::PageFlip { fb } => head.flip(self.resources.framebuffer(fb)?)?,
            Command::GetEdid(get) => {
                if self.version < 2 {
                    return Err(Refusal::new(
                        Errno::EOPNOTSUPP,
                        "the frontend speaks version 1, which has no EDID",
                    ));
                }
                return write_edid(&get, head, &self.resources, self.strict);
            }
            Command::Unknown => {
                let text = format!("there is no operation {:#04x}", request.operation);
                return Err(Refusal::new(Errno::EOPNOTSUPP, text));
            }
        }
        Ok(0)
    }
}

/// Writes a connector's EDID to the guest's buffer; returns its length in octets.
fn write_edid(
    get: &GetEdid,
    head: &Head,
    resources: &Resources,
    strict: bool,
) -> Result<u32, Refusal> {
    let needed = if strict {
        EDID_MAX_SIZE
    } else {
        EDID_BLOCK_SIZE as u32
    };
    if get.buffer_size < needed {
        return Err(Refusal::invalid(format!(
            "a buffer of {} octets, {needed} are needed",
            get.buffer_size
        )));
    }
    let (width, height) = head.resolution();
    let edid = edid::block(width, height, head.unique_id()).ok_or_else(|| {
        Refusal::new(
            Errno::EOPNOTSUPP,
            format!("an EDID block cannot tell of {width}x{height}"),
        )
    })?;
    // The block lies in the buffer's first page.
    let refs = directory::read(resources.mapper(), get.directory, 1)?;
    let memory = resources.mapper().map(&refs);
    memory
        .and_then(|memory| memory.write(0, &edid))
        .map_err(|error| {
            Refusal::new(Errno::EIO, format!("the buffer cannot be written: {error}"))
        })?;
    Ok(EDID_BLOCK_SIZE as u32)
}
