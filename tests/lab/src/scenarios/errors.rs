// SPDX-License-Identifier: GPL-2.0
//! Misuse, and use that leaves much to tidy up.

use crate::bench::Bench;
use anyhow::Result;
use std::time::Duration;

/// A safety net for one buffer of the [`rounds`]; it takes a third of a second by itself.
const ROUND: Duration = Duration::from_secs(2);

/// Bad arguments for every ioctl, each with the errno that it must give.
pub fn table(bench: &mut Bench<'_>) -> Result<()> {
    bench.test("errors")?;
    Ok(())
}

pub fn buffers(bench: &mut Bench<'_>) -> Result<()> {
    churn(bench, 60)
}

pub fn many_buffers(bench: &mut Bench<'_>) -> Result<()> {
    churn(bench, 2000)
}

/// Buffers from the size of a stamp to 4K, each flipped to.
pub fn rounds(bench: &mut Bench<'_>) -> Result<()> {
    flipped_to(bench, 500)
}

pub fn many_rounds(bench: &mut Bench<'_>) -> Result<()> {
    flipped_to(bench, 10_000)
}

fn flipped_to(bench: &mut Bench<'_>, rounds: u32) -> Result<()> {
    let connector = bench.connector(1)?.name;
    if bench.setting.be_alloc {
        // The first mapping of foreign pages makes what the kernel keeps.
        bench.test(&format!("rounds --rounds 8 --connector {connector}"))?;
        bench.count_anew()?;
    }
    let arguments = format!("rounds --rounds {rounds} --seed 3 --connector {connector}");
    bench.test_within(&arguments, ROUND * rounds)?;
    Ok(())
}

/// Buffers of random sizes, freed by the program and then by the kernel for one that just ends. That nothing is lost is
/// checked after every scenario.
fn churn(bench: &mut Bench<'_>, rounds: u32) -> Result<()> {
    bench.test(&format!("buffers --rounds {rounds}"))?;
    bench.test(&format!(
        "buffers --rounds {} --seed 2 --max-bytes 1048576 --leave",
        rounds / 4
    ))?;
    Ok(())
}
