// SPDX-License-Identifier: GPL-2.0

//! The request ring of a connector: the frontend produces requests, the backend responses, in the same slots.
//!
//! # Who owns what
//!
//! - `req_prod` and `rsp_event` are written by the frontend and never read back: the backend can write them too.
//! - `rsp_prod` is written by the backend. It may only move forward, and not past the requests that were sent: else the ring
//!   is dead, and only new pages help.
//! - `req_event` is written by the backend. A wrong value delays nobody but the backend's own guest: the request's time-out
//!   ends the wait.
//! - A slot belongs to the backend from its request until `rsp_prod` has passed it.
//!
//! # Ids
//!
//! An id is the index of an entry in the table of requests in flight (5 bits) and that entry's generation (11 bits). An entry
//! that nobody waits for any longer stays taken until it is answered or the ring is torn down, so an id never comes back
//! while the backend may still answer it. Every response that is consumed gives one slot back and frees one entry at most:
//! a free entry implies a free slot, and the table is the only bound to be checked.

use super::{
    bump,
    message::{
        Errno,
        Operation,
        Request,
        Response,
        Status, //
    },
    page::{
        self,
        SharedPage, //
    }, //
};

/// Slots of a ring, and so the most requests in flight.
pub const RING_ENTRIES: usize = 32;

/// The same for the arithmetic of indexes. A power of two: the slots stay in order when an index wraps.
const ENTRIES: u32 = 32;

/// Bits of an id that are the index of its entry.
const INDEX_BITS: u32 = ENTRIES.trailing_zeros();

/// Offset of the number of requests produced.
const REQ_PROD: usize = 0;

/// Offset of the request at which the backend wants to be notified.
const REQ_EVENT: usize = 4;

/// Offset of the number of responses produced.
const RSP_PROD: usize = 8;

/// Offset of the response at which the frontend wants to be notified.
const RSP_EVENT: usize = 12;

/// Names one request in flight.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(u16);

impl Ticket {
    /// The ticket of an entry in one of its generations.
    const fn new(index: u16, generation: u16) -> Self {
        Self(generation.wrapping_shl(INDEX_BITS) | index)
    }

    /// Index of the request in a table of [`RING_ENTRIES`]: no other request in flight has it.
    pub const fn index(self) -> usize {
        (self.0 % ENTRIES as u16) as usize
    }

    /// Id of the request on the wire.
    pub const fn id(self) -> u16 {
        self.0
    }
}

/// A request has been sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Submitted {
    /// Names the request.
    pub ticket: Ticket,
    /// The backend wants to be notified.
    pub notify: bool,
}

/// Why a request was not sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum SubmitError {
    /// As many requests are in flight as there are slots. Those that were given up count.
    Full,
    /// The ring is dead.
    Dead,
}

/// The ring is dead: the backend broke the protocol, or the ring was killed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RingDead;

/// A request has been answered.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Names the request; not in flight any longer.
    pub ticket: Ticket,
    /// What had been asked for.
    pub operation: Operation,
    /// How it went.
    pub status: Status,
    /// Size of the EDID in bytes, unchecked; 0 unless a `GET_EDID` succeeded.
    pub edid_size: u32,
    /// Nobody waits for it: see [`RequestRing::abandon`].
    pub abandoned: bool,
}

/// How much work was found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Messages consumed, those that were dropped included. 0: a spurious notification.
    pub responses: u32,
    /// There is more, beyond what is done in one go: call again, without waiting for a notification.
    pub more: bool,
}

/// What a ring has seen. All counts saturate.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct RingCounters {
    /// Requests sent.
    pub requests: u64,
    /// Requests refused because the ring was full.
    pub full: u64,
    /// Requests that were given up.
    pub abandoned: u64,
    /// Responses consumed.
    pub responses: u64,
    /// Responses to requests that had been given up.
    pub late: u64,
    /// Responses, dropped, to no request in flight.
    pub unknown_ids: u64,
    /// Responses with another operation than their request.
    pub wrong_operations: u64,
    /// Times, at most one, that the number of responses was impossible.
    pub bad_producers: u64,
}

/// State of an entry in the table of requests in flight.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum InFlight {
    /// No request.
    Free,
    /// Somebody waits for the answer.
    Awaited(Operation),
    /// Nobody does, but the answer may still come.
    Abandoned(Operation),
}

/// An entry in the table of requests in flight.
#[derive(Copy, Clone, Debug)]
struct Entry {
    generation: u16,
    state: InFlight,
}

/// The frontend's end of a request ring.
#[derive(Debug)]
pub struct RequestRing {
    req_prod: u32,
    rsp_cons: u32,
    entries: [Entry; RING_ENTRIES],
    dead: bool,
    counters: RingCounters,
}

impl Default for RequestRing {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestRing {
    /// A ring with no request in flight.
    pub const fn new() -> Self {
        Self::starting_at(0)
    }

    /// The same with indexes that start at `index`. Peers expect 0; tests want to see the wrap at 2^32.
    pub const fn starting_at(index: u32) -> Self {
        Self {
            req_prod: index,
            rsp_cons: index,
            entries: [Entry {
                generation: 0,
                state: InFlight::Free,
            }; RING_ENTRIES],
            dead: false,
            counters: RingCounters {
                requests: 0,
                full: 0,
                abandoned: 0,
                responses: 0,
                late: 0,
                unknown_ids: 0,
                wrong_operations: 0,
                bad_producers: 0,
            },
        }
    }

    /// Writes the header of a page that the peer does not know yet.
    pub fn init(&self, page: &impl SharedPage) {
        page.store_release(REQ_PROD, self.req_prod);
        page.store_release(REQ_EVENT, self.req_prod.wrapping_add(1));
        page.store_release(RSP_PROD, self.rsp_cons);
        page.store_release(RSP_EVENT, self.rsp_cons.wrapping_add(1));
    }

    /// How many requests can be sent now. 0 when the ring is dead.
    pub fn free(&self) -> usize {
        if self.dead {
            return 0;
        }
        RING_ENTRIES.saturating_sub(self.in_flight())
    }

    /// How many requests have been sent and not been answered, those that were given up included.
    pub fn in_flight(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.state != InFlight::Free)
            .count()
    }

    /// Whether the ring is dead.
    pub const fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether the backend has broken the rules: it has answered what was not asked, or more often than it was asked.
    pub const fn is_broken(&self) -> bool {
        self.counters.bad_producers != 0 || self.counters.unknown_ids != 0
    }

    /// Sends nothing and accepts nothing from now on.
    pub fn kill(&mut self) {
        self.dead = true;
    }

    /// What the ring has seen.
    pub const fn counters(&self) -> RingCounters {
        self.counters
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Full`] and [`SubmitError::Dead`]; nothing was sent.
    pub fn submit(
        &mut self,
        page: &impl SharedPage,
        request: &Request,
    ) -> Result<Submitted, SubmitError> {
        if self.dead {
            return Err(SubmitError::Dead);
        }
        let Some((index, entry)) = (0..)
            .zip(self.entries.iter_mut())
            .find(|(_, entry)| entry.state == InFlight::Free)
        else {
            bump(&mut self.counters.full);
            return Err(SubmitError::Full);
        };
        // A late answer to the entry's previous request must not fit the new one.
        entry.generation = entry.generation.wrapping_add(1);
        entry.state = InFlight::Awaited(request.operation());
        let ticket = Ticket::new(index, entry.generation);

        page.write_slot(
            page::slot_offset::<ENTRIES>(self.req_prod),
            &request.encode(ticket.id()),
        );
        self.req_prod = self.req_prod.wrapping_add(1);
        page.store_release(REQ_PROD, self.req_prod);
        // The backend sets `req_event` and then looks for requests; we do it the other way round. With a barrier on both
        // sides one of the two sees the other.
        page.full_barrier();
        let notify = page.load_acquire(REQ_EVENT) == self.req_prod;
        bump(&mut self.counters.requests);
        Ok(Submitted { ticket, notify })
    }

    /// Consumes the responses that are there, and asks to be notified of the next.
    ///
    /// `sink` is called once for each response that answers a request in flight. There are never more than [`RING_ENTRIES`]
    /// in a call, whatever the backend writes meanwhile, so [`Drained::more`] stays false. A response with the operation of
    /// another request, though its id is right, completes its request with [`Errno::EIO`]: the id is all that ties them
    /// together, and a backend that mixes up operations has not done what was asked.
    ///
    /// # Errors
    ///
    /// [`RingDead`], now or since earlier. Responses before the moment of death have been given to `sink`.
    pub fn consume(
        &mut self,
        page: &impl SharedPage,
        mut sink: impl FnMut(Completion),
    ) -> Result<Drained, RingDead> {
        if self.dead {
            return Err(RingDead);
        }
        let mut responses = 0_u32;
        let mut available = self.available(page)?;
        // Each turn but the first consumes at least one response, and no request is sent meanwhile: this ends.
        loop {
            for _ in 0..available {
                let slot = page.read_slot(page::slot_offset::<ENTRIES>(self.rsp_cons));
                self.rsp_cons = self.rsp_cons.wrapping_add(1);
                responses = responses.saturating_add(1);
                bump(&mut self.counters.responses);
                if let Some(completion) = self.complete(Response::decode(&slot)) {
                    sink(completion);
                }
            }
            page.store_release(RSP_EVENT, self.rsp_cons.wrapping_add(1));
            // The backend produces and then reads `rsp_event`: as in `submit`, the other way round.
            page.full_barrier();
            available = self.available(page)?;
            if available == 0 {
                return Ok(Drained {
                    responses,
                    more: false,
                });
            }
        }
    }

    /// A waiter gave up. The request stays in flight, its id poisoned: the backend may still execute it, and what was granted
    /// for it must stay. [`RequestRing::consume`] tells when it is answered. Nothing happens, and `false` is returned, if it has been
    /// answered.
    pub fn abandon(&mut self, ticket: Ticket) -> bool {
        if let Some(entry) = self.entries.get_mut(ticket.index()) {
            if let (true, InFlight::Awaited(operation)) = (entry.is(ticket), entry.state) {
                entry.state = InFlight::Abandoned(operation);
                bump(&mut self.counters.abandoned);
                return true;
            }
        }
        false
    }

    /// How many responses wait, by one look at the page.
    fn available(&mut self, page: &impl SharedPage) -> Result<u32, RingDead> {
        let available = page.load_acquire(RSP_PROD).wrapping_sub(self.rsp_cons);
        // At most `ENTRIES`, as every request sent has an entry until a response is consumed.
        let unanswered = self.req_prod.wrapping_sub(self.rsp_cons);
        if available > unanswered {
            self.dead = true;
            bump(&mut self.counters.bad_producers);
            return Err(RingDead);
        }
        Ok(available)
    }

    /// Takes the request that is answered out of the table, if it is there.
    fn complete(&mut self, response: Response) -> Option<Completion> {
        let ticket = Ticket(response.id);
        let entry = self
            .entries
            .get_mut(ticket.index())
            .filter(|entry| entry.is(ticket));
        let (entry, operation, abandoned) = match entry.map(|entry| (entry.state, entry)) {
            Some((InFlight::Awaited(operation), entry)) => (entry, operation, false),
            Some((InFlight::Abandoned(operation), entry)) => (entry, operation, true),
            Some((InFlight::Free, _)) | None => {
                bump(&mut self.counters.unknown_ids);
                return None;
            }
        };
        entry.state = InFlight::Free;
        if abandoned {
            bump(&mut self.counters.late);
        }
        let status = if response.operation == operation.raw() {
            response.status
        } else {
            bump(&mut self.counters.wrong_operations);
            Err(Errno::EIO)
        };
        let edid_size = match (operation, status) {
            (Operation::GetEdid, Ok(())) => response.edid_size,
            _ => 0,
        };
        Some(Completion {
            ticket,
            operation,
            status,
            edid_size,
            abandoned,
        })
    }
}

impl Entry {
    /// Whether the ticket is of the entry's present generation.
    const fn is(&self, ticket: Ticket) -> bool {
        let index = ticket.0 % ENTRIES as u16;
        ticket.0 == Ticket::new(index, self.generation).0
    }
}
