// SPDX-License-Identifier: GPL-2.0

//! What is shared with other domains now, and who has begun it: for people to look at, nothing is decided by it.
//!
//! # Invariants
//!
//! There is a record for each [`Entry`], and for what was [`State::Lost`].

use core::ptr;

use kernel::{
    current,
    fmt,
    prelude::*,
    str::BStr,
    sync::global_lock,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use crate::domain::DomId;

/// Whose pages are shared.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Direction {
    /// The other domain's: mapped here.
    Mapped,
    /// Ours, or a dma-buf's: granted to the other domain.
    Granted,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Granted => "granted",
        }
    }
}

/// How far pages are.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum State {
    InUse,
    /// Being unmapped, once nobody here has a reference to one of them.
    Leaving,
    /// Revoked, but the other domain still has them mapped.
    Waiting,
    /// They cannot be unmapped any more.
    Lost,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::InUse => "in-use",
            Self::Leaving => "leaving",
            Self::Waiting => "waiting",
            Self::Lost => "lost",
        }
    }
}

struct Record {
    number: u64,
    direction: Direction,
    peer: DomId,
    pages: usize,
    state: State,
    since: Instant<Monotonic>,
    pid: i32,
    comm: [u8; 16],
    /// The inode of the dma-buf, if they are one's.
    dmabuf: Option<u64>,
}

impl Record {
    /// In words.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comm = self.comm.split(|byte| *byte == 0).next().unwrap_or(&[]);
        write!(
            f,
            "{} {}: domain {} pages {} {} seconds {} pid {} comm {:?}",
            self.direction.name(),
            self.number,
            self.peer,
            self.pages,
            self.state.name(),
            self.since.elapsed().as_millis() / 1000,
            self.pid,
            BStr::from_bytes(comm)
        )?;
        match self.dmabuf {
            Some(inode) => writeln!(f, " dma-buf {inode}"),
            None => writeln!(f),
        }
    }
}

struct Ledger {
    /// In the order in which they were begun.
    records: KVec<Record>,
    /// The last number that was given.
    last: u64,
}

global_lock! {
    // SAFETY: `start` initialises it, in the module's init and before anything is shared.
    unsafe(uninit) static LEDGER: Mutex<Ledger> = Ledger {
        records: KVec::new(),
        last: 0,
    };
}

/// Opens the ledger. To be called once, in the module's init, before anything is shared.
pub(crate) fn start() {
    // SAFETY: Called once, by this function's contract.
    unsafe { LEDGER.init() };
}

/// Some pages in the ledger, until dropped.
pub(crate) struct Entry(u64);

impl Entry {
    /// Notes that `pages` are shared with `peer` from now on, on behalf of the current process.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(direction: Direction, peer: DomId, pages: usize) -> Result<Self> {
        let task = current!();
        // SAFETY: The current task is there. Its name may be changed while it is read, and has a zero at the end all the time.
        let comm = unsafe { ptr::read_volatile(&raw const (*task.as_ptr()).comm) };
        let mut ledger = LEDGER.lock();
        let number = ledger.last.wrapping_add(1);
        let record = Record {
            number,
            direction,
            peer,
            pages,
            state: State::InUse,
            since: Instant::now(),
            pid: task.tgid(),
            comm,
            dmabuf: None,
        };
        ledger.records.push(record, GFP_KERNEL)?;
        ledger.last = number;
        Ok(Self(number))
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.0
    }

    /// Notes how far they are, and how many are left.
    pub(crate) fn note(&self, state: State, pages: usize) {
        change(self.0, |record| {
            record.state = state;
            record.pages = pages;
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut ledger = LEDGER.lock();
        let of_ours = |record: &Record| record.number == self.0;
        if let Some(at) = ledger.records.iter().position(of_ours) {
            if ledger.records.get(at).map(|record| record.state) != Some(State::Lost) {
                let _ = ledger.records.remove(at);
            }
        }
    }
}

/// Notes that the pages of the entry with this `number` are those of the dma-buf with this `inode`.
pub(crate) fn note_dmabuf(number: u64, inode: u64) {
    change(number, |record| record.dmabuf = Some(inode));
}

fn change(number: u64, by: impl FnOnce(&mut Record)) {
    let mut ledger = LEDGER.lock();
    if let Some(record) = ledger.records.iter_mut().find(|r| r.number == number) {
        by(record);
    }
}

/// Writes a line for each entry that is `wanted`.
fn show(f: &mut fmt::Formatter<'_>, wanted: impl Fn(&Record) -> bool) -> fmt::Result {
    let ledger = LEDGER.lock();
    let mut records = ledger.records.iter().filter(|record| wanted(record));
    records.try_for_each(|record| record.show(f))
}

/// Writes a line for all that is shared.
pub(crate) fn show_all(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    show(f, |_| true)
}

/// Writes a line for all whose end has been asked for and has not come.
pub(crate) fn show_outstanding(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    show(f, |record| record.state != State::InUse)
}

/// Writes how much is shared.
pub(crate) fn show_totals(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let ledger = LEDGER.lock();
    let mut total = |name: &str, wanted: &dyn Fn(&Record) -> bool| {
        let (mut buffers, mut pages) = (0usize, 0usize);
        for record in ledger.records.iter().filter(|record| wanted(record)) {
            buffers = buffers.saturating_add(1);
            pages = pages.saturating_add(record.pages);
        }
        writeln!(f, "{name}: buffers {buffers} pages {pages}")
    };
    for direction in [Direction::Mapped, Direction::Granted] {
        total(direction.name(), &|record| record.direction == direction)?;
    }
    for state in [State::Leaving, State::Waiting, State::Lost] {
        total(state.name(), &|record| record.state == state)?;
    }
    Ok(())
}
