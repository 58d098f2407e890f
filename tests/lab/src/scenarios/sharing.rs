// SPDX-License-Identifier: GPL-2.0
//! Buffers shared with another driver of the guest.

use crate::bench::Bench;
use crate::guest::Kind;
use anyhow::Result;

/// A buffer of vgem's is shown.
pub fn import_vgem(bench: &mut Bench<'_>) -> Result<()> {
    if bench.guest.config.kind == Kind::Pv {
        // There a program that draws into a buffer of vgem's faults for ever, whether a display has anything to do with it or not: the
        // kernel maps it write-combined, again and again.
        return Ok(());
    }
    bench.sh("modprobe vgem")?;
    import(bench, "vgem --direction import --variant 3", 3)?;
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
    if bench.has_reference_driver()? {
        // It wants another pitch.
        return Ok(());
    }
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
        "vgem --direction export --variant 2 --hold --connector {}",
        connector.name
    ))?;
    bench.expect_card(connector, 2, "XRGB8888")?;
    bench.end(job)?;
    bench.sh("rmmod vgem")?;
    Ok(())
}
