// SPDX-License-Identifier: GPL-2.0
//! More than one guest.

use super::faults::shows_a_card;
use super::faults::wait_flips;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::boot_guest;
use crate::bench::wait_until;
use crate::guest::Guest;
use crate::link::Job;
use anyhow::Result;
use anyhow::ensure;

/// The other guest's name.
const OTHER: &str = "other";

/// Two guests show different cards at the same time.
pub fn two_at_once(bench: &mut Bench<'_>) -> Result<()> {
    let other = boot_guest(
        bench.machine,
        bench.driver,
        bench.guest.config.kind,
        OTHER,
        bench.setting.connectors,
    )?;
    let result = both_show(bench, &other);
    other.destroy(bench.machine)?;
    result
}

fn both_show(bench: &mut Bench<'_>, other: &Guest) -> Result<()> {
    let connector = bench.connector(0)?;
    let ours = bench.show("card --hold --variant 4")?;
    let theirs = show_in(bench, other, "card --hold --variant 5")?;
    bench.expect_card(connector, 4, "XRGB8888")?;
    bench.expect_card_of(OTHER, connector, 5, "XRGB8888")?;
    bench.end(theirs)?;
    let theirs = show_in(bench, other, "flip-forever")?;
    bench.expect_card(connector, 4, "XRGB8888")?;
    bench.end(ours)?;
    bench.test("flips --count 120 --via atomic")?;
    bench.end(theirs)?;
    Ok(())
}

fn show_in(bench: &mut Bench<'_>, guest: &Guest, arguments: &str) -> Result<Job> {
    let job = guest.spawn(bench.machine, &format!("exec xen-display-test {arguments}"))?;
    bench.machine.link.wait_output(job, "\"shown\"", SHORT)?;
    Ok(job)
}

/// A guest is destroyed while it flips: Xen gets all of it back, and the backend serves the next one.
pub fn destroyed(bench: &mut Bench<'_>) -> Result<()> {
    let job = bench.show("flip-forever")?;
    wait_flips(bench, job, 30)?;
    let id = bench.guest.id;
    bench.machine.dom0(&format!("xl destroy {id}"))?;
    // A domain whose pages somebody has mapped stays as a nameless zombie.
    wait_until("the end of the domain", SHORT, || {
        Ok(!bench
            .machine
            .dom0("xl list")?
            .split_whitespace()
            .any(|word| word == id.to_string()))
    })?;
    let kind = bench.guest.config.kind;
    let next = boot_guest(
        bench.machine,
        bench.driver,
        kind,
        "next",
        bench.setting.connectors,
    )?;
    let mut bench = Bench {
        guest: &next,
        machine: &mut *bench.machine,
        backend: &mut *bench.backend,
        ..*bench
    };
    let result = shows_a_card(&mut bench);
    let machine = bench.machine;
    next.destroy(machine)?;
    ensure!(machine.runs(), "the machine has gone");
    result
}
