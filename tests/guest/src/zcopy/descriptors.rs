// SPDX-License-Identifier: GPL-2.0

//! `zcopy-descriptors`: descriptors of `/dev/xen/zcopy` and its dma-bufs closed, duplicated, inherited and used again, by one thread and
//! by many. After each case there is what there was before.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::SIGUSR1;
use xen_zcopy::{DEVICE, PAGE_SIZE, Zcopy};

use super::{Ground, PAGES, expect_number, granted, memory, release, settled, usage, wait};
use crate::cli::Peers;
use crate::raw::Mapping;
use crate::report::{Report, outcome};

/// Long enough for whatever must happen, in milliseconds: a safety net only.
const LONG: u32 = 60_000;

/// Threads at a time, where many are needed.
const THREADS: usize = 4;

type Case = fn(&mut Report, &Ground) -> Result<()>;

/// Runs every case.
///
/// # Errors
/// When a call is refused that every case needs.
pub fn run(report: &mut Report, peers: &Peers) -> Result<()> {
    let ground = Ground::new(peers)?;
    // The first thread makes an arena of the allocator's, and so on.
    thread::scope(|scope| scope.spawn(|| ()).join()).map_err(|_| anyhow::anyhow!("a thread"))?;
    let mut before = usage()?;
    let cases: &[(&str, Case)] = &[
        ("closed", closed),
        ("duplicated", duplicated),
        ("number of another dma-buf", number_of_another),
        ("number of another file", number_of_another_file),
        ("number taken over", number_taken_over),
        ("two open files", two_open_files),
        ("open file closed before its dma-buf", device_closed_first),
        ("mapped", mapped),
        ("inherited by a child", inherited),
        ("waiting while another closes", waiting),
        ("waiting while a signal comes", interrupted),
        ("closed while the wait begins", racing),
        ("many threads", many_threads),
        ("granted twice", granted_twice),
        (
            "granted under a number used again",
            granted_under_one_number,
        ),
        ("granted, then closed", granted_then_closed),
        ("open file closed with grants in use", closed_with_grants),
        ("open file with grants inherited", grants_inherited),
        ("released by many threads", released_by_many),
    ];
    for (name, case) in cases {
        case(report, &ground).with_context(|| (*name).to_owned())?;
        settled(
            report,
            &format!("{name}: what there is after it"),
            &mut before,
        )?;
    }
    Ok(())
}

/// Checks what the kernel answers to a wait for the end of the dma-buf under `fd`.
fn expect_wait(
    report: &mut Report,
    name: &str,
    device: &Zcopy,
    fd: RawFd,
    milliseconds: u32,
    expected: &str,
) {
    let got = wait(device, fd, milliseconds);
    report.check(name, expected, outcome(&got));
}

/// Held.
const HELD: &str = "ETIMEDOUT";
/// Gone, or never there.
const GONE: &str = "ENOENT";

fn closed(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let made = ground.dmabuf(device)?;
    let number = made.as_raw_fd();
    expect_wait(report, "closed: before", device, number, 0, HELD);
    drop(made);
    expect_wait(report, "closed: after", device, number, 0, GONE);
    expect_wait(report, "closed: and again", device, number, LONG, GONE);
    Ok(())
}

fn duplicated(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let made = ground.dmabuf(device)?;
    let number = made.as_raw_fd();
    let other = made.try_clone()?;
    drop(made);
    expect_wait(
        report,
        "duplicated: the number closed",
        device,
        number,
        0,
        HELD,
    );
    let duplicate = other.as_raw_fd();
    expect_wait(
        report,
        "duplicated: the other one",
        device,
        duplicate,
        0,
        HELD,
    );
    drop(other);
    expect_wait(
        report,
        "duplicated: both closed",
        device,
        number,
        LONG,
        GONE,
    );
    expect_wait(
        report,
        "duplicated: no export's number",
        device,
        duplicate,
        0,
        GONE,
    );
    Ok(())
}

fn number_of_another(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let first = ground.dmabuf(device)?;
    let number = first.as_raw_fd();
    let first_kept = first.try_clone()?;
    drop(first);
    let second = ground.dmabuf(device)?;
    expect_number(&second, number)?;
    let second_kept = second.try_clone()?;
    drop(second);
    // Both are there, and neither is open under the number: the newest is meant.
    let ended = while_waiting(device, number, LONG, || drop(second_kept))?;
    report.check("same number: the newest ends", "success", outcome(&ended));
    expect_wait(
        report,
        "same number: the first is there",
        device,
        number,
        0,
        HELD,
    );
    drop(first_kept);
    expect_wait(
        report,
        "same number: none is there",
        device,
        number,
        LONG,
        GONE,
    );
    Ok(())
}

fn number_of_another_file(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let made = ground.dmabuf(device)?;
    let number = made.as_raw_fd();
    let kept = made.try_clone()?;
    drop(made);
    let file = OwnedFd::from(File::open("/dev/null")?);
    expect_number(&file, number)?;
    expect_wait(
        report,
        "another file: the dma-buf there",
        device,
        number,
        0,
        HELD,
    );
    drop(kept);
    expect_wait(
        report,
        "another file: not there",
        device,
        number,
        LONG,
        GONE,
    );
    Ok(())
}

/// Two dma-bufs, and one takes the number of the other: the number means what it is now.
fn number_taken_over(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let mut number = ground.dmabuf(device)?;
    let first = number.try_clone()?;
    let second = ground.dmabuf(device)?;
    rustix::io::dup2(&second, &mut number)?;
    let raw = number.as_raw_fd();
    let ended = while_waiting(device, raw, LONG, || {
        drop(second);
        drop(number);
    })?;
    report.check(
        "taken over: what the number is now ends",
        "success",
        outcome(&ended),
    );
    expect_wait(
        report,
        "taken over: what it was is there",
        device,
        raw,
        0,
        HELD,
    );
    drop(first);
    expect_wait(report, "taken over: neither there", device, raw, LONG, GONE);
    Ok(())
}

fn two_open_files(report: &mut Report, ground: &Ground) -> Result<()> {
    let (device, other) = (&ground.device, Zcopy::open(DEVICE)?);
    let made = ground.dmabuf(device)?;
    let number = made.as_raw_fd();
    expect_wait(
        report,
        "two files: open, by the other",
        &other,
        number,
        0,
        HELD,
    );
    let kept = made.try_clone()?;
    drop(made);
    expect_wait(
        report,
        "two files: closed, by its own",
        device,
        number,
        0,
        HELD,
    );
    expect_wait(
        report,
        "two files: closed, by the other",
        &other,
        number,
        0,
        GONE,
    );
    let second = ground.dmabuf(&other)?;
    expect_number(&second, number)?;
    drop(kept);
    expect_wait(
        report,
        "two files: the other's, by it",
        &other,
        number,
        0,
        HELD,
    );
    drop(second);
    expect_wait(
        report,
        "two files: none, by the other",
        &other,
        number,
        LONG,
        GONE,
    );
    expect_wait(
        report,
        "two files: none, by its own",
        device,
        number,
        LONG,
        GONE,
    );
    Ok(())
}

fn device_closed_first(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = Zcopy::open(DEVICE)?;
    let made = ground.dmabuf(&device)?;
    drop(device);
    let by = &ground.device;
    let number = made.as_raw_fd();
    expect_wait(report, "device closed: the dma-buf", by, number, 0, HELD);
    let ended = while_waiting(by, number, LONG, || drop(made))?;
    report.check("device closed: its end", "success", outcome(&ended));
    Ok(())
}

/// A mapping holds the pages as well as a descriptor.
fn mapped(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let made = ground.dmabuf(device)?;
    let number = made.as_raw_fd();
    let mapping = match Mapping::new(made.as_fd(), PAGES * PAGE_SIZE, 0) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => {
            report.skip("mapped", "user space cannot map it in this domain");
            return Ok(());
        }
        mapping => mapping?,
    };
    drop(made);
    expect_wait(report, "mapped: closed", device, number, 0, HELD);
    drop(mapping);
    expect_wait(report, "mapped: unmapped", device, number, LONG, GONE);
    Ok(())
}

/// A process that does nothing but hold a descriptor, as its standard input.
fn holder(fd: OwnedFd) -> Result<Child> {
    let mut sleep = Command::new("sleep");
    sleep.arg("1000").stdin(Stdio::from(fd));
    sleep.spawn().context("cannot start sleep")
}

fn inherited(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let made = ground.dmabuf(device)?;
    let number = made.as_raw_fd();
    let mut child = holder(made.try_clone()?)?;
    drop(made);
    expect_wait(
        report,
        "inherited: the child there",
        device,
        number,
        0,
        HELD,
    );
    let ended = while_waiting(device, number, LONG, || child.kill())?;
    report.check("inherited: the child killed", "success", outcome(&ended));
    child.wait()?;
    Ok(())
}

/// Waits for the end of the dma-buf under `number` in another thread; once that sleeps, does something.
fn while_waiting<T>(
    device: &Zcopy,
    number: RawFd,
    milliseconds: u32,
    then: impl FnOnce() -> T,
) -> Result<io::Result<()>> {
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let waiter = scope.spawn(move || {
            let _ = tell.send(std::fs::read_link("/proc/thread-self"));
            wait(device, number, milliseconds)
        });
        let task = told.recv()??;
        // Not before it is in the kernel; if it never sleeps, it has its answer already.
        let stat = std::path::Path::new("/proc").join(task).join("stat");
        while !waiter.is_finished() && !std::fs::read_to_string(&stat)?.contains(") S ") {
            thread::yield_now();
        }
        then();
        waiter
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))
    })
}

fn waiting(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let made = ground.dmabuf(device)?;
    let number = made.as_raw_fd();
    let mut results = Vec::new();
    thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS)
            .map(|_| scope.spawn(|| wait(device, number, LONG)))
            .collect();
        // The longest time there is.
        let first = while_waiting(device, number, u32::MAX, || drop(made))?;
        results.push(outcome(&first));
        for other in others {
            let result = other
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            results.push(match outcome(&result).as_str() {
                // It came when all was over.
                GONE => "success".to_owned(),
                other => other.to_owned(),
            });
        }
        anyhow::Ok(())
    })?;
    report.check("waiting: every thread", vec!["success"; THREADS], results);
    Ok(())
}

fn interrupted(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let made = ground.dmabuf(device)?;
    let number = made.as_raw_fd();
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    let handler = signal_hook::low_level::pipe::register(SIGUSR1, ours)?;
    // A signal for the process may come to any thread that does not wait for it, so it is sent until one has come to the one that waits.
    let done = AtomicUsize::new(0);
    let got = thread::scope(|scope| {
        scope.spawn(|| {
            while done.load(Ordering::Relaxed) == 0 {
                let _ = kill_process(getpid(), Signal::USR1);
                thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let got = wait(device, number, LONG);
        done.store(1, Ordering::Relaxed);
        got
    });
    signal_hook::low_level::unregister(handler);
    report.check("interrupted", "EINTR", outcome(&got));
    expect_wait(report, "interrupted: then", device, number, 0, HELD);
    drop(made);
    expect_wait(
        report,
        "interrupted: at the end",
        device,
        number,
        LONG,
        GONE,
    );
    Ok(())
}

/// A thread closes while another begins to wait: wherever they meet, the wait ends with the dma-buf.
fn racing(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let mut late = Vec::new();
    for _ in 0..200 {
        let made = ground.dmabuf(device)?;
        let number = made.as_raw_fd();
        let got = thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(device, number, LONG));
            thread::yield_now();
            drop(made);
            waiter.join()
        });
        match outcome(&got.map_err(|_| anyhow::anyhow!("a thread panicked"))?).as_str() {
            "success" | GONE => {}
            other => {
                late.push(other.to_owned());
                // Each takes as long as a wait may.
                break;
            }
        }
    }
    report.check(
        "racing: waits that ended otherwise",
        Vec::<String>::new(),
        late,
    );
    Ok(())
}

/// Threads that make, duplicate, close and wait on one open file. A number that one has closed may be another's next.
fn many_threads(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let round = || -> Result<Option<String>> {
        let made = ground.dmabuf(device)?;
        let number = made.as_raw_fd();
        let kept = made.try_clone()?;
        let steps = [
            (wait(device, number, 0), &[HELD][..]),
            {
                drop(made);
                (wait(device, number, 0), &[HELD][..])
            },
            (wait(device, kept.as_raw_fd(), 0), &[HELD][..]),
            {
                drop(kept);
                (wait(device, number, LONG), &["success", GONE][..])
            },
        ];
        let wrong = steps
            .iter()
            .position(|(got, expected)| !expected.contains(&outcome(got).as_str()));
        Ok(wrong.map(|i| format!("step {i}: {}", outcome(&steps[i].0))))
    };
    let mut wrong = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| (0..50).map(|_| round()).collect::<Result<Vec<_>>>()))
            .collect();
        for thread in threads {
            let rounds = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            wrong.extend(rounds.into_iter().flatten());
        }
        anyhow::Ok(())
    })?;
    report.check("many threads: wrong answers", Vec::<String>::new(), wrong);
    Ok(())
}

/// The last ones granted under a number are the first to be released.
fn granted_twice(report: &mut Report, ground: &Ground) -> Result<()> {
    let (device, memory) = (&ground.device, memory()?);
    let number = memory.dmabuf.as_raw_fd();
    let before = granted()?;
    device.to_refs(&memory.dmabuf, ground.peer, PAGES)?;
    let with_first = granted()?;
    device.to_refs(&memory.dmabuf, ground.peer, PAGES)?;
    released_newest_first(
        report,
        "granted twice",
        device,
        number,
        &[before, with_first],
    )
}

/// The same with two dma-bufs that had the same number, one after the other.
fn granted_under_one_number(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let first = memory()?;
    let number = first.dmabuf.as_raw_fd();
    let before = granted()?;
    device.to_refs(&first.dmabuf, ground.peer, PAGES)?;
    drop(first);
    let with_first = granted()?;
    let second = memory()?;
    expect_number(&second.dmabuf, number)?;
    device.to_refs(&second.dmabuf, ground.peer, PAGES)?;
    released_newest_first(report, "one number", device, number, &[before, with_first])
}

/// Two were granted under `number`, and there was so much before each: each release brings that back.
fn released_newest_first(
    report: &mut Report,
    name: &str,
    device: &Zcopy,
    number: RawFd,
    before: &[Vec<u64>; 2],
) -> Result<()> {
    let newest = granted()?;
    report.check(
        &format!("{name}: granted"),
        before[0].len() + 2,
        newest.len(),
    );
    for before in before.iter().rev() {
        let got = release(device, number);
        report.check(&format!("{name}: a release"), "success", outcome(&got));
        report.check(&format!("{name}: then granted"), before.clone(), granted()?);
    }
    let got = release(device, number);
    report.check(&format!("{name}: one release more"), GONE, outcome(&got));
    Ok(())
}

/// The dma-buf stays, whatever happens to its descriptor, until the release.
fn granted_then_closed(report: &mut Report, ground: &Ground) -> Result<()> {
    let device = &ground.device;
    let memory = memory()?;
    let number = memory.dmabuf.as_raw_fd();
    let before = granted()?;
    device.to_refs(&memory.dmabuf, ground.peer, PAGES)?;
    drop(memory);
    let closed = granted()?.len();
    report.check("granted, then closed", before.len() + 1, closed);
    // By a number that is nobody's now.
    let got = release(device, number);
    report.check("granted, then closed: released", "success", outcome(&got));
    report.check("granted, then closed: revoked", before, granted()?);
    Ok(())
}

/// The end of an open file revokes what was granted through it; what is mapped then stays until it is not.
fn closed_with_grants(report: &mut Report, ground: &Ground) -> Result<()> {
    let (device, memory) = (Zcopy::open(DEVICE)?, memory()?);
    let before = granted()?;
    device.to_refs(&memory.dmabuf, ground.peer, PAGES)?;
    if !ground.is_pv {
        drop(device);
        report.check("device closed: what nobody had mapped", before, granted()?);
        return Ok(());
    }
    let used = device.to_refs(&memory.dmabuf, ground.me, PAGES)?;
    let made = ground.device.from_refs(ground.me, &used)?;
    drop(device);
    // The other one is gone.
    report.check(
        "device closed: what is mapped",
        before.len() + 1,
        granted()?.len(),
    );
    let now = usage()?["totals"].to_string();
    let waiting = format!("waiting: buffers 1 pages {PAGES}");
    report.check("device closed: it waits", true, now.contains(&waiting));
    drop(made);
    Ok(())
}

/// A child has the open file, so its grants stay, whatever the parent does.
fn grants_inherited(report: &mut Report, ground: &Ground) -> Result<()> {
    let (device, memory) = (Zcopy::open(DEVICE)?, memory()?);
    let before = granted()?;
    device.to_refs(&memory.dmabuf, ground.peer, PAGES)?;
    let with_it = granted()?;
    let mut child = holder(device.as_fd().try_clone_to_owned()?)?;
    drop((device, memory));
    report.check("grants inherited: the child there", with_it, granted()?);
    child.kill()?;
    child.wait()?;
    report.check("grants inherited: the child killed", before, granted()?);
    Ok(())
}

/// As many releases succeed as there were grants.
fn released_by_many(report: &mut Report, ground: &Ground) -> Result<()> {
    const GRANTS: usize = 20;
    let (device, memory) = (&ground.device, memory()?);
    for _ in 0..GRANTS {
        device.to_refs(&memory.dmabuf, ground.peer, PAGES)?;
    }
    let number = memory.dmabuf.as_raw_fd();
    let released = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while release(device, number).is_ok() {
                    released.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    report.check("released by many", GRANTS, released.into_inner());
    Ok(())
}
