// SPDX-License-Identifier: GPL-2.0
//! Where scenarios are played: a machine, guests and a backend that those of one setting share, and what is looked at after each.

use crate::backend::Backend;
use crate::backend::Place;
use crate::bench::Bench;
use crate::bench::Driver;
use crate::bench::Home;
use crate::bench::Setting;
use crate::bench::boot_guest;
use crate::guest::Config;
use crate::guest::Guest;
use crate::guest::Kind;
use crate::health;
use crate::health::Accounts;
use crate::health::Baseline;
use crate::health::Mark;
use crate::link::Domain;
use crate::machine::Ingredients;
use crate::machine::Machine;
use crate::paths::cache;
use crate::paths::outside;
use crate::scenarios::After;
use crate::scenarios::Scenario;
use crate::watch;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

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
pub struct Stage<'a> {
    ingredients: &'a Ingredients,
    driver: &'a Driver,
    machine: Option<Machine>,
    cast: Option<Cast>,
    /// What kernels that watch themselves tell in guests without our modules.
    baselines: HashMap<Kind, Baseline>,
    out: PathBuf,
}

impl<'a> Stage<'a> {
    /// With neither a machine nor a guest yet; logs go to directories of `out`.
    pub fn new(ingredients: &'a Ingredients, driver: &'a Driver, out: &Path) -> Self {
        Self {
            ingredients,
            driver,
            machine: None,
            cast: None,
            baselines: HashMap::new(),
            out: out.to_owned(),
        }
    }

    /// The test's name.
    pub fn name(&self, scenario: &Scenario, kind: Kind) -> String {
        match &self.ingredients.watched {
            None => scenario.name_in(kind),
            Some(kernel) => scenario.name_watched(kind, kernel.watch),
        }
    }

    /// Play a scenario on what the one before left, or on a new guest, or on a new machine.
    ///
    /// # Errors
    ///
    /// What the scenario says, what a log has, what was lost, or what hindered it.
    pub fn play(&mut self, scenario: &Scenario, kind: Kind) -> Result<()> {
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
