// SPDX-License-Identifier: GPL-2.0
//! Answers that are not what they should be, as a fault script has them.

use super::{Environment, Session};
use crate::directory;
use crate::evtchn::EventChannels;
use crate::faults::{Faults, Id, Order, Then, WrongReference, shift};
use crate::head::Head;
use crate::memory::pages_for;
use crate::protocol::{Command, DbufCreate, Errno, GetEdid, Request, Response, Slot};
use crate::refusal::Refusal;
use crate::report::say;
use crate::ring::{REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, RingError};
use rustix::process::{Signal, getpid, kill_process};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// What a session does wrong.
pub struct Misconduct {
    faults: Arc<Faults>,
    channels: Arc<EventChannels>,
    previous_id: u16,
    late: Vec<Late>,
    held: Vec<Held>,
    /// What waits for no request.
    timed: Vec<(Instant, Order)>,
    /// The session is to end.
    ends: bool,
}

/// An answer that is given later than it should be.
struct Late {
    due: Instant,
    head: usize,
    slot: Slot,
    order: Order,
}

/// An answer that others overtake.
struct Held {
    /// How many still do.
    behind: u32,
    head: usize,
    slot: Slot,
    order: Order,
}

impl Misconduct {
    /// Of a session.
    pub fn new(environment: &Environment) -> Self {
        let now = Instant::now();
        let timed = environment.faults.timed().into_iter();
        Misconduct {
            timed: timed.map(|(at, order)| (now + at, order)).collect(),
            ends: false,
            faults: environment.faults.clone(),
            channels: environment.channels.clone(),
            previous_id: 0,
            late: Vec::new(),
            held: Vec::new(),
        }
    }

    /// When there is a late answer to give, or something that waits for no request to be done.
    pub fn due(&self) -> Option<Instant> {
        let late = self.late.iter().map(|late| late.due);
        let timed = self.timed.iter().map(|(due, _)| *due);
        late.chain(timed).min()
    }

    /// The session goes on, unless the script has it end.
    ///
    /// # Errors
    ///
    /// [`RingError::Ordered`].
    pub fn goes_on(&self) -> Result<(), RingError> {
        match self.ends {
            true => Err(RingError::Ordered),
            false => Ok(()),
        }
    }

    /// Hits the ports for so long, in a thread of its own, and says how often.
    fn storm(&self, head: &Head, time: Duration) {
        let channels = self.channels.clone();
        let ports = [head.req_port().number(), head.evt_port().number()];
        let end = Instant::now() + time;
        thread::spawn(move || {
            let mut hits = 0_u64;
            while Instant::now() < end {
                for port in ports {
                    channels.notify(port);
                    hits += 1;
                }
            }
            say!("storm over, {hits} hits");
        });
    }
}

impl Session {
    /// Does to a request what the script says, if it says something of it.
    pub(super) fn misbehaves(&mut self, index: usize, slot: &Slot) -> bool {
        let request = Request::decode(slot);
        let Some(order) = self.misconduct.faults.for_request(request.command.name()) else {
            self.misconduct.previous_id = request.id;
            return false;
        };
        let fault = order.fault.clone();
        if let Some(time) = fault.stall {
            thread::sleep(time.0);
        }
        if let (Command::PageFlip { fb }, Some(head)) = (request.command, self.heads.get_mut(index))
        {
            head.set_event_fault(Some(order.clone()));
            if fault.event.as_ref().is_some_and(|event| event.early) {
                head.misinform(fb, &order);
            }
        }
        if let (Command::DbufCreate(create), true) = (request.command, fault.inspect) {
            self.inspect(&create);
        }
        let response = if fault.execute {
            self.execute(index, slot)
        } else {
            Response {
                id: request.id,
                operation: request.operation,
                outcome: Ok(0),
            }
        };
        if let Command::DbufCreate(create) = request.command {
            if let Some(wrong) = fault.reference {
                self.spoil(&create, wrong);
            }
            if let Some(link) = fault.link {
                self.relink(&create, link);
            }
        }
        if let (Command::GetEdid(get), Some(wrong)) = (request.command, fault.edid) {
            self.spoil_edid(&get, wrong.bad_checksum);
        }
        let answer = self.distort(&response, &order);
        self.misconduct.previous_id = request.id;
        let is_flip = matches!(request.command, Command::PageFlip { .. });
        let events = (!is_flip && fault.event.is_some()).then(|| order.clone());
        if !fault.answer.late.0.is_zero() {
            self.misconduct.late.push(Late {
                due: Instant::now() + fault.answer.late.0,
                head: index,
                slot: answer,
                order,
            });
        } else if fault.answer.behind > 0 {
            self.misconduct.held.push(Held {
                behind: fault.answer.behind,
                head: index,
                slot: answer,
                order,
            });
        } else {
            self.give(index, &answer, &order);
            self.answer_held(index);
        }
        if let (Some(order), Some(head)) = (events, self.heads.get_mut(index)) {
            head.misinform(0, &order);
        }
        true
    }

    /// Does what waits for no request, if its time has come, to the first head.
    pub(super) fn misbehave_in_time(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.misconduct.timed)
            .into_iter()
            .partition::<Vec<_>, _>(|(due, _)| *due <= now);
        self.misconduct.timed = later;
        for (_, order) in due {
            if let (Some(_), Some(head)) = (&order.fault.event, self.heads.first_mut()) {
                head.misinform(0, &order);
            }
            self.disturb(0, false, &order);
        }
    }

    /// Looks whether all is 0 that the guest shares with a display buffer and has not been written by a program yet.
    fn inspect(&self, create: &DbufCreate) {
        let mapper = self.resources.mapper();
        let count = pages_for(create.buffer_size);
        let looked = directory::rest(mapper, create.directory, count).and_then(|mut words| {
            for reference in directory::read(mapper, create.directory, count)? {
                let page = mapper.map(&[reference]).map_err(|error| {
                    Refusal::new(Errno::EIO, format!("page {reference}: {error}"))
                })?;
                words.extend(page.words().iter().map(|word| word.load(Ordering::Relaxed)));
            }
            Ok(words)
        });
        match looked {
            Ok(words) => say!(
                "inspected {} words of display buffer {:#x}: {} are not 0",
                words.len(),
                create.dbuf,
                words.iter().filter(|word| **word != 0).count()
            ),
            Err(refusal) => say!("nothing to inspect: {refusal}"),
        }
    }

    /// Overwrites the link from the first page of a directory to the second.
    fn relink(&self, create: &DbufCreate, link: u32) {
        match self.resources.mapper().map(&[create.directory]) {
            Ok(page) => page.words()[0].store(link, Ordering::Release),
            Err(error) => say!("no directory to link: {error}"),
        }
    }

    /// Spoils the checksum of the EDID that the guest is about to be told of.
    fn spoil_edid(&self, get: &GetEdid, bad_checksum: bool) {
        let mapper = self.resources.mapper();
        let spoilt = directory::read(mapper, get.directory, 1).map(|refs| mapper.map(&refs));
        if let (true, Ok(Ok(page))) = (bad_checksum, spoilt) {
            page.words()[0].fetch_xor(0x0100_0000, Ordering::Relaxed);
        }
    }

    /// Spoils the directory of a buffer that the guest is about to be told of.
    fn spoil(&self, create: &DbufCreate, wrong: WrongReference) {
        let mapper = self.resources.mapper();
        let count = pages_for(create.buffer_size);
        let spoilt = directory::read(mapper, create.directory, count).and_then(|mut references| {
            wrong.spoil(&mut references);
            directory::write(mapper, create.directory, &references)
        });
        if let Err(refusal) = spoilt {
            say!("no directory to spoil: {refusal}");
        }
    }

    /// The answer as the fault has it.
    fn distort(&self, response: &Response, order: &Order) -> Slot {
        let answer = &order.fault.answer;
        let mut slot = response.encode();
        let id = answer.id.map(|id| match id {
            Id::Number(id) => id,
            Id::Previous => self.misconduct.previous_id,
        });
        if answer.garbage {
            slot[3..4].fill(0xa5);
            slot[8..].fill(0xa5);
        }
        if let Some(id) = id {
            slot[0..2].copy_from_slice(&id.to_ne_bytes());
        }
        if let Some(operation) = answer.operation {
            slot[2] = operation;
        }
        if let Some(status) = answer.status {
            slot[4..8].copy_from_slice(&status.to_ne_bytes());
        }
        if let Some(size) = order.fault.edid.and_then(|edid| edid.size) {
            slot[8..12].copy_from_slice(&size.to_ne_bytes());
        }
        slot
    }

    fn give(&mut self, index: usize, slot: &Slot, order: &Order) {
        let fault = &order.fault;
        let Some(head) = self.heads.get_mut(index) else {
            return;
        };
        let mut wanted = false;
        for _ in 0..fault.answer.copies {
            wanted |= head.requests.answer(slot);
        }
        if let Some(time) = fault.scribble {
            // The frontend is to read it meanwhile.
            if fault.answer.notify && wanted {
                head.req_port().notify();
            }
            let end = Instant::now() + time.0;
            let wrong = slot.map(|octet| !octet);
            while Instant::now() < end {
                head.requests.overwrite_last(&wrong);
                head.requests.overwrite_last(slot);
            }
        }
        self.disturb(index, wanted, order);
    }

    /// What a fault does to a head beside the answer, which has to be `told`.
    fn disturb(&mut self, index: usize, told: bool, order: &Order) {
        let fault = &order.fault;
        let Some(head) = self.heads.get_mut(index) else {
            return;
        };
        let words = head.requests.words();
        let now = |word: usize| words[word].load(Ordering::Relaxed);
        shift(&words[REQ_PROD], now(REQ_PROD), fault.ring.req_prod);
        shift(&words[REQ_EVENT], now(REQ_EVENT), fault.ring.req_event);
        shift(&words[RSP_EVENT], now(RSP_EVENT), fault.ring.rsp_event);
        shift(
            &words[RSP_PROD],
            head.requests.next_response(),
            fault.ring.rsp_prod,
        );
        // An index that moves is a reason to look.
        if fault.answer.notify && (told || fault.ring.rsp_prod.is_some()) {
            head.req_port().notify();
        }
        if let Some(time) = fault.storm {
            self.misconduct.storm(head, time.0);
        }
        self.misconduct.faults.delivered(order);
        match fault.then {
            Then::GoesOn => {}
            Then::Killed => {
                // Nobody survives to hear of it.
                let _ = kill_process(getpid(), Signal::KILL);
            }
            Then::Closed => self.misconduct.ends = true,
        }
    }

    /// Gives the late answers whose time has come.
    pub(super) fn answer_late(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.misconduct.late)
            .into_iter()
            .partition::<Vec<_>, _>(|late| late.due <= now);
        self.misconduct.late = later;
        for late in due {
            self.give(late.head, &late.slot, &late.order);
        }
    }

    /// One of a head's requests was answered: the answers that were kept behind that many have their turn.
    pub(super) fn answer_held(&mut self, index: usize) {
        for held in &mut self.misconduct.held {
            if held.head == index {
                held.behind = held.behind.saturating_sub(1);
            }
        }
        let (due, later) = std::mem::take(&mut self.misconduct.held)
            .into_iter()
            .partition::<Vec<_>, _>(|held| held.behind == 0);
        self.misconduct.held = later;
        for held in due {
            self.give(held.head, &held.slot, &held.order);
        }
    }
}
