// SPDX-License-Identifier: GPL-2.0
//! Outputs that are switched off and on.

use crate::bench::Bench;
use anyhow::Result;
use anyhow::ensure;

pub fn modes(bench: &mut Bench<'_>) -> Result<()> {
    switch(bench, "modes", 10, 10)
}

pub fn many_modes(bench: &mut Bench<'_>) -> Result<()> {
    switch(bench, "modes", 200, 200)
}

pub fn dpms(bench: &mut Bench<'_>) -> Result<()> {
    // Each time by two properties.
    switch(bench, "dpms", 10, 20)
}

/// The backend must see the output go off each time, and after the last round the card must be there.
fn switch(bench: &mut Bench<'_>, how: &str, loops: usize, offs: usize) -> Result<()> {
    let connector = bench.connector(0)?;
    let guest = bench.guest.config.name.clone();
    for via in ["legacy", "atomic"] {
        let before = bench.records(&guest, connector)?.len();
        let job = bench.show(&format!(
            "{how} --loops {loops} --hold --via {via} --connector {}",
            connector.name
        ))?;
        // dpms shows its first card at once and ends with variant 0 too; modes alternates and ends on variant 1.
        bench
            .machine
            .link
            .wait_output(job, "seconds", crate::bench::LONG)?;
        let variant = u32::from(how == "modes");
        bench.expect_card(connector, variant, "XRGB8888")?;
        let seen = bench
            .records(&guest, connector)?
            .iter()
            .skip(before)
            .filter(|record| record.event == "off")
            .count();
        ensure!(
            seen >= offs,
            "the output was switched off {offs} times, and the backend saw it {seen} times"
        );
        bench.end(job)?;
    }
    Ok(())
}
