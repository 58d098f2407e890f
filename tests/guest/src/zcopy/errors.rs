// SPDX-License-Identifier: GPL-2.0

//! `zcopy-errors`: bad arguments for every ioctl of `/dev/xen/zcopy`, and the errno that each must give. After each there is what there
//! was before.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use anyhow::Result;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, read, write};
use rustix::ioctl::{Direction, Opcode, opcode::from_components};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use xen_zcopy::{Memory, PAGE_SIZE};

use super::{
    FROM_REFS, Ground, PAGES, RELEASE, TO_REFS, WAIT_RELEASED, free_number, release, request, send,
    settled, usage, wait, word,
};
use crate::cli::Peers;
use crate::raw::{Mapping, Place};
use crate::report::Report;

/// Most references in one buffer, as the header has it.
const MAX_REFS: u32 = 65536;

/// A domain that does not exist: ids are given from 1 up.
const NO_DOMAIN: u32 = 0x7000;

/// A reference that nobody has granted.
const NO_REFERENCE: u32 = 4_000_000;

/// Bit 16 is no part of a domain's number.
const NO_DOMID: u32 = 0x1_0000;

/// A number that no descriptor has.
const NO_NUMBER: u32 = i32::MAX as u32;

/// One bad call.
struct Row {
    name: &'static str,
    expected: Errno,
    /// Where the errno comes from.
    why: &'static str,
    call: fn(&Ground) -> io::Result<()>,
}

const fn row(
    name: &'static str,
    expected: Errno,
    why: &'static str,
    call: fn(&Ground) -> io::Result<()>,
) -> Row {
    Row {
        name,
        expected,
        why,
        call,
    }
}

/// Runs every table.
///
/// # Errors
/// When the good calls around the bad ones are refused.
pub fn run(report: &mut Report, peers: &Peers) -> Result<()> {
    let ground = Ground::new(peers)?;
    let mut before = usage()?;
    for (ioctl, rows) in [
        ("FROM_REFS", FROM_REFS_ROWS),
        ("WAIT_RELEASED", WAIT_RELEASED_ROWS),
        ("TO_REFS", TO_REFS_ROWS),
        ("RELEASE", RELEASE_ROWS),
        ("the file", FILE_ROWS),
    ] {
        for row in rows {
            let name = format!("{ioctl}: {}", row.name);
            report.refusal(&name, &[row.expected], row.why, &(row.call)(&ground));
            settled(report, &format!("what there is after {name}"), &mut before)?;
        }
    }
    if !ground.is_pv {
        // Last: where this is not refused, the kernel writes to where its pages were, some time later.
        let refs = ground
            .device
            .to_refs(&ground.memory.dmabuf, ground.me, PAGES)?;
        let name = "FROM_REFS: pages of this domain itself";
        let got = from_refs_of_own(&ground, &refs);
        report.refusal(
            name,
            &[Errno::INVAL],
            "the header: it would lose them",
            &got,
        );
        release(&ground.device, ground.memory.dmabuf.as_raw_fd())?;
        settled(report, &format!("what there is after {name}"), &mut before)?;
    }
    let made = ground.dmabuf(&ground.device);
    report.check("a dma-buf after the table", true, made.is_ok());
    Ok(())
}

/// FROM_REFS of the good references with one thing changed: the words are flags, count, fd, domain, references.
fn from_refs(ground: &Ground, place: Place, change: impl FnOnce(&mut Vec<u32>)) -> io::Result<()> {
    let mut words = vec![0, PAGES as u32, 0, ground.peer.into()];
    words.extend(&ground.refs);
    change(&mut words);
    send(&ground.device, FROM_REFS, &words, place).map(drop)
}

/// FROM_REFS of references that this domain has given.
fn from_refs_of_own(ground: &Ground, refs: &[u32]) -> io::Result<()> {
    let mut words = vec![0, refs.len() as u32, 0, ground.me.into()];
    words.extend(refs);
    send(&ground.device, FROM_REFS, &words, Place::Whole).map(drop)
}

const CHECKED: &str = "the header: checked before anything is done";
const BY_XEN: &str = "Xen's status of a mapping";
const BY_USER: &str = "copying from or to user space";
const UNKNOWN: &str = "the device knows four requests";

const FROM_REFS_ROWS: &[Row] = &[
    row("no reference", Errno::INVAL, CHECKED, |g| {
        from_refs(g, Place::Whole, |words| words[1] = 0)
    }),
    row("one reference too many", Errno::INVAL, CHECKED, |g| {
        from_refs(g, Place::Whole, |words| {
            words[1] = MAX_REFS + 1;
            words.resize(4 + MAX_REFS as usize + 1, 1);
        })
    }),
    row("the greatest count", Errno::INVAL, CHECKED, |g| {
        from_refs(g, Place::Whole, |words| words[1] = u32::MAX)
    }),
    row("the lowest flag", Errno::INVAL, CHECKED, |g| {
        from_refs(g, Place::Whole, |words| words[0] = 1)
    }),
    row("gntdev's flag COHERENT", Errno::INVAL, CHECKED, |g| {
        from_refs(g, Place::Whole, |words| words[0] = 2)
    }),
    row("the highest flag", Errno::INVAL, CHECKED, |g| {
        from_refs(g, Place::Whole, |words| words[0] = 1 << 31)
    }),
    row("no domain's number", Errno::INVAL, CHECKED, |g| {
        from_refs(g, Place::Whole, |words| words[3] |= NO_DOMID)
    }),
    row("a domain that is not there", Errno::INVAL, BY_XEN, |g| {
        from_refs(g, Place::Whole, |words| words[3] = NO_DOMAIN)
    }),
    row("DOMID_SELF", Errno::INVAL, BY_XEN, |g| {
        from_refs(g, Place::Whole, |words| words[3] = 0x7ff0)
    }),
    row("a reference not granted", Errno::INVAL, BY_XEN, |g| {
        from_refs(g, Place::Whole, |words| words[4] = NO_REFERENCE)
    }),
    row("the greatest reference", Errno::INVAL, BY_XEN, |g| {
        from_refs(g, Place::Whole, |words| words[4] = u32::MAX)
    }),
    row("the last one not granted", Errno::INVAL, BY_XEN, |g| {
        from_refs(g, Place::Whole, |words| words[3 + PAGES] = NO_REFERENCE)
    }),
    row("granted to another domain", Errno::INVAL, BY_XEN, |g| {
        let memory = one_page()?;
        let refs = g.device.to_refs(&memory.dmabuf, NO_DOMAIN as u16, 1)?;
        let result = from_refs_of_own(g, &refs);
        g.device.release(memory.dmabuf.as_raw_fd())?;
        result
    }),
    row("a reference of before", Errno::INVAL, BY_XEN, |g| {
        let memory = one_page()?;
        let refs = g.device.to_refs(&memory.dmabuf, g.me, 1)?;
        g.device.release(memory.dmabuf.as_raw_fd())?;
        from_refs_of_own(g, &refs)
    }),
    row("a null pointer", Errno::FAULT, BY_USER, |g| {
        from_refs(g, Place::Null, |_| {})
    }),
    row("nothing mapped there", Errno::FAULT, BY_USER, |g| {
        from_refs(g, Place::Cut(0), |_| {})
    }),
    row("half of it mapped", Errno::FAULT, BY_USER, |g| {
        from_refs(g, Place::Cut(2), |_| {})
    }),
    row("no reference mapped", Errno::FAULT, BY_USER, |g| {
        from_refs(g, Place::Cut(4), |_| {})
    }),
    row("the last reference not", Errno::FAULT, BY_USER, |g| {
        from_refs(g, Place::Cut(3 + PAGES), |_| {})
    }),
    row(
        "the most references, of which few are mapped",
        Errno::FAULT,
        BY_USER,
        |g| from_refs(g, Place::Whole, |words| words[1] = MAX_REFS),
    ),
    row("not to be written", Errno::FAULT, BY_USER, |g| {
        from_refs(g, Place::ReadOnly, |_| {})
    }),
    row(
        "no descriptor left",
        Errno::MFILE,
        "the limit of the process",
        |g| {
            let limit = getrlimit(Resource::Nofile);
            let used = free_number().map_err(io::Error::other)?;
            let none_left = Rlimit {
                current: Some(word(used).into()),
                ..limit
            };
            setrlimit(Resource::Nofile, none_left)?;
            let result = from_refs(g, Place::Whole, |_| {});
            setrlimit(Resource::Nofile, limit)?;
            result
        },
    ),
];

fn one_page() -> io::Result<Memory> {
    Memory::new(PAGE_SIZE)
}

const NO_EXPORT: &str = "the header: there is none under this number";

const WAIT_RELEASED_ROWS: &[Row] = &[
    row("no descriptor", Errno::NOENT, NO_EXPORT, |g| {
        wait(&g.device, RawFd::MAX, 0)
    }),
    row("a negative number", Errno::NOENT, NO_EXPORT, |g| {
        wait(&g.device, -1, 0)
    }),
    row("no dma-buf", Errno::NOENT, NO_EXPORT, |g| {
        wait(&g.device, g.null.as_raw_fd(), 0)
    }),
    row("the device itself", Errno::NOENT, NO_EXPORT, |g| {
        wait(&g.device, g.device.as_raw_fd(), 0)
    }),
    row(
        "a dma-buf of another exporter",
        Errno::NOENT,
        NO_EXPORT,
        |g| wait(&g.device, g.memory.dmabuf.as_raw_fd(), 0),
    ),
    row(
        "one that is gone",
        Errno::NOENT,
        "the header: it is gone",
        |g| {
            let made = g.dmabuf(&g.device).map_err(io::Error::other)?;
            let number = made.as_raw_fd();
            drop(made);
            wait(&g.device, number, 0)
        },
    ),
    row(
        "closed, and made through another open file",
        Errno::NOENT,
        NO_EXPORT,
        |g| {
            let made = g.dmabuf(&g.other).map_err(io::Error::other)?;
            let number = made.as_raw_fd();
            let _kept = made.try_clone()?;
            drop(made);
            wait(&g.device, number, 0)
        },
    ),
    row(
        "held, asked only",
        Errno::TIMEDOUT,
        "the header: not in time",
        |g| {
            let made = g.dmabuf(&g.device).map_err(io::Error::other)?;
            wait(&g.device, made.as_raw_fd(), 0)
        },
    ),
    row(
        "held, waited for",
        Errno::TIMEDOUT,
        "the header: not in time",
        |g| {
            let made = g.dmabuf(&g.device).map_err(io::Error::other)?;
            wait(&g.device, made.as_raw_fd(), 30)
        },
    ),
    row("a null pointer", Errno::FAULT, BY_USER, |g| {
        send(&g.device, WAIT_RELEASED, &[0, 0], Place::Null).map(drop)
    }),
    row("half of it mapped", Errno::FAULT, BY_USER, |g| {
        send(&g.device, WAIT_RELEASED, &[0, 0], Place::Cut(1)).map(drop)
    }),
];

/// TO_REFS of the good dma-buf with one thing changed: the words are fd, count, domain, reserved, references.
fn to_refs(ground: &Ground, place: Place, change: impl FnOnce(&mut Vec<u32>)) -> io::Result<()> {
    let fd = word(ground.memory.dmabuf.as_raw_fd());
    let mut words = vec![fd, PAGES as u32, ground.peer.into(), 0];
    words.resize(4 + PAGES, 0);
    change(&mut words);
    send(&ground.device, TO_REFS, &words, place).map(drop)
}

const NO_FILE: &str = "the header: no file";
const NO_DMABUF: &str = "the header: no dma-buf";
const SIZE: &str = "the header: count is not its size in pages";

const TO_REFS_ROWS: &[Row] = &[
    row("no descriptor", Errno::BADF, NO_FILE, |g| {
        to_refs(g, Place::Whole, |words| words[0] = NO_NUMBER)
    }),
    row("a negative number", Errno::BADF, NO_FILE, |g| {
        to_refs(g, Place::Whole, |words| words[0] = u32::MAX)
    }),
    row("a closed descriptor", Errno::BADF, NO_FILE, |g| {
        let free = free_number().map_err(io::Error::other)?;
        to_refs(g, Place::Whole, |words| words[0] = word(free))
    }),
    row("no dma-buf", Errno::INVAL, NO_DMABUF, |g| {
        to_refs(g, Place::Whole, |words| words[0] = word(g.null.as_raw_fd()))
    }),
    row("the device itself", Errno::INVAL, NO_DMABUF, |g| {
        to_refs(g, Place::Whole, |words| {
            words[0] = word(g.device.as_raw_fd())
        })
    }),
    row("plain memory", Errno::INVAL, NO_DMABUF, |g| {
        let file = memfd_create("zcopy", MemfdFlags::CLOEXEC)?;
        to_refs(g, Place::Whole, |words| words[0] = word(file.as_raw_fd()))
    }),
    row(
        "pages of a domain, as a dma-buf",
        Errno::OPNOTSUPP,
        "the header: its pages are not where this domain could grant them",
        |g| {
            let made = g.dmabuf(&g.device).map_err(io::Error::other)?;
            to_refs(g, Place::Whole, |words| words[0] = word(made.as_raw_fd()))
        },
    ),
    row("no page", Errno::INVAL, CHECKED, |g| {
        to_refs(g, Place::Whole, |words| words[1] = 0)
    }),
    row("fewer pages", Errno::INVAL, SIZE, |g| {
        to_refs(g, Place::Whole, |words| words[1] -= 1)
    }),
    row("more pages", Errno::INVAL, SIZE, |g| {
        to_refs(g, Place::Whole, |words| {
            words[1] += 1;
            words.push(0);
        })
    }),
    row("one page too many", Errno::INVAL, CHECKED, |g| {
        to_refs(g, Place::Whole, |words| words[1] = MAX_REFS + 1)
    }),
    row("the greatest count", Errno::INVAL, CHECKED, |g| {
        to_refs(g, Place::Whole, |words| words[1] = u32::MAX)
    }),
    row("no domain's number", Errno::INVAL, CHECKED, |g| {
        to_refs(g, Place::Whole, |words| words[2] |= NO_DOMID)
    }),
    row(
        "the reserved word",
        Errno::INVAL,
        "the header: reserved is not 0",
        |g| to_refs(g, Place::Whole, |words| words[3] = 1),
    ),
    row(
        "more than the grant table has for it",
        Errno::NOSPC,
        "the module's share",
        |g| {
            // The buffer again and again: what is granted of it adds up.
            let memory = Memory::new(1024 * PAGE_SIZE)?;
            let mut granted = 0;
            let refused = loop {
                match g.device.to_refs(&memory.dmabuf, g.peer, 1024) {
                    Ok(_) => granted += 1,
                    Err(error) => break error,
                }
            };
            for _ in 0..granted {
                g.device.release(memory.dmabuf.as_raw_fd())?;
            }
            match granted {
                0 => Ok(()),
                _ => Err(refused),
            }
        },
    ),
    row("a null pointer", Errno::FAULT, BY_USER, |g| {
        to_refs(g, Place::Null, |_| {})
    }),
    row("half of it mapped", Errno::FAULT, BY_USER, |g| {
        to_refs(g, Place::Cut(2), |_| {})
    }),
    row("no room for a reference", Errno::FAULT, BY_USER, |g| {
        to_refs(g, Place::Cut(4), |_| {})
    }),
    row("no room for the last", Errno::FAULT, BY_USER, |g| {
        to_refs(g, Place::Cut(3 + PAGES), |_| {})
    }),
    row("not to be written", Errno::FAULT, BY_USER, |g| {
        to_refs(g, Place::ReadOnly, |_| {})
    }),
];

const NO_GRANTS: &str = "the header: there are none";

const RELEASE_ROWS: &[Row] = &[
    row("nothing granted", Errno::NOENT, NO_GRANTS, |g| {
        release(&g.device, g.null.as_raw_fd())
    }),
    row("a negative number", Errno::NOENT, NO_GRANTS, |g| {
        release(&g.device, -1)
    }),
    row(
        "granted through another open file",
        Errno::NOENT,
        NO_GRANTS,
        |g| release(&g.device, g.memory.dmabuf.as_raw_fd()),
    ),
    row(
        "a dma-buf made of references",
        Errno::NOENT,
        NO_GRANTS,
        |g| {
            let made = g.dmabuf(&g.device).map_err(io::Error::other)?;
            release(&g.device, made.as_raw_fd())
        },
    ),
    row("released twice", Errno::NOENT, NO_GRANTS, |g| {
        let memory = one_page()?;
        g.device.to_refs(&memory.dmabuf, g.me, 1)?;
        release(&g.device, memory.dmabuf.as_raw_fd())?;
        release(&g.device, memory.dmabuf.as_raw_fd())
    }),
    row(
        "the reserved word",
        Errno::INVAL,
        "the header: reserved is not 0",
        |g| {
            let fd = word(g.memory.dmabuf.as_raw_fd());
            send(&g.other, RELEASE, &[fd, 1], Place::Whole).map(drop)
        },
    ),
    row("a null pointer", Errno::FAULT, BY_USER, |g| {
        send(&g.other, RELEASE, &[0, 0], Place::Null).map(drop)
    }),
    row("half of it mapped", Errno::FAULT, BY_USER, |g| {
        send(&g.other, RELEASE, &[0, 0], Place::Cut(1)).map(drop)
    }),
];

/// A request with words that would do for any of the known ones.
fn unknown(ground: &Ground, request: Opcode) -> io::Result<()> {
    send(&ground.device, request, &[0; 8], Place::Whole).map(drop)
}

const FILE_ROWS: &[Row] = &[
    row("gntdev's first request", Errno::NOTTY, UNKNOWN, |g| {
        unknown(g, request(0, 24))
    }),
    row("the request before the first", Errno::NOTTY, UNKNOWN, |g| {
        unknown(g, request(8, 16))
    }),
    row("the request after the last", Errno::NOTTY, UNKNOWN, |g| {
        unknown(g, request(13, 8))
    }),
    row("FROM_REFS of another size", Errno::NOTTY, UNKNOWN, |g| {
        unknown(g, request(9, 16))
    }),
    row(
        "WAIT_RELEASED of another size",
        Errno::NOTTY,
        UNKNOWN,
        |g| unknown(g, request(10, 12)),
    ),
    row("TO_REFS of another size", Errno::NOTTY, UNKNOWN, |g| {
        unknown(g, request(11, 24))
    }),
    row("RELEASE of another size", Errno::NOTTY, UNKNOWN, |g| {
        unknown(g, request(12, 4))
    }),
    row("FROM_REFS with a direction", Errno::NOTTY, UNKNOWN, |g| {
        unknown(g, from_components(Direction::ReadWrite, b'G', 9, 20))
    }),
    row("another device's letter", Errno::NOTTY, UNKNOWN, |g| {
        unknown(g, from_components(Direction::None, b'H', 9, 20))
    }),
    row("the request 0", Errno::NOTTY, UNKNOWN, |g| unknown(g, 0)),
    row("the greatest request", Errno::NOTTY, UNKNOWN, |g| {
        unknown(g, Opcode::MAX)
    }),
    row("read", Errno::INVAL, "it has nothing to read", |g| {
        Ok(read(&g.device, &mut [0; 8]).map(drop)?)
    }),
    row("write", Errno::INVAL, "it takes nothing", |g| {
        Ok(write(&g.device, &[0; 8]).map(drop)?)
    }),
    row("mmap", Errno::NODEV, "it has no memory of its own", |g| {
        Mapping::new(std::os::fd::AsFd::as_fd(&g.device), PAGE_SIZE, 0).map(drop)
    }),
];
