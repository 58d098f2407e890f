// SPDX-License-Identifier: GPL-2.0
//! Kernels for guests that watch themselves: built here, from the source of the stock kernel, with what is in `tests/lab/kernel`.

use crate::bench::LONG;
use crate::cache::Key;
use crate::cache::entry;
use crate::guest::Config;
use crate::guest::Guest;
use crate::guest::Kind;
use crate::health::Baseline;
use crate::health::Mark;
use crate::image::ext4;
use crate::kernel::Kernel;
use crate::kernel::VMLINUX;
use crate::kernel::compile;
use crate::machine::Machine;
use crate::paths::REPO;
use crate::paths::cache;
use crate::paths::outside;
use crate::paths::repo;
use crate::process::output;
use crate::process::run_logged;
use crate::progress::Step;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// What a kernel watches in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watch {
    /// Locks, sleep, the life of objects, pages and slabs.
    Debug,
    /// Every access to memory.
    Kasan,
}

impl Watch {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Debug, Self::Kasan];

    /// The kinds of guests that it boots in. With KASAN a PV guest dies before it has a console.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Debug => &[Kind::Pvh, Kind::Pv],
            Self::Kasan => &[Kind::Pvh],
        }
    }

    /// The parts of its configuration, in `tests/lab/kernel`.
    fn parts(self) -> [&'static str; 3] {
        match self {
            Self::Debug => ["guest.config", "watch.config", "debug.config"],
            Self::Kasan => ["guest.config", "watch.config", "kasan.config"],
        }
    }

    fn config(self) -> Result<String> {
        self.parts()
            .iter()
            .map(|part| {
                let path = repo("tests/lab/kernel").join(part);
                std::fs::read_to_string(&path).with_context(|| outside(&path))
            })
            .collect()
    }

    /// What `make` is told beside the configuration.
    fn make_options(self, tree: &Path) -> Result<Vec<String>> {
        // The kernel's Rust needs clang where KASAN is, and both kernels are to differ in nothing else.
        let mut options = vec!["LLVM=1".to_owned()];
        if self == Self::Kasan {
            // A guest runs these before KASAN has memory for what it notes.
            for file in std::fs::read_dir(tree.join("arch/x86/xen"))? {
                let path = file?.path();
                if path.extension().is_some_and(|extension| extension == "c") {
                    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                    options.push(format!("KASAN_SANITIZE_{stem}.o=n"));
                }
            }
            options.sort();
        }
        Ok(options)
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "debug",
            Self::Kasan => "kasan",
        })
    }
}

/// Such a kernel, built.
pub struct WatchedKernel {
    /// What it watches.
    pub watch: Watch,
    dir: PathBuf,
}

impl WatchedKernel {
    /// The kernel from the cache, or else built from the source of a stock kernel: that takes ten minutes or more.
    ///
    /// # Errors
    ///
    /// When its configuration is not what was asked for, or it cannot be built.
    pub fn prepare(watch: Watch, stock: &Kernel) -> Result<Self> {
        let config = watch.config()?;
        let key = Key::new()
            .with("1")
            .with(stock.tree().as_os_str().as_encoded_bytes())
            .with(&config)
            .with(output(Command::new("rustc").arg("-vV"))?)
            .with(output(Command::new("clang").arg("--version"))?);
        let dir = entry(&format!("kernel-{watch}"), &key, |dir| {
            build(watch, stock, &config, dir)
        })?;
        Ok(Self { watch, dir })
    }

    /// An ext4 image for `/usr/lib/modules`, with the kernel's own image in it.
    pub fn modules_image(&self) -> PathBuf {
        self.dir.join("modules.img")
    }

    /// Build our modules for it and return their paths.
    ///
    /// # Errors
    ///
    /// When the build fails or warns.
    pub fn build_modules(&self) -> Result<Vec<PathBuf>> {
        let step = Step::new(format!(
            "building the modules for the {} kernel",
            self.watch
        ));
        let tree = self.dir.join("tree");
        let dir = cache(&format!("module-{}", self.watch));
        let mut make = make(&tree);
        make.arg("LLVM=1")
            .arg(format!("M={REPO}"))
            .arg(format!("MO={}", dir.display()))
            .arg("modules");
        compile(make, &dir, &step)
    }
}

fn make(tree: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-C").arg(tree);
    make.arg(format!(
        "-j{}",
        std::thread::available_parallelism().map_or(1, usize::from)
    ));
    make
}

/// Parts of the source that no module out of the tree is built with: what Debian's headers leave out too.
const NOT_FOR_MODULES: &[&str] = &[
    "Documentation",
    "block",
    "crypto",
    "drivers",
    "fs",
    "io_uring",
    "ipc",
    "kernel",
    "lib",
    "mm",
    "net",
    "samples",
    "security",
    "sound",
    "tools/perf",
    "tools/testing",
    "virt",
];

/// Fill a directory with `modules.img` and `tree/`.
fn build(watch: Watch, stock: &Kernel, config: &str, dir: &Path) -> Result<()> {
    let step = Step::new(format!(
        "building the {watch} kernel (ten minutes or more, once)"
    ));
    let log = cache(&format!("logs/kernel-{watch}.log"));
    let tree = dir.join("tree");
    step.at("copying the source");
    output(
        Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(stock.tree())
            .arg(&tree),
    )?;
    std::fs::remove_file(tree.join("Module.symvers"))?;
    let options = watch.make_options(&tree)?;
    run_logged(make(&tree).args(&options).arg("mrproper"), &log, &step)?;
    let asked = dir.join("asked.config");
    std::fs::write(&asked, config)?;
    run_logged(
        make(&tree)
            .args(&options)
            .arg(format!("KCONFIG_ALLCONFIG={}", asked.display()))
            .arg("allnoconfig"),
        &log,
        &step,
    )?;
    let lacking = lacking(config, &std::fs::read_to_string(tree.join(".config"))?);
    ensure!(
        lacking.is_empty(),
        "Kconfig did not take these lines of the {watch} kernel's configuration:\n{}",
        lacking.join("\n")
    );
    run_logged(
        make(&tree).args(&options).args(["vmlinux", "modules"]),
        &log,
        &step,
    )?;
    let installed = dir.join("installed");
    run_logged(
        make(&tree)
            .args(&options)
            .arg(format!("INSTALL_MOD_PATH={}", installed.display()))
            .arg("modules_install"),
        &log,
        &step,
    )?;
    step.at("making an image");
    let modules = installed.join("lib/modules");
    output(
        Command::new("llvm-strip")
            .arg("-o")
            .arg(modules.join(VMLINUX))
            .arg(tree.join("vmlinux")),
    )?;
    for release in std::fs::read_dir(&modules)? {
        // It leads to the tree, which the guest has not.
        let link = release?.path().join("build");
        if link.is_symlink() {
            std::fs::remove_file(link)?;
        }
    }
    ext4(&modules, &dir.join("modules.img"))?;
    std::fs::remove_dir_all(installed)?;
    step.at("tidying up");
    for part in NOT_FOR_MODULES {
        std::fs::remove_dir_all(tree.join(part)).with_context(|| format!("no {part}"))?;
    }
    for file in std::fs::read_dir(&tree)? {
        let file = file?;
        let name = file.file_name();
        if name.to_string_lossy().starts_with("vmlinux")
            || name.to_string_lossy().starts_with(".tmp")
        {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// The lines of a configuration that did not come about.
fn lacking<'a>(asked: &'a str, got: &str) -> Vec<&'a str> {
    let is_there = |wanted: &&str| {
        let held = got.lines().any(|line| line == *wanted);
        // What is not set need not be mentioned.
        let unset = |option: &str| {
            !got.lines().any(|line| {
                line.strip_prefix(option)
                    .is_some_and(|rest| rest.starts_with('='))
            })
        };
        held || wanted
            .strip_prefix("# ")
            .and_then(|rest| rest.strip_suffix(" is not set"))
            .is_some_and(unset)
    };
    asked
        .lines()
        .filter(|line| line.starts_with("CONFIG_") || line.ends_with(" is not set"))
        .filter(|line| !is_there(line))
        .collect()
}

/// Have a guest's kernel look for memory that nobody refers to any more. What is found once counts only if it is found again. What was told is
/// not told again.
const SCAN: &str = "cd /sys/kernel/debug && echo scan >kmemleak && sleep 6 && echo scan >kmemleak && cat kmemleak && echo clear >kmemleak";

/// What a guest's kernel has found since it was asked last.
///
/// # Errors
///
/// When it does not look for any.
pub fn leaks(machine: &mut Machine, guest: &Guest) -> Result<String> {
    guest
        .run_ok(machine, SCAN, LONG)
        .context("kmemleak does not look for memory that is lost")
}

/// What a kernel tells of itself in a guest without our modules.
///
/// # Errors
///
/// When the guest does not boot.
pub fn baseline(machine: &mut Machine, kind: Kind, out: &Path) -> Result<Baseline> {
    let step = Step::new("booting a guest without our modules");
    let guest = Guest::boot(machine, Config::without_display(kind))?;
    step.at("what it does without a display");
    guest.run_ok(
        machine,
        "modprobe vkms && modprobe vgem && sleep 1 && rmmod vgem",
        LONG,
    )?;
    let leaks = leaks(machine, &guest)?;
    let log = Mark::default().since(&guest.console(machine))?;
    guest.destroy(machine)?;
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("domu.log"), &log)?;
    std::fs::write(out.join("kmemleak"), &leaks)?;
    Ok(Baseline::of(&log, &leaks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kconfig_did_not_take_is_told() {
        let asked = "# A comment.\nCONFIG_A=y\nCONFIG_B=\"b\"\n# CONFIG_C is not set\n# CONFIG_D is not set\n";
        let got = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=m\n";
        assert_eq!(
            lacking(asked, got),
            ["CONFIG_B=\"b\"", "# CONFIG_D is not set"]
        );
    }
}
