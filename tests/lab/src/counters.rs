// SPDX-License-Identifier: GPL-2.0
//! What a guest's pictures have cost so far, as Xen, Dom0 and the backend count it.

use crate::backend::Backend;
use crate::guest::Guest;
use crate::machine::Machine;
use anyhow::Context;
use anyhow::Result;
use std::time::Duration;
use std::time::Instant;

/// How finely Xen's toolstack tells a domain's CPU time, in seconds.
pub const RESOLUTION: f64 = 0.1;

/// Counts, each from a start of its own, or their growth over a while.
pub struct Counters {
    at: Instant,
    /// Flips of all of the backend's heads.
    pub flips: u64,
    /// Pictures that the backend has copied.
    pub copied: u64,
    /// Pictures that are shown where the buffer is.
    pub in_place: u64,
    /// CPU time of the backend's process, in seconds.
    pub backend: f64,
    /// CPU time of Dom0, the backend's included, in seconds.
    pub dom0: f64,
    /// CPU time of the guest, in seconds.
    pub guest: f64,
}

/// The growth of counters.
pub struct Growth {
    /// The time in between.
    pub time: Duration,
    /// By how much each has grown.
    pub by: Counters,
}

impl Counters {
    /// Read them.
    ///
    /// # Errors
    ///
    /// When Xen or the backend does not tell.
    pub fn read(machine: &mut Machine, backend: &Backend, guest: &Guest) -> Result<Self> {
        let figures = backend.figures(machine)?;
        let times = machine.domains()?;
        let time = |id| {
            times
                .get(&id)
                .copied()
                .with_context(|| format!("xl list lacks the domain {id}"))
        };
        let heads = || figures.heads.iter();
        Ok(Self {
            at: Instant::now(),
            flips: heads().map(|head| head.flips).sum(),
            copied: heads().map(|head| head.pictures_copied).sum(),
            in_place: heads().map(|head| head.pictures_in_place).sum(),
            backend: figures.cpu_seconds,
            dom0: time(0)?,
            guest: time(guest.id)?,
        })
    }

    /// How much they have grown since `before`.
    pub fn since(self, before: &Self) -> Growth {
        Growth {
            time: self.at - before.at,
            by: Self {
                flips: self.flips - before.flips,
                copied: self.copied - before.copied,
                in_place: self.in_place - before.in_place,
                backend: self.backend - before.backend,
                dom0: self.dom0 - before.dom0,
                guest: self.guest - before.guest,
                ..self
            },
        }
    }
}
