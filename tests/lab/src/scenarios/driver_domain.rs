// SPDX-License-Identifier: GPL-2.0
//! A backend that is not in Dom0, but in a guest of its own.

use super::faults::flip_and_survive;
use super::faults::flips;
use super::faults::shows_a_card;
use super::faults::wait_flips;
use super::flips::flip;
use crate::backend::Backend;
use crate::backend::Place;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::wait_for_display;
use crate::bench::wait_until;
use crate::link::Domain;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// Flips that are looked at: the log of all of them comes through the agent at once.
const FLIPS: usize = 200;

/// What a guest shows is captured in the driver domain, exact to the pixel, and its flips in their turn.
pub fn shows(bench: &mut Bench<'_>) -> Result<()> {
    shows_a_card(bench)?;
    flip(bench, "--via atomic --nonblock", FLIPS)
}

/// The driver domain is destroyed under a client that flips. The client goes on, and the domain comes
/// to its end: it has none of the guest's pages.
pub fn destroyed(bench: &mut Bench<'_>) -> Result<()> {
    let job = flip_and_survive(bench)?;
    wait_flips(bench, job, 30)?;
    let backend = bench.backend.take().context("no backend runs")?;
    let Domain::Guest(id) = backend.place().domain else {
        bail!("the backend is in Dom0")
    };
    bench.machine.dom0(&format!("xl destroy {id}"))?;
    wait_until("the end of the driver domain", SHORT, || {
        Ok(!bench.machine.domains()?.contains_key(&id))
    })?;
    let without = flips(bench, job)? + 60;
    wait_flips(bench, job, without).context("without the driver domain")?;
    bench.end(job).context("the client that went on")?;
    Ok(())
}

/// The toolstack gives the device to another backend under a client that flips. The old device is gone, cleanly; the new one works.
pub fn retargeted(bench: &mut Bench<'_>) -> Result<()> {
    let job = bench.show("flip-forever --via atomic")?;
    wait_flips(bench, job, 30)?;
    let id = bench.guest.id;
    let back = format!("/local/domain/0/backend/vdispl/{id}/0");
    let front = format!("/local/domain/{id}/device/vdispl/0");
    let other = Backend::start(bench.machine, Place::in_dom0(bench.setting.output))?;
    bench.machine.dom0(&format!(
        "xenstore-write {back}/frontend {front} {back}/frontend-id {id} {back}/online 1 {back}/state 1 && \
         for node in {back} $(xenstore-list {back} | sed 's|^|{back}/|'); do xenstore-chmod $node n0 r{id}; done && \
         xenstore-write {front}/backend-id 0 {front}/backend {back} {front}/state 1"
    ))?;
    let ended = bench.machine.link.wait(job, SHORT);
    ended.context("the client of the old device")?;
    wait_until("the new connection", SHORT, || {
        Ok(other.said(bench.machine)?.contains("connected, "))
    })?;
    let before = bench.backend.replace(other);
    wait_for_display(bench.machine, bench.guest)?;
    shows_a_card(bench).context("by the other backend")?;
    if let Some(before) = before {
        before.stop(bench.machine)?;
    }
    Ok(())
}
