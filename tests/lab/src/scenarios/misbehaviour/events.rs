// SPDX-License-Identifier: GPL-2.0
//! Events that are not what they should be: cases V.

use super::super::faults::shows_a_card;
use super::NONE;
use super::count;
use super::flips_go_on;
use super::flips_go_on_and;
use super::then_behaves;
use super::with_faults;
use crate::bench::Bench;
use crate::bench::wait_for_display;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Ends of flips before they are answered, and none.
pub fn event_order(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        flips_go_on(
            bench,
            &[
                "times = 10\nevent = { early = true }",
                "times = 2\nevent = { copies = 0 }",
                "times = 2\nanswer = { copies = 0 }\nevent = { copies = 0 }",
            ],
            4..=4,
        )
    })
}

/// Ends of flips that nobody asked for, by their cookies.
pub fn event_cookies(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        flips_go_on(
            bench,
            &[
                "times = 3\nevent = { cookie = 0 }",
                "times = 3\nevent = { cookie = 0x7fffffffffffffff }",
                "times = 3\nevent = { cookie = 1 }",
            ],
            NONE,
        )
    })
}

/// Ends of flips twice, and so late that another flip waits for its own: the driver knows it for the other's.
pub fn event_count(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let is_reference = bench.has_reference_driver()?;
        let before = count(bench, "late")?;
        let faults = ["times = 10\nevent = { copies = 2 }", "event = { late = 6 }"];
        flips_go_on_and(bench, &faults, 1..=1, |bench| {
            let late = count(bench, "late")? - before;
            ensure!(
                late == 1 || is_reference,
                "the driver has seen {late} late events, not 1"
            );
            Ok(())
        })
    })
}

/// Ids and types of events that are not the next one's.
pub fn event_fields(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        flips_go_on(
            bench,
            &[
                "times = 10\nevent = { id = 999 }",
                "times = 2\nevent = { kind = 77 }",
                "times = 2\nevent = { kind = 255 }",
            ],
            4..=4,
        )
    })
}

/// Event producers that cannot be.
pub fn event_producer(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        flips_go_on(
            bench,
            &[
                "page = { in-prod = 64 }",
                "page = { in-prod = 0x80000000 }",
                "page = { in-prod = -1 }",
            ],
            // The ends of those flips come with that of the next.
            0..=6,
        )
    })
}

/// As many events as there is room for, with every flip.
pub fn event_flood(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        flips_go_on(bench, &["times = 50\nevent = { copies = 63 }"], NONE)
    })
}

/// The producer of events comes to its end and begins anew, which is not the beginning of the page: it has 63 places.
pub fn event_index_wraps(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let before_the_end = u32::MAX - 70;
        // The end of the flip before the jump may go unseen.
        flips_go_on(
            bench,
            &[&format!("page = {{ jump = {before_the_end} }}")],
            0..=1,
        )
    })
}

/// Events that come when nothing is shown: after heads were switched off and on, and while the driver leaves the device.
pub fn unexpected_events(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let faults = [
            "on = \"SET_CONFIG\"\ntimes = 0\nevent = { copies = 8, late = 0.2 }",
            "on = \"PG_FLIP\"\nfrom = 5\nstorm = 6",
        ];
        let connector = bench.connector(0)?.name;
        with_faults(bench, &faults, |bench| {
            bench.test(&format!("modes --loops 5 --connector {connector}"))?;
            bench.test(&format!(
                "flips --count 10 --timeout 60 --via atomic --nonblock --connector {connector}"
            ))?;
            let driver = bench.bus_driver()?;
            let file = |action| format!("echo vdispl-0 >/sys/bus/xen/drivers/{driver}/{action}");
            bench.sh(&file("unbind"))?;
            bench.sh(&file("bind"))?;
            wait_for_display(bench.machine, bench.guest).context("after the bind")?;
            shows_a_card(bench)
        })
    })
}
