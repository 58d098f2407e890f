// SPDX-License-Identifier: GPL-2.0
//! Guests.

use crate::arch::Arch;
use crate::link::Domain;
use crate::link::Ended;
use crate::link::Job;
use crate::link::tail;
use crate::machine::GuestKernel;
use crate::machine::Machine;
use crate::process::last_lines;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// Enough for a slow and busy computer; a guest boots in about 5 s.
const BOOT_TIME: Duration = Duration::from_secs(180);

/// What a kernel needs to note what it watches, in MiB.
const MEMORY_TO_WATCH: u32 = 384;

/// How a guest is virtualised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Paravirtualised page tables: frame numbers are not contiguous.
    Pv,
    /// Hardware-assisted paging, no emulated devices.
    Pvh,
    /// The one kind that there is on arm64. It is as PVH, and so is Dom0 there.
    Arm64,
}

impl Kind {
    /// What its machine is.
    pub fn arch(self) -> Arch {
        match self {
            Self::Pv | Self::Pvh => Arch::Amd64,
            Self::Arm64 => Arch::Arm64,
        }
    }

    /// Whether user space can map pages of other domains in it: their frames have addresses of its own.
    pub fn is_translated(self) -> bool {
        self != Self::Pv
    }
}

/// The name of the guest that is a driver domain.
const DRIVER_DOMAIN: &str = "driver-domain";

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pv => "pv",
            Self::Pvh => "pvh",
            Self::Arm64 => "arm64",
        })
    }
}

/// What a guest is made with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// How it is virtualised.
    pub kind: Kind,
    /// Its name in Xen, and in the backend's file names.
    pub name: String,
    /// The connectors: unique id and resolution, as in `xl.cfg(5)`: "Virtual-1:1024x768".
    pub connectors: Vec<String>,
    /// Where the backend of those runs. Only one guest at a time is a driver domain.
    pub backend: Domain,
    /// Whether its backend is to allocate its display buffers.
    pub be_alloc: bool,
    /// What Xen lets it have.
    pub limits: Limits,
    /// Memory in MiB.
    pub memory: u32,
}

/// What Xen lets a guest have, if less than by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Pages of its grant table, of 512 entries each.
    pub grant_frames: Option<u16>,
    /// Pages in which Xen notes what the guest maps of others.
    pub maptrack_frames: Option<u16>,
}

impl Limits {
    /// As by default.
    pub const NONE: Self = Self {
        grant_frames: None,
        maptrack_frames: None,
    };

    /// As `xl.cfg(5)` has them.
    fn in_xl_cfg(self) -> String {
        let line = |key, value: Option<u16>| {
            value.map_or(String::new(), |value| format!("{key} = {value}\n"))
        };
        line("max_grant_frames", self.grant_frames)
            + &line("max_maptrack_frames", self.maptrack_frames)
    }
}

impl Config {
    /// Of a driver domain: a guest in which the backend runs.
    pub fn driver_domain() -> Self {
        Self {
            name: DRIVER_DOMAIN.to_owned(),
            ..Self::without_display(Kind::Pvh)
        }
    }

    /// Of a guest without a display.
    pub fn without_display(kind: Kind) -> Self {
        Self {
            kind,
            name: format!("{kind}-bare"),
            connectors: Vec::new(),
            backend: Domain::Zero,
            be_alloc: false,
            limits: Limits::NONE,
            memory: 384,
        }
    }
}

/// A guest on which the agent answers.
#[derive(Debug)]
pub struct Guest {
    /// What it was made with.
    pub config: Config,
    /// Its domain.
    pub id: u32,
}

impl Guest {
    /// Create a guest and wait for its agent.
    ///
    /// # Errors
    ///
    /// When it does not boot; the end of its console is part of the error.
    pub fn boot(machine: &mut Machine, config: Config) -> Result<Self> {
        let name = &config.name;
        let file = format!("guest/{name}.cfg");
        std::fs::write(
            machine.share().join(&file),
            xl_cfg(&config, machine.guest_kernel()),
        )?;
        let log = console(machine, name);
        if log.exists() {
            // xenconsoled keeps the file open by name only while the guest runs; each boot has a log of its own.
            std::fs::remove_file(&log)?;
        }
        machine
            .dom0(&format!("xl create -q /lab/{file}"))
            .with_context(|| format!("the guest {name} cannot be created"))?;
        let id = machine
            .dom0(&format!("xl domid {name}"))?
            .trim()
            .parse()
            .context("xl names no domain id")?;
        let guest = Self { config, id };
        let end = Instant::now() + BOOT_TIME * machine.guest_kernel().patience();
        loop {
            // Each process costs Dom0 a tenth of a second or more, and it has the guest's disk to serve.
            let agent = machine.dom0(&format!(
                "xenstore-read /local/domain/{id}/data/lab/agent 2>/dev/null || xenstore-read /local/domain/{id}/domid || echo gone"
            ))?;
            match agent.trim() {
                "ready" => return Ok(guest),
                "gone" => bail!(
                    "the guest {} died while booting. The end of its console:\n{}",
                    guest.config.name,
                    guest.console_tail(machine)
                ),
                _ if Instant::now() >= end => {
                    bail!(
                        "the guest {} did not boot. The end of its console:\n{}",
                        guest.config.name,
                        guest.console_tail(machine)
                    )
                }
                _ => std::thread::sleep(Duration::from_millis(500)),
            }
        }
    }

    /// Its domain.
    pub fn domain(&self) -> Domain {
        Domain::Guest(self.id)
    }

    /// The file with its kernel's log.
    pub fn console(&self, machine: &Machine) -> PathBuf {
        console(machine, &self.config.name)
    }

    fn console_tail(&self, machine: &Machine) -> String {
        last_lines(&self.console(machine), 15).join("\n")
    }

    /// Run a command to its end, whatever that is.
    ///
    /// # Errors
    ///
    /// When the guest does not answer, or the command takes too long.
    pub fn run(&self, machine: &mut Machine, command: &str, at_most: Duration) -> Result<Ended> {
        machine
            .link
            .run(self.domain(), command, at_most)
            .with_context(|| self.last_words(machine))
    }

    /// Run a command that must succeed.
    ///
    /// # Errors
    ///
    /// When it fails or takes too long, or the guest does not answer.
    pub fn run_ok(
        &self,
        machine: &mut Machine,
        command: &str,
        at_most: Duration,
    ) -> Result<String> {
        let ended = self.run(machine, command, at_most)?;
        if ended.status != 0 {
            let said = ended.stdout + &ended.stderr;
            bail!(
                "in guest {}, `{command}` failed with {}:\n{}",
                self.config.name,
                ended.status,
                tail(&said, 15)
            );
        }
        Ok(ended.stdout)
    }

    /// Start a command.
    ///
    /// # Errors
    ///
    /// When the guest does not answer.
    pub fn spawn(&self, machine: &mut Machine, command: &str) -> Result<Job> {
        machine
            .link
            .spawn(self.domain(), command)
            .with_context(|| self.last_words(machine))
    }

    fn last_words(&self, machine: &Machine) -> String {
        format!(
            "the last line on the console of guest {} is: {}",
            self.config.name,
            last_lines(&self.console(machine), 1).join("")
        )
    }

    /// Destroy it.
    ///
    /// # Errors
    ///
    /// When `xl` fails.
    pub fn destroy(&self, machine: &mut Machine) -> Result<()> {
        machine.dom0(&format!("xl destroy {}", self.id))?;
        Ok(())
    }
}

fn console(machine: &Machine, name: &str) -> PathBuf {
    machine.share().join(format!("console/guest-{name}.log"))
}

/// The guest's `xl.cfg`.
fn xl_cfg(config: &Config, kernel: &GuestKernel) -> String {
    let Config {
        kind,
        name,
        connectors,
        backend,
        be_alloc,
        limits,
        memory,
    } = config;
    let for_kind = match kind {
        Kind::Pv => "type = \"pv\"\n",
        // Xen cannot emulate RDTSCP on an emulated SVM. And QEMU's first processor must not run a PVH guest: whenever another processor
        // restores x87 state, its thread reads, changes and writes back the first one's "hflags2" without a lock (for IGNNE), and the
        // bit there that says that nested paging is on gets lost, or comes back. Xen then sees a triple fault.
        Kind::Pvh => "type = \"pvh\"\ntsc_mode = \"native\"\ncpus = \"1\"\n",
        Kind::Arm64 => "type = \"pvh\"\n",
    };
    let backend = match backend {
        Domain::Zero => "0",
        Domain::Guest(_) => DRIVER_DOMAIN,
    };
    let vdispl = if connectors.is_empty() {
        String::new()
    } else {
        format!(
            "vdispl = [ 'backend={backend},be-alloc={},connectors={}' ]\n",
            u32::from(*be_alloc),
            connectors.join(";")
        )
    };
    let limits = limits.in_xl_cfg();
    let memory = memory + kernel.watch.map_or(0, |_| MEMORY_TO_WATCH);
    let (image, modules) = (&kernel.image, kernel.modules);
    let driver_domain = u8::from(name == DRIVER_DOMAIN);
    format!(
        "name = \"{name}\"\n\
         {for_kind}\
         memory = {memory}\n\
         vcpus = 1\n\
         kernel = \"{image}\"\n\
         ramdisk = \"/lab/guest/initramfs\"\n\
         extra = \"console=tty0 console=hvc0 loglevel=7 panic=-1 consoleblank=0 lab.root=/dev/xvda lab.modules=/dev/xvdb lab.init=guest\"\n\
         disk = [ 'phy:/dev/vdc,xvda,r', 'phy:{modules},xvdb,r' ]\n\
         {vdispl}\
         {limits}\
         driver_domain = {driver_domain}\n\
         on_poweroff = \"destroy\"\n\
         on_reboot = \"destroy\"\n\
         on_crash = \"destroy\"\n"
    )
}
