// SPDX-License-Identifier: GPL-2.0
//! Buffers that the backend allocates.

use super::cards;
use super::faults::shows_a_card;
use super::faults::start_backend;
use crate::backend::LOAD_MODULE;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::wait_for_display;
use crate::bench::wait_until;
use crate::guest::Kind;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Says of each buffer that the driver has whose memory it is.
const BUFFERS: &str = "grep ^dbuf /sys/kernel/debug/dri/0/buffers";

/// What the driver says when the backend does not allocate.
const REFUSED: &str = "the backend does not allocate buffers";

/// Pixels of every format are where they belong. The guest maps foreign pages for the first time, and its kernel keeps what it makes for that.
pub fn card(bench: &mut Bench<'_>) -> Result<()> {
    shows_a_card(bench)?;
    bench.count_anew()?;
    cards::every_format_on_the_first_head(bench)
}

/// A program's buffer is in the backend's memory, but not in a PV guest, which says so once; the console's is always the guest's.
pub fn memory(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    ensure!(theirs(bench)? == 0, "the console's buffer is the backend's");
    let job = bench.show("card --hold --variant 1")?;
    bench.expect_card(connector, 1, "XRGB8888")?;
    let (expected, said) = match bench.guest.config.kind {
        Kind::Pvh | Kind::Arm64 => (1, 0),
        Kind::Pv => (0, 1),
    };
    let found = theirs(bench)?;
    ensure!(
        found == expected,
        "{found} buffers are in the backend's memory, not {expected}"
    );
    let lines = bench.sh("dmesg | grep -c 'be-alloc=1 is ignored' || true")?;
    ensure!(
        lines.trim() == said.to_string(),
        "the guest said {} times that be-alloc=1 is ignored, not {said}",
        lines.trim()
    );
    bench.end(job)?;
    wait_until("the end of the backend's buffer", SHORT, || {
        Ok(theirs(bench)? == 0)
    })
}

/// A picture in the memory of a backend that dies stays, under the program's mapping of it, and the next backend shows it.
pub fn contents(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = bench.show(&format!(
        "dirtyfb --changes 1 --step --hold --connector {}",
        connector.name
    ))?;
    bench.expect_card(connector, 0, "XRGB8888")?;
    let backend = bench.backend.take().context("no backend runs")?;
    let place = backend.place();
    backend.kill(bench.machine)?;
    // Nobody waits for the backend, so it is not missed: the next one makes the driver leave the memory of the first.
    start_backend(bench, place)?;
    bench
        .expect_card(connector, 0, "XRGB8888")
        .context("what was drawn before the backend died")?;
    ensure!(
        theirs(bench)? == 0,
        "a buffer is still in the memory of the backend that died"
    );
    bench.machine.link.input(job, "\n")?;
    bench
        .machine
        .link
        .wait_lines(job, "\"shown\"", 2, SHORT)
        .ok()
        .context("the change was not announced")?;
    bench
        .expect_card(connector, 1, "XRGB8888")
        .context("what was drawn after")?;
    bench.end(job)?;
    Ok(())
}

/// A buffer that another driver has imported outlives the program's own hold on it: it is what it was, and the backend is asked to free it when the
/// other driver has let go.
pub fn outlived(bench: &mut Bench<'_>) -> Result<()> {
    let expected = usize::from(bench.guest.config.kind != Kind::Pv);
    bench.sh("modprobe vgem")?;
    let job = bench.show("prime --direction outlive --variant 2 --hold")?;
    let found = theirs(bench)?;
    ensure!(
        found == expected,
        "{found} buffers are in the backend's memory, not {expected}"
    );
    bench.end(job)?;
    wait_until("the end of the backend's buffer", SHORT, || {
        Ok(theirs(bench)? == 0)
    })?;
    bench.sh("rmmod vgem")?;
    shows_a_card(bench)
}

/// A backend that cannot allocate is not asked twice, and nothing is missing without it; the next one is asked again.
pub fn refused(bench: &mut Bench<'_>) -> Result<()> {
    wait_until("the end of all that the module holds", SHORT, || {
        let unloaded = bench.machine.dom0("rmmod xen_zcopy && echo gone || true")?;
        Ok(unloaded.contains("gone"))
    })?;
    shows_a_card(bench)?;
    shows_a_card(bench)?;
    let lines = bench.sh(&format!("dmesg | grep -c '{REFUSED}'"))?;
    ensure!(
        lines.trim() == "1",
        "the guest said {} times that {REFUSED}",
        lines.trim()
    );
    bench.machine.dom0(LOAD_MODULE)?;
    let backend = bench.backend.take().context("no backend runs")?;
    let place = backend.place();
    backend.stop(bench.machine)?;
    start_backend(bench, place)?;
    memory(bench)
}

/// Beyond the limit that the module was loaded with, buffers are in the guest's memory.
pub fn limit(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let mib = bench.setting.frame().div_ceil(1 << 20);
    let load = bench.driver.command().to_owned();
    bench.sh(&format!("rmmod xen_drm_front && {load} be_alloc_mib={mib}"))?;
    wait_for_display(bench.machine, bench.guest)?;
    // Two cards are on the screen in turn, and there is room for one.
    let job = bench.show("flips --count 2 --hold")?;
    bench.expect_card(connector, 1, "XRGB8888")?;
    let found = theirs(bench)?;
    ensure!(found == 1, "{found} buffers are in the backend's memory");
    let said = bench.sh("dmesg | grep 'limit be_alloc_mib'")?;
    ensure!(
        said.lines().count() == 1,
        "the guest said of the limit: {said}"
    );
    bench.end(job)?;
    Ok(())
}

/// How many buffers are in the backend's memory.
pub fn theirs(bench: &mut Bench<'_>) -> Result<usize> {
    let buffers = bench.sh(BUFFERS)?;
    Ok(buffers
        .lines()
        .filter(|line| line.contains("backend's memory"))
        .count())
}
