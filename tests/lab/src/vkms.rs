// SPDX-License-Identifier: GPL-2.0
//! vkms, the kernel's display without a device: it reads what it shows when it shows it, as a device would, and tells its checksum. Debian's
//! kernel has it not, so it is built from its source.

use crate::cache::Key;
use crate::cache::entry;
use crate::kernel::Kernel;
use crate::link::Domain;
use crate::machine::Machine;
use crate::paths::cache;
use crate::process::output;
use crate::process::run_logged;
use crate::progress::Step;
use anyhow::Context;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The name of the driver.
pub const DRIVER: &str = "vkms";

/// Has it in Dom0. What it needs beyond this is there for Dom0's other displays.
pub const LOAD: &str = "[ -d /sys/module/vkms ] || { modprobe configfs && insmod /lab/bin/vkms.ko enable_writeback=0; }";

/// Checksums that may be of the picture before, and are passed over.
const SETTLING: u32 = 2;

/// The module for a kernel.
///
/// # Errors
///
/// When it cannot be built.
pub fn module(kernel: &Kernel) -> Result<PathBuf> {
    let tree = kernel.tree();
    // The tree is named by a hash of all that it is made from.
    let key = Key::new()
        .with("1")
        .with(tree.as_os_str().as_encoded_bytes());
    let dir = entry(DRIVER, &key, |dir| {
        let step = Step::new(format!("building vkms for {}", kernel.release));
        let source = tree.join("drivers/gpu/drm/vkms/.");
        output(Command::new("cp").arg("-r").arg(source).arg(dir))?;
        let mut make = kernel.external_make(dir);
        make.args(["CONFIG_DRM_VKMS=m", "modules"]);
        run_logged(&mut make, &cache("logs/vkms.log"), &step)
    })?;
    Ok(dir.join("vkms.ko"))
}

/// The checksum of what it shows, in Dom0.
///
/// # Errors
///
/// When it tells none: it is off.
pub fn checksum(machine: &mut Machine) -> Result<String> {
    let command = format!(
        "head -n {} /sys/kernel/debug/dri/{}/crtc-0/crc/data",
        SETTLING + 1,
        machine.card(DRIVER)?
    );
    let lines = machine
        .link
        .run_ok(Domain::Zero, &command, Duration::from_secs(120))?;
    // The number of a frame, and the checksum.
    let last = lines.lines().last().context("vkms told no checksum")?;
    let checksum = last.split_whitespace().nth(1);
    Ok(checksum
        .with_context(|| format!("vkms told: {last}"))?
        .to_owned())
}
