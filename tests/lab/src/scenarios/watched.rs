// SPDX-License-Identifier: GPL-2.0
//! What is done in guests whose kernel watches itself, and can be told to fail allocations.

use super::BE_ALLOC;
use super::SECOND_STAMP;
use super::SMALL;
use super::Scenario;
use super::check;
use super::faults::shows_a_card;
use super::zcopy::grant;
use crate::backend::Output;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::Setting;
use anyhow::Result;
use std::time::Duration;

/// The smallest display: what a binding allocates for the console is hardly more than for any other.
const STAMP: Setting = Setting::new(Output::Capture, &[SECOND_STAMP]);

/// Those that are for such kernels only.
pub const SCENARIOS: &[Scenario] = &[
    check("allocations-create", SMALL, create),
    check("allocations-import", SMALL, import),
    check("allocations-attach", SMALL, attach),
    check("allocations-export", SMALL, export),
    check("allocations-map", SMALL, map),
    check("allocations-commit", SMALL, commit),
    check("zcopy-allocations", SMALL, zcopy),
    check("be-alloc-allocations-create", BE_ALLOC, create).pvh_only(),
    check("allocations-bind", STAMP, bind),
    check("allocations-connect", STAMP, connect),
    check("allocations-register", STAMP, register),
];

/// Of the others, those that are run on such kernels too: what makes and ends things, and what goes wrong.
pub const OTHERS: &[&str] = &[
    "two-heads",
    "flips-atomic-nonblocking",
    "dirtyfb",
    "modes-off-on",
    "errors",
    "buffers",
    "vgem",
    "import-udmabuf",
    "zcopy-from-refs",
    "zcopy-to-refs",
    "zcopy-errors",
    "zcopy-descriptors",
    "client-killed-while-flipping",
    "backend-restarted-while-flipping",
    "backend-killed-while-flipping",
    "closed-without-backend",
    "fault-a6-double-fetch",
    "fault-a9-no-answers",
    "fault-a12-refused-ends",
    "fault-v3-event-count",
    "fault-d3-kept-buffers",
    "unbound-while-flipping",
    "module-in-use",
    "module-without-backend",
    "detached-while-flipping",
    "be-alloc-card",
    "be-alloc-contents",
    "fault-d4-references",
    "be-alloc-backend-killed-while-flipping",
    "be-alloc-unbound-while-flipping",
    "grants-used-up",
];

/// A safety net for a call with all its allocations, and for a binding with all of its.
const STEPS: Duration = Duration::from_secs(600);
const BINDINGS: Duration = Duration::from_secs(2400);

fn create(bench: &mut Bench<'_>) -> Result<()> {
    step_through(bench, "create")
}

fn import(bench: &mut Bench<'_>) -> Result<()> {
    step_through(bench, "import")
}

fn attach(bench: &mut Bench<'_>) -> Result<()> {
    step_through(bench, "attach")
}

fn export(bench: &mut Bench<'_>) -> Result<()> {
    step_through(bench, "export")
}

fn map(bench: &mut Bench<'_>) -> Result<()> {
    step_through(bench, "map")
}

fn commit(bench: &mut Bench<'_>) -> Result<()> {
    step_through(bench, "commit")
}

/// Has each allocation of a call fail in its turn; afterwards there is a picture, as before.
fn step_through(bench: &mut Bench<'_>, call: &str) -> Result<()> {
    shows_a_card(bench)?;
    bench.count_anew()?;
    bench.test_within(&format!("allocations --of {call}"), STEPS)?;
    shows_a_card(bench)
}

/// The same of requests to the device file, with pages that Dom0 grants.
fn zcopy(bench: &mut Bench<'_>) -> Result<()> {
    let (granter, refs) = grant(bench)?;
    let arguments = format!(
        "zcopy-allocations --domid {} --peer 0 --refs {}",
        bench.guest.id,
        refs.join(",")
    );
    bench.test_within(&arguments, STEPS)?;
    bench.machine.link.signal(granter, 15)?;
    bench.machine.link.wait(granter, SHORT)?;
    Ok(())
}

fn bind(bench: &mut Bench<'_>) -> Result<()> {
    bind_with(bench, "caller")
}

fn connect(bench: &mut Bench<'_>) -> Result<()> {
    bind_with(bench, "xenwatch")
}

fn register(bench: &mut Bench<'_>) -> Result<()> {
    bind_with(bench, "workers")
}

/// Has each of the driver's allocations fail in its turn while the device is bound and connected, in one kind of thread.
fn bind_with(bench: &mut Bench<'_>, whose: &str) -> Result<()> {
    bench.test_within(&format!("bind --whose {whose}"), BINDINGS)?;
    shows_a_card(bench)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_are_there() {
        for name in OTHERS {
            assert!(
                super::super::SCENARIOS
                    .iter()
                    .any(|other| other.name == *name),
                "{name}"
            );
        }
    }
}
