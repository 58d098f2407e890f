// SPDX-License-Identifier: GPL-2.0
//! Guests that are saved and restored, or move: what a program has shown, and what it does, goes on.

use super::clients::Desktop;
use super::faults::end_untroubled;
use super::faults::flip_and_survive;
use super::faults::flips;
use super::faults::shows_a_card;
use super::faults::wait_flips;
use super::survival;
use crate::bench::Bench;
use crate::guest::Guest;
use crate::link::Domain;
use crate::link::Job;
use anyhow::Context;
use anyhow::Result;
use std::time::Duration;

/// Where a guest is saved to, in Dom0's memory.
const FILE: &str = "/run/saved-guest";

/// Enough for a guest's memory to be written and read by emulated processors.
const AT_MOST: Duration = Duration::from_secs(240);

/// It is saved, and restored under another number.
pub fn restored(bench: &mut Bench<'_>) -> Result<()> {
    let name = bench.guest.config.name.clone();
    goes_on(
        bench,
        &format!(
            "xl save {name} {FILE} && xl restore {FILE}; status=$?; rm -f {FILE}; exit $status"
        ),
    )
}

/// A checkpoint of it is made, and it goes on as it was.
pub fn checkpointed(bench: &mut Bench<'_>) -> Result<()> {
    let name = bench.guest.config.name.clone();
    goes_on(
        bench,
        &format!("xl save -c {name} {FILE}; status=$?; rm -f {FILE}; exit $status"),
    )
}

/// It moves to another machine, which is this one. Xen does not let a PV guest do so here: "Failed to enable logdirty".
pub fn migrated(bench: &mut Bench<'_>) -> Result<()> {
    let name = bench.guest.config.name.clone();
    goes_on(
        bench,
        &format!("xl migrate -s '' {name} \"sh -c 'xl migrate-receive'\""),
    )
}

/// A migration whose other end goes away half-way, or, of a PV guest, does not even begin: the guest goes on where it is.
pub fn not_migrated(bench: &mut Bench<'_>) -> Result<()> {
    let name = bench.guest.config.name.clone();
    goes_on(
        bench,
        &format!(
            "! xl migrate -s '' {name} \"sh -c 'head -c 20000000 >/dev/null'\" && xl domid {name}"
        ),
    )
}

/// It is suspended, which its kernel takes part in as it does when it is saved, and resumed.
pub fn suspended(bench: &mut Bench<'_>) -> Result<()> {
    let name = bench.guest.config.name.clone();
    goes_on(bench, &format!("xl suspend {name} && xl resume {name}"))
}

/// While `command` is run in Dom0 a client flips, and notices nothing; then a card stands, and is there after it has been run once more; then weston
/// and a client of its.
fn goes_on(bench: &mut Bench<'_>, command: &str) -> Result<()> {
    let number = bench.guest.id;
    survival::warm_up(bench)?;
    let job = flip_and_survive(bench)?;
    wait_flips(bench, job, 30)?;
    let guest = run(bench, command)?;
    let mut bench = bench_of(bench, &guest);
    let job = job.of(guest.domain());
    let before = flips(&mut bench, job)?;
    wait_flips(&mut bench, job, before + 60).context("afterwards")?;
    end_untroubled(&mut bench, job)?;

    let connector = bench.connector(0)?;
    let job: Job = bench.show("card --hold --variant 1")?;
    bench.expect_card(connector, 1, "XRGB8888")?;
    let guest = run(&mut bench, command)?;
    let mut bench = bench_of(&mut bench, &guest);
    bench
        .expect_card(connector, 1, "XRGB8888")
        .context("the picture that stood")?;
    bench.end(job.of(guest.domain()))?;

    let desktop = Desktop::start(&mut bench)?;
    survival::goes_on(&mut bench).context("weston, before")?;
    let guest = run(&mut bench, command)?;
    let mut bench = bench_of(&mut bench, &guest);
    let desktop = desktop.of(guest.domain());
    survival::goes_on(&mut bench).context("weston, afterwards")?;
    desktop.expect(&mut bench)?;
    let said = desktop.end(&mut bench)?;
    survival::untroubled(&said)?;
    shows_a_card(&mut bench)?;
    if guest.id != number {
        // Nobody else knows of this one.
        guest.destroy(bench.machine)?;
    }
    Ok(())
}

/// Run `command` in Dom0: the guest as it is then.
fn run(bench: &mut Bench<'_>, command: &str) -> Result<Guest> {
    bench.machine.link.run_ok(Domain::Zero, command, AT_MOST)?;
    let config = bench.guest.config.clone();
    let id = bench.machine.dom0(&format!("xl domid {}", config.name))?;
    let id = id.trim().parse().context("xl names no domain id")?;
    Ok(Guest { config, id })
}

/// The same bench, with the guest as it is now.
fn bench_of<'a>(bench: &'a mut Bench<'_>, guest: &'a Guest) -> Bench<'a> {
    Bench {
        machine: bench.machine,
        guest,
        backend: bench.backend,
        setting: bench.setting,
        driver: bench.driver,
        accounts: bench.accounts,
        out: bench.out,
    }
}
