// SPDX-License-Identifier: GPL-2.0
//! The programs of this workspace that the machines run.

use crate::apt;
use crate::arch::Arch;
use crate::cache::Key;
use crate::cache::entry;
use crate::paths::cache;
use crate::paths::repo;
use crate::process::output;
use crate::process::run_logged;
use crate::progress::Step;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// All of them.
const PROGRAMS: [&str; 4] = [
    "lab-agent",
    "xen-displ-backend",
    "xen-display-test",
    "xen-zcopy",
];

/// A program, in the cargo target directory that `tests/lab/enter` names.
pub fn program(arch: Arch, name: &str) -> PathBuf {
    let target = cache("target").join(arch.rust_target().unwrap_or_default());
    target.join("release").join(name)
}

/// `cargo` for the workspace.
pub fn cargo(subcommand: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .args(subcommand)
        .arg("--manifest-path")
        .arg(repo("tests/Cargo.toml"));
    cargo
}

/// Build the backend, the guest's test programs and the agent.
///
/// # Errors
///
/// When one does not build.
pub fn build(arch: Arch) -> Result<()> {
    let mut build = cargo(&["build", "--release", "--workspace"]);
    for program in PROGRAMS {
        build.args(["--bin", program]);
    }
    if let Some(target) = arch.rust_target() {
        let flags = format!("--sysroot={}", standard_library(arch)?.display());
        let of_target = target.to_uppercase().replace('-', "_");
        build
            .args(["--target", target])
            .env(format!("CARGO_TARGET_{of_target}_LINKER"), arch.cc())
            .env(format!("CARGO_TARGET_{of_target}_RUSTFLAGS"), flags);
    }
    let step = Step::new("building the programs for Dom0 and guests");
    run_logged(&mut build, &cache("logs/programs.log"), &step)
}

/// A sysroot for the compiler that is here with Debian's standard library for another architecture, of the same package version.
fn standard_library(arch: Arch) -> Result<PathBuf> {
    const PACKAGE: &str = "libstd-rust-dev";
    let version = output(Command::new("dpkg-query").args(["-W", "-f", "${Version}", PACKAGE]))?;
    let key = Key::new().with("1").with(&version).with(apt::sources()?);
    entry(&arch.name_of("rust"), &key, |dir| {
        let step = Step::new("fetching Rust's standard library");
        apt::update(arch, &step)?;
        let packages = dir.join("packages");
        apt::unpack(&[PACKAGE], &version, arch, &packages, &step)?;
        std::fs::rename(packages.join("usr/lib"), dir.join("lib"))?;
        std::fs::remove_dir_all(packages)?;
        Ok(())
    })
}
