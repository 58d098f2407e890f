// SPDX-License-Identifier: GPL-2.0

//! A limit on log lines: what a peer or a client does a million times is not logged a million times.

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::SpinLockIrq,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// Lines in one window: what the kernel allows by itself (`DEFAULT_RATELIMIT_BURST`).
const BURST: u32 = 10;
/// A window, likewise.
const WINDOW: Delta = Delta::from_secs(5);

struct Window {
    began: Instant<Monotonic>,
    lines: u32,
}

/// The limit of one source of lines.
#[pin_data]
pub(crate) struct LogLimit {
    #[pin]
    window: SpinLockIrq<Window>,
}

impl LogLimit {
    /// With nothing logged yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            window <- new_spinlock_irq!(Window {
                began: Instant::now(),
                lines: 0,
            }),
        })
    }

    /// Whether one more line may be logged now. May be called in interrupts.
    pub(crate) fn allow(&self) -> bool {
        let mut window = self.window.lock();
        if window.began.elapsed() > WINDOW {
            window.began = Instant::now();
            window.lines = 0;
        }
        window.lines = window.lines.saturating_add(1);
        window.lines <= BURST
    }
}
