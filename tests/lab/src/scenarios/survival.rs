// SPDX-License-Identifier: GPL-2.0
//! A desktop whose backend goes away and comes back: nobody in the guest is told anything.

use super::clients;
use super::clients::Desktop;
use super::faults::shows_a_card;
use super::faults::start_backend_with;
use super::faults::stuck_until_left;
use crate::bench::Bench;
use crate::bench::LONG;
use crate::bench::wait_until;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Flips of weston's that show that it goes on.
const FLIPS: u64 = 30;

/// What weston says when the kernel refuses it something.
const TROUBLE: &[&str] = &["failed", "couldn't", "error", "disconnected"];

/// The backend is killed, stopped, replaced by one that speaks an older version and tells of none, and stuck until it is given up.
pub fn weston(bench: &mut Bench<'_>) -> Result<()> {
    warm_up(bench)?;
    let desktop = Desktop::start(bench)?;
    goes_on(bench).context("at first")?;
    for (what, kill, options) in [
        ("killed", true, ""),
        ("stopped", false, ""),
        (
            "replaced by an older one",
            false,
            "--versions 1 --no-versions",
        ),
        ("replaced by a newer one", true, ""),
    ] {
        let backend = bench.backend.take().context("no backend runs")?;
        let place = backend.place();
        if kill {
            backend.kill(bench.machine)?;
        } else {
            backend.stop(bench.machine)?;
        }
        start_backend_with(bench, place, options)?;
        goes_on(bench).context(what)?;
    }
    stuck_until_left(bench, |_| Ok(())).context("stuck")?;
    goes_on(bench).context("stuck, and then not any more")?;
    desktop.expect(bench)?;
    let said = desktop.end(bench)?;
    untroubled(&said)?;
    shows_a_card(bench)
}

/// weston is run once before what is kept is counted: the guest's kernel keeps some of what it has learnt of its files.
pub fn warm_up(bench: &mut Bench<'_>) -> Result<()> {
    let desktop = Desktop::start(bench)?;
    goes_on(bench).context("the first weston")?;
    desktop.end(bench)?;
    bench.count_anew()
}

/// weston flips on.
pub fn goes_on(bench: &mut Bench<'_>) -> Result<()> {
    let name = bench.guest.config.name.clone();
    let before = clients::flips(bench, &name)?;
    wait_until("flips of weston", LONG, || {
        Ok(clients::flips(bench, &name)? >= before + FLIPS)
    })
}

/// weston was refused nothing, and lost no output.
pub fn untroubled(said: &str) -> Result<()> {
    let trouble = said.lines().find(|line| {
        let line = line.to_lowercase();
        TROUBLE.iter().any(|word| line.contains(word))
    });
    ensure!(trouble.is_none(), "weston said: {trouble:?}");
    Ok(())
}
