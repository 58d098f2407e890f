// SPDX-License-Identifier: GPL-2.0
//! The stock kernel without Xen: the modules must refuse to be loaded there.

use crate::health::complaint;
use crate::initramfs::Initramfs;
use crate::kernel::Kernel;
use crate::kernel::MODULES;
use crate::paths::cache;
use crate::process::run_logged;
use crate::progress::Step;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// What the first module says; the other one needs it.
const REFUSAL: &str = "xen_zcopy: not in a Xen domain with PV devices";

/// Seconds that the kernel may take to boot and to end.
const AT_MOST: &str = "240";

/// Boot the kernel by itself and have it load the modules.
///
/// # Errors
///
/// When one is loaded, or they do not say why not.
pub fn modules_are_refused(kernel: &Kernel) -> Result<()> {
    let modules = kernel.build_modules(false)?;
    let image = cache("run-bare-initramfs");
    let needs = kernel.needs_of(&modules)?;
    Initramfs {
        init: "bare",
        busybox: Path::new("/bin/busybox"),
        modules: &needs.iter().map(String::as_str).collect::<Vec<_>>(),
        scripts: &[],
        files: &modules.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
    }
    .make(kernel, &image)?;
    let step = Step::new("booting the kernel without Xen");
    let log = cache("logs/bare.log");
    let mut qemu = Command::new("timeout");
    qemu.args([AT_MOST, "qemu-system-x86_64"]);
    qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max"]);
    qemu.args(["-m", "512", "-nodefaults", "-no-reboot"]);
    qemu.args(["-display", "none", "-serial", "stdio"]);
    qemu.args(["-append", "console=ttyS0 panic=-1"]);
    qemu.arg("-kernel").arg(kernel.image());
    qemu.arg("-initrd").arg(image);
    run_logged(&mut qemu, &log, &step)?;
    let said = std::fs::read_to_string(&log)?;
    for module in MODULES {
        let ended = said
            .lines()
            .find_map(|line| line.split_once(&format!("lab: insmod of {module} ended with ")))
            .context("the kernel came to its end without loading the modules")?;
        ensure!(ended.1.trim() != "0", "{module} was loaded outside Xen");
    }
    ensure!(
        said.contains(REFUSAL),
        "the modules did not say \"{REFUSAL}\""
    );
    let line = complaint(&said);
    ensure!(line.is_none(), "the kernel has: {}", line.unwrap_or(""));
    Ok(())
}
