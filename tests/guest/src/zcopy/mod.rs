// SPDX-License-Identifier: GPL-2.0

//! `zcopy-errors`, `zcopy-descriptors`, `zcopy-allocations`: `/dev/xen/zcopy` misused, used in any order, and without memory. No display is needed.
//!
//! Some other domain has granted pages to this one. A PV domain is also its own peer for some cases; another one on x86 would lose the
//! pages that it maps so, which is looked at last.

mod allocations;
mod descriptors;
mod errors;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::ioctl::{Direction, Opcode, opcode::from_components};
use serde_json::{Value, json};
use xen_zcopy::{DEVICE, Memory, PAGE_SIZE, Zcopy};

use crate::cli::Peers;
use crate::raw::{Argument, Place};
use crate::report::Report;

pub use allocations::run as allocations;
pub use descriptors::run as descriptors;
pub use errors::run as errors;

/// The requests, by number and size of their argument.
const FROM_REFS: Opcode = request(9, 20);
const WAIT_RELEASED: Opcode = request(10, 8);
const TO_REFS: Opcode = request(11, 20);
const RELEASE: Opcode = request(12, 8);

const fn request(number: u8, size: usize) -> Opcode {
    from_components(Direction::None, b'G', number, size)
}

/// Pages that are granted.
const PAGES: usize = 3;

/// Time for what is given back late, a safety net only.
const SETTLE: Duration = Duration::from_secs(20);

/// What the module shows of itself.
const TOTALS: &str = "/sys/kernel/debug/xen_zcopy/totals";
const BUFFERS: &str = "/sys/kernel/debug/xen_zcopy/buffers";

/// What kind of domain this is.
const GUEST_TYPE: &str = "/sys/hypervisor/guest_type";

/// Open files of the device, and pages to share.
struct Ground {
    /// This domain.
    me: u16,
    /// Whether its page tables are its own.
    is_pv: bool,
    /// The domain that has granted `refs` to this one.
    peer: u16,
    /// [`PAGES`] references.
    refs: Vec<u32>,
    /// The open file that is misused.
    device: Zcopy,
    /// Another one, which has granted `memory` to the peer.
    other: Zcopy,
    /// A dma-buf of pages of this domain.
    memory: Memory,
    /// Something that is no dma-buf.
    null: File,
}

impl Ground {
    fn new(peers: &Peers) -> Result<Self> {
        let open = || Zcopy::open(DEVICE).context(DEVICE);
        let (device, other) = (open()?, open()?);
        let memory = memory()?;
        let granted = other.to_refs(&memory.dmabuf, peers.peer, PAGES);
        granted.context("cannot grant pages")?;
        ensure!(
            peers.refs.len() >= PAGES,
            "{PAGES} references of the peer are needed"
        );
        Ok(Self {
            me: peers.domid,
            is_pv: std::fs::read_to_string(GUEST_TYPE)
                .context(GUEST_TYPE)?
                .trim()
                == "PV",
            peer: peers.peer,
            refs: peers.refs[..PAGES].to_vec(),
            device,
            other,
            memory,
            null: File::open("/dev/null").context("cannot open /dev/null")?,
        })
    }

    /// A dma-buf of the pages, made through `device`.
    fn dmabuf(&self, device: &Zcopy) -> Result<OwnedFd> {
        let made = device.from_refs(self.peer, &self.refs);
        made.context("cannot make a dma-buf of the peer's pages")
    }
}

/// The numbers under which the module shows what this process has granted, in the order of their making.
fn granted() -> Result<Vec<u64>> {
    let text = std::fs::read_to_string(BUFFERS).context(BUFFERS)?;
    let of_ours = format!(" pid {} ", std::process::id());
    let lines = text.lines().filter(|line| line.contains(&of_ours));
    let number = |line: &str| {
        line.strip_prefix("granted ")?
            .split_once(':')?
            .0
            .parse()
            .ok()
    };
    Ok(lines.filter_map(number).collect())
}

/// Memory as a dma-buf.
fn memory() -> Result<Memory> {
    Memory::new(PAGES * PAGE_SIZE).context("cannot make a dma-buf of memory")
}

/// Makes a request of `words`; returns what is there afterwards.
fn send(device: &Zcopy, request: Opcode, words: &[u32], place: Place) -> io::Result<Vec<u32>> {
    Argument::new(words, place)?.send(device.as_fd(), request)
}

/// WAIT_RELEASED as the kernel answers it.
fn wait(device: &Zcopy, fd: RawFd, milliseconds: u32) -> io::Result<()> {
    let words = [word(fd), milliseconds];
    send(device, WAIT_RELEASED, &words, Place::Whole).map(drop)
}

/// RELEASE as the kernel answers it.
fn release(device: &Zcopy, fd: RawFd) -> io::Result<()> {
    let words = [word(fd), 0];
    send(device, RELEASE, &words, Place::Whole).map(drop)
}

/// What exists now: this process's descriptors, and all that the module shares.
fn usage() -> Result<Value> {
    let totals = std::fs::read_to_string(TOTALS).context(TOTALS)?;
    let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
    let totals: Vec<&str> = totals.lines().collect();
    Ok(json!({"descriptors": descriptors, "totals": totals}))
}

/// Checks that there is again what there was before, perhaps after a while. What there is counts from then on: what is lost is told once.
fn settled(report: &mut Report, name: &str, before: &mut Value) -> Result<()> {
    let end = Instant::now() + SETTLE;
    let mut now = usage()?;
    while now != *before && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        now = usage()?;
    }
    report.check(name, before.clone(), now.clone());
    *before = now;
    Ok(())
}

/// The number of a descriptor that is closed now: the lowest that is free.
fn free_number() -> Result<RawFd> {
    Ok(File::open("/dev/null")?.as_raw_fd())
}

/// Checks that `fd` has the number that was free.
fn expect_number(fd: &OwnedFd, number: RawFd) -> Result<()> {
    ensure!(
        fd.as_raw_fd() == number,
        "the kernel gave descriptor {} where {number} was free",
        fd.as_raw_fd()
    );
    Ok(())
}

/// A descriptor's number as the requests have it, whatever it is.
fn word(fd: RawFd) -> u32 {
    fd as u32
}
