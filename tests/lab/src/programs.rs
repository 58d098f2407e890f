// SPDX-License-Identifier: GPL-2.0
//! The programs of this workspace that the machines run.

use crate::paths::cache;
use crate::paths::repo;
use crate::process::run_logged;
use crate::progress::Step;
use anyhow::Result;
use std::process::Command;

/// `cargo` for the workspace.
pub fn cargo(subcommand: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .args(subcommand)
        .arg("--manifest-path")
        .arg(repo("tests/Cargo.toml"));
    cargo
}

/// Build the backend, the guest's test program and the agent.
///
/// # Errors
///
/// When one does not build.
pub fn build() -> Result<()> {
    let step = Step::new("building the programs for Dom0 and guests");
    run_logged(
        &mut cargo(&["build", "--release", "--workspace", "--bins"]),
        &cache("logs/programs.log"),
        &step,
    )
}
