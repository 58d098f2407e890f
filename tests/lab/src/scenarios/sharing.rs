// SPDX-License-Identifier: GPL-2.0
//! Buffers shared with another driver of the guest.

use crate::bench::Bench;
use anyhow::Result;

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
