// SPDX-License-Identifier: GPL-2.0
//! Guests to which Xen gives little.

use super::be_alloc::theirs;
use super::faults::shows_a_card;
use super::faults::start_backend;
use super::misbehaviour::with_faults;
use crate::backend::Place;
use crate::bench::Bench;
use anyhow::Result;
use anyhow::ensure;

/// Where the grant table is full a program is told so, and what is freed can be had again.
pub fn grants(bench: &mut Bench<'_>) -> Result<()> {
    shows_a_card(bench)?;
    // What a program has freed it can have again, also while the backend takes its time to forget it.
    let slow = "on = \"DBUF_DESTROY\"\ntimes = 0\nanswer = { late = 0.3 }";
    with_faults(bench, &[slow], |bench| {
        bench.test("exhaust")?;
        Ok(())
    })?;
    start_backend(bench, Place::in_dom0(bench.setting.output))?;
    bench.test("exhaust")?;
    shows_a_card(bench)
}

/// Where Xen does not map the backend's memory, a buffer is in the guest's.
pub fn mappings(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = bench.show("card --hold --variant 1")?;
    bench.expect_card(connector, 1, "XRGB8888")?;
    let theirs = theirs(bench)?;
    ensure!(theirs == 0, "{theirs} buffers are in the backend's memory");
    let said = bench.sh("dmesg | grep 'the buffer is allocated in this domain'")?;
    ensure!(said.contains("ENOSPC"), "the guest said: {said}");
    bench.end(job)?;
    bench.count_anew()?;
    shows_a_card(bench)
}
