// SPDX-License-Identifier: GPL-2.0

//! `errors`: bad arguments for every ioctl, and the errno that each must give.
//!
//! Every row names where the errno comes from, as of Linux 7.3. A row that succeeds has failed.

mod atomic;
mod bench;
mod buffers;
mod crtc;
mod framebuffers;
mod objects;
mod prime;

use std::io;

use anyhow::{Context, Result};
use rustix::io::Errno;

use crate::cli::Target;
use crate::report::outcome;
use crate::screen::Pace;
use crate::session::Session;
use bench::Bench;

/// Where a row holds.
#[derive(Clone, Copy)]
enum Scope {
    /// For every driver on the kernel's GEM and atomic helpers.
    Core,
    /// For the PV display driver: left out with `--generic`.
    Own,
    /// For every driver, where the condition holds.
    When(fn(&Bench<'_>) -> bool),
}

/// One bad call.
struct Row {
    name: &'static str,
    scope: Scope,
    /// Any of these will do.
    expected: &'static [Errno],
    /// Where the errno comes from.
    why: &'static str,
    call: fn(&Bench<'_>) -> io::Result<()>,
}

/// The bad calls of one ioctl.
struct Table {
    ioctl: &'static str,
    /// Whether the driver must be atomic.
    atomic: bool,
    rows: &'static [Row],
}

const fn row(
    name: &'static str,
    scope: Scope,
    expected: &'static [Errno],
    why: &'static str,
    call: fn(&Bench<'_>) -> io::Result<()>,
) -> Row {
    Row {
        name,
        scope,
        expected,
        why,
        call,
    }
}

const EACCES: &[Errno] = &[Errno::ACCESS];
const EBADF: &[Errno] = &[Errno::BADF];
const EINVAL: &[Errno] = &[Errno::INVAL];
const ENOENT: &[Errno] = &[Errno::NOENT];
const ENOSPC: &[Errno] = &[Errno::NOSPC];
const ENXIO: &[Errno] = &[Errno::NXIO];
const ERANGE: &[Errno] = &[Errno::RANGE];

/// An id that no object has: ids are given from 1 up.
const NO_ID: u32 = 0x00de_adbe;

/// Runs every table, then checks that nothing was left behind and that a card still shows.
///
/// # Errors
/// When the good calls around the bad ones are refused.
pub fn run(session: &mut Session<'_>, target: &Target) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let frame = session.frame(&mode, target.format, 0)?;
    screen.set_mode(mode, frame.handle())?;
    let bench = Bench::new(session.device, &screen, mode, &frame)?;
    let before = bench.usage()?;

    for table in [
        &buffers::CREATE_DUMB,
        &buffers::MAP_DUMB,
        &buffers::DESTROY_DUMB,
        &buffers::GEM_CLOSE,
        &buffers::MMAP,
        &framebuffers::ADDFB2,
        &framebuffers::ADDFB,
        &framebuffers::RMFB,
        &framebuffers::GETFB2,
        &framebuffers::DIRTYFB,
        &crtc::SETCRTC,
        &crtc::PAGE_FLIP,
        &crtc::SETPLANE,
        &crtc::CURSOR,
        &crtc::WAIT_VBLANK,
        &atomic::ATOMIC,
        &objects::GET,
        &objects::PROPERTY,
        &objects::BLOB,
        &objects::CLIENT_CAP,
        &prime::HANDLE_TO_FD,
        &prime::FD_TO_HANDLE,
    ] {
        for row in table.rows {
            judge(session, &bench, table, row)?;
        }
    }

    bench.test_only_changes_nothing(&mut session.report)?;
    bench.get_fb2_tells_the_truth(&mut session.report)?;
    let after = bench.usage()?;
    session
        .report
        .check("handles and framebuffers after the table", before, after);
    session.report.check(
        "framebuffer shown after the table",
        frame.id(),
        screen.shown()?,
    );
    let large = bench.large.id();
    drop(bench);

    let next = session.frame(&mode, target.format, 1)?;
    let flip = screen.flip(next.id(), Pace::Nonblocking, u64::from(large));
    if session
        .report
        .check("flip after the table", "success", outcome(&flip))
    {
        let event = session.events().expect(session.event_limit)?;
        session
            .report
            .check("its event", u64::from(large), event.user_data);
    }
    session.say_shown(screen.output(), next.geometry(), 1);
    session.hold(target)
}

fn judge(session: &mut Session<'_>, bench: &Bench<'_>, table: &Table, row: &Row) -> Result<()> {
    let name = format!("{}: {}", table.ioctl, row.name);
    let skip = match row.scope {
        _ if table.atomic && !bench.atomic => Some("the driver is not atomic"),
        Scope::Own if session.generic => Some("only promised by the PV display driver"),
        Scope::When(holds) if !holds(bench) => Some("the device does not have what it takes"),
        _ => None,
    };
    if let Some(why) = skip {
        session.report.skip(&name, why);
        return Ok(());
    }
    let result = (row.call)(bench);
    session
        .report
        .refusal(&name, row.expected, row.why, &result);
    if result.is_ok() {
        // Whatever it changed must not make the rows after it fail as well.
        bench
            .restore()
            .with_context(|| format!("after {name}, which should have failed"))?;
    }
    Ok(())
}
