// SPDX-License-Identifier: GPL-2.0
//! The module's own life: when it may be loaded, and when it may go.

use super::faults::shows_a_card;
use crate::backend::Backend;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::wait_for_display;
use crate::link::Ended;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// The kernel's C driver.
const C_DRIVER: &str = "drm_xen_front";

/// Under a client it stays, after it, it goes without a trace, and can be loaded again.
pub fn in_use(bench: &mut Bench<'_>) -> Result<()> {
    let module = name(bench)?;
    let job = bench.show("card --hold --variant 2")?;
    let refused = run(bench, &format!("rmmod {module}"))?;
    ensure!(
        refused.status != 0 && refused.stderr.contains("in use"),
        "rmmod under a client ended with {}: {}",
        refused.status,
        refused.stderr
    );
    bench.expect_card(bench.connector(0)?, 2, "XRGB8888")?;
    bench.end(job)?;
    bench.sh(&unload(module))?;
    ensure!(
        !bench.has_display()?,
        "the module has gone and left its display"
    );
    bench.driver.load(bench.machine, bench.guest)?;
    shows_a_card(bench)
}

/// Where the C driver has the device the module says so in one line, and leaves it alone. The guest is of no use after this: the C driver
/// cannot be unloaded while it has the device, and does not survive that it is unbound.
pub fn other_driver(bench: &mut Bench<'_>) -> Result<()> {
    let module = name(bench)?;
    bench.sh(&format!("rmmod {module} && modprobe {C_DRIVER}"))?;
    wait_for_display(bench.machine, bench.guest).context("of the C driver")?;
    let command = bench.driver.command().to_owned();
    let refused = run(bench, &command)?;
    ensure!(refused.status != 0, "both drivers are loaded");
    let said = bench.sh(&format!("dmesg | grep '{module}: .*{C_DRIVER}'"))?;
    ensure!(
        said.lines().count() == 1,
        "the module said of the other driver: {said}"
    );
    Ok(())
}

/// Without a backend it is loaded at once; there is a display as soon as there is a backend.
pub fn without_backend(bench: &mut Bench<'_>) -> Result<()> {
    let module = name(bench)?;
    let backend = bench.backend.take().context("no backend runs")?;
    let place = backend.place();
    bench.sh(&unload(module))?;
    backend.stop(bench.machine)?;
    let command = bench.driver.command().to_owned();
    bench.sh(&command)?;
    ensure!(
        !bench.has_display()?,
        "there is a display without a backend"
    );
    *bench.backend = Some(Backend::start(bench.machine, place)?);
    wait_for_display(bench.machine, bench.guest).context("with the backend there")?;
    shows_a_card(bench)
}

/// The name of the module that drives the display.
fn name(bench: &mut Bench<'_>) -> Result<&'static str> {
    Ok(match bench.has_reference_driver()? {
        true => C_DRIVER,
        false => "xen_drm_front",
    })
}

/// The command line that unloads it, and what it stands on, which goes as soon as the backend has unmapped the last page.
fn unload(module: &str) -> String {
    let front = format!("rmmod {module}");
    match module {
        C_DRIVER => front,
        _ => format!(
            "{front} && for i in $(seq 300); do rmmod xen_zcopy && exit; sleep 0.1; done; exit 1"
        ),
    }
}

fn run(bench: &mut Bench<'_>, command: &str) -> Result<Ended> {
    bench.guest.run(bench.machine, command, SHORT)
}
