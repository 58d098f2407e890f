// SPDX-License-Identifier: GPL-2.0
//! What a scenario works with: a machine, a guest with its driver loaded, and a backend.

use crate::backend::Backend;
use crate::backend::LOAD_MODULE;
use crate::backend::Output;
use crate::backend::Record;
use crate::guest::Config;
use crate::guest::Guest;
use crate::guest::Kind;
use crate::guest::Limits;
use crate::health::Accounts;
use crate::kernel::Kernel;
use crate::link::Domain;
use crate::link::Ended;
use crate::link::Job;
use crate::link::tail;
use crate::machine::Ingredients;
use crate::machine::Machine;
use crate::oracle::card::Card;
use crate::oracle::card::card;
use crate::oracle::picture::Picture;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// Time for anything in a guest that takes no time by itself.
pub const SHORT: Duration = Duration::from_secs(90);

/// A safety net for whatever draws or flips for a while under emulation.
pub const LONG: Duration = Duration::from_secs(300);

/// A connector of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connector {
    /// Its name for the toolstack and the backend.
    pub unique_id: &'static str,
    /// Its name in the guest's kernel.
    pub name: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Connector {
    /// As `xl.cfg(5)` has it.
    pub fn in_xl_cfg(&self) -> String {
        format!("{}:{}x{}", self.unique_id, self.width, self.height)
    }
}

/// What a guest is given to show pictures on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// The backend's output.
    pub output: Output,
    /// The guest's connectors.
    pub connectors: &'static [Connector],
    /// Whether the backend is to allocate the guest's display buffers.
    pub be_alloc: bool,
    /// Where the backend runs.
    pub home: Home,
    /// What Xen lets the guest have.
    pub limits: Limits,
}

/// Where a setting's backend runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// Dom0.
    Dom0,
    /// A guest that has nothing else to do.
    DriverDomain,
}

impl Setting {
    /// A backend in Dom0 that allocates nothing, and a guest with as much as guests have.
    pub const fn new(output: Output, connectors: &'static [Connector]) -> Self {
        Self {
            output,
            connectors,
            be_alloc: false,
            home: Home::Dom0,
            limits: Limits::NONE,
        }
    }

    /// Size of a picture of the first connector, in bytes. What is lost on a smaller one is seen if it is more than one picture.
    pub fn frame(&self) -> u64 {
        self.connectors.first().map_or(0, |connector| {
            u64::from(connector.width) * u64::from(connector.height) * 4
        })
    }
}

/// How to load the driver under test.
pub struct Driver {
    command: String,
}

impl Driver {
    /// The driver that the guests are to use.
    ///
    /// # Errors
    ///
    /// When the module cannot be read.
    pub fn new(ingredients: &Ingredients) -> Result<Self> {
        let command = match ingredients.modules.as_slice() {
            [] => "modprobe drm_xen_front".to_owned(),
            modules => insert_command(&ingredients.kernel, modules)?,
        };
        Ok(Self { command })
    }

    /// Load it, and wait for its display.
    ///
    /// # Errors
    ///
    /// When it is refused, or no display appears.
    pub fn load(&self, machine: &mut Machine, guest: &Guest) -> Result<()> {
        guest
            .run_ok(machine, &self.command, SHORT)
            .context("the driver cannot be loaded")?;
        wait_for_display(machine, guest)
    }

    /// The command line that loads it.
    pub fn command(&self) -> &str {
        &self.command
    }
}

/// Wait until a driver has made a display.
///
/// # Errors
///
/// When none appears.
pub fn wait_for_display(machine: &mut Machine, guest: &Guest) -> Result<()> {
    let wait = "for i in $(seq 300); do [ -e /dev/dri/card0 ] && exit; sleep 0.1; done; echo 'there is no /dev/dri/card0'; exit 1";
    guest
        .run_ok(machine, wait, SHORT)
        .context("the driver made no display")?;
    Ok(())
}

/// The last of the modules must not be there; the others may.
fn insert_command(kernel: &Kernel, modules: &[PathBuf]) -> Result<String> {
    let mut commands = Vec::new();
    let needs = kernel.needs_of(modules)?;
    if !needs.is_empty() {
        commands.push(format!("modprobe -a {}", needs.join(" ")));
    }
    for (index, module) in modules.iter().enumerate() {
        let name = module.file_stem().unwrap_or_default().to_string_lossy();
        let insert = format!("insmod /opt/lab/{name}.ko");
        commands.push(if index + 1 < modules.len() {
            format!("{{ [ -d /sys/module/{name} ] || {insert}; }}")
        } else {
            insert
        });
    }
    Ok(commands.join(" && "))
}

/// A scenario's bench.
pub struct Bench<'a> {
    /// Xen and Dom0.
    pub machine: &'a mut Machine,
    /// The guest.
    pub guest: &'a Guest,
    /// The backend that runs, if one does.
    pub backend: &'a mut Option<Backend>,
    /// What the guest was given.
    pub setting: Setting,
    /// The driver, for further guests.
    pub driver: &'a Driver,
    /// What the guest had before.
    pub accounts: &'a mut Accounts,
    /// For what a failure leaves to look at.
    pub out: &'a Path,
}

impl Bench<'_> {
    /// The guest's connector by its number.
    ///
    /// # Errors
    ///
    /// When the setting has fewer.
    pub fn connector(&self, index: usize) -> Result<Connector> {
        self.setting
            .connectors
            .get(index)
            .copied()
            .context("the setting has too few connectors for this scenario")
    }

    /// Run a command in the guest that must succeed.
    ///
    /// # Errors
    ///
    /// When it fails, or takes more than [`LONG`].
    pub fn sh(&mut self, command: &str) -> Result<String> {
        self.guest.run_ok(self.machine, command, LONG)
    }

    /// Run the guest's test program; every check in it must hold.
    ///
    /// # Errors
    ///
    /// When one does not, with those that failed.
    pub fn test(&mut self, arguments: &str) -> Result<String> {
        self.test_within(arguments, LONG)
    }

    /// The same of one that takes a time of its own.
    ///
    /// # Errors
    ///
    /// When a check does not hold, with those that failed.
    pub fn test_within(&mut self, arguments: &str, at_most: Duration) -> Result<String> {
        let command = format!("xen-display-test {arguments}");
        let ended = self.guest.run(self.machine, &command, at_most)?;
        self.judge(arguments, ended)
    }

    /// The same in Dom0.
    ///
    /// # Errors
    ///
    /// When a check does not hold, with those that failed.
    pub fn test_in_dom0(&mut self, arguments: &str) -> Result<String> {
        let command = format!("/lab/bin/xen-display-test {arguments}");
        let ended = self.machine.link.run(Domain::Zero, &command, LONG)?;
        self.judge(arguments, ended).context("in Dom0")
    }

    fn judge(&self, arguments: &str, ended: Ended) -> Result<String> {
        std::fs::write(self.out.join("test.jsonl"), &ended.stdout)?;
        if ended.status != 0 {
            bail!(
                "xen-display-test {arguments} ended with {}:\n{}",
                ended.status,
                tail(&ended.stderr, 12)
            );
        }
        Ok(ended.stdout)
    }

    /// Start the guest's test program and wait until it shows a picture.
    ///
    /// # Errors
    ///
    /// When it ends before.
    pub fn show(&mut self, arguments: &str) -> Result<Job> {
        let job = self
            .guest
            .spawn(self.machine, &format!("exec xen-display-test {arguments}"))?;
        self.machine
            .link
            .wait_output(job, "\"shown\"", SHORT)
            .with_context(|| format!("xen-display-test {arguments}"))?;
        Ok(job)
    }

    /// Tell a program that shows something to end; every check in it must have held.
    ///
    /// # Errors
    ///
    /// When one did not.
    pub fn end(&mut self, job: Job) -> Result<String> {
        self.machine.link.signal(job, 15)?;
        let ended = self.machine.link.wait(job, SHORT)?;
        self.judge("(held)", ended)
    }

    /// What a program that ends by itself has said, if it has ended; every check in it must have held.
    ///
    /// # Errors
    ///
    /// When one did not.
    pub fn finished(&mut self, job: Job) -> Result<Option<String>> {
        let ended = self.machine.link.poll(job)?;
        ended
            .map(|ended| self.judge("(in the background)", ended))
            .transpose()
    }

    /// Whether the guest's display device has the kernel's C driver, the reference.
    ///
    /// # Errors
    ///
    /// When none has it.
    pub fn has_reference_driver(&mut self) -> Result<bool> {
        Ok(self.bus_driver()? == "vdispl")
    }

    /// The name of the bus driver that has the guest's display device.
    ///
    /// # Errors
    ///
    /// When none has it.
    pub fn bus_driver(&mut self) -> Result<String> {
        let driver = self.sh("basename $(readlink /sys/bus/xen/devices/vdispl-0/driver)")?;
        Ok(driver.trim().to_owned())
    }

    /// Whether the guest has a display.
    ///
    /// # Errors
    ///
    /// When the guest does not answer.
    pub fn has_display(&mut self) -> Result<bool> {
        let listed = self.guest.run(self.machine, "ls /dev/dri/card*", SHORT)?;
        Ok(listed.status == 0)
    }

    /// What the guest has now counts as what it had before: for what a kernel keeps when it does something for the first time.
    ///
    /// # Errors
    ///
    /// When Xen or the guest does not answer.
    pub fn count_anew(&mut self) -> Result<()> {
        *self.accounts = Accounts::count(self.machine, self.guest, self.setting.frame())?;
        Ok(())
    }

    /// All that the backend has printed.
    ///
    /// # Errors
    ///
    /// When none runs, or it cannot be read.
    pub fn said_by_backend(&mut self) -> Result<String> {
        let backend = self.backend.as_ref().context("no backend runs")?;
        backend.said(self.machine)
    }

    /// All that the backend's capture has recorded of a guest's connector.
    ///
    /// # Errors
    ///
    /// When no backend runs, or it has recorded nothing.
    pub fn records(&mut self, guest: &str, connector: Connector) -> Result<Vec<Record>> {
        let backend = self.backend.as_ref().context("no backend runs")?;
        backend.records(self.machine, guest, connector.unique_id)
    }

    /// A connector's picture as the backend sees it, or, for Dom0's display, as its viewer sees it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn picture(&mut self, guest: &str, connector: Connector) -> Result<Picture> {
        let backend = self.backend.as_ref().context("no backend runs")?;
        match backend.place().output.display() {
            None => Ok(backend.picture(self.machine, guest, connector.unique_id)?.0),
            Some(display) => {
                let file = self.out.join("screen.png");
                self.machine.screenshot(display, &file)?;
                Picture::read(&file)
            }
        }
    }

    /// Check that a connector shows a test card.
    ///
    /// # Errors
    ///
    /// When it shows another picture; the picture and its differences are kept.
    pub fn expect_card(&mut self, connector: Connector, variant: u32, format: &str) -> Result<()> {
        let name = self.guest.config.name.clone();
        self.expect_card_of(&name, connector, variant, format)
    }

    /// The same, of a guest by its name.
    ///
    /// # Errors
    ///
    /// As [`Self::expect_card`].
    pub fn expect_card_of(
        &mut self,
        guest: &str,
        connector: Connector,
        variant: u32,
        format: &str,
    ) -> Result<()> {
        let expected = card(connector.width, connector.height, variant, format)?;
        let stem = format!("{guest}-{}-{format}-{variant}", connector.unique_id);
        // Dom0's display follows a flip a little later.
        let at_most = Duration::from_secs(10);
        self.expect_picture(guest, connector, &expected, &stem, at_most)
            .with_context(|| format!("card {variant} in {format} on {}", connector.unique_id))
    }

    /// Check that a guest's connector shows a picture, before `at_most` has passed.
    ///
    /// # Errors
    ///
    /// When it shows another picture; the picture and its differences are kept in files whose names begin with `stem`.
    pub fn expect_picture(
        &mut self,
        guest: &str,
        connector: Connector,
        expected: &Card,
        stem: &str,
        at_most: Duration,
    ) -> Result<()> {
        let diff = self.out.join(format!("{stem}-diff.png"));
        let end = Instant::now() + at_most;
        loop {
            let picture = self.picture(guest, connector)?;
            match picture.compare(&expected.picture, expected.tolerance, &diff) {
                Ok(()) => {
                    if diff.exists() {
                        std::fs::remove_file(diff)?;
                    }
                    return Ok(());
                }
                Err(error) if Instant::now() >= end => {
                    picture.write(&self.out.join(format!("{stem}-got.png")))?;
                    expected
                        .picture
                        .write(&self.out.join(format!("{stem}-expected.png")))?;
                    return Err(error);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(300)),
            }
        }
    }
}

/// The values of all lines of one kind that the guest's test program has printed.
pub fn lines_of(said: &str, kind: &str) -> Vec<Value> {
    said.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|mut value| value.get_mut(kind).map(Value::take))
        .collect()
}

/// Boot a guest with a display that a backend serves, and load its driver.
///
/// # Errors
///
/// When it does not boot, or its driver makes no display.
pub fn boot_guest(
    machine: &mut Machine,
    driver: &Driver,
    kind: Kind,
    name: &str,
    setting: Setting,
    backend: Domain,
) -> Result<Guest> {
    if setting.be_alloc {
        machine.dom0(LOAD_MODULE)?;
    }
    let connectors = setting.connectors.iter().map(Connector::in_xl_cfg);
    let guest = Guest::boot(
        machine,
        Config {
            kind,
            name: name.to_owned(),
            connectors: connectors.collect(),
            backend,
            be_alloc: setting.be_alloc,
            limits: setting.limits,
            // Xen takes seconds to give and take back every half GiB on an emulated processor.
            memory: 384,
        },
    )?;
    match driver.load(machine, &guest) {
        Ok(()) => Ok(guest),
        Err(error) => {
            guest.destroy(machine)?;
            Err(error)
        }
    }
}

/// Wait until `ready` says so.
///
/// # Errors
///
/// When it fails, or does not within `at_most`.
pub fn wait_until(
    what: &str,
    at_most: Duration,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + at_most;
    while !ready()? {
        ensure!(
            Instant::now() < end,
            "{what} did not come about in {} s",
            at_most.as_secs()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
