// SPDX-License-Identifier: GPL-2.0
//! More than one guest, and less than one.

use super::faults::shows_a_card;
use super::faults::wait_flips;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::boot_guest;
use crate::bench::wait_until;
use crate::guest::Guest;
use crate::health::Mark;
use crate::link::Job;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// The other guest's name.
const OTHER: &str = "other";

/// Two guests show different cards at the same time, and flip at the same time; when one is destroyed in the middle of it the other
/// goes on.
pub fn two_at_once(bench: &mut Bench<'_>) -> Result<()> {
    let backend = bench.backend.as_ref().context("no backend runs")?;
    let backend = backend.place().domain;
    let other = boot_guest(
        bench.machine,
        bench.driver,
        bench.guest.config.kind,
        OTHER,
        bench.setting,
        backend,
    )?;
    let result = both_show(bench, &other);
    destroy(bench, &other)?;
    result?;
    shows_a_card(bench)
}

/// The other guest still flips when this returns.
fn both_show(bench: &mut Bench<'_>, other: &Guest) -> Result<()> {
    let connector = bench.connector(0)?;
    let ours = bench.show("card --hold --variant 4")?;
    let theirs = show_in(bench, other, "card --hold --variant 5")?;
    bench.expect_card(connector, 4, "XRGB8888")?;
    bench.expect_card_of(OTHER, connector, 5, "XRGB8888")?;
    bench.end(theirs)?;
    show_in(bench, other, "flip-forever")?;
    bench.expect_card(connector, 4, "XRGB8888")?;
    bench.end(ours)?;
    bench.test("flips --count 120 --via atomic")?;
    Ok(())
}

fn show_in(bench: &mut Bench<'_>, guest: &Guest, arguments: &str) -> Result<Job> {
    let job = guest.spawn(bench.machine, &format!("exec xen-display-test {arguments}"))?;
    bench.machine.link.wait_output(job, "\"shown\"", SHORT)?;
    Ok(job)
}

/// A guest is destroyed while it flips: Xen gets all of it back, and the backend goes on.
pub fn destroyed(bench: &mut Bench<'_>) -> Result<()> {
    let job = bench.show("flip-forever")?;
    wait_flips(bench, job, 30)?;
    destroy(bench, bench.guest)?;
    let disconnected = format!("guest {} device 0: disconnected", bench.guest.id);
    wait_until("the end of the backend's session", SHORT, || {
        Ok(bench.said_by_backend()?.contains(&disconnected))
    })
}

/// A guest shuts down under a client that flips: its kernel shuts its devices down and comes to its end. The guests' init knows nothing of
/// `xl shutdown`, so it is the kernel that is told. (A PVH guest then halts, where a PV guest is gone.)
pub fn shut_down(bench: &mut Bench<'_>) -> Result<()> {
    let job = bench.show("flip-forever")?;
    wait_flips(bench, job, 30)?;
    bench
        .guest
        .spawn(bench.machine, "echo o >/proc/sysrq-trigger")?;
    let console = bench.guest.console(bench.machine);
    let said = || Mark::default().since(&console);
    wait_until("the guest's end", SHORT, || {
        Ok(said()?.contains("reboot: Power down"))
    })?;
    ensure!(
        !said()?.contains("timeout closing device"),
        "the shutdown had to give up waiting for the display"
    );
    Ok(())
}

/// A guest's kernel panics while a client flips and the backend is stuck: whatever it does in its last moments, it comes to its end.
pub fn panics(bench: &mut Bench<'_>) -> Result<()> {
    let job = bench.show("flip-forever --via atomic")?;
    wait_flips(bench, job, 30)?;
    let backend = bench.backend.as_ref().context("no backend runs")?;
    backend.halt(bench.machine)?;
    bench
        .guest
        .spawn(bench.machine, "echo c >/proc/sysrq-trigger")?;
    let console = bench.guest.console(bench.machine);
    let ended = wait_until("the guest's end", SHORT, || {
        let id = bench.guest.id;
        let gone = bench
            .machine
            .dom0(&format!("xl domname {id} 2>/dev/null || echo gone"))?;
        Ok(gone.contains("gone") || gone.contains("(null)"))
    });
    let backend = bench.backend.as_ref().context("no backend runs")?;
    backend.go_on(bench.machine)?;
    ended?;
    let said = Mark::default().since(&console)?;
    ensure!(
        said.contains("Kernel panic - not syncing: sysrq triggered crash"),
        "the guest's kernel did not say why it ended"
    );
    wait_until("the end of the domain", SHORT, || {
        Ok(!bench.machine.domains()?.contains_key(&bench.guest.id))
    })
}

/// Destroy a guest and wait until nothing of it is left: a domain whose pages somebody has mapped stays as a nameless zombie.
fn destroy(bench: &mut Bench<'_>, guest: &Guest) -> Result<()> {
    guest.destroy(bench.machine)?;
    wait_until("the end of the domain", SHORT, || {
        Ok(!bench.machine.domains()?.contains_key(&guest.id))
    })
}
