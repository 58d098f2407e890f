// SPDX-License-Identifier: GPL-2.0
//! Backends that end in the middle of a request, and states that make no sense: cases C1, C2 and C9.

use super::super::faults::end_untroubled;
use super::super::faults::flip_and_survive;
use super::super::faults::flips;
use super::super::faults::start_backend;
use super::super::faults::wait_flips;
use super::delivered;
use super::then_behaves;
use super::with_script;
use crate::bench::Bench;
use crate::bench::LONG;
use crate::bench::wait_until;
use crate::link::Job;
use anyhow::Context;
use anyhow::Result;
use std::slice;

/// A request in the middle of which the backend ends: the n-th of its kind, one that a client has asked for or the driver by itself.
const MOMENTS: &[(&str, u32)] = &[
    ("DBUF_CREATE", 1),
    ("DBUF_CREATE", 5),
    ("FB_ATTACH", 2),
    ("FB_ATTACH", 8),
    ("SET_CONFIG", 1),
    ("SET_CONFIG", 4),
    ("PG_FLIP", 20),
    ("FB_DETACH", 2),
    ("DBUF_DESTROY", 2),
];

/// It says Closing and Closed, and may be connected to again a while later.
pub fn closed(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        for moment in MOMENTS {
            ends_at(bench, moment, "closed")
                .with_context(|| format!("closed at {} {}", moment.0, moment.1))?;
        }
        Ok(())
    })
}

/// It is killed, and started again.
pub fn killed(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        for moment in MOMENTS {
            ends_at(bench, moment, "killed")
                .with_context(|| format!("killed at {} {}", moment.0, moment.1))?;
        }
        Ok(())
    })
}

/// Clients ask for what the backend ends in: neither of them is told anything. Only one of them can show pictures.
fn ends_at(bench: &mut Bench<'_>, moment: &(&str, u32), how: &str) -> Result<()> {
    let (request, from) = moment;
    let script = format!(
        "[[fault]]\non = \"{request}\"\nfrom = {from}\nexecute = false\nanswer = {{ copies = 0 }}\nthen = \"{how}\"\n"
    );
    let connector = bench.connector(1)?.name;
    // It is waited for: what a process has said that is killed goes with it.
    with_script(bench, &script, &[], |bench| {
        let flipping = match *request {
            "DBUF_CREATE" | "DBUF_DESTROY" | "PG_FLIP" => {
                let job = flip_and_survive(bench)?;
                bench.test("buffers --rounds 12 --max-bytes 1048576")?;
                Some(job)
            }
            _ => {
                bench.test(&format!("modes --loops 2 --connector {connector}"))?;
                bench.test(&format!(
                    "rounds --rounds 12 --seed 5 --connector {connector}"
                ))?;
                None
            }
        };
        wait_until("the end of the backend's session", LONG, || {
            Ok(bench.said_by_backend()?.contains(&delivered(0)))
        })?;
        if how == "killed" {
            let backend = bench.backend.take().context("no backend runs")?;
            backend.end(bench.machine)?;
            start_backend(bench, super::place(bench))?;
        }
        match flipping {
            Some(job) => goes_on_untroubled(bench, job),
            None => super::flip(bench),
        }
    })?;
    Ok(())
}

/// The client flips on, and has had no error.
fn goes_on_untroubled(bench: &mut Bench<'_>, job: Job) -> Result<()> {
    let before = flips(bench, job)?;
    wait_flips(bench, job, before + 30).context("afterwards")?;
    end_untroubled(bench, job)
}

/// States in an order that makes no sense, a hundred in a second: whoever follows each of them has no time for anything else.
pub fn states_at_100_hz(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let states = "\"2\", \"4\", \"3\", \"1\", \"7\", \"8\", \"99\", \"0\", \"6\", \"2\", \"5\", \"-1\", \"\", \"x\", \"4x\", \"2\", \"2\", \"4\", \"4\"";
        let script = format!(
            "[[store]]\nat = 2\nnode = \"state\"\nvalues = [{states}]\nevery = 0.01\nrounds = 40\n"
        );
        let said = format!("store {}", delivered(0));
        with_script(bench, &script, slice::from_ref(&said), |bench| {
            let job = flip_and_survive(bench)?;
            wait_until("the end of the states", LONG, || {
                Ok(bench.said_by_backend()?.contains(&said))
            })?;
            let during = flips(bench, job)? + 30;
            wait_flips(bench, job, during).context("after the states")?;
            let job = bench.end(job);
            job.context("the client that flips").map(|_| ())
        })?;
        Ok(())
    })
}
