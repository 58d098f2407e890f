// SPDX-License-Identifier: GPL-2.0
//! Counters of all heads that ever were, and what the process cost.

use crate::report::say;
use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Which connector of which guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeadName {
    /// The guest's domain.
    pub domid: u32,
    /// The guest's name, or its domain's number where it has none.
    pub guest: String,
    /// The device's number.
    pub device: u32,
    /// The connector's number in the device.
    pub index: u32,
    /// The connector's `unique-id`.
    pub connector: String,
}

impl fmt::Display for HeadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeadName {
            domid,
            device,
            index,
            connector,
            ..
        } = self;
        write!(
            f,
            "guest {domid} device {device} connector {index} ({connector})"
        )
    }
}

/// What one head has done; written by its session, read by anybody.
pub struct HeadCounters {
    name: HeadName,
    start: Instant,
    set_configs: AtomicU64,
    flips: AtomicU64,
    pictures_copied: AtomicU64,
    pictures_in_place: AtomicU64,
    copied: AtomicU64,
    refused: AtomicU64,
    /// Microseconds from `start` to the first and to the last flip.
    first_flip: AtomicU64,
    last_flip: AtomicU64,
}

impl HeadCounters {
    /// A picture was shown by SET_CONFIG.
    pub fn set_config(&self) {
        self.set_configs.fetch_add(1, Ordering::Relaxed);
    }

    /// A flip is done.
    pub fn flip(&self) {
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        if self.flips.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first_flip.store(now, Ordering::Relaxed);
        }
        self.last_flip.store(now, Ordering::Relaxed);
    }

    /// A picture was shown by copying so many octets of the guest's memory.
    pub fn copied(&self, octets: u64) {
        self.pictures_copied.fetch_add(1, Ordering::Relaxed);
        self.copied.fetch_add(octets, Ordering::Relaxed);
    }

    /// A picture was shown out of the guest's own pages.
    pub fn in_place(&self) {
        self.pictures_in_place.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn figures(&self) -> HeadFigures {
        let flips = self.flips.load(Ordering::Relaxed);
        let micros = self
            .last_flip
            .load(Ordering::Relaxed)
            .saturating_sub(self.first_flip.load(Ordering::Relaxed));
        let seconds = micros as f64 / 1e6;
        HeadFigures {
            name: self.name.clone(),
            set_configs: self.set_configs.load(Ordering::Relaxed),
            flips,
            pictures_copied: self.pictures_copied.load(Ordering::Relaxed),
            pictures_in_place: self.pictures_in_place.load(Ordering::Relaxed),
            octets_copied: self.copied.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            seconds,
            // n flips are n - 1 intervals.
            flips_per_second: if seconds > 0.0 {
                flips.saturating_sub(1) as f64 / seconds
            } else {
                0.0
            },
        }
    }
}

#[derive(Serialize)]
struct HeadFigures {
    #[serde(flatten)]
    name: HeadName,
    set_configs: u64,
    flips: u64,
    /// Pictures of SET_CONFIG and PG_FLIP.
    pictures_copied: u64,
    pictures_in_place: u64,
    octets_copied: u64,
    refused: u64,
    /// From the first to the last flip.
    seconds: f64,
    flips_per_second: f64,
}

#[derive(Serialize)]
struct Figures {
    wall_seconds: f64,
    /// Of this process, user and system.
    cpu_seconds: f64,
    heads: Vec<HeadFigures>,
}

/// All heads.
pub struct Stats {
    start: Instant,
    heads: Mutex<Vec<Arc<HeadCounters>>>,
}

impl Stats {
    /// No heads yet.
    pub fn new() -> Self {
        Stats {
            start: Instant::now(),
            heads: Mutex::default(),
        }
    }

    /// The counters of a head; a guest that comes back goes on with those that it had.
    pub fn head(&self, name: HeadName) -> Arc<HeadCounters> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = heads.iter().find(|head| head.name == name) {
            return known.clone();
        }
        let counters = Arc::new(HeadCounters {
            name,
            start: Instant::now(),
            set_configs: AtomicU64::default(),
            flips: AtomicU64::default(),
            pictures_copied: AtomicU64::default(),
            pictures_in_place: AtomicU64::default(),
            copied: AtomicU64::default(),
            refused: AtomicU64::default(),
            first_flip: AtomicU64::default(),
            last_flip: AtomicU64::default(),
        });
        heads.push(counters.clone());
        counters
    }

    fn figures(&self) -> Figures {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        Figures {
            wall_seconds: self.start.elapsed().as_secs_f64(),
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            heads: heads.iter().map(|head| head.figures()).collect(),
        }
    }

    /// Prints the totals.
    pub fn print(&self) {
        let figures = self.figures();
        for head in &figures.heads {
            say!(
                "{}: {} modes set, {} flips ({:.1}/s), {} pictures in place, {} MiB copied, {} requests refused",
                head.name,
                head.set_configs,
                head.flips,
                head.flips_per_second,
                head.pictures_in_place,
                head.octets_copied >> 20,
                head.refused
            );
        }
        say!(
            "ran {:.1} s, used {:.2} s of CPU time",
            figures.wall_seconds,
            figures.cpu_seconds
        );
    }

    /// Writes the totals to a file, as JSON; whoever reads it meanwhile finds the old or the new ones.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.figures())?;
        let unfinished = file.with_extension("part");
        fs::write(&unfinished, text + "\n")
            .and_then(|()| fs::rename(&unfinished, file))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}
