// SPDX-License-Identifier: GPL-2.0

//! The backend's end of a session, by the rules of displif and of Xen's rings.

use kernel::{model::locked, sync::Arc};
use loom::sync::Mutex;

use crate::{
    session::{Session, Sink},
    xen::{evtchn::Line, shared_page::SharedPage},
};

const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 4;
const RSP_PROD: usize = 8;
const RSP_EVENT: usize = 12;
const IN_PROD: usize = 4;
/// Bytes of a slot, and of the header before the first one.
const SLOT: usize = 64;

/// A request, as it was read.
#[derive(Copy, Clone)]
pub(crate) struct Request {
    pub(crate) id: u16,
    pub(crate) operation: u8,
    slot: [u8; SLOT],
}

impl Request {
    /// The 8 bytes at `offset`: a cookie.
    pub(crate) fn cookie(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.slot[offset..offset + 8].try_into().unwrap())
    }

    /// The 4 bytes at `offset`.
    pub(crate) fn word(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.slot[offset..offset + 4].try_into().unwrap())
    }
}

/// What the backend keeps to itself of a connector.
#[derive(Default)]
struct Indexes {
    req_cons: u32,
    rsp_prod: u32,
    in_prod: u32,
}

/// The backend's end of a connector's two pages.
pub(crate) struct Rings {
    requests: SharedPage,
    events: SharedPage,
    indexes: Mutex<Indexes>,
}

impl Rings {
    /// The pages with these references.
    pub(crate) fn new(requests: u32, events: u32) -> Self {
        Self {
            requests: SharedPage::of_peer(requests),
            events: SharedPage::of_peer(events),
            indexes: Mutex::new(Indexes::default()),
        }
    }

    /// The next request. When there is none, it asks to be notified of one, and looks again.
    pub(crate) fn take(&self) -> Option<Request> {
        let mut indexes = locked(&self.indexes);
        if self.requests.load_acquire(REQ_PROD) == indexes.req_cons {
            self.requests
                .store_release(REQ_EVENT, indexes.req_cons.wrapping_add(1));
            self.requests.full_barrier();
            if self.requests.load_acquire(REQ_PROD) == indexes.req_cons {
                return None;
            }
        }
        let slot = self.requests.read_block(slot_offset(indexes.req_cons));
        indexes.req_cons = indexes.req_cons.wrapping_add(1);
        Some(Request {
            id: u16::from_ne_bytes(slot[..2].try_into().unwrap()),
            operation: slot[2],
            slot,
        })
    }

    /// Answers. Tells whether the frontend wants to be notified.
    #[must_use]
    pub(crate) fn answer(&self, request: &Request, status: i32) -> bool {
        let mut slot = [0; SLOT];
        slot[..2].copy_from_slice(&request.id.to_ne_bytes());
        slot[2] = request.operation;
        slot[4..8].copy_from_slice(&status.to_ne_bytes());
        let mut indexes = locked(&self.indexes);
        self.requests
            .write_block(slot_offset(indexes.rsp_prod), &slot);
        indexes.rsp_prod = indexes.rsp_prod.wrapping_add(1);
        self.requests.store_release(RSP_PROD, indexes.rsp_prod);
        self.requests.full_barrier();
        self.requests.load_acquire(RSP_EVENT) == indexes.rsp_prod
    }

    /// Writes the event that a flip is done, and does not notify.
    pub(crate) fn put_flip_done(&self, fb: u64) {
        let mut slot = [0; SLOT];
        slot[8..16].copy_from_slice(&fb.to_ne_bytes());
        let mut indexes = locked(&self.indexes);
        self.events.write_block(slot_offset(indexes.in_prod), &slot);
        indexes.in_prod = indexes.in_prod.wrapping_add(1);
        self.events.store_release(IN_PROD, indexes.in_prod);
    }
}

/// The backend's end of a connector.
pub(crate) struct Connector {
    pub(crate) rings: Rings,
    /// The last request that was left unanswered.
    unanswered: Mutex<Option<Request>>,
    pub(crate) request_line: std::sync::Arc<Line>,
    pub(crate) event_line: std::sync::Arc<Line>,
}

impl Connector {
    /// The first connector of a session, found by what would be in XenStore.
    pub(crate) fn new<S: Sink>(session: &Session<S>) -> std::sync::Arc<Self> {
        let nodes = session.nodes().unwrap();
        let value = |name: &str| -> u32 {
            let node = nodes.iter().find(|(node, _)| node.as_str() == name);
            node.unwrap().1.as_str().parse().unwrap()
        };
        std::sync::Arc::new(Self {
            rings: Rings::new(value("0/req-ring-ref"), value("0/evt-ring-ref")),
            unanswered: Mutex::new(None),
            request_line: Line::of_port(value("0/req-event-channel")),
            event_line: Line::of_port(value("0/evt-event-channel")),
        })
    }

    /// Answers.
    pub(crate) fn answer(&self, request: &Request, status: i32) {
        if self.rings.answer(request, status) {
            self.request_line.raise();
        }
    }

    /// A flip is done.
    pub(crate) fn flip_done(&self, fb: u64) {
        self.rings.put_flip_done(fb);
        self.event_line.raise();
    }

    /// Answers the request that was left, if there is one.
    pub(crate) fn answer_unanswered(&self, status: i32) {
        let request = locked(&self.unanswered).take();
        if let Some(request) = request {
            self.answer(&request, status);
        }
    }

    /// Answers each request at once with what `status` says, in the thread of whoever notifies. `None`: not at all.
    pub(crate) fn serve_at_once(
        self: &std::sync::Arc<Self>,
        status: impl Fn(&Request) -> Option<i32> + Send + Sync + 'static,
    ) {
        let this = std::sync::Arc::downgrade(self);
        self.request_line.on_notify(move || {
            let Some(this) = this.upgrade() else {
                return;
            };
            while let Some(request) = this.rings.take() {
                match status(&request) {
                    Some(status) => this.answer(&request, status),
                    None => *locked(&this.unanswered) = Some(request),
                }
            }
        });
    }
}

fn slot_offset(index: u32) -> usize {
    SLOT + SLOT * index as usize
}

/// A session, shared as the driver shares it.
pub(crate) fn session<S: Sink>(
    generation: u64,
    sink: &Arc<S>,
) -> (Arc<Session<S>>, std::sync::Arc<Connector>) {
    use crate::displif::config;
    use kernel::prelude::GFP_KERNEL;

    let version = config::choose_version(None);
    let session = Session::new(generation, 0, version, 1, sink).unwrap();
    let connector = Connector::new(&session);
    (Arc::new(session, GFP_KERNEL).unwrap(), connector)
}
