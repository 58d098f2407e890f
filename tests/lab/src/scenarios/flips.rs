// SPDX-License-Identifier: GPL-2.0
//! Page flips: each one is shown, once, in its turn.

use crate::bench::Bench;
use crate::oracle::card::card;
use anyhow::Result;
use anyhow::ensure;

pub fn legacy(bench: &mut Bench<'_>) -> Result<()> {
    flip(bench, "--via legacy", 1000)
}

pub fn atomic_blocking(bench: &mut Bench<'_>) -> Result<()> {
    flip(bench, "--via atomic", 1000)
}

pub fn atomic_nonblocking(bench: &mut Bench<'_>) -> Result<()> {
    flip(bench, "--via atomic --nonblock", 1000)
}

pub fn many(bench: &mut Bench<'_>) -> Result<()> {
    flip(bench, "--via atomic --nonblock", 10_000)
}

/// The guest flips between two cards and checks every event; the backend's log must show the cards in turn.
pub fn flip(bench: &mut Bench<'_>, how: &str, count: usize) -> Result<()> {
    let connector = bench.connector(0)?;
    let name = bench.guest.config.name.clone();
    let before = bench.records(&name, connector)?.len();
    bench.test(&format!(
        "flips --count {count} {how} --connector {}",
        connector.name
    ))?;

    let cards = [0, 1].map(|variant| {
        card(connector.width, connector.height, variant, "XRGB8888")
            .map(|card| card.picture.crc32())
    });
    let [even, odd] = cards;
    let cards = [even?, odd?];
    let records = bench.records(&name, connector)?;
    let shown: Vec<&str> = records
        .iter()
        .skip(before)
        .filter_map(|record| Some(record.picture.as_ref()?.crc32.as_str()))
        .collect();
    let start = shown.iter().position(|crc| *crc == cards[1]).unwrap_or(0);
    // The first is the mode set with variant 1; flip i shows variant i % 2.
    for (index, crc) in shown.iter().skip(start).take(count + 1).enumerate() {
        let expected = &cards[(index + 1) % 2];
        ensure!(
            crc == expected,
            "picture {index} of {count} flips has CRC {crc}, expected {expected}"
        );
    }
    ensure!(
        shown.len() > start + count,
        "the backend showed {} pictures for {count} flips",
        shown.len() - start
    );
    Ok(())
}
