// SPDX-License-Identifier: GPL-2.0
//! The backend, in Dom0 or in a driver domain.

use crate::link::Domain;
use crate::link::Ended;
use crate::link::Job;
use crate::machine::Machine;
use crate::oracle::picture::Picture;
use crate::paths::outside;
use crate::qemu::Display;
use crate::vkms;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// Where the backend shows guests' pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// PNG and JSON files in the share, as from a display of 60 Hz.
    Capture,
    /// The same of a display that is done with a flip at once.
    CaptureAtOnce,
    /// A display of Dom0's, to which the backend copies.
    Copied(Sink),
    /// A display of Dom0's that shows buffers themselves, where it can.
    InPlace(Sink),
}

/// A display of Dom0's that the backend can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    /// A device's.
    Device(Display),
    /// The one without a device.
    Vkms,
}

impl Sink {
    /// virtio-gpu: shows this domain's own buffers without a copy of its own, and takes no others.
    pub const VIRTIO: Self = Self::Device(Display::Virtio);
    /// bochs: takes any buffer, and copies it to its own memory.
    pub const BOCHS: Self = Self::Device(Display::Bochs);

    /// The backend's option for it.
    fn option(self, machine: &mut Machine) -> Result<String> {
        match self {
            Self::Device(display) => kms(machine, display.driver()),
            Self::Vkms => {
                machine.dom0(vkms::LOAD)?;
                kms(machine, vkms::DRIVER)
            }
        }
    }
}

impl Output {
    /// The device's display, if it is one.
    pub fn display(self) -> Option<Display> {
        match self {
            Self::Copied(Sink::Device(display)) | Self::InPlace(Sink::Device(display)) => {
                Some(display)
            }
            _ => None,
        }
    }
}

/// Has the module in Dom0.
pub const LOAD_MODULE: &str = "[ -d /sys/module/xen_zcopy ] || insmod /lab/bin/xen_zcopy.ko";

/// Where a backend runs, and where it shows pictures.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Dom0, or a driver domain.
    pub domain: Domain,
    /// Where the pictures go.
    pub output: Output,
}

impl Place {
    /// In Dom0.
    pub fn in_dom0(output: Output) -> Self {
        Self {
            domain: Domain::Zero,
            output,
        }
    }

    /// The directory of its files, as it knows it: the share with the lab, which a driver domain does not have.
    fn directory(self) -> &'static str {
        match self.domain {
            Domain::Zero => "/lab",
            Domain::Guest(_) => "/run",
        }
    }
}

/// Has the drivers that user space needs to be a backend, in a domain that has just booted.
const DRIVERS: &str = "modprobe -a xen-evtchn xen-gntdev";

/// Time for anything that the backend does at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// The status of a process that has ended by SIGKILL.
const KILLED: i32 = 128 + 9;

/// After how long it is asked again for a file.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Prints what each of the backend's threads waits for.
const THREADS: &str = "for task in /proc/$(pidof xen-displ-backend)/task/*; do cat $task/comm; head -n 5 $task/stack; done";

/// A running backend.
pub struct Backend {
    job: Job,
    place: Place,
}

/// A line of the capture's log.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// What came about: "mode", "flip", "off" and so on.
    pub event: String,
    /// What was shown.
    pub picture: Option<PictureRecord>,
}

/// A picture in the capture's log.
#[derive(Debug, Deserialize)]
pub struct PictureRecord {
    /// The framebuffer's cookie.
    pub cookie: String,
    /// CRC-32 of the picture as 8-bit RGB.
    pub crc32: String,
}

/// What the backend counted.
#[derive(Debug, Deserialize)]
pub struct Figures {
    /// CPU time that it used.
    pub cpu_seconds: f64,
    /// Its heads.
    pub heads: Vec<HeadFigures>,
}

/// What the backend counted for a head.
#[derive(Debug, Deserialize)]
pub struct HeadFigures {
    /// The guest's name.
    pub guest: String,
    /// Flips.
    pub flips: u64,
    /// Pictures that were copied.
    pub pictures_copied: u64,
    /// Pictures that were shown out of the guest's own pages.
    pub pictures_in_place: u64,
}

/// The backend's options for the display of a driver. Connectors too have numbers in the order in which drivers come up.
fn kms(machine: &mut Machine, driver: &str) -> Result<String> {
    let card = machine.card(driver)?;
    let connector = machine.dom0(&format!("cd /sys/class/drm && echo card{card}-*"))?;
    let connector = connector
        .trim()
        .strip_prefix(&format!("card{card}-"))
        .with_context(|| format!("{driver} has no connector"))?;
    Ok(format!(
        "kms:/dev/dri/card{card} --connector Virtual-1={connector}"
    ))
}

impl Backend {
    /// Start the backend and wait until it is ready.
    ///
    /// # Errors
    ///
    /// When it ends or does not get ready.
    pub fn start(machine: &mut Machine, place: Place) -> Result<Self> {
        Self::start_with(machine, place, "")
    }

    /// The same with more options.
    ///
    /// # Errors
    ///
    /// When it ends or does not get ready.
    pub fn start_with(machine: &mut Machine, place: Place, also: &str) -> Result<Self> {
        let directory = place.directory();
        let options = match place.output {
            Output::Capture => format!("capture:{directory}/capture"),
            Output::CaptureAtOnce => format!("capture:{directory}/capture --refresh 0"),
            Output::Copied(sink) => sink.option(machine)?,
            Output::InPlace(sink) => {
                machine.dom0(LOAD_MODULE)?;
                sink.option(machine)? + " --zero-copy"
            }
        };
        let command = format!(
            "{DRIVERS}; PATH=$PATH:/lab/bin; exec xen-displ-backend --output {options} --stats {directory}/backend.json {also}"
        );
        let job = machine.link.spawn(place.domain, &command)?;
        machine
            .link
            .wait_output(job, "ready", PATIENCE)
            .context("the backend did not get ready")?;
        Ok(Self { job, place })
    }

    /// Where it runs, and where it shows pictures.
    pub fn place(&self) -> Place {
        self.place
    }

    /// All that it has said.
    ///
    /// # Errors
    ///
    /// When it has ended, or Dom0 does not answer.
    pub fn said(&self, machine: &mut Machine) -> Result<String> {
        machine.link.output(self.job)
    }

    /// Ask it to end, if it has not been killed by a fault of its script, and wait: all that it has said.
    ///
    /// # Errors
    ///
    /// When it does not end, or has ended otherwise.
    pub fn end(self, machine: &mut Machine) -> Result<String> {
        machine.link.signal(self.job, 15)?;
        let ended = machine
            .link
            .wait(self.job, PATIENCE)
            .context("the backend did not end")?;
        ensure!(
            [0, KILLED].contains(&ended.status),
            "the backend ended with {}: {}",
            ended.status,
            ended.stderr.trim()
        );
        Ok(ended.stdout + &ended.stderr)
    }

    /// Ask it to end, and wait.
    ///
    /// # Errors
    ///
    /// When it does not, or reports a failure.
    pub fn stop(self, machine: &mut Machine) -> Result<Ended> {
        machine.link.signal(self.job, 15)?;
        let ended = machine
            .link
            .wait(self.job, PATIENCE)
            .context("the backend did not end")?;
        ensure!(
            ended.status == 0,
            "the backend ended with {}: {}",
            ended.status,
            ended.stderr.trim()
        );
        Ok(ended)
    }

    /// End it without a chance to tidy up.
    ///
    /// # Errors
    ///
    /// When Dom0 does not answer.
    pub fn kill(self, machine: &mut Machine) -> Result<()> {
        machine.link.signal(self.job, 9)?;
        machine.link.wait(self.job, PATIENCE)?;
        Ok(())
    }

    /// Halt it where it is: it keeps all that it has, and does nothing until [`Self::go_on`].
    ///
    /// # Errors
    ///
    /// When Dom0 does not answer.
    pub fn halt(&self, machine: &mut Machine) -> Result<()> {
        machine.link.signal(self.job, 19)
    }

    /// Let it go on after [`Self::halt`].
    ///
    /// # Errors
    ///
    /// When Dom0 does not answer.
    pub fn go_on(&self, machine: &mut Machine) -> Result<()> {
        machine.link.signal(self.job, 18)
    }

    /// What it has counted so far.
    ///
    /// # Errors
    ///
    /// When it does not write its figures.
    pub fn figures(&self, machine: &mut Machine) -> Result<Figures> {
        let file = machine.share().join("backend.json");
        self.ask_for(machine, &file)?;
        let end = Instant::now() + PATIENCE;
        loop {
            // It may be half written yet.
            match serde_json::from_slice(&std::fs::read(&file)?) {
                Ok(figures) => return Ok(figures),
                Err(error) if Instant::now() >= end => {
                    return Err(error).context("the backend's figures");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// The picture that a guest's connector (by its unique id) has now, and its file.
    ///
    /// # Errors
    ///
    /// When the backend writes none: the connector is off, or its output is not a capture.
    pub fn picture(
        &self,
        machine: &mut Machine,
        guest: &str,
        unique_id: &str,
    ) -> Result<(Picture, PathBuf)> {
        let name = format!("{unique_id}-now.png");
        let file = machine.share().join(format!("capture/{guest}-{name}"));
        match self.place.domain {
            Domain::Zero => self.ask_for(machine, &file)?,
            domain => {
                let there = self.captured(machine, guest, &name)?;
                let link = &mut machine.link;
                link.run_ok(domain, &format!("rm -f {there}"), PATIENCE)?;
                link.signal(self.job, 10)?;
                let wait = format!("until [ -e {there} ]; do sleep 0.1; done; base64 {there}");
                let text = link.run_ok(domain, &wait, PATIENCE)?;
                let text: String = text.split_whitespace().collect();
                std::fs::write(&file, BASE64_STANDARD.decode(text)?)?;
            }
        }
        Ok((Picture::read(&file)?, file))
    }

    /// All that the capture's log has of a guest's connector.
    ///
    /// # Errors
    ///
    /// When there is no log, or a line of it is unreadable.
    pub fn records(
        &self,
        machine: &mut Machine,
        guest: &str,
        unique_id: &str,
    ) -> Result<Vec<Record>> {
        let name = format!("{unique_id}.jsonl");
        let (text, file) = match self.place.domain {
            Domain::Zero => {
                let file = machine.share().join(format!("capture/{guest}-{name}"));
                let text = std::fs::read_to_string(&file).with_context(|| outside(&file))?;
                (text, outside(&file))
            }
            domain => {
                let file = self.captured(machine, guest, &name)?;
                let cat = format!("cat {file}");
                (machine.link.run_ok(domain, &cat, PATIENCE)?, file)
            }
        };
        // The last line may be half written yet.
        let written = text.rfind('\n').and_then(|end| text.get(..end));
        written
            .unwrap_or("")
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("{file}: {line}")))
            .collect()
    }

    /// Where a driver domain has a file of the capture. It may not read other guests' names, so they go by their numbers.
    fn captured(&self, machine: &mut Machine, guest: &str, name: &str) -> Result<String> {
        let id = machine.dom0(&format!("xl domid {guest}"))?;
        let directory = self.place.directory();
        Ok(format!("{directory}/capture/{}-{name}", id.trim()))
    }

    /// Make it write a file.
    fn ask_for(&self, machine: &mut Machine, file: &PathBuf) -> Result<()> {
        if file.exists() {
            std::fs::remove_file(file)?;
        }
        let end = Instant::now() + PATIENCE;
        let mut asked: Option<Instant> = None;
        while !file.exists() {
            // A head that is not on yet has nothing to write.
            if asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
                machine.link.signal(self.job, 10)?;
                asked = Some(Instant::now());
            }
            if Instant::now() >= end {
                bail!(
                    "the backend wrote no {}. Its threads:\n{}",
                    outside(file),
                    machine.dom0(THREADS)?
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}
