// SPDX-License-Identifier: GPL-2.0
//! The tests: host, gates, and scenarios.

use crate::arch::Arch;
use crate::bare;
use crate::bench::Driver;
use crate::cli;
use crate::cli::Front;
use crate::gates;
use crate::guest::Kind;
use crate::image;
use crate::kernel::Kernel;
use crate::machine::Ingredients;
use crate::paths::cache;
use crate::paths::remove_old;
use crate::paths::repo;
use crate::process::run_logged;
use crate::programs;
use crate::programs::cargo;
use crate::progress::Step;
use crate::qemu::Resolution;
use crate::report::Report;
use crate::scenarios::KINDS;
use crate::scenarios::SCENARIOS;
use crate::scenarios::Scenario;
use crate::scenarios::Tier;
use crate::scenarios::in_guests;
use crate::scenarios::watched;
use crate::stage::Stage;
use crate::vkms;
use crate::watch::Watch;
use crate::watch::WatchedKernel;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The tests that were asked for by name: all if none was.
pub struct Only {
    parts: Vec<String>,
    names: Vec<String>,
}

impl Only {
    /// What was asked for with `only`, of tests with these names.
    ///
    /// # Errors
    ///
    /// When there is none of a name that was asked for.
    pub fn of(only: Option<&str>, names: Vec<String>) -> Result<Self> {
        let parts: Vec<String> = only
            .into_iter()
            .flat_map(|only| only.split(','))
            .map(str::to_owned)
            .collect();
        for part in &parts {
            ensure!(
                names.iter().any(|name| name.contains(part)),
                "no test has \"{part}\" in its name; \"make list\" lists them"
            );
        }
        Ok(Self { parts, names })
    }

    fn is_all(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a test was asked for. One by its exact name is not to bring along those that have it in theirs.
    pub fn wants(&self, name: &str) -> bool {
        let is_meant = |part: &String| match self.names.contains(part) {
            true => name == part,
            false => name.contains(part),
        };
        self.is_all() || self.parts.iter().any(is_meant)
    }
}

/// Which tests are wanted.
struct Selection {
    only: Only,
    full: bool,
    front: Front,
}

impl Selection {
    fn wants(&self, scenario: &Scenario, kind: Kind) -> bool {
        let Some(tier) = scenario.tier(kind) else {
            return false;
        };
        let has_it = kind.arch().has(self.front) && !(scenario.ours && self.front == Front::C);
        let in_tier = self.full || !self.only.is_all() || tier == Tier::Check;
        has_it && in_tier && self.only.wants(&scenario.name_in(kind))
    }
}

/// A test's name, and the test.
type HostTest = (&'static str, fn() -> Result<()>);

/// Tests that need no machine.
const HOST_TESTS: &[HostTest] = &[
    ("rustfmt", rustfmt),
    ("rustfmt-kernel", rustfmt_kernel),
    ("clippy", clippy),
    ("host-tests", host_tests),
    ("loom", loom),
    ("fuzz", fuzz),
    ("uapi-header", uapi_header),
    ("gate-unsafe-rooms", gates::unsafe_rooms),
    ("gate-generic-rooms", gates::generic_rooms),
];

/// A test's name, and the test, of a prepared kernel.
type KernelTest = (&'static str, fn(&Kernel) -> Result<()>);

/// Tests that need a kernel, and neither Xen nor a guest.
const KERNEL_TESTS: &[KernelTest] = &[
    ("gate-symbols", |kernel| {
        kernel.check_rust_symbols().map(|_| ())
    }),
    ("module-clippy", |kernel| {
        kernel.build_modules(true).map(|_| ())
    }),
    ("module-outside-xen", bare::modules_are_refused),
];

/// Run the tests; whether all passed.
///
/// # Errors
///
/// When what they need cannot be made.
pub fn run(options: &cli::Check) -> Result<bool> {
    let selection = Selection {
        only: Only::of(options.only.as_deref(), names())?,
        full: options.full,
        front: options.common.front,
    };
    let only = &selection.only;
    let mut report = Report::default();

    for (name, test) in HOST_TESTS.iter().filter(|(name, _)| only.wants(name)) {
        report.test(name, test);
    }

    let out = repo("out/check");
    let any_scenario = SCENARIOS
        .iter()
        .any(|scenario| KINDS.iter().any(|kind| selection.wants(scenario, *kind)));
    if any_scenario {
        remove_old(&out)?;
    }
    for arch in Arch::ALL {
        // The kernel tests are the same everywhere, and one of them boots a PC.
        let kernel_tests: Vec<&KernelTest> = match arch {
            Arch::Amd64 => KERNEL_TESTS
                .iter()
                .filter(|test| only.wants(test.0))
                .collect(),
            Arch::Arm64 => Vec::new(),
        };
        let parts: Vec<(Kind, &Scenario)> = KINDS
            .into_iter()
            .filter(|kind| kind.arch() == arch)
            .flat_map(|kind| SCENARIOS.iter().map(move |scenario| (kind, scenario)))
            .filter(|(kind, scenario)| selection.wants(scenario, *kind))
            .collect();
        if kernel_tests.is_empty() && parts.is_empty() {
            continue;
        }
        let kernel = Kernel::prepare(&arch.release(&options.common.kver))?;
        for (name, test) in kernel_tests {
            report.test(name, || test(&kernel));
        }
        if parts.is_empty() {
            continue;
        }
        let ingredients = ingredients(kernel, options.common.front)?;
        scenarios(&ingredients, &parts, &out, &mut report)?;
    }
    if options.full {
        println!("{}", report.table());
    }
    Ok(report.finish())
}

/// The names of all tests.
pub fn names() -> Vec<String> {
    let host = HOST_TESTS.iter().map(|(name, _)| (*name).to_owned());
    let kernel = KERNEL_TESTS.iter().map(|(name, _)| (*name).to_owned());
    let scenarios = in_guests().map(|(kind, scenario)| scenario.name_in(kind));
    host.chain(kernel).chain(scenarios).collect()
}

/// Scenarios in guests whose kernel watches itself: those that are for these only, and some of the others.
fn watched_scenarios() -> impl Iterator<Item = &'static Scenario> {
    let others = SCENARIOS
        .iter()
        .filter(|scenario| watched::OTHERS.contains(&scenario.name));
    watched::SCENARIOS.iter().chain(others)
}

/// The tests of `check-debug`: which kernel, in what guest, what is done.
fn watched_tests() -> impl Iterator<Item = (Watch, Kind, &'static Scenario)> {
    Watch::ALL.into_iter().flat_map(|watch| {
        watch.kinds().iter().flat_map(move |kind| {
            watched_scenarios()
                .filter(|one| one.tier(*kind).is_some())
                .map(move |one| (watch, *kind, one))
        })
    })
}

/// The names of the tests of `check-debug`.
pub fn watched_names() -> Vec<String> {
    watched_tests()
        .map(|(watch, kind, scenario)| scenario.name_watched(kind, watch))
        .collect()
}

/// Run the tests in guests whose kernel watches itself; whether all passed.
///
/// # Errors
///
/// When what they need cannot be made.
pub fn run_watched(options: &cli::CheckBuilt) -> Result<bool> {
    let only = Only::of(options.only.as_deref(), watched_names())?;
    let out = repo("out/check-debug");
    remove_old(&out)?;
    let mut ingredients = ingredients(Kernel::prepare(&options.kver)?, Front::Rust)?;
    let mut report = Report::default();
    for watch in Watch::ALL {
        let parts: Vec<(Kind, &Scenario)> = watched_tests()
            .filter(|(other, kind, scenario)| {
                *other == watch && only.wants(&scenario.name_watched(*kind, watch))
            })
            .map(|(_, kind, scenario)| (kind, scenario))
            .collect();
        if parts.is_empty() {
            continue;
        }
        let kernel = WatchedKernel::prepare(watch, &ingredients.kernel)?;
        ingredients.modules = kernel.build_modules()?;
        ingredients.watched = Some(kernel);
        scenarios(&ingredients, &parts, &out, &mut report)?;
    }
    Ok(report.finish())
}

fn rustfmt() -> Result<()> {
    let step = Step::new("checking the format of the programs");
    run_logged(
        cargo(&["fmt", "--all", "--check"]).current_dir(repo("tests")),
        &cache("logs/rustfmt.log"),
        &step,
    )
}

fn rustfmt_kernel() -> Result<()> {
    let step = Step::new("checking the format of the modules");
    // The kernel's edition decides the style, not the workspace's.
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "--edition", "2021"]);
    run_logged(
        rustfmt.args(gates::kernel_files()?).current_dir(repo("")),
        &cache("logs/rustfmt-kernel.log"),
        &step,
    )
}

fn clippy() -> Result<()> {
    let step = Step::new("running clippy");
    let mut clippy = cargo(&["clippy", "--workspace", "--all-targets"]);
    run_logged(
        clippy.args(["--", "-D", "warnings"]),
        &cache("logs/clippy.log"),
        &step,
    )
}

fn host_tests() -> Result<()> {
    let step = Step::new("running the tests of the workspace");
    run_logged(
        &mut cargo(&["test", "--workspace", "--exclude", "loom-models"]),
        &cache("logs/host-tests.log"),
        &step,
    )
}

/// The models take too long without optimisation.
fn loom() -> Result<()> {
    let step = Step::new("running the models");
    run_logged(
        &mut cargo(&["test", "--profile", "loom", "-p", "loom-models"]),
        &cache("logs/loom.log"),
        &step,
    )
}

/// The header of `/dev/xen/zcopy`, as C and as C++, is the kernel's own where that has the same.
fn uapi_header() -> Result<()> {
    let step = Step::new("compiling the header for user space");
    for (compiler, standard) in [("gcc", "c11"), ("g++", "c++17")] {
        let mut compile = Command::new(compiler);
        compile.args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
        compile.arg(format!("-std={standard}"));
        if compiler == "g++" {
            compile.args(["-x", "c++"]);
        }
        compile.arg("-I").arg(repo("include/uapi"));
        run_logged(
            compile.arg(repo("tests/host/uapi/xen_zcopy.c")),
            &cache("logs/uapi-header.log"),
            &step,
        )?;
    }
    Ok(())
}

/// Seconds for each fuzz target: enough to find what a careless change breaks, not to search.
const FUZZ_SECONDS: &str = "3";

fn fuzz() -> Result<()> {
    let step = Step::new("fuzzing the protocol code");
    let mut fuzz = Command::new(repo("tests/fuzz/run"));
    fuzz.arg(FUZZ_SECONDS)
        .env("CARGO_TARGET_DIR", cache("target-fuzz"));
    run_logged(&mut fuzz, &cache("logs/fuzz.log"), &step)
}

/// All that machines and guests are booted from.
///
/// # Errors
///
/// When something cannot be fetched or built.
pub fn ingredients(kernel: Kernel, front: Front) -> Result<Ingredients> {
    let built = kernel.build_modules(false)?;
    let zcopy = built.first().context("no module was built")?.clone();
    let mut dom0_modules = vec![zcopy];
    if kernel.arch == Arch::Amd64 {
        // No scenario on arm64 shows anything with it.
        dom0_modules.push(vkms::module(&kernel)?);
    }
    let modules = match front {
        Front::Rust => built,
        Front::C => Vec::new(),
    };
    programs::build(kernel.arch)?;
    Ok(Ingredients {
        roots: image::roots(kernel.arch)?,
        kernel,
        watched: None,
        modules,
        dom0_modules,
        display: Resolution::FULL_HD,
    })
}

/// Have all that machines and guests are booted from.
///
/// # Errors
///
/// When something cannot be fetched or built.
pub fn prepare(options: &cli::Common) -> Result<()> {
    for arch in Arch::ALL.into_iter().filter(|arch| arch.has(options.front)) {
        ingredients(
            Kernel::prepare(&arch.release(&options.kver))?,
            options.front,
        )?;
    }
    Ok(())
}

/// Play scenarios of one architecture.
fn scenarios(
    ingredients: &Ingredients,
    parts: &[(Kind, &Scenario)],
    out: &Path,
    report: &mut Report,
) -> Result<()> {
    let driver = Driver::new(ingredients)?;
    let mut stage = Stage::new(ingredients, &driver, out);
    for (kind, scenario) in parts {
        let start = Instant::now();
        let outcome = stage.play(scenario, *kind);
        report.tell(&stage.name(scenario, *kind), outcome, start.elapsed());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_name_is_one_test_and_a_part_is_all_that_have_it() -> Result<()> {
        let names = ["card-pv", "card-pvh", "dpms-pv", "dpms-pvh"];
        let wanted = |only| -> Result<Vec<&str>> {
            let only = Only::of(only, names.map(str::to_owned).to_vec())?;
            Ok(names.into_iter().filter(|name| only.wants(name)).collect())
        };
        assert_eq!(wanted(None)?, names);
        assert_eq!(wanted(Some("card-pv"))?, ["card-pv"]);
        assert_eq!(
            wanted(Some("card-pv,dpms"))?,
            ["card-pv", "dpms-pv", "dpms-pvh"]
        );
        assert!(wanted(Some("card,flips")).is_err());
        Ok(())
    }
}
