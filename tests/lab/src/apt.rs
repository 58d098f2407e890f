// SPDX-License-Identifier: GPL-2.0
//! The Debian archive, as the toolchain root's apt sees it.

use crate::arch::Arch;
use crate::paths::cache;
use crate::process::output;
use crate::process::run_logged;
use crate::progress::Step;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use std::path::Path;
use std::process::Command;

/// The sources that `tests/lab/enter` derived from the host's.
///
/// # Errors
///
/// When the file is not there: the program was not started by `enter`.
pub fn sources() -> Result<String> {
    let path = cache("sources.list");
    std::fs::read_to_string(path)
        .context("the cache has no sources.list: start the lab by tests/lab/enter")
}

/// An apt program for the packages of an architecture. The root's own apt knows its own only, and what it has installed; another one's has lists
/// of its own and takes nothing for installed.
fn apt(program: &str, arch: Arch) -> Command {
    let mut command = Command::new(program);
    if arch != Arch::Amd64 {
        let name = arch.debian();
        let lists = cache("apt").join(name).display().to_string();
        for (option, value) in [
            ("APT::Architecture", name),
            ("APT::Architectures", name),
            ("Acquire::Languages", "none"),
            ("Dir::State::Lists", &lists),
            ("Dir::State::Status", "/dev/null"),
            ("Dir::Cache::PkgCache", ""),
            ("Dir::Cache::SrcPkgCache", ""),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
    }
    command
}

/// Fetch the lists of what the archive has.
///
/// # Errors
///
/// When the mirror cannot be reached.
pub fn update(arch: Arch, step: &Step) -> Result<()> {
    std::fs::create_dir_all(cache("apt").join(arch.debian()).join("partial"))?;
    run_logged(
        apt("apt-get", arch).args(["-q", "-o", "APT::Update::Error-Mode=any", "update"]),
        &cache("logs/apt-update.log"),
        step,
    )
    .with_context(|| {
        format!(
            "the package lists could not be fetched from\n{}",
            sources().unwrap_or_default()
        )
    })
}

/// The versions of a package in the archive, newest first.
///
/// # Errors
///
/// When apt fails.
pub fn versions(package: &str, arch: Arch) -> Result<Vec<String>> {
    let table = output(apt("apt-cache", arch).args(["madison", package]))?;
    Ok(table
        .lines()
        .filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned()))
        .collect())
}

/// All packages whose name starts so.
///
/// # Errors
///
/// When apt fails.
pub fn names(prefix: &str, arch: Arch) -> Result<Vec<String>> {
    Ok(output(apt("apt-cache", arch).args(["pkgnames", prefix]))?
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Download packages at a version and unpack them into `dir`, without running their scripts.
///
/// # Errors
///
/// When one is not in the archive at that version (the error names the newest), or apt or dpkg fails.
pub fn unpack(packages: &[&str], version: &str, arch: Arch, dir: &Path, step: &Step) -> Result<()> {
    let debs = dir.join("debs");
    std::fs::create_dir_all(&debs)?;
    for package in packages {
        let present = versions(package, arch)?;
        if !present.iter().any(|v| v == version) {
            let newest = present
                .first()
                .map_or("none at all".to_owned(), Clone::clone);
            bail!(
                "{package} {version} is not in the archive any more; the newest there is {newest}"
            );
        }
        step.at(&format!("downloading {package}"));
        // Run as "_apt" it could not write here.
        run_logged(
            apt("apt-get", arch)
                .args([
                    "-q",
                    "-o",
                    "APT::Sandbox::User=root",
                    "download",
                    &format!("{package}={version}"),
                ])
                .current_dir(&debs),
            &cache("logs/apt-download.log"),
            step,
        )?;
    }
    for deb in std::fs::read_dir(&debs)? {
        let deb = deb?.path();
        step.at(&format!("unpacking {}", deb.display()));
        output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(dir))?;
    }
    std::fs::remove_dir_all(debs)?;
    Ok(())
}
