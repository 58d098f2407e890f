// SPDX-License-Identifier: GPL-2.0
//! What must hold after every scenario: no complaint in any kernel's log, and nothing that a guest gave or took is lost.

use crate::guest::Guest;
use crate::machine::Machine;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

/// What kernels and Xen write when something is wrong with them.
const COMPLAINTS: &[&str] = &[
    "WARNING: ",
    "BUG: ",
    "kernel BUG at",
    "Oops",
    "Call Trace:",
    "general protection fault",
    "possible recursive locking",
    "possible circular locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "refcount_t: ",
    "Bad rss-counter",
    "INFO: task ",
    "rcu: INFO: ",
    "KASAN",
    "UBSAN",
    "kmemleak",
    "Kernel panic",
    "Poison overwritten",
    "Redzone overwritten",
    "padding overwritten",
    "already free",
    "memory corruption",
    "non-static key",
    "ODEBUG: ",
    "rust_kernel: panicked",
    "(XEN) Xen BUG",
    "(XEN) Xen WARN",
    "(XEN) Assertion",
    "(XEN) FATAL",
    "Panic on CPU",
    "grant_table.c",
    // Ours.
    "and is lost",
    "and are lost",
    "that has gone are still mapped",
];

/// Has a guest's kernel give back what it can, and tell of its memory. The pages that each processor keeps to itself are free too, but not
/// in meminfo.
const MEMORY: &str = "echo 3 >/proc/sys/vm/drop_caches; cat /proc/meminfo; \
     awk '/^ +count:/ { pages += $2 } END { print \"PerCpuFree: \" pages * 4 \" kB\" }' /proc/zoneinfo; \
     cat /sys/kernel/debug/xen_zcopy/totals 2>/dev/null || true";

/// Time for what is given back late: deferred grants, closed files.
const SETTLE: Duration = Duration::from_secs(20);

/// A place in a log.
#[derive(Clone, Copy, Default)]
pub struct Mark(u64);

impl Mark {
    /// The log's end.
    pub fn end_of(log: &Path) -> Self {
        Self(std::fs::metadata(log).map_or(0, |metadata| metadata.len()))
    }

    /// What was written since.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn since(self, log: &Path) -> Result<String> {
        let mut file = File::open(log).with_context(|| log.display().to_string())?;
        file.seek(SeekFrom::Start(self.0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
    }
}

/// The first line of a log that tells of something wrong.
pub fn complaint(log: &str) -> Option<&str> {
    log.lines().find(|line| is_complaint(line))
}

fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|complaint| line.contains(complaint))
}

/// Complaints of a kernel that watches itself which are judged otherwise: what it says of memory that is lost is looked at, and allocations fail
/// because they were told to.
const OTHERWISE: &[&str] = &[
    "new suspected memory leaks",
    "FAULT_INJECTION: forcing a failure",
    "page allocation failure",
    "vmalloc error",
];

/// What follows what is wrong, and says nothing of its own.
const TRACE: &str = "Call Trace:";

/// What a kernel that watches itself tells of itself without our modules.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    /// Complaints, without the numbers in them.
    complaints: BTreeSet<String>,
    /// Where memory that is lost was allocated.
    leaks: BTreeSet<String>,
}

impl Baseline {
    /// From a log, and from what kmemleak has found.
    pub fn of(log: &str, leaks: &str) -> Self {
        Self {
            complaints: log
                .lines()
                .filter(|line| is_complaint(line))
                .map(without_numbers)
                .collect(),
            leaks: leaks_in(leaks).map(|leak| places(&leak)).collect(),
        }
    }

    /// The first line of a log that tells of something wrong which this does not know.
    pub fn complaint<'a>(&self, log: &'a str) -> Option<&'a str> {
        let mut known = false;
        log.lines().find(|line| {
            if OTHERWISE.iter().any(|word| line.contains(word)) {
                known = true;
                return false;
            }
            if !is_complaint(line) {
                return false;
            }
            if !line.contains(TRACE) {
                known = self.complaints.contains(&without_numbers(line));
            }
            !known
        })
    }

    /// The first piece of memory that kmemleak has found and this does not know.
    pub fn leak(&self, leaks: &str) -> Option<String> {
        leaks_in(leaks).find(|leak| !self.leaks.contains(&places(leak)))
    }
}

/// The single reports of kmemleak.
fn leaks_in(leaks: &str) -> impl Iterator<Item = String> + '_ {
    leaks
        .split("unreferenced object ")
        .skip(1)
        .map(|leak| format!("unreferenced object {leak}"))
}

/// Where the memory of a report of kmemleak was allocated: functions, without their addresses.
fn places(leak: &str) -> String {
    leak.lines()
        .skip_while(|line| !line.contains("backtrace"))
        .skip(1)
        .filter_map(|line| line.trim().split('+').next())
        .flat_map(|function| [function, "\n"])
        .collect()
}

/// A line without its time and with "#" for each number.
fn without_numbers(line: &str) -> String {
    let text = match line.trim_start().split_once("] ") {
        Some((time, text)) if time.starts_with('[') => text,
        _ => line,
    };
    let mut plain = String::new();
    let mut in_number = false;
    for c in text.chars() {
        // A number may be hexadecimal, and then begins with a digit, as addresses are written here.
        let part = c.is_ascii_digit() || (in_number && (c.is_ascii_hexdigit() || c == 'x'));
        if part && !in_number {
            plain.push('#');
        } else if !part {
            plain.push(c);
        }
        in_number = part;
    }
    plain
}

/// A guest's memory, as its kernel counts it.
#[derive(Clone, Debug)]
pub struct Memory {
    text: String,
    /// What is in use and is no cache of files, in KiB.
    used: u64,
    /// Entries of its grant table that our modules have in use, mapped by others or not, as they count themselves.
    grants: Option<u64>,
}

impl Memory {
    fn parse(text: String) -> Result<Self> {
        let value = |name: &str| -> Result<u64> {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse().ok())
                .with_context(|| format!("the guest's meminfo has no {name}:\n{text}"))
        };
        let mut used = value("MemTotal")?;
        for unused in [
            "MemFree",
            "PerCpuFree",
            "Active(file)",
            "Inactive(file)",
            "SReclaimable",
        ] {
            used = used.saturating_sub(value(unused)?);
        }
        let grants = text
            .lines()
            .find_map(|line| line.strip_prefix("grants: used ")?.split(' ').next())
            .and_then(|used| used.parse().ok());
        Ok(Self { text, used, grants })
    }
}

/// What a guest has given and taken.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Pages of the guest and of Dom0 that other domains have mapped, as Xen counts them.
    mapped_grants: usize,
    memory: Memory,
    /// Size of the smallest picture, in bytes.
    frame: u64,
}

impl Accounts {
    /// Count now. What a kernel keeps of things that it does for the first time comes to 1 MiB at most, as seen so far; what is tolerated
    /// is two thirds of a `frame`, in bytes, so that none can be lost unnoticed.
    ///
    /// # Errors
    ///
    /// When Xen or the guest does not answer.
    pub fn count(machine: &mut Machine, guest: &Guest, frame: u64) -> Result<Self> {
        let text = guest.run_ok(machine, MEMORY, Duration::from_secs(60))?;
        Ok(Self {
            mapped_grants: mapped_grants_of(machine, &[guest.id, 0])?,
            memory: Memory::parse(text)?,
            frame,
        })
    }

    /// Wait until the guest has again what it had. Its memory, before and after, goes to `dir`.
    ///
    /// # Errors
    ///
    /// When it has not after a while.
    pub fn settle(&self, machine: &mut Machine, guest: &Guest, dir: &Path) -> Result<Self> {
        std::fs::write(dir.join("meminfo-before"), &self.memory.text)?;
        let end = Instant::now() + SETTLE;
        loop {
            let now = Self::count(machine, guest, self.frame)?;
            std::fs::write(dir.join("meminfo-after"), &now.memory.text)?;
            let grants_back = now.mapped_grants <= self.mapped_grants;
            // A kernel that watches itself keeps books that grow, and finds what is lost by itself.
            let memory_back = machine.guest_kernel().watch.is_some()
                || now.memory.used <= self.memory.used + self.frame * 2 / 3 / 1024;
            let own_back = match (now.memory.grants, self.memory.grants) {
                (Some(now), Some(before)) => now <= before,
                // A module that is not there has none.
                _ => true,
            };
            if grants_back && memory_back && own_back {
                return Ok(now);
            }
            if Instant::now() >= end {
                if !grants_back {
                    bail!(
                        "{} pages of the guest and of Dom0 stay mapped by others, before there were {}",
                        now.mapped_grants,
                        self.mapped_grants
                    );
                }
                if !own_back {
                    bail!(
                        "our modules have {:?} grants in use, before there were {:?}",
                        now.memory.grants,
                        self.memory.grants
                    );
                }
                bail!(
                    "the guest uses {} KiB more memory than before",
                    now.memory.used - self.memory.used
                );
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Have Xen write its grant tables to its console, and count a domain's entries in use.
///
/// # Errors
///
/// When Xen does not.
pub fn mapped_grants(machine: &mut Machine, domain: u32) -> Result<usize> {
    mapped_grants_of(machine, &[domain])
}

/// The same of several domains.
fn mapped_grants_of(machine: &mut Machine, domains: &[u32]) -> Result<usize> {
    const END: &str = "gnttab_usage_print_all ] done";
    let serial = machine.serial().to_owned();
    let mark = Mark::end_of(&serial);
    machine.dom0("xl debug-keys g")?;
    let end = Instant::now() + Duration::from_secs(60);
    let text = loop {
        let text = mark.since(&serial)?;
        if text.contains(END) {
            break text;
        }
        if Instant::now() >= end {
            bail!("Xen did not finish the list of its grant tables in a minute");
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let of = |domain: &u32| {
        let head = format!("grant-table for remote d{domain} ");
        text.lines()
            .skip_while(|line| !line.contains(&head))
            .skip(1)
            .take_while(|line| !line.contains("grant-table for") && !line.contains(END))
            .filter(|line| line.contains("[0x"))
            .count()
    };
    Ok(domains.iter().map(of).sum())
}

/// What Xen wrote into the machine's serial log.
pub fn of_xen(serial: &str) -> String {
    lines(serial, |line| line.contains("(XEN)"))
}

/// What Dom0's kernel wrote into the machine's serial log.
pub fn of_dom0(serial: &str) -> String {
    lines(serial, |line| !line.contains("(XEN)"))
}

fn lines(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    text.lines()
        .filter(|line| wanted(line))
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_what_is_neither_free_nor_a_cache() {
        let text = "MemTotal: 100 kB\nMemFree:  40 kB\nActive: 9 kB\nActive(file): 8 kB\n\
                    Inactive(file): 2 kB\nSReclaimable: 5 kB\nPerCpuFree: 1 kB\ngrants: used 7 limit 9\n";
        let memory = Memory::parse(text.to_owned()).unwrap();
        assert_eq!((memory.used, memory.grants), (44, Some(7)));
        assert!(Memory::parse("MemTotal: 100 kB\n".to_owned()).is_err());
    }

    #[test]
    fn what_a_kernel_tells_of_itself_is_known_again() {
        let bare =
            "[ 1.0] WARNING: mm/slub.c:12 at f+0x1a/0x20, CPU#0: swapper/1\n[ 1.1] Call Trace:\n";
        let leak = "unreferenced object 0xffff1 (size 8):\n  comm \"a\"\n  backtrace (crc 1):\n    f+0x1/0x2\n    g+0x3/0x4\n";
        let baseline = Baseline::of(bare, leak);
        let again =
            "[ 7.2] WARNING: mm/slub.c:12 at f+0x1b/0x20, CPU#0: swapper/3\n[ 7.3] Call Trace:\n";
        assert_eq!(baseline.complaint(again), None);
        let other = "[ 8.0] BUG: ours\n[ 8.1] Call Trace:\n";
        assert_eq!(
            baseline.complaint(&(again.to_owned() + other)),
            Some("[ 8.0] BUG: ours")
        );
        assert_eq!(
            baseline.complaint("[ 9.0] Call Trace:\n"),
            Some("[ 9.0] Call Trace:")
        );
        let told = "[ 9.0] x: page allocation failure: order:0\n[ 9.1] Call Trace:\n";
        assert_eq!(baseline.complaint(told), None);
        assert_eq!(baseline.leak(&leak.replace("ffff1", "ffff2")), None);
        let other = leak.replace("g+", "h+");
        assert_eq!(baseline.leak(&(leak.to_owned() + &other)), Some(other));
    }

    #[test]
    fn complaints_are_found_and_ordinary_lines_are_not() {
        assert_eq!(
            complaint("[ 1.0] fine\n[ 2.0] WARNING: CPU: 0 PID: 1\n"),
            Some("[ 2.0] WARNING: CPU: 0 PID: 1")
        );
        assert_eq!(
            complaint("[ 1.0] Debugging is on\n(XEN) HVM d1v0 created\n"),
            None
        );
    }
}
