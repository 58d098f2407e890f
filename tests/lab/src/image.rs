// SPDX-License-Identifier: GPL-2.0
//! Root file systems of Dom0 and of guests, and images of them.

use crate::apt;
use crate::arch::Arch;
use crate::cache::Key;
use crate::cache::entry;
use crate::paths::cache;
use crate::process::output;
use crate::process::run_logged;
use crate::progress::Step;
use anyhow::Context;
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// What Dom0 has beyond a minimal system.
const DOM0_PACKAGES: &[&str] = &[
    "busybox-static",
    "kmod",
    "libdrm2",
    "xen-hypervisor-4.20-amd64",
    "xen-utils-4.20",
    "xenstore-utils",
];

/// What a guest has beyond a minimal system.
const GUEST_PACKAGES: &[&str] = &[
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

/// What Dom0 and guests of another architecture have: no package's script can be run for them here, so it is what works without, and there
/// is no minimal system that comes by itself.
const FOREIGN_PACKAGES: &[&str] = &[
    "base-files",
    "busybox-static",
    "coreutils",
    "dash",
    "grep",
    "kmod",
    "mawk",
    "mount",
    "sed",
    "util-linux",
    "xen-hypervisor-4.20-arm64",
    "xen-utils-4.20",
    "xenstore-utils",
];

/// What machines are booted from, beside a kernel.
pub struct Roots {
    /// Directory with Dom0's `root.img`, and with `xen`.
    pub dom0: PathBuf,
    /// Directory with the guests' `root.img`.
    pub guest: PathBuf,
    /// A shell that needs no libraries.
    pub busybox: PathBuf,
}

/// Those of an architecture.
///
/// # Errors
///
/// When the archive cannot be reached, or there is no room.
pub fn roots(arch: Arch) -> Result<Roots> {
    Ok(match arch {
        Arch::Amd64 => Roots {
            dom0: root("dom0", arch, DOM0_PACKAGES)?,
            guest: root("guest", arch, GUEST_PACKAGES)?,
            busybox: PathBuf::from("/bin/busybox"),
        },
        Arch::Arm64 => {
            let both = root(&arch.name_of("root"), arch, FOREIGN_PACKAGES)?;
            Roots {
                busybox: both.join("busybox"),
                dom0: both.clone(),
                guest: both,
            }
        }
    })
}

/// Files that no scenario reads.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
];

/// The directory with `root.img`, an ext4 image of a Debian 13 system with these packages; and, for Dom0, Xen in `xen`.
fn root(name: &str, arch: Arch, packages: &[&str]) -> Result<PathBuf> {
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
            match arch {
                Arch::Amd64 => "--variant=minbase",
                Arch::Arm64 => "--variant=extract",
            },
            &format!("--arch={}", arch.debian()),
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
        match arch {
            Arch::Amd64 => {
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
            }
            Arch::Arm64 => {
                std::fs::copy(tree.join("boot/xen-4.20-arm64"), dir.join("xen"))?;
                std::fs::copy(tree.join("usr/bin/busybox"), dir.join("busybox"))?;
                // What the packages' scripts would have done.
                std::fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
                std::fs::write(tree.join("etc/group"), "root:x:0:\n")?;
                symlink("mawk", tree.join("usr/bin/awk"))?;
            }
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
