// SPDX-License-Identifier: GPL-2.0
//! `/dev/xen/zcopy` for those who write programs and for those who run them: misuse, files in any order, what the module shows of itself.

use super::zcopy::TOTALS;
use super::zcopy::first_time;
use super::zcopy::from_refs_command;
use super::zcopy::grant;
use super::zcopy::grant_to_dom0;
use super::zcopy::refs_of;
use crate::backend::LOAD_MODULE;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::wait_until;
use crate::health::mapped_grants;
use crate::link::Domain;
use crate::link::Job;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

/// Bad arguments for every ioctl, each with the errno that it must give.
pub fn errors(bench: &mut Bench<'_>) -> Result<()> {
    everywhere(bench, "zcopy-errors")
}

/// Descriptors closed, duplicated, inherited and used again.
pub fn descriptors(bench: &mut Bench<'_>) -> Result<()> {
    everywhere(bench, "zcopy-descriptors")
}

/// Runs a test in the guest, with pages that Dom0 grants, and in Dom0, with pages that the guest grants. It looks itself at what the module
/// shares; Xen must say the same.
fn everywhere(bench: &mut Bench<'_>, test: &str) -> Result<()> {
    let id = bench.guest.id;
    let test = |of, peer, refs: &[String]| {
        format!(
            "{test} --domid {of} --peer {peer} --refs {}",
            refs.join(",")
        )
    };
    let (granter, refs) = grant(bench)?;
    let in_guest = test(id, 0, &refs);
    bench.test(&in_guest)?;
    // The first time has made placeholders, and the grant table larger, for good: memory is judged by the second.
    bench.count_anew()?;
    bench.test(&in_guest)?;
    end(bench, granter)?;

    let granter = grant_to_dom0(bench)?;
    let refs = refs_of(bench, granter)?;
    let before = mapped_grants(bench.machine, id)?;
    bench.test_in_dom0(&test(0, id, &refs))?;
    let after = mapped_grants(bench.machine, id)?;
    ensure!(
        after == before,
        "{after} pages of the guest are mapped, before there were {before}"
    );
    end(bench, granter)?;
    bench.sh("rm -f /tmp/in")?;
    Ok(())
}

/// Ends a program that grants.
fn end(bench: &mut Bench<'_>, job: Job) -> Result<()> {
    bench.machine.link.signal(job, 15)?;
    bench.machine.link.wait(job, SHORT)?;
    Ok(())
}

/// Where the module shows its buffers.
const BUFFERS: &str = "cat /sys/kernel/debug/xen_zcopy/buffers";
const OUTSTANDING: &str = "cat /sys/kernel/debug/xen_zcopy/outstanding";

/// All dma-bufs, as the kernel lists them.
const DMABUFS: &str = "cat /sys/kernel/debug/dma_buf/bufinfo";

/// What the module shows of pages that Dom0 grants and the guest has in a dma-buf: at both ends, while they are shared, when who granted
/// them has died, and when all is over.
pub fn debugfs(bench: &mut Bench<'_>) -> Result<()> {
    bench.machine.dom0(LOAD_MODULE)?;
    let id = bench.guest.id;
    let at_start = (bench.sh(TOTALS)?, bench.machine.dom0(TOTALS)?);
    let (granter, refs) = grant(bench)?;
    first_time(bench, &refs)?;
    let command = format!("exec {}", from_refs_command(0, "--hold", &refs));
    let holder = bench.guest.spawn(bench.machine, &command)?;
    bench.machine.link.wait_output(holder, "dma-buf", SHORT)?;

    let pages = refs.len();
    let here = bench.sh(BUFFERS)?;
    let inode = shown(&here, &format!("mapped domain 0 pages {pages} in-use"))?;
    is_dmabuf(&bench.sh(DMABUFS)?, &inode, "xen_zcopy")?;
    let there = bench.machine.dom0(BUFFERS)?;
    let inode = shown(&there, &format!("granted domain {id} pages {pages} in-use"))?;
    is_dmabuf(&bench.machine.dom0(DMABUFS)?, &inode, "udmabuf")?;
    has_line(
        &bench.sh(TOTALS)?,
        &format!("mapped: buffers 1 pages {pages}"),
    )?;

    bench.machine.link.signal(granter, 9)?;
    bench.machine.link.wait(granter, SHORT)?;
    let outstanding = bench.machine.dom0(OUTSTANDING)?;
    shown(
        &outstanding,
        &format!("granted domain {id} pages {pages} waiting"),
    )?;
    has_line(
        &bench.machine.dom0(TOTALS)?,
        &format!("waiting: buffers 1 pages {pages}"),
    )?;

    bench.machine.link.signal(holder, 15)?;
    bench.machine.link.wait(holder, SHORT)?;
    let mut at_end = at_start.clone();
    let back = wait_until("the end of what is shared", SHORT, || {
        at_end = (bench.sh(TOTALS)?, bench.machine.dom0(TOTALS)?);
        Ok(at_end == at_start)
    });
    back.with_context(|| format!("at the start {at_start:?}, at the end {at_end:?}"))?;
    ensure!(
        bench.machine.dom0(OUTSTANDING)?.is_empty(),
        "something is outstanding"
    );
    Ok(())
}

/// Checks that there is exactly one line that says `what`, made by `xen-zcopy`, and that nothing else is in it; returns the inode of its
/// dma-buf.
fn shown(text: &str, what: &str) -> Result<String> {
    let mut words = what.split(' ');
    let direction = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    let inode_of = |line: &str| {
        let line: Vec<&str> = line.split_whitespace().collect();
        let (head, tail) = line.split_at_checked(2 + rest.len())?;
        let is_number = |word: &str| word.parse::<u64>().is_ok();
        match (head, tail) {
            (
                [first, number, middle @ ..],
                [
                    "seconds",
                    seconds,
                    "pid",
                    pid,
                    "comm",
                    "\"xen-zcopy\"",
                    "dma-buf",
                    inode,
                ],
            ) if *first == direction
                && number.strip_suffix(':').is_some_and(is_number)
                && middle == rest.as_slice()
                && [*seconds, *pid, *inode].into_iter().all(is_number) =>
            {
                Some((*inode).to_owned())
            }
            _ => None,
        }
    };
    let mut found = text.lines().filter_map(inode_of);
    match (found.next(), found.next()) {
        (Some(inode), None) => Ok(inode),
        _ => anyhow::bail!("not one line is \"{what}\", by xen-zcopy, in:\n{text}"),
    }
}

/// Checks that the kernel lists a dma-buf with this inode, by this exporter.
fn is_dmabuf(list: &str, inode: &str, exporter: &str) -> Result<()> {
    let number: u64 = inode.parse()?;
    let listed = list.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&exporter) && words.iter().any(|word| word.parse() == Ok(number))
    });
    ensure!(
        listed,
        "the kernel lists no dma-buf {inode} of {exporter}:\n{list}"
    );
    Ok(())
}

fn has_line(text: &str, line: &str) -> Result<()> {
    ensure!(
        text.lines().any(|other| other == line),
        "there is no line \"{line}\" in:\n{text}"
    );
    Ok(())
}

/// The command says what there is, measures, and waits for what another process has.
pub fn command(bench: &mut Bench<'_>) -> Result<()> {
    bench.machine.dom0(LOAD_MODULE)?;
    let probed = bench.sh("xen-zcopy probe")?;
    for line in [
        "memory as a dma-buf: yes",
        "/dev/xen/zcopy: dma-bufs of granted pages: yes",
        "/dev/xen/zcopy: granting a dma-buf's pages: yes",
    ] {
        has_line(&probed, line)?;
    }
    // The stock kernel's own device has none of it.
    expect_end(
        bench,
        "xen-zcopy probe --device /dev/xen/gntdev",
        3,
        "no device has the operations",
    )?;
    expect_end(bench, "xen-zcopy probe --device /dev/none", 3, "loaded?")?;
    expect_end(
        bench,
        "setpriv --reuid 65534 --clear-groups xen-zcopy probe",
        1,
        "root's",
    )?;

    let (granter, refs) = grant(bench)?;
    first_time(bench, &refs)?;
    let measured = bench.sh(&format!(
        "xen-zcopy bench --json --rounds 3 --pages 1,16,9999 --to 0 --from 0 {}",
        refs.join(",")
    ))?;
    let operations: Vec<(String, u64)> = measured
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["us"].as_f64().is_some_and(|us| us > 0.0))
        .filter_map(|line| {
            Some((
                line["operation"].as_str()?.to_owned(),
                line["pages"].as_u64()?,
            ))
        })
        .collect();
    let expected = [
        ("to-refs", 1),
        ("release", 1),
        ("to-refs", 16),
        ("release", 16),
        ("to-refs", 9999),
        ("release", 9999),
        ("from-refs", 1),
        ("close", 1),
        ("from-refs", 16),
        ("close", 16),
    ]
    .map(|(operation, pages)| (operation.to_owned(), pages));
    ensure!(operations == expected, "it measured:\n{measured}");

    let hold = format!("exec {}", from_refs_command(0, "--hold", &refs));
    let holder = bench.guest.spawn(bench.machine, &hold)?;
    let said = bench.machine.link.wait_output(holder, "pages", SHORT)?;
    let fd = said
        .strip_prefix("dma-buf ")
        .and_then(|said| said.split(':').next());
    let fd = fd.with_context(|| format!("it said {said}"))?.to_owned();
    let shown = bench.sh(BUFFERS)?;
    let pid = shown
        .lines()
        .find(|line| line.starts_with("mapped"))
        .and_then(|line| line.split(" pid ").nth(1)?.split(' ').next())
        .with_context(|| format!("nothing mapped in {shown}"))?
        .to_owned();
    let wait = |fd: &str, ms| format!("exec xen-zcopy wait --pid {pid} --fd {fd} --wait {ms}");
    expect_end(bench, &wait("0", 100), 1, "no dma-buf of this device's")?;
    expect_end(bench, &wait(&fd, 100), 1, "still in use")?;
    let waiter = bench.guest.spawn(bench.machine, &wait(&fd, 60_000))?;
    bench.machine.link.wait_output(waiter, "waiting", SHORT)?;
    bench.machine.link.signal(holder, 15)?;
    bench.machine.link.wait(holder, SHORT)?;
    let ended = bench.machine.link.wait(waiter, SHORT)?;
    ensure!(
        ended.status == 0 && ended.stdout.contains("unmapped"),
        "the wait ended with {}: {}",
        ended.status,
        ended.stderr
    );
    end(bench, granter)
}

/// Runs a command in the guest that must end with a status, and say something.
fn expect_end(bench: &mut Bench<'_>, command: &str, status: i32, words: &str) -> Result<()> {
    let ended = bench.guest.run(bench.machine, command, SHORT)?;
    let said = ended.stdout + &ended.stderr;
    ensure!(
        ended.status == status && said.contains(words),
        "`{command}` ended with {}, not {status} and \"{words}\": {said}",
        ended.status
    );
    Ok(())
}

/// The example of a rule for udev gives the device to a group, and only to that. In Dom0: guests here have no udev.
pub fn udev(bench: &mut Bench<'_>) -> Result<()> {
    bench.machine.dom0(LOAD_MODULE)?;
    expect_owner(bench, "600 root root")?;
    let rule = "/lab/bin/70-xen-zcopy.rules";
    bench.machine.dom0(&format!("udevadm verify {rule}"))?;
    bench.machine.dom0(&format!(
        "mkdir -p /run/udev/rules.d; cp {rule} /run/udev/rules.d; /usr/lib/systemd/systemd-udevd --daemon; \
         udevadm trigger --action=add --settle '/sys/class/misc/xen!zcopy'; \
         udevadm control --exit; rm /run/udev/rules.d/*"
    ))?;
    expect_owner(bench, "660 root render")?;
    let probe = |groups: &str| {
        format!(
            "setpriv --reuid 65534 --regid 65534 {groups} /lab/bin/xen-zcopy probe --device /dev/xen/zcopy"
        )
    };
    bench.machine.dom0(&probe("--groups render"))?;
    let refused = bench
        .machine
        .link
        .run(Domain::Zero, &probe("--clear-groups"), SHORT)?;
    bench
        .machine
        .dom0("chmod 600 /dev/xen/zcopy; chgrp root /dev/xen/zcopy")?;
    ensure!(
        refused.status == 1 && refused.stderr.contains("Permission denied"),
        "one who is not in the group had {}: {}",
        refused.status,
        refused.stderr
    );
    Ok(())
}

fn expect_owner(bench: &mut Bench<'_>, expected: &str) -> Result<()> {
    let owner = bench.machine.dom0("stat -c '%a %U %G' /dev/xen/zcopy")?;
    ensure!(
        owner.trim() == expected,
        "/dev/xen/zcopy is {owner}, not {expected}"
    );
    Ok(())
}
