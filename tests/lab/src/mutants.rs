// SPDX-License-Identifier: GPL-2.0
//! Do the tests see it? Each file of `tests/mutants/` is a patch that breaks the modules in one place, and names the test that must turn red
//! with it, and what that then says.

use crate::arch::Arch;
use crate::bench::Driver;
use crate::check::Only;
use crate::check::ingredients;
use crate::cli;
use crate::cli::Front;
use crate::guest::Kind;
use crate::kernel::Kernel;
use crate::machine::Ingredients;
use crate::paths::cache;
use crate::paths::outside;
use crate::paths::remove_old;
use crate::paths::repo;
use crate::process::output;
use crate::report::Report;
use crate::scenarios::Scenario;
use crate::scenarios::in_guests;
use crate::stage::Stage;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// What the modules are built from.
const SOURCES: [&str; 4] = ["Kbuild", "drm_front", "include", "zcopy_backend_client"];

/// A way to break the modules.
#[derive(Debug)]
struct Mutant {
    /// The patch's name without its extension.
    name: String,
    patch: PathBuf,
    /// The test that must turn red.
    test: String,
    /// A part of what that says.
    says: String,
}

impl Mutant {
    /// Read a patch's heading.
    fn read(patch: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&patch)?;
        let name = patch.file_stem().unwrap_or_default().to_string_lossy();
        let (test, says) = heading(&text).with_context(|| outside(&patch))?;
        Ok(Self {
            name: name.into_owned(),
            test: test.to_owned(),
            says: says.to_owned(),
            patch,
        })
    }

    /// The scenario that must turn red, and in what guest.
    fn scenario(&self) -> Result<(Kind, &'static Scenario)> {
        in_guests()
            .find(|(kind, scenario)| scenario.name_in(*kind) == self.test)
            .with_context(|| {
                format!(
                    "{}: there is no scenario {}",
                    outside(&self.patch),
                    self.test
                )
            })
    }
}

/// The test that a patch names, and what that is to say.
fn heading(text: &str) -> Result<(&str, &str)> {
    let field = |name: &str| {
        text.lines()
            .take_while(|line| !line.starts_with("diff "))
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .with_context(|| format!("the heading has no \"{name}\""))
    };
    Ok((field("Test:")?, field("Says:")?))
}

/// All patches, by their names.
fn all() -> Result<Vec<Mutant>> {
    let folder = repo("tests/mutants");
    let mut mutants = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| outside(&folder))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            mutants.push(Mutant::read(path)?);
        }
    }
    mutants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(mutants)
}

/// Break the modules in each way; whether the tests saw all of them.
///
/// # Errors
///
/// When a patch's heading makes no sense, or what machines need cannot be made.
pub fn run(options: &cli::CheckBuilt) -> Result<bool> {
    let mut mutants = all()?;
    let names = mutants.iter().map(|mutant| mutant.name.clone()).collect();
    let only = Only::of(options.only.as_deref(), names)?;
    mutants.retain(|mutant| only.wants(&mutant.name));
    let out = repo("out/check-mutants");
    remove_old(&out)?;
    let mut report = Report::default();
    for arch in Arch::ALL {
        let mut parts = Vec::new();
        for mutant in &mutants {
            let (kind, scenario) = mutant.scenario()?;
            if kind.arch() == arch {
                parts.push((mutant, kind, scenario));
            }
        }
        if parts.is_empty() {
            continue;
        }
        let kernel = Kernel::prepare(&arch.release(&options.kver))?;
        let mut ingredients = ingredients(kernel, Front::Rust)?;
        for (mutant, kind, scenario) in parts {
            let out = out.join(&mutant.name);
            report.test(&mutant.name, || {
                is_seen(&mut ingredients, mutant, kind, scenario, &out)
            });
        }
    }
    Ok(report.finish())
}

/// Build modules that are broken in one way, and see the test turn red.
fn is_seen(
    ingredients: &mut Ingredients,
    mutant: &Mutant,
    kind: Kind,
    scenario: &Scenario,
    out: &Path,
) -> Result<()> {
    let source = cache("mutant");
    copy_sources(&source)?;
    output(
        Command::new("git")
            .args(["apply", "--recount"])
            .arg(&mutant.patch)
            .current_dir(&source),
    )?;
    let modules = ingredients.kernel.build_modules_of(&source)?;
    if let (Some(of_dom0), Some(zcopy)) = (ingredients.dom0_modules.first_mut(), modules.first()) {
        of_dom0.clone_from(zcopy);
    }
    ingredients.modules = modules;
    let driver = Driver::new(ingredients)?;
    match Stage::new(ingredients, &driver, out).play(scenario, kind) {
        Ok(()) => bail!("{} stays green", mutant.test),
        Err(error) => {
            let said = format!("{error:#}");
            std::fs::write(out.join("said"), &said)?;
            ensure!(
                said.contains(&mutant.says),
                "{} does not say \"{}\" but: {said}",
                mutant.test,
                mutant.says
            );
            Ok(())
        }
    }
}

/// Have a copy of the modules' source. A file that changes, there and back, becomes newer than what was made of it.
fn copy_sources(to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    let mut rsync = Command::new("rsync");
    rsync.args(["--recursive", "--links", "--checksum", "--delete"]);
    output(rsync.args(SOURCES.map(repo)).arg(to)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_names_a_test_and_what_it_says() -> Result<()> {
        let patch =
            "Subject: all is broken\nTest: card-pvh\nSays: pixels differ\n\ndiff --git\nTest: no\n";
        assert_eq!(heading(patch)?, ("card-pvh", "pixels differ"));
        assert!(heading("Test: card-pvh\nSays:\n").is_err());
        assert!(heading("Says: pixels differ\n").is_err());
        Ok(())
    }

    #[test]
    fn every_patch_names_a_scenario() -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mutants");
        for entry in std::fs::read_dir(folder)? {
            Mutant::read(entry?.path())?.scenario()?;
        }
        Ok(())
    }
}
