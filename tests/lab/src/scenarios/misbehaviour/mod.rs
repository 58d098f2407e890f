// SPDX-License-Identifier: GPL-2.0
//! Backends that misbehave on order. What each case descends from is in `Documentation/faults.md`.

pub mod answers;
pub mod ends;
pub mod events;
pub mod memory;

use super::faults::shows_a_card;
use super::faults::start_backend;
use super::faults::start_backend_with;
use crate::backend::Place;
use crate::bench::Bench;
use crate::bench::LONG;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use std::ops::RangeInclusive;

/// No flip is given up.
const NONE: RangeInclusive<u64> = 0..=0;

/// Lines that a driver may write to the kernel's log about one backend.
const MOST_LINES: usize = 40;

/// How many flips there are from the start of one fault to that of the next.
const EACH: usize = 15;

/// Whatever the backend does with some of a client's flips, all of them come to an end, each once and in their order. So many of them are given up
/// because the backend does not tell of their end.
fn flips_go_on(
    bench: &mut Bench<'_>,
    faults: &[&str],
    given_up: RangeInclusive<u64>,
) -> Result<()> {
    flips_go_on_and(bench, faults, given_up, |_| Ok(()))
}

/// The same, with another look at the guest afterwards, in the same connection if it lasts.
fn flips_go_on_and(
    bench: &mut Bench<'_>,
    faults: &[&str],
    given_up: RangeInclusive<u64>,
    look: impl FnOnce(&mut Bench<'_>) -> Result<()>,
) -> Result<()> {
    let faults: Vec<String> = faults
        .iter()
        .enumerate()
        .map(|(index, fault)| format!("on = \"PG_FLIP\"\nfrom = {}\n{fault}", EACH * (index + 1)))
        .collect();
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    with_faults(bench, &faults, |bench| {
        let before = count(bench, "timeouts")?;
        until_delivered(bench, faults.len(), flip)?;
        let now = count(bench, "timeouts")? - before;
        ensure!(
            given_up.contains(&now),
            "{now} flips were given up, not {given_up:?}"
        );
        look(bench)
    })
}

/// Whatever the backend does with some of a client's requests for buffers, the client gets them all.
fn buffers_go_on(bench: &mut Bench<'_>, faults: &[&str]) -> Result<()> {
    let faults: Vec<String> = faults
        .iter()
        .enumerate()
        .map(|(index, fault)| format!("on = \"DBUF_CREATE\"\nfrom = {}\n{fault}", 4 * (index + 1)))
        .collect();
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    with_faults(bench, &faults, |bench| {
        until_delivered(bench, faults.len(), |bench| {
            bench.test("buffers --rounds 40 --max-bytes 262144")?;
            Ok(())
        })
    })
}

/// How often something is done again, if a fault ends the connection and the next one has not come about: without a backend all that a client does is soon
/// done.
const TURNS: usize = 10;

/// Does something until the backend has delivered that many faults.
fn until_delivered(
    bench: &mut Bench<'_>,
    faults: usize,
    mut turn: impl FnMut(&mut Bench<'_>) -> Result<()>,
) -> Result<()> {
    for _ in 0..TURNS {
        turn(bench)?;
        let said = bench.said_by_backend()?;
        if (0..faults).all(|index| said.contains(&delivered(index))) {
            break;
        }
    }
    Ok(())
}

/// What the backend says of a fault.
fn delivered(fault: usize) -> String {
    format!("fault {fault} delivered")
}

/// What the driver has counted of something, over all connectors; 0 of the reference, which does not count.
fn count(bench: &mut Bench<'_>, what: &str) -> Result<u64> {
    let said = bench.sh("cat /sys/kernel/debug/dri/0/rings 2>/dev/null || true")?;
    let word = format!("{what} ");
    let counts = said.split(&word).skip(1);
    Ok(counts
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum())
}

fn flip(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?.name;
    let arguments =
        format!("flips --count 120 --timeout 60 --via atomic --nonblock --connector {connector}");
    bench.test_within(&arguments, 2 * LONG)?;
    Ok(())
}

/// A program cannot have all of its buffers, and is told why.
fn buffers_fail(bench: &mut Bench<'_>, why: &str) -> Result<()> {
    fails(bench, "buffers --rounds 6", why)
}

/// The guest's test program fails, and says why.
pub fn fails(bench: &mut Bench<'_>, arguments: &str, why: &str) -> Result<()> {
    let command = format!("xen-display-test {arguments}");
    let ended = bench.guest.run(bench.machine, &command, LONG)?;
    ensure!(
        ended.status != 0 && ended.stderr.contains(why),
        "{command} ended with {}, and not with \"{why}\": {}",
        ended.status,
        ended.stderr.trim()
    );
    Ok(())
}

/// Do something with a backend that has these faults: every one must have come about.
pub fn with_faults(
    bench: &mut Bench<'_>,
    faults: &[&str],
    during: impl FnOnce(&mut Bench<'_>) -> Result<()>,
) -> Result<()> {
    let script = format!("[[fault]]\n{}\n", faults.join("\n[[fault]]\n"));
    let told: Vec<String> = (0..faults.len()).map(delivered).collect();
    with_script(bench, &script, &told, during).map(|_| ())
}

/// The same with a whole script, and what the backend is to have said in the end. Gives all that it has said.
fn with_script(
    bench: &mut Bench<'_>,
    script: &str,
    told: &[String],
    during: impl FnOnce(&mut Bench<'_>) -> Result<()>,
) -> Result<String> {
    if let Some(backend) = bench.backend.take() {
        backend.stop(bench.machine)?;
    }
    std::fs::write(bench.machine.share().join("faults.toml"), script)?;
    std::fs::write(bench.out.join("faults.toml"), script)?;
    let lines = lines_said(bench)?;
    start_backend_with(bench, place(bench), "--faults /lab/faults.toml")?;
    let outcome = during(bench);
    let backend = bench.backend.take().context("no backend runs")?;
    let said = backend.end(bench.machine)?;
    std::fs::write(bench.out.join("misbehaving-backend.log"), &said)?;
    outcome?;
    for told in told {
        ensure!(said.contains(told), "the backend has not said: {told}");
    }
    let lines = lines_said(bench)?.saturating_sub(lines);
    ensure!(
        lines <= MOST_LINES,
        "the guest's kernel has {lines} lines more"
    );
    Ok(said)
}

/// After whatever backends have done in `misbehaviour` there is a picture with one that behaves.
fn then_behaves(
    bench: &mut Bench<'_>,
    misbehaviour: impl FnOnce(&mut Bench<'_>) -> Result<()>,
) -> Result<()> {
    misbehaviour(bench)?;
    if bench.backend.is_none() {
        start_backend(bench, place(bench))?;
    }
    shows_a_card(bench).context("with a backend that behaves")
}

/// Where backends run in all these cases.
fn place(bench: &Bench<'_>) -> Place {
    Place::in_dom0(bench.setting.output)
}

/// Lines that the guest's kernel has written about the display.
fn lines_said(bench: &mut Bench<'_>) -> Result<usize> {
    Ok(bench
        .sh("dmesg | grep -c vdispl- || true")?
        .trim()
        .parse()?)
}
