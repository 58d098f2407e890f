// SPDX-License-Identifier: GPL-2.0
//! Memory of other domains as dma-bufs: `/dev/xen/zcopy` in a guest, with pages of a dma-buf of Dom0's, granted by the same.

use crate::arch::Arch;
use crate::backend::LOAD_MODULE;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::wait_until;
use crate::health::mapped_grants;
use crate::link::Domain;
use crate::link::Ended;
use crate::link::Job;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Bytes that Dom0 grants: not whole pages.
const SIZE: u32 = 1_000_000;

/// Makes them.
const RANDOM: &str = "head -c 1000000 /dev/urandom >/tmp/in";

/// No reference that Dom0 has given.
const BAD_REFERENCE: &str = "4000000";

/// What the module shares now.
pub(super) const TOTALS: &str = "cat /sys/kernel/debug/xen_zcopy/totals";

/// In Dom0 or in a guest, has what follows go on until [`END`].
const UNTIL_END: &str = "cd /tmp; rm -f end; mkfifo end; cat end |";

/// See [`UNTIL_END`].
const END: &str = "echo >/tmp/end";

/// What Dom0 has granted is in a dma-buf of the guest, byte for byte, and what the guest writes there is in Dom0's pages; a reference
/// that is wrong, wherever in the list, leaves nothing mapped.
pub fn from_refs(bench: &mut Bench<'_>) -> Result<()> {
    let before = mapped_grants(bench.machine, 0)?;
    let (grant, refs) = grant(bench)?;
    bench.sh(RANDOM)?;
    first_time(bench, &refs)?;

    for at in [0, refs.len() / 2, refs.len() - 1] {
        let mut wrong = refs.clone();
        wrong[at] = BAD_REFERENCE.to_owned();
        let refused = run(bench, "", &wrong)?;
        ensure!(
            refused.status == 1 && refused.stderr.contains("Invalid argument"),
            "page {at} was wrong, and xen-zcopy ended with {}: {}",
            refused.status,
            refused.stderr
        );
    }
    let now = mapped_grants(bench.machine, 0)?;
    ensure!(
        now == before,
        "after wrong references {now} pages of Dom0 are mapped, before there were {before}"
    );

    let mapped = run(bench, "--output /tmp/got --input /tmp/in", &refs)?;
    let is_mappable = bench.guest.config.kind.is_translated();
    if is_mappable {
        ensure!(mapped.status == 0, "xen-zcopy said: {}", mapped.stderr);
    } else {
        ensure!(
            mapped.status == 3 && mapped.stderr.contains("cannot be mapped"),
            "in a PV guest mapping the dma-buf ended with {}: {}",
            mapped.status,
            mapped.stderr
        );
    }
    bench.machine.dom0(END)?;
    let ended = bench.machine.link.wait(grant, SHORT)?;
    ensure!(ended.status == 0, "Dom0's xen-zcopy said: {}", ended.stderr);
    if is_mappable {
        let granter = bench.machine.dom0(&sums("in back"))?;
        compare(&granter, &bench.sh(&sums("got in"))?)?;
    }
    bench.sh("rm -f /tmp/got /tmp/in")?;
    let after = mapped_grants(bench.machine, 0)?;
    ensure!(
        after == before,
        "{after} pages of Dom0 are mapped, before there were {before}"
    );
    Ok(())
}

/// The other way round: Dom0 maps what the guest has granted of a dma-buf, and looks into it if it can. Xen would not map a frame that is not the
/// guest's.
pub fn to_refs(bench: &mut Bench<'_>) -> Result<()> {
    bench.machine.dom0(LOAD_MODULE)?;
    let id = bench.guest.id;
    let before = mapped_grants(bench.machine, id)?;
    bench.sh(RANDOM)?;
    let command = format!("{UNTIL_END} xen-zcopy to-refs --output back --to 0 in");
    let granter = bench.guest.spawn(bench.machine, &command)?;
    let refs = refs_of(bench, granter)?;
    let holder = hold_in_dom0(bench, &refs)?;
    let held = mapped_grants(bench.machine, id)?;
    ensure!(
        held == before + refs.len(),
        "Dom0 has {held} pages of the guest mapped, not {} more than {before}",
        refs.len()
    );
    bench.machine.link.signal(holder, 15)?;
    bench.machine.link.wait(holder, SHORT)?;
    // A PV Dom0's user space cannot look into it.
    let is_mappable = bench.machine.arch() == Arch::Arm64;
    if is_mappable {
        bench.machine.dom0(RANDOM)?;
        let look = from_refs_command(id, "--output /tmp/got --input /tmp/in", &refs);
        bench.machine.dom0(&format!("/lab/bin/{look}"))?;
    }
    bench.sh(END)?;
    let ended = bench.machine.link.wait(granter, SHORT)?;
    ensure!(
        ended.status == 0,
        "the guest's xen-zcopy said: {}",
        ended.stderr
    );
    if is_mappable {
        let granter = bench.sh(&sums("in back"))?;
        compare(&granter, &bench.machine.dom0(&sums("got in"))?)?;
    }
    bench.sh("rm -f /tmp/in /tmp/back")?;
    Ok(())
}

/// Who granted them dies while the guest has its pages mapped: they stay mapped, and the module stays, until the
/// guest lets go; then all is given back.
pub fn granter_killed(bench: &mut Bench<'_>) -> Result<()> {
    let before = mapped_grants(bench.machine, 0)?;
    let (grant, refs) = grant(bench)?;
    first_time(bench, &refs)?;
    let command = format!("exec {}", from_refs_command(0, "--hold", &refs));
    let holder = bench.guest.spawn(bench.machine, &command)?;
    bench.machine.link.wait_output(holder, "dma-buf", SHORT)?;
    bench.machine.link.signal(grant, 9)?;
    bench.machine.link.wait(grant, SHORT)?;
    let held = mapped_grants(bench.machine, 0)?;
    ensure!(
        held == before + refs.len(),
        "{held} pages of Dom0 are mapped, not {} more than {before}",
        refs.len()
    );
    let refused = bench
        .machine
        .link
        .run(Domain::Zero, "rmmod xen_zcopy", SHORT)?;
    ensure!(
        refused.status != 0 && refused.stderr.contains("in use"),
        "rmmod with pages outstanding ended with {}: {}",
        refused.status,
        refused.stderr
    );
    bench.machine.link.signal(holder, 15)?;
    bench.machine.link.wait(holder, SHORT)?;
    wait_until("the return of Dom0's pages", SHORT, || {
        Ok(mapped_grants(bench.machine, 0)? == before)
    })?;
    wait_until("the end of what the module waits for", SHORT, || {
        let unloaded = bench
            .machine
            .link
            .run(Domain::Zero, "rmmod xen_zcopy", SHORT)?;
        Ok(unloaded.status == 0)
    })
}

/// Who granted them is destroyed while Dom0 has its pages as a dma-buf: they stay, as what is left of the domain, until Dom0 lets go.
pub fn granter_destroyed(bench: &mut Bench<'_>) -> Result<()> {
    bench.machine.dom0(LOAD_MODULE)?;
    let id = bench.guest.id;
    let granter = grant_to_dom0(bench)?;
    let refs = refs_of(bench, granter)?;
    let before = bench.machine.dom0(TOTALS)?;
    let holder = hold_in_dom0(bench, &refs)?;
    let held = bench.machine.dom0(TOTALS)?;
    bench.guest.destroy(bench.machine)?;
    // Whatever else would take a while to go is gone after this.
    wait_until("the end of all of the guest but its pages", SHORT, || {
        Ok(mapped_grants(bench.machine, id)? == refs.len())
    })?;
    ensure!(
        bench.machine.domains()?.contains_key(&id),
        "nothing is left of the guest, and Dom0 holds its pages"
    );
    let still = bench.machine.dom0(TOTALS)?;
    ensure!(
        still == held && held != before,
        "the module in Dom0 had {before}, then, with the guest's pages, {held}, and after the guest's end {still}"
    );
    bench.machine.dom0(END)?;
    let ended = bench.machine.link.wait(holder, SHORT)?;
    ensure!(
        ended.status == 0 && ended.stdout.contains("unmapped"),
        "Dom0's xen-zcopy ended with {}: {}",
        ended.status,
        ended.stderr
    );
    wait_until("the end of the guest", SHORT, || {
        Ok(!bench.machine.domains()?.contains_key(&id))
    })?;
    let after = bench.machine.dom0(TOTALS)?;
    ensure!(after == before, "the module in Dom0 has {after}");
    Ok(())
}

/// Has the guest grant random bytes to Dom0: the job that keeps the grants.
pub(super) fn grant_to_dom0(bench: &mut Bench<'_>) -> Result<Job> {
    let command = format!("{RANDOM}; exec xen-zcopy to-refs --to 0 /tmp/in");
    bench.guest.spawn(bench.machine, &command)
}

/// Has Dom0 make a dma-buf of what the guest grants: the job that keeps it.
fn hold_in_dom0(bench: &mut Bench<'_>, refs: &[String]) -> Result<Job> {
    let command = from_refs_command(bench.guest.id, "--hold", refs);
    let command = format!("{UNTIL_END} /lab/bin/{command}");
    let holder = bench.machine.link.spawn(Domain::Zero, &command)?;
    bench.machine.link.wait_output(holder, "dma-buf", SHORT)?;
    Ok(holder)
}

/// Has Dom0 grant random bytes to the guest: the job that keeps the grants, and their references.
pub(super) fn grant(bench: &mut Bench<'_>) -> Result<(Job, Vec<String>)> {
    bench.machine.dom0(&format!("{LOAD_MODULE}; {RANDOM}"))?;
    let id = bench.guest.id;
    let command = format!("{UNTIL_END} /lab/bin/xen-zcopy to-refs --output back --to {id} in");
    let job = bench.machine.link.spawn(Domain::Zero, &command)?;
    Ok((job, refs_of(bench, job)?))
}

/// The checksums of files in `/tmp`, as far as the size that is granted.
fn sums(files: &str) -> String {
    format!("for file in {files}; do head -c {SIZE} /tmp/$file | sha256sum; done")
}

/// Compares the checksums of what was granted and what came back with those of what was found and what was written.
fn compare(granter: &str, other: &str) -> Result<()> {
    ensure!(
        granter == other,
        "what was granted and came back has the checksums\n{granter}, and what was found and written\n{other}"
    );
    let mut lines = granter.lines();
    ensure!(
        lines.next() != lines.next(),
        "nothing was written to the dma-buf"
    );
    Ok(())
}

/// The references that a job grants.
pub(super) fn refs_of(bench: &mut Bench<'_>, job: Job) -> Result<Vec<String>> {
    let said = bench.machine.link.wait_output(job, ",", SHORT)?;
    Ok(said.trim().split(',').map(str::to_owned).collect())
}

/// Has the guest map foreign pages for the first time: its kernel makes the placeholders that they are mapped behind, 128 MiB of them, and
/// keeps them.
pub(super) fn first_time(bench: &mut Bench<'_>, refs: &[String]) -> Result<()> {
    let first = run(bench, "", refs)?;
    ensure!(first.status == 0, "xen-zcopy said: {}", first.stderr);
    bench.count_anew()
}

pub(super) fn from_refs_command(domid: u32, options: &str, refs: &[String]) -> String {
    format!(
        "xen-zcopy from-refs --from {domid} {options} {}",
        refs.join(",")
    )
}

fn run(bench: &mut Bench<'_>, options: &str, refs: &[String]) -> Result<Ended> {
    bench
        .guest
        .run(bench.machine, &from_refs_command(0, options, refs), SHORT)
        .context("xen-zcopy in the guest")
}
