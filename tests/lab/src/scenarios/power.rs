// SPDX-License-Identifier: GPL-2.0
//! Outputs that are switched off and on.

use crate::bench::Bench;
use anyhow::Result;

pub fn modes(bench: &mut Bench<'_>) -> Result<()> {
    switch(bench, "modes --loops 10")
}

pub fn many_modes(bench: &mut Bench<'_>) -> Result<()> {
    switch(bench, "modes --loops 200")
}

pub fn dpms(bench: &mut Bench<'_>) -> Result<()> {
    switch(bench, "dpms --loops 10")
}

/// After the last round the card must be there.
fn switch(bench: &mut Bench<'_>, how: &str) -> Result<()> {
    let connector = bench.connector(0)?;
    for via in ["legacy", "atomic"] {
        let job = bench.show(&format!(
            "{how} --hold --via {via} --connector {}",
            connector.name
        ))?;
        // dpms shows its first card at once and ends with variant 0 too; modes alternates and ends on variant 1.
        bench
            .machine
            .link
            .wait_output(job, "seconds", crate::bench::LONG)?;
        let variant = u32::from(how.starts_with("modes"));
        bench.expect_card(connector, variant, "XRGB8888")?;
        bench.end(job)?;
    }
    Ok(())
}
