// SPDX-License-Identifier: GPL-2.0

//! Event channels. An interrupt runs in the thread of whoever notifies.

use std::cell::RefCell;

use kernel::{model::locked, prelude::*, sync::Arc};
use loom::sync::{Condvar, Mutex};

use xen_zcopy::domain::DomId;

pub(crate) enum Eoi {
    Work,
    Spurious,
    Never,
}

pub(crate) trait Handler: Send + Sync + 'static {
    fn handle(&self) -> Eoi;
}

type Interrupt = Box<dyn Fn() -> Eoi + Send>;
type OnNotify = Box<dyn Fn() + Send + Sync>;

/// The interrupt of a port of ours, and what the peer has at its end.
pub(crate) struct Line {
    /// Held while it runs: it never runs twice at a time, and who takes it down waits for it.
    interrupt: Mutex<Option<Interrupt>>,
    /// Whether we have notified the peer since it looked last.
    pending: Mutex<bool>,
    notified: Condvar,
    /// What the peer does at once when notified.
    on_notify: std::sync::OnceLock<OnNotify>,
}

thread_local! {
    static LINES: RefCell<Vec<std::sync::Arc<Line>>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn reset() {
    LINES.take();
}

impl Line {
    /// The line of this port.
    pub(crate) fn of_port(port: u32) -> std::sync::Arc<Self> {
        LINES.with_borrow(|lines| lines[port as usize].clone())
    }

    /// The peer notifies us.
    pub(crate) fn raise(&self) {
        let mut interrupt = locked(&self.interrupt);
        let ended = interrupt.as_ref().map(|interrupt| interrupt());
        if matches!(ended, Some(Eoi::Never)) {
            // Masked.
            *interrupt = None;
        }
    }

    /// The peer waits until it is notified.
    pub(crate) fn wait(&self) {
        let mut pending = locked(&self.pending);
        while !*pending {
            pending = match self.notified.wait(pending) {
                Ok(pending) => pending,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
        *pending = false;
    }

    /// We notify the peer, or somebody else does.
    pub(crate) fn notify(&self) {
        if let Some(on_notify) = self.on_notify.get() {
            on_notify();
            return;
        }
        *locked(&self.pending) = true;
        self.notified.notify_one();
    }

    /// The peer does this at once when notified.
    pub(crate) fn on_notify(&self, act: impl Fn() + Send + Sync + 'static) {
        assert!(self.on_notify.set(Box::new(act)).is_ok());
    }
}

pub(crate) struct Channel<H: Handler> {
    port: u32,
    line: std::sync::Arc<Line>,
    handler: Arc<H>,
}

impl<H: Handler> Channel<H> {
    pub(crate) fn new(_: DomId, _: &'static CStr, handler: Arc<H>) -> Result<Self> {
        let interrupt: Interrupt = Box::new({
            let handler = handler.clone();
            move || handler.handle()
        });
        let line = std::sync::Arc::new(Line {
            interrupt: Mutex::new(Some(interrupt)),
            pending: Mutex::new(false),
            notified: Condvar::new(),
            on_notify: std::sync::OnceLock::new(),
        });
        let port = LINES.with_borrow_mut(|lines| {
            lines.push(line.clone());
            lines.len() - 1
        });
        Ok(Self {
            port: u32::try_from(port)?,
            line,
            handler,
        })
    }

    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    pub(crate) fn handler(&self) -> &Arc<H> {
        &self.handler
    }

    pub(crate) fn is_bound(&self) -> bool {
        true
    }

    pub(crate) fn notify(&self) {
        self.line.notify();
    }
}

impl<H: Handler> Drop for Channel<H> {
    fn drop(&mut self) {
        let interrupt = locked(&self.line.interrupt).take();
        drop(interrupt);
    }
}
