// SPDX-License-Identifier: GPL-2.0
//! Memory that is not what it should be, or not given back: cases D.

use super::super::be_alloc::theirs;
use super::super::faults::shows_a_card;
use super::delivered;
use super::then_behaves;
use super::with_faults;
use super::with_script;
use crate::backend::LOAD_MODULE;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::wait_until;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// References of pages that are the backend's to give, and are not: the buffer is in the guest's memory then.
pub fn wrong_references(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        bench.machine.dom0(LOAD_MODULE)?;
        for at in ["first", "middle", "last"] {
            for value in [
                "",
                ", value = 0",
                ", value = 0xffffffff",
                ", value = 1",
                ", value = 4000",
            ] {
                let fault = format!("reference = {{ at = \"{at}\"{value} }}");
                shows_its_own(bench, &fault).with_context(|| format!("{at}{value}"))?;
            }
        }
        Ok(())
    })
}

/// A directory whose pages are linked otherwise than the guest has linked them: it knows itself where they are.
pub fn wrong_links(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        bench.machine.dom0(LOAD_MODULE)?;
        for link in ["0xffffffff", "1"] {
            let fault = format!("on = \"DBUF_CREATE\"\nfrom = 2\ntimes = 0\nlink = {link}");
            with_faults(bench, &[&fault], |bench| {
                let job = bench.show("card --hold --variant 2")?;
                bench.expect_card(bench.connector(0)?, 2, "XRGB8888")?;
                let theirs = theirs(bench)?;
                ensure!(theirs == 1, "{theirs} buffers are in the backend's memory");
                bench.end(job)?;
                Ok(())
            })
            .with_context(|| format!("the link {link}"))?;
        }
        Ok(())
    })
}

/// With a fault in each buffer that the backend allocates, the guest shows a picture that is in its own memory.
fn shows_its_own(bench: &mut Bench<'_>, fault: &str) -> Result<()> {
    let fault = format!("on = \"DBUF_CREATE\"\nfrom = 2\ntimes = 0\n{fault}");
    with_faults(bench, &[&fault], |bench| {
        let job = bench.show("card --hold --variant 2")?;
        bench.expect_card(bench.connector(0)?, 2, "XRGB8888")?;
        let theirs = theirs(bench)?;
        ensure!(theirs == 0, "{theirs} buffers are in the backend's memory");
        bench.end(job)?;
        Ok(())
    })
}

/// Fills the guest's free memory with something that is seen if it leaks.
const DIRT: &str = "head -c 100M /dev/zero | tr '\\0' '\\245' >/tmp/dirt && rm /tmp/dirt";

/// Buffers that are looked at for what the guest had in their pages before.
const INSPECTED: usize = 20;

/// What a buffer's pages and its directory have beyond what a program and the protocol put there is nothing.
pub fn leaks(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        bench.sh(DIRT)?;
        // The first is the console's, with its picture.
        let script = "[[fault]]\non = \"DBUF_CREATE\"\nfrom = 2\ntimes = 0\ninspect = true\n";
        let said = with_script(bench, script, &[delivered(0)], |bench| {
            bench.test(&format!("buffers --rounds {INSPECTED}"))?;
            Ok(())
        })?;
        let inspected: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("inspected "))
            .collect();
        ensure!(
            inspected.len() >= INSPECTED,
            "{} buffers were inspected, not {INSPECTED}",
            inspected.len()
        );
        let dirty = inspected
            .iter()
            .find(|line| !line.ends_with(": 0 are not 0"));
        ensure!(dirty.is_none(), "the backend said: {dirty:?}");
        Ok(())
    })
}

/// What `xen_zcopy` waits for is told in its file `outstanding`.
const OUTSTANDING: &str = "grep -c waiting /sys/kernel/debug/xen_zcopy/outstanding || true";

/// The rings and buffers of a device that is unbound while its backend is stuck: they stay until the backend lets them go, and so does the
/// module that keeps them.
pub fn kept_rings(bench: &mut Bench<'_>) -> Result<()> {
    shows_a_card(bench)?;
    let backend = bench.backend.as_ref().context("no backend runs")?;
    backend.halt(bench.machine)?;
    let driver = bench.bus_driver()?;
    bench.sh(&format!(
        "echo vdispl-0 >/sys/bus/xen/drivers/{driver}/unbind"
    ))?;
    let outstanding = bench.sh(OUTSTANDING)?;
    let unload = bench
        .guest
        .run(bench.machine, "rmmod xen_drm_front; rmmod xen_zcopy", SHORT)?;
    let backend = bench.backend.as_ref().context("no backend runs")?;
    backend.go_on(bench.machine)?;
    let outstanding: usize = outstanding.trim().parse()?;
    let rings = 2 * bench.setting.connectors.len();
    ensure!(
        outstanding >= rings,
        "{outstanding} things wait for the backend, which has {rings} pages of rings"
    );
    ensure!(
        unload.status != 0 && unload.stderr.contains("in use"),
        "rmmod of what keeps them ended with {}: {}",
        unload.status,
        unload.stderr
    );
    wait_until("the end of what waits for the backend", SHORT, || {
        Ok(bench.sh(OUTSTANDING)?.trim() == "0")
    })?;
    bench.driver.load(bench.machine, bench.guest)?;
    shows_a_card(bench)
}

/// Display buffers that are mapped for as long as the backend is there, whatever the frontend is told: their pages are used for nothing
/// else meanwhile.
pub fn kept_buffers(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let fault = "on = \"DBUF_DESTROY\"\ntimes = 0\nexecute = false";
        let is_reference = bench.has_reference_driver()?;
        with_faults(bench, &[fault], |bench| {
            bench.test("buffers --rounds 12 --max-bytes 1048576")?;
            if is_reference {
                return Ok(());
            }
            let outstanding =
                bench.sh("grep -c waiting /sys/kernel/debug/xen_zcopy/outstanding")?;
            ensure!(
                outstanding.trim() == "12",
                "{} buffers wait for the backend, not 12",
                outstanding.trim()
            );
            Ok(())
        })
    })
}
