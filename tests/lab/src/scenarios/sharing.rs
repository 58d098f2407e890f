// SPDX-License-Identifier: GPL-2.0
//! Buffers shared with another driver of the guest.

use super::misbehaviour::fails;
use crate::bench::Bench;
use crate::bench::Connector;
use crate::bench::SHORT;
use crate::bench::wait_until;
use anyhow::Context;
use anyhow::Result;

/// A buffer of vgem's is shown. In a PV guest a program that draws into one faults for ever, whether a display has anything to do with it or
/// not: the kernel maps it write-combined, again and again.
pub fn import_vgem(bench: &mut Bench<'_>) -> Result<()> {
    bench.sh("modprobe vgem")?;
    import(bench, "prime --direction import --variant 3", 3)?;
    bench.sh("rmmod vgem")?;
    Ok(())
}

/// A program's memory is shown.
pub fn import_udmabuf(bench: &mut Bench<'_>) -> Result<()> {
    import(bench, "import --from udmabuf --variant 4", 5)
}

/// Memory of the kernel's heap is shown.
pub fn import_dma_heap(bench: &mut Bench<'_>) -> Result<()> {
    import(bench, "import --from dma-heap --variant 5", 6)
}

/// The test program imports something, and shows a card in it.
fn import(bench: &mut Bench<'_>, arguments: &str, variant: u32) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = bench.show(&format!(
        "{arguments} --hold --connector {}",
        connector.name
    ))?;
    bench.expect_card(connector, variant, "XRGB8888")?;
    bench.end(job)?;
    Ok(())
}

/// A buffer of ours is shown, exported, imported by vgem, and read through it.
pub fn vgem(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    bench.sh("modprobe vgem")?;
    let job = bench.show(&format!(
        "prime --direction export --variant 2 --hold --connector {}",
        connector.name
    ))?;
    bench.expect_card(connector, 2, "XRGB8888")?;
    bench.end(job)?;
    bench.sh("rmmod vgem")?;
    Ok(())
}

/// A second display of the guest's, and how the guest knows it.
const OTHER: &str = "/dev/dri/card1";

/// A buffer of another display of the guest's is shown, and stays on the screen when that display is taken away.
pub fn import_display(bench: &mut Bench<'_>) -> Result<()> {
    with_other(bench, |bench| {
        let connector = bench.connector(0)?;
        let job = bench.show(&format!(
            "prime --with {OTHER} --direction import --variant 6 --hold --connector {}",
            connector.name
        ))?;
        bench.expect_card(connector, 6, "XRGB8888")?;
        detach_other(bench)?;
        bench
            .expect_card(connector, 6, "XRGB8888")
            .context("with the other display gone")?;
        bench.end(job)?;
        Ok(())
    })
}

/// The same where the backend has allocated the other display's buffers: they are not this domain's to grant.
pub fn import_of_backend(bench: &mut Bench<'_>) -> Result<()> {
    with_other(bench, |bench| {
        let arguments = format!("prime --with {OTHER} --direction import");
        fails(bench, &arguments, "Operation not supported")?;
        detach_other(bench)
    })
}

/// Do something while the guest has another display, which it is to take away again.
fn with_other(
    bench: &mut Bench<'_>,
    during: impl FnOnce(&mut Bench<'_>) -> Result<()>,
) -> Result<()> {
    // Once before what the guest's kernel keeps of a second display is counted.
    attach_other(bench)?;
    detach_other(bench)?;
    bench.count_anew()?;
    attach_other(bench)?;
    during(bench)
}

fn attach_other(bench: &mut Bench<'_>) -> Result<()> {
    let id = bench.guest.id;
    let be_alloc = u32::from(bench.setting.be_alloc);
    let Connector { width, height, .. } = bench.connector(0)?;
    bench.machine.dom0(&format!(
        "xl vdispl-attach {id} backend=0 be-alloc={be_alloc} connectors=Other:{width}x{height}"
    ))?;
    wait_until("the other display", SHORT, || has_other(bench))
}

fn detach_other(bench: &mut Bench<'_>) -> Result<()> {
    let id = bench.guest.id;
    bench.machine.dom0(&format!("xl vdispl-detach {id} 1"))?;
    wait_until("the end of the other display", SHORT, || {
        Ok(!has_other(bench)?)
    })
}

fn has_other(bench: &mut Bench<'_>) -> Result<bool> {
    let listed = bench
        .guest
        .run(bench.machine, &format!("ls {OTHER}"), SHORT)?;
    Ok(listed.status == 0)
}
