// SPDX-License-Identifier: GPL-2.0
//! Test cards: every pixel is where it belongs.

use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::lines_of;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Formats that a frontend must offer.
const FORMATS: usize = 9;

pub fn every_format_on_the_first_head(bench: &mut Bench<'_>) -> Result<()> {
    every_format(bench, 0)
}

pub fn every_format_on_the_second_head(bench: &mut Bench<'_>) -> Result<()> {
    every_format(bench, 1)
}

/// The guest shows its card in one format after the other, and each is compared before it goes on.
fn every_format(bench: &mut Bench<'_>, head: usize) -> Result<()> {
    let connector = bench.connector(head)?;
    let job = bench.show(&format!(
        "card --all-formats --connector {}",
        connector.name
    ))?;
    let mut compared = 0;
    loop {
        let said = bench.machine.link.output(job)?;
        let shown = lines_of(&said, "shown");
        for line in shown.iter().skip(compared) {
            let format = line["format"]
                .as_str()
                .context("a picture without a format")?;
            bench.expect_card(connector, 0, format)?;
        }
        compared = shown.len();
        bench.machine.link.input(job, "\n")?;
        // The next picture, or the end.
        if let Err(end) = bench
            .machine
            .link
            .wait_lines(job, "\"shown\"", compared + 1, SHORT)
        {
            let ended =
                end.context("the test program neither showed a further format nor ended")?;
            ensure!(
                ended.status == 0,
                "xen-display-test card ended with {}: {}",
                ended.status,
                ended.stderr.trim()
            );
            break;
        }
    }
    ensure!(compared >= FORMATS, "only {compared} formats were shown");
    Ok(())
}

pub fn xrgb_on_the_first_head(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = bench.show(&format!(
        "card --hold --via atomic --connector {}",
        connector.name
    ))?;
    bench.expect_card(connector, 0, "XRGB8888")?;
    bench.end(job)?;
    Ok(())
}

/// Both heads flip at once and each ends on a card of its own.
pub fn two_heads(bench: &mut Bench<'_>) -> Result<()> {
    let job = bench.show("heads --flips 60 --hold --via atomic")?;
    bench
        .machine
        .link
        .wait_lines(job, "\"shown\"", 2, SHORT)
        .ok()
        .context("the second head showed nothing")?;
    for head in 0..2 {
        let connector = bench.connector(head)?;
        // 60 flips from variant 2i + 1 end on 2i + 1.
        bench.expect_card(connector, 2 * u32::try_from(head)? + 1, "XRGB8888")?;
    }
    bench.end(job)?;
    Ok(())
}

/// Drawing into the picture that is shown is seen once it is announced.
pub fn dirtyfb(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = bench.show(&format!(
        "dirtyfb --changes 3 --step --hold --connector {}",
        connector.name
    ))?;
    bench.expect_card(connector, 0, "XRGB8888")?;
    for variant in 1..=3 {
        bench.machine.link.input(job, "\n")?;
        let shown = usize::try_from(variant)? + 1;
        bench
            .machine
            .link
            .wait_lines(job, "\"shown\"", shown, SHORT)
            .ok()
            .context("a change was not announced")?;
        bench.expect_card(connector, variant, "XRGB8888")?;
    }
    bench.end(job)?;
    Ok(())
}
