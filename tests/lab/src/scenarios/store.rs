// SPDX-License-Identifier: GPL-2.0
//! What XenStore has for the frontend, of every kind. See `Documentation/faults.md`, C4 to C7.

use super::be_alloc::theirs;
use super::faults::flip_and_survive;
use super::faults::flips;
use super::faults::shows_a_card;
use super::faults::start_backend;
use super::faults::wait_flips;
use crate::backend::LOAD_MODULE;
use crate::bench::Bench;
use crate::bench::LONG;
use crate::bench::SHORT;
use crate::bench::wait_for_display;
use crate::bench::wait_until;
use crate::guest::Kind;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Texts that are no size.
const NO_SIZES: &[&str] = &[
    "",
    "x",
    "1024",
    "1024x",
    "-1x5",
    "0x0",
    "4294967296x1",
    "99999x99999",
    "800x600junk",
    "1x2x3",
];

/// A connector whose size makes no sense is a device that is refused; with a size that does it works.
pub fn resolutions(bench: &mut Bench<'_>) -> Result<()> {
    let driver = bench.bus_driver()?;
    let node = format!("{}/0/resolution", front(bench));
    let good = read(bench, &node)?;
    unbind(bench, &driver)?;
    for text in NO_SIZES {
        write(bench, &node, text)?;
        bind_fails(bench, &driver).with_context(|| format!("the resolution \"{text}\""))?;
    }
    let long = "9".repeat(1500) + "x1";
    write(bench, &node, &long)?;
    bind_fails(bench, &driver).context("a resolution of 1502 characters")?;
    write(bench, &node, &good)?;
    bind(bench, &driver)?;
    shows_a_card(bench)
}

/// No connector is a device that is refused. What comes after a gap is not looked at, nor what comes after the sixteenth.
pub fn connectors(bench: &mut Bench<'_>) -> Result<()> {
    let driver = bench.bus_driver()?;
    let front = front(bench);
    let first = format!("{front}/0/resolution");
    let good = read(bench, &first)?;
    unbind(bench, &driver)?;
    bench.machine.dom0(&format!("xenstore-rm {first}"))?;
    bind_fails(bench, &driver).context("without connectors")?;
    write(bench, &first, &good)?;

    let before = count_after_bind(bench, &driver)?;
    unbind(bench, &driver)?;
    add_connectors(bench, before + 1, 1)?;
    let count = count_after_bind(bench, &driver)?;
    ensure!(
        count == before,
        "with a gap there are {count} connectors, before there were {before}"
    );
    // Once before what is kept of it is counted: the kernel keeps some of what so many objects took.
    add_up_to_seventeen(bench, &driver, before)?;
    bench.count_anew()?;
    add_up_to_seventeen(bench, &driver, before)
}

/// The device has more connectors than the protocol knows, then as many as it knows, then as many as `before`.
fn add_up_to_seventeen(bench: &mut Bench<'_>, driver: &str, before: usize) -> Result<()> {
    let front = front(bench);
    // The backend refuses as many, so there is no display, but what the driver says of it.
    unbind(bench, driver)?;
    add_connectors(bench, before, 17 - before)?;
    bench.sh(&format!(
        "echo vdispl-0 >/sys/bus/xen/drivers/{driver}/bind"
    ))?;
    let said = bench.sh("dmesg | grep ' connectors$' | tail -n 1")?;
    ensure!(
        said.contains(" 16 connectors"),
        "of 17 connectors the guest says: {said}"
    );
    unbind(bench, driver)?;
    bench.machine.dom0(&format!("xenstore-rm {front}/16"))?;
    let count = count_after_bind(bench, driver)?;
    ensure!(count == 16, "of 16 connectors there are {count}");
    shows_a_card(bench).context("with 16 connectors")?;

    unbind(bench, driver)?;
    for index in before..16 {
        bench
            .machine
            .dom0(&format!("xenstore-rm {front}/{index}"))?;
    }
    bind(bench, driver)?;
    shows_a_card(bench)
}

/// Lists of versions, and the one that is chosen from each.
const VERSIONS: &[(&str, &str)] = &[
    ("1", "1"),
    ("2", "2"),
    ("1,2", "2"),
    ("3", "1"),
    ("", "1"),
    ("2,2,,x", "2"),
    ("12", "1"),
    ("20,21", "1"),
];

/// Whatever versions a backend offers, one of both is chosen; another backend's are looked at anew.
pub fn versions(bench: &mut Bench<'_>) -> Result<()> {
    let backend = bench.backend.take().context("no backend runs")?;
    let place = backend.place();
    backend.stop(bench.machine)?;
    let front = front(bench);
    let back = read(bench, &format!("{front}/backend"))?;
    for (offered, chosen) in VERSIONS {
        write(bench, &format!("{back}/versions"), offered)?;
        write(bench, &format!("{back}/state"), "2")?;
        wait_until("the frontend's rings", LONG, || {
            Ok(read(bench, &format!("{front}/state"))? == "3")
        })?;
        let version = read(bench, &format!("{front}/version"))?;
        ensure!(
            version == *chosen,
            "of the versions \"{offered}\" the frontend has chosen {version}"
        );
        write(bench, &format!("{back}/state"), "5")?;
        wait_until("the frontend to leave", LONG, || {
            Ok(read(bench, &format!("{front}/state"))? != "3")
        })?;
    }
    start_backend(bench, place)?;
    shows_a_card(bench)
}

/// `be-alloc` is wanted if it is exactly "1".
pub fn be_alloc(bench: &mut Bench<'_>) -> Result<()> {
    bench.machine.dom0(LOAD_MODULE)?;
    let driver = bench.bus_driver()?;
    let node = format!("{}/be-alloc", front(bench));
    let wanted = usize::from(bench.guest.config.kind != Kind::Pv);
    for (text, expected) in [("2", 0), ("yes", 0), ("", 0), ("1", wanted), ("0", 0)] {
        unbind(bench, &driver)?;
        write(bench, &node, text)?;
        bind(bench, &driver)?;
        let job = bench.show("card --hold --variant 1")?;
        bench.expect_card(bench.connector(0)?, 1, "XRGB8888")?;
        let found = theirs(bench)?;
        ensure!(
            found == expected,
            "with be-alloc=\"{text}\" {found} buffers are in the backend's memory"
        );
        bench.end(job)?;
    }
    bench.count_anew()
}

/// The nodes of a backend's directory that the toolstack makes, and the backend does not.
const OF_TOOLSTACK: &[&str] = &["frontend", "frontend-id", "online", "removable", "handle"];

/// The backend's directory goes from under a client that flips, and is made anew: the client goes on.
pub fn backend_removed(bench: &mut Bench<'_>) -> Result<()> {
    let front = front(bench);
    let back = read(bench, &format!("{front}/backend"))?;
    let mut nodes = Vec::new();
    for node in OF_TOOLSTACK {
        let path = format!("{back}/{node}");
        let text = bench
            .machine
            .dom0(&format!("xenstore-read {path} 2>/dev/null || true"))?;
        if !text.is_empty() {
            nodes.push((path, text.trim_end_matches('\n').to_owned()));
        }
    }
    let job = flip_and_survive(bench)?;
    wait_flips(bench, job, 30)?;
    bench.machine.dom0(&format!("xenstore-rm {back}"))?;
    wait_until("the frontend to leave", LONG, || {
        Ok(read(bench, &format!("{front}/state"))? != "4")
    })?;
    let without = flips(bench, job)? + 30;
    wait_flips(bench, job, without).context("without the backend's directory")?;
    for (path, text) in &nodes {
        write(bench, path, text)?;
    }
    write(bench, &format!("{back}/state"), "1")?;
    let id = bench.guest.id;
    bench.machine.dom0(&format!(
        "for node in {back} $(xenstore-list {back} | sed 's|^|{back}/|'); do xenstore-chmod $node n0 r{id}; done"
    ))?;
    wait_until("a new connection", LONG, || {
        Ok(read(bench, &format!("{front}/state"))? == "4")
    })?;
    let with = flips(bench, job)?;
    wait_flips(bench, job, with + 30).context("with it made anew")?;
    bench.end(job)?;
    shows_a_card(bench)
}

/// XenStore lets the frontend write nothing new, for want of a right or by a quota: it says so, not too often, and is connected as soon as it can.
pub fn refuses(bench: &mut Bench<'_>) -> Result<()> {
    let front = front(bench);
    let id = bench.guest.id;
    let ways = [
        (
            format!("xenstore-chmod {front}/0 n0 r{id}"),
            format!("xenstore-chmod {front}/0 n{id} r0"),
            "EACCES",
        ),
        (
            "xenstore-control quota set nodes 1".to_owned(),
            "xenstore-control quota set nodes 1000".to_owned(),
            "ENOSPC",
        ),
    ];
    let driver = bench.bus_driver()?;
    for (refuse, allow, errno) in ways {
        let said = format!("dmesg | grep -c 'cannot be connected to: {errno}' || true");
        let before: usize = bench.sh(&said)?.trim().parse()?;
        unbind(bench, &driver)?;
        bench.machine.dom0(&format!(
            "for node in req-ring-ref req-event-channel evt-ring-ref evt-event-channel; do xenstore-rm {front}/0/$node; done; {refuse}"
        ))?;
        bench.sh(&format!(
            "echo vdispl-0 >/sys/bus/xen/drivers/{driver}/bind"
        ))?;
        let refused = wait_until("two tries", LONG, || {
            let now: usize = bench.sh(&said)?.trim().parse()?;
            Ok(now >= before + 2)
        });
        let display = bench.has_display()?;
        bench.machine.dom0(&allow)?;
        refused.context(errno)?;
        ensure!(!display, "there is a display without a backend");
        wait_for_display(bench.machine, bench.guest).context(errno)?;
        shows_a_card(bench).context(errno)?;
    }
    Ok(())
}

/// The frontend's directory.
fn front(bench: &Bench<'_>) -> String {
    format!("/local/domain/{}/device/vdispl/0", bench.guest.id)
}

fn read(bench: &mut Bench<'_>, node: &str) -> Result<String> {
    let text = bench.machine.dom0(&format!("xenstore-read {node}"))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

fn write(bench: &mut Bench<'_>, node: &str, text: &str) -> Result<()> {
    bench
        .machine
        .dom0(&format!("xenstore-write -- {node} '{text}'"))?;
    Ok(())
}

/// Connectors of the least size, from a number on.
fn add_connectors(bench: &mut Bench<'_>, from: usize, count: usize) -> Result<()> {
    let front = front(bench);
    for index in from..from + count {
        bench.machine.dom0(&format!(
            "xenstore-write {front}/{index}/resolution 64x64 {front}/{index}/unique-id Extra-{index}"
        ))?;
    }
    Ok(())
}

fn count_after_bind(bench: &mut Bench<'_>, driver: &str) -> Result<usize> {
    bind(bench, driver)?;
    let connectors = bench.sh("ls -d /sys/class/drm/card0-*")?;
    Ok(connectors.lines().count())
}

fn unbind(bench: &mut Bench<'_>, driver: &str) -> Result<()> {
    bench.sh(&format!(
        "echo vdispl-0 >/sys/bus/xen/drivers/{driver}/unbind"
    ))?;
    Ok(())
}

fn bind(bench: &mut Bench<'_>, driver: &str) -> Result<()> {
    bench.sh(&format!(
        "echo vdispl-0 >/sys/bus/xen/drivers/{driver}/bind"
    ))?;
    wait_for_display(bench.machine, bench.guest)
}

/// The driver does not take the device.
fn bind_fails(bench: &mut Bench<'_>, driver: &str) -> Result<()> {
    let command = format!("echo vdispl-0 >/sys/bus/xen/drivers/{driver}/bind");
    let ended = bench.guest.run(bench.machine, &command, SHORT)?;
    ensure!(
        ended.status != 0 && !bench.has_display()?,
        "the device was taken"
    );
    Ok(())
}
