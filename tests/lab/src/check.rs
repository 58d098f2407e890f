// SPDX-License-Identifier: GPL-2.0
//! The tests: host, gates, and scenarios.

use crate::arch::Arch;
use crate::backend::Backend;
use crate::backend::Place;
use crate::bare;
use crate::bench::Bench;
use crate::bench::Driver;
use crate::bench::Home;
use crate::bench::Setting;
use crate::bench::boot_guest;
use crate::cli;
use crate::cli::Front;
use crate::gates;
use crate::guest::Config;
use crate::guest::Guest;
use crate::guest::Kind;
use crate::health;
use crate::health::Accounts;
use crate::health::Baseline;
use crate::health::Mark;
use crate::image;
use crate::kernel::Kernel;
use crate::link::Domain;
use crate::machine::Ingredients;
use crate::machine::Machine;
use crate::paths::cache;
use crate::paths::outside;
use crate::paths::repo;
use crate::process::run_logged;
use crate::programs;
use crate::programs::cargo;
use crate::progress::Step;
use crate::qemu::Resolution;
use crate::report::Report;
use crate::scenarios::After;
use crate::scenarios::KINDS;
use crate::scenarios::SCENARIOS;
use crate::scenarios::Scenario;
use crate::scenarios::Tier;
use crate::scenarios::watched;
use crate::vkms;
use crate::watch;
use crate::watch::Watch;
use crate::watch::WatchedKernel;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;
use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// The tests that were asked for by name: all if none was.
struct Only {
    parts: Vec<String>,
    names: Vec<String>,
}

impl Only {
    /// What was asked for with `only`, of tests with these names.
    fn of(only: Option<&str>, names: Vec<String>) -> Result<Self> {
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
    fn wants(&self, name: &str) -> bool {
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
        let in_tier = self.full || !self.only.is_all() || tier == Tier::Check;
        kind.arch().has(self.front) && in_tier && self.only.wants(&full_name(scenario, kind))
    }
}

fn full_name(scenario: &Scenario, kind: Kind) -> String {
    format!("{}-{kind}", scenario.name)
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
    if any_scenario && out.exists() {
        std::fs::remove_dir_all(&out).with_context(|| outside(&out))?;
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
    let scenarios = SCENARIOS
        .iter()
        .flat_map(|scenario| KINDS.map(|kind| (scenario, kind)))
        .filter(|(scenario, kind)| scenario.tier(*kind).is_some())
        .map(|(scenario, kind)| full_name(scenario, kind));
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
        watch
            .kinds()
            .iter()
            .flat_map(move |kind| watched_scenarios().map(move |one| (watch, *kind, one)))
    })
}

fn watched_name(watch: Watch, kind: Kind, scenario: &Scenario) -> String {
    format!("{}-{watch}", full_name(scenario, kind))
}

/// The names of the tests of `check-debug`.
pub fn watched_names() -> Vec<String> {
    watched_tests()
        .map(|(watch, kind, scenario)| watched_name(watch, kind, scenario))
        .collect()
}

/// Run the tests in guests whose kernel watches itself; whether all passed.
///
/// # Errors
///
/// When what they need cannot be made.
pub fn run_watched(options: &cli::CheckDebug) -> Result<bool> {
    let only = Only::of(options.only.as_deref(), watched_names())?;
    let out = repo("out/check-debug");
    if out.exists() {
        std::fs::remove_dir_all(&out).with_context(|| outside(&out))?;
    }
    let mut ingredients = ingredients(Kernel::prepare(&options.kver)?, Front::Rust)?;
    let mut report = Report::default();
    for watch in Watch::ALL {
        let parts: Vec<(Kind, &Scenario)> = watched_tests()
            .filter(|(other, kind, scenario)| {
                *other == watch && only.wants(&watched_name(watch, *kind, scenario))
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
    let mut stage = Stage {
        ingredients,
        driver: &driver,
        machine: None,
        cast: None,
        baselines: HashMap::new(),
        out: out.to_owned(),
    };
    for (kind, scenario) in parts {
        let start = Instant::now();
        let outcome = stage.play(scenario, *kind);
        report.tell(&stage.name(scenario, *kind), outcome, start.elapsed());
    }
    Ok(())
}

/// A guest and a backend that scenarios of one setting share.
struct Cast {
    guest: Guest,
    backend: Option<Backend>,
    /// Where the backend runs, if not in Dom0.
    driver_domain: Option<Guest>,
    setting: Setting,
    accounts: Accounts,
}

/// Where scenarios are played, one after the other.
struct Stage<'a> {
    ingredients: &'a Ingredients,
    driver: &'a Driver,
    machine: Option<Machine>,
    cast: Option<Cast>,
    /// What kernels that watch themselves tell in guests without our modules.
    baselines: HashMap<Kind, Baseline>,
    out: PathBuf,
}

impl Stage<'_> {
    fn name(&self, scenario: &Scenario, kind: Kind) -> String {
        match &self.ingredients.watched {
            None => full_name(scenario, kind),
            Some(kernel) => watched_name(kernel.watch, kind, scenario),
        }
    }

    /// Play a scenario on what the one before left, or on a new guest, or on a new machine.
    fn play(&mut self, scenario: &Scenario, kind: Kind) -> Result<()> {
        let out = self.out.join(self.name(scenario, kind));
        std::fs::create_dir_all(&out)?;
        self.set(scenario, kind, &out)?;
        let (Some(machine), Some(cast)) = (&mut self.machine, &mut self.cast) else {
            bail!("there is no guest")
        };
        let console = cast.guest.console(machine);
        let marks = (Mark::end_of(machine.serial()), Mark::end_of(&console));
        let of_driver = cast.driver_domain.as_ref().map(|domain| {
            let console = domain.console(machine);
            (Mark::end_of(&console), console)
        });
        let mut bench = Bench {
            machine,
            guest: &cast.guest,
            backend: &mut cast.backend,
            setting: cast.setting,
            driver: self.driver,
            accounts: &mut cast.accounts,
            out: &out,
        };
        let mut outcome = (scenario.run)(&mut bench);
        let serial = marks.0.since(bench.machine.serial());
        if outcome.is_ok() && scenario.after == After::AsBefore {
            outcome = cast
                .accounts
                .settle(machine, &cast.guest, &out)
                .map(|accounts| cast.accounts = accounts);
        }
        let baseline = self.baselines.get(&kind);
        if let (Ok(()), After::AsBefore, Some(baseline)) = (&outcome, scenario.after, baseline) {
            outcome = nothing_is_lost(machine, &cast.guest, baseline, &out);
        }
        let said = cast.backend.as_ref().map(|backend| backend.said(machine));
        let domu = marks.1.since(&console);
        let of_driver = of_driver.map(|(mark, console)| mark.since(&console));
        let complaint = match scenario.after {
            After::Panicked => {
                std::fs::write(out.join("panic.log"), domu?)?;
                keep_logs(&out, serial, Ok(String::new()), of_driver, said, baseline)
            }
            After::AsBefore | After::Gone => {
                keep_logs(&out, serial, domu, of_driver, said, baseline)
            }
        };
        let outcome = outcome
            .and(complaint)
            .map_err(|error| with_place(error, &out));
        if outcome.is_err() || scenario.after != After::AsBefore {
            self.strike(outcome.is_err());
        }
        outcome
    }

    /// Have a machine, a backend and a guest for a scenario.
    fn set(&mut self, scenario: &Scenario, kind: Kind, out: &Path) -> Result<()> {
        let fits = |cast: &Cast| {
            cast.setting == scenario.setting
                && cast.guest.config.kind == kind
                && cast.backend.is_some()
        };
        if self.cast.as_ref().is_some_and(fits) {
            return Ok(());
        }
        self.strike(false);
        let machine = match &mut self.machine {
            Some(machine) => machine,
            None => self
                .machine
                .insert(Machine::boot(self.ingredients, &cache("run"))?),
        };
        if let (Some(kernel), false) = (
            &self.ingredients.watched,
            self.baselines.contains_key(&kind),
        ) {
            let of_bare = self.out.join(format!("bare-{kind}-{}", kernel.watch));
            let baseline = watch::baseline(machine, kind, &of_bare)?;
            self.baselines.insert(kind, baseline);
        }
        let baseline = self.baselines.get(&kind);
        let result = cast(machine, self.driver, scenario.setting, kind, out, baseline);
        match result {
            Ok(cast) => self.cast = Some(cast),
            Err(error) => {
                // Whatever is half there goes with the machine.
                self.machine = None;
                return Err(with_place(error, out));
            }
        }
        Ok(())
    }

    /// Take guest and backend down. After a failure nothing is trusted any more, and the machine goes too.
    fn strike(&mut self, failed: bool) {
        let (cast, machine) = (self.cast.take(), self.machine.as_mut());
        if failed {
            self.machine = None;
            return;
        }
        if let (Some(cast), Some(machine)) = (cast, machine) {
            // A guest that a scenario destroyed is not there any more.
            let destroy = |machine: &mut Machine, guest: &Guest| {
                let id = guest.id;
                machine.dom0(&format!(
                    "xl destroy {id} 2>/dev/null || ! xl domname {id} 2>/dev/null"
                ))
            };
            let guest = destroy(machine, &cast.guest);
            let backend = cast
                .backend
                .map_or(Ok(()), |backend| backend.stop(machine).map(|_| ()));
            let driver_domain = cast
                .driver_domain
                .map_or(Ok(String::new()), |domain| destroy(machine, &domain));
            if guest.is_err() || backend.is_err() || driver_domain.is_err() {
                self.machine = None;
            }
        }
    }
}

/// Start a backend and a guest, and note what the guest has.
fn cast(
    machine: &mut Machine,
    driver: &Driver,
    setting: Setting,
    kind: Kind,
    out: &Path,
    baseline: Option<&Baseline>,
) -> Result<Cast> {
    let serial = Mark::end_of(machine.serial());
    let driver_domain = match setting.home {
        Home::Dom0 => None,
        Home::DriverDomain => Some(Guest::boot(machine, Config::driver_domain())?),
    };
    let place = Place {
        domain: driver_domain.as_ref().map_or(Domain::Zero, Guest::domain),
        output: setting.output,
    };
    let backend = Backend::start(machine, place)?;
    let name = format!("{kind}-guest");
    let booted =
        boot_guest(machine, driver, kind, &name, setting, place.domain).and_then(|guest| {
            let accounts = Accounts::count(machine, &guest, setting.frame())?;
            Ok((guest, accounts))
        });
    let of_driver = driver_domain
        .as_ref()
        .map(|domain| Mark::default().since(&domain.console(machine)));
    let console = machine.share().join(format!("console/guest-{name}.log"));
    let domu = Mark::default().since(&console);
    let boot = out.join("boot");
    std::fs::create_dir_all(&boot)?;
    let said = backend.said(machine);
    let complaint = keep_logs(
        &boot,
        serial.since(machine.serial()),
        domu,
        of_driver,
        Some(said),
        baseline,
    );
    let (guest, accounts) = booted?;
    complaint.context("while the guest booted")?;
    Ok(Cast {
        guest,
        backend: Some(backend),
        driver_domain,
        setting,
        accounts,
    })
}

/// What our modules have allocated in a guest whose kernel watches itself, they have given back or can still find.
fn nothing_is_lost(
    machine: &mut Machine,
    guest: &Guest,
    baseline: &Baseline,
    out: &Path,
) -> Result<()> {
    let leaks = watch::leaks(machine, guest)?;
    std::fs::write(out.join("kmemleak"), &leaks)?;
    match baseline.leak(&leaks) {
        None => Ok(()),
        Some(leak) => bail!("memory is lost:\n{leak}"),
    }
}

/// Write a scenario's logs and look for complaints in them.
fn keep_logs(
    out: &Path,
    serial: Result<String>,
    domu: Result<String>,
    driver_domain: Option<Result<String>>,
    backend: Option<Result<String>>,
    baseline: Option<&Baseline>,
) -> Result<()> {
    let serial = serial?;
    let of_one = |said: Option<Result<String>>| said.and_then(Result::ok).unwrap_or_default();
    let logs = [
        ("xen.log", health::of_xen(&serial)),
        ("dom0.log", health::of_dom0(&serial)),
        ("domu.log", domu.unwrap_or_default()),
        ("driver-domain.log", of_one(driver_domain)),
        ("backend.log", of_one(backend)),
    ];
    let mut found = None;
    for (name, text) in &logs {
        std::fs::write(out.join(name), text)?;
        let complaint = match baseline {
            Some(baseline) if *name == "domu.log" => baseline.complaint(text),
            _ => health::complaint(text),
        };
        if let (None, Some(line)) = (&found, complaint) {
            found = Some(anyhow!("{name} has: {line}"));
        }
    }
    found.map_or(Ok(()), Err)
}

fn with_place(error: Error, out: &Path) -> Error {
    anyhow!("{error:#}\nlogs: {}", outside(out))
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
