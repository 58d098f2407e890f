// SPDX-License-Identifier: GPL-2.0
//! Root file systems of Dom0 and of guests, and images of them.

use crate::apt;
use crate::cache::Key;
use crate::cache::entry;
use crate::paths::cache;
use crate::process::output;
use crate::process::run_logged;
use crate::progress::Step;
use anyhow::Context;
use anyhow::Result;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// What Dom0 has beyond a minimal system.
pub const DOM0_PACKAGES: &[&str] = &[
    "busybox-static",
    "kmod",
    "libdrm2",
    "xen-hypervisor-4.20-amd64",
    "xen-utils-4.20",
    "xenstore-utils",
];

/// What a guest has beyond a minimal system.
pub const GUEST_PACKAGES: &[&str] = &[
    "busybox-static",
    "drm-info",
    "kmod",
    "kmscube",
    "libdrm-tests",
    "libgl1-mesa-dri",
    "seatd",
    "weston",
    "xenstore-utils",
];

/// Files that no scenario reads.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
];

/// The directory with `root.img`, an ext4 image of a Debian 13 system with these packages; and, for Dom0, Xen in `xen`.
///
/// # Errors
///
/// When the archive cannot be reached, or there is no room.
pub fn root(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let sources = apt::sources()?;
    let key = packages
        .iter()
        .fold(Key::new().with("4").with(&sources), |key, package| {
            key.with(package)
        });
    entry(name, &key, |dir| {
        let step = Step::new(format!("making the root of {name}"));
        let tree = dir.join("tree");
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args([
            "--variant=minbase",
            "--aptopt=/cache/apt.conf",
            &format!("--include={}", packages.join(",")),
        ]);
        mmdebstrap.args(
            LEFT_OUT
                .iter()
                .map(|path| format!("--dpkgopt=path-exclude={path}")),
        );
        mmdebstrap
            .arg("trixie")
            .arg(&tree)
            .arg(cache("sources.list"));
        run_logged(
            &mut mmdebstrap,
            &cache(&format!("logs/root-{name}.log")),
            &step,
        )?;
        for mount_point in ["lab", "usr/lib/modules"] {
            std::fs::create_dir_all(tree.join(mount_point))?;
        }
        // QEMU starts Xen's ELF image, the package has it compressed.
        let hypervisor = tree.join("boot/xen-4.20-amd64.gz");
        if hypervisor.exists() {
            let xen = File::create(dir.join("xen"))?;
            let status = Command::new("gzip")
                .arg("-dc")
                .arg(hypervisor)
                .stdout(xen)
                .status()?;
            anyhow::ensure!(status.success(), "Xen could not be uncompressed ({status})");
        }
        step.at("making its image");
        ext4(&tree, &dir.join("root.img"))?;
        std::fs::remove_dir_all(tree)?;
        Ok(())
    })
}

/// An ext4 image of a directory tree, with a little room.
///
/// # Errors
///
/// When `mke2fs` fails.
pub fn ext4(tree: &Path, image: &Path) -> Result<()> {
    let kib: u64 = output(Command::new("du").arg("-sk").arg(tree))?
        .split_whitespace()
        .next()
        .context("du printed nothing")?
        .parse()?;
    let size = format!("{}k", kib * 5 / 4 + 32 * 1024);
    output(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
            .arg(tree)
            .arg(image)
            .arg(size),
    )?;
    Ok(())
}
