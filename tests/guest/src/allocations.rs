// SPDX-License-Identifier: GPL-2.0

//! `allocations`: calls in which one allocation after the other fails.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use drm::control::Device as _;
use serde_json::json;

use crate::buffer::{Dumb, FbId, Frame, Geometry, Imported};
use crate::cli::{Call, Target, Whose};
use crate::device::Device;
use crate::format::Format;
use crate::import::udmabuf;
use crate::injection::{Injection, Victims};
use crate::raw;
use crate::report::{Report, outcome};
use crate::session::Session;

/// A call that makes more allocations than this is not one that is meant here.
const MOST: u32 = 5000;

/// A small buffer: each of its pages is an allocation.
const SMALL: Geometry = Geometry {
    width: 64,
    height: 64,
    format: Format::XRGB8888,
};

/// What came of the steps of a call.
#[derive(Debug, Default)]
struct Steps {
    /// Allocations that failed.
    failed: u32,
    /// How often the call did without.
    without: u32,
}

/// Makes a call, again and again, and has its first allocation fail, then its second, and so on. Each time it must tell that there is no memory,
/// or succeed. After the last one it must succeed.
///
/// # Errors
/// When the kernel injects no faults, or there is nothing to make the call with.
pub fn run(session: &mut Session<'_>, target: &Target, call: Call) -> Result<()> {
    let device = session.device;
    let injection = Injection::into_all()?;
    let victims = injection.of_this_thread()?;
    let report = &mut session.report;
    match call {
        Call::Create => steps(report, &victims, "CREATE_DUMB", || Dumb::of(device, SMALL)),
        Call::Import => {
            let dma_buf = udmabuf(u64::from(SMALL.width * SMALL.height * 4))?;
            steps(report, &victims, "PRIME_FD_TO_HANDLE", || {
                Imported::new(device, dma_buf.as_fd())
            })
        }
        Call::Attach => {
            let screen = session.screen(target)?;
            let mode = screen.output().mode(&target.mode)?;
            let geometry = crate::session::geometry(&mode, target.format);
            let frame = Frame::new(device, geometry)?;
            let dumb = frame.dumb();
            let report = &mut session.report;
            steps(report, &victims, "ADDFB2", || {
                FbId::add(device, geometry, dumb.handle, dumb.pitch)
            })?;
            let dma_buf = udmabuf(dumb.size)?;
            let imported = Imported::new(device, dma_buf.as_fd())?;
            steps(report, &victims, "ADDFB2 of imported memory", || {
                FbId::add(device, geometry, imported.handle.into(), dumb.pitch)
            })
        }
        Call::Export => {
            let dumb = Dumb::of(device, SMALL)?;
            let handle = drm::control::from_u32(dumb.handle).context("0 is no handle")?;
            steps(report, &victims, "PRIME_HANDLE_TO_FD", || {
                device.buffer_to_prime_fd(handle, drm::CLOEXEC | drm::RDWR)
            })
        }
        Call::Map => {
            let dumb = Dumb::of(device, SMALL)?;
            steps(report, &victims, "MAP_DUMB and mmap", || dumb.map_all())
        }
        Call::Commit => {
            let screen = session.screen(target)?;
            let mode = screen.output().mode(&target.mode)?;
            let frames = [0, 1].map(|variant| session.frame(&mode, target.format, variant));
            let [first, second] = frames;
            let (first, second) = (first?, second?);
            screen.set_mode(mode, first.handle())?;
            let report = &mut session.report;
            let mut next = [first.id(), second.id()].into_iter().cycle();
            steps(report, &victims, "DIRTYFB", || {
                raw::dirty_whole(device.as_fd(), first.id())
            })?;
            steps(report, &victims, "SETCRTC", || {
                let fb = next.next().and_then(drm::control::from_u32);
                let shown = screen.set_mode(mode, fb.unwrap_or(first.handle()));
                shown.map_err(|error| match error.downcast::<io::Error>() {
                    Ok(error) => error,
                    Err(error) => io::Error::other(format!("{error:#}")),
                })
            })
        }
    }
}

/// Makes a call until none of its allocations is left that has not failed.
///
/// # Errors
/// When it does not succeed without a failure, or fails otherwise than it may.
pub fn steps<T>(
    report: &mut Report,
    victims: &Victims,
    name: &str,
    mut call: impl FnMut() -> io::Result<T>,
) -> Result<()> {
    // What the kernel makes at the first time is not made again.
    drop(call().with_context(|| format!("{name}, without a failure"))?);
    let mut seen = Steps::default();
    for nth in 1..=MOST {
        victims.arm(nth)?;
        let result = call();
        let hit = victims.disarm()?;
        let said = outcome(&result);
        drop(result);
        let what = format!("{name}, allocation {nth}");
        if !hit {
            report.check(&format!("{what}, which there is not"), "success", said);
            report.say(
                "allocations",
                json!({"call": name, "failed": seen.failed, "without": seen.without}),
            );
            return Ok(());
        }
        seen.failed += 1;
        seen.without += u32::from(said == "success");
        if !matches!(said.as_str(), "success" | "ENOMEM") {
            report.verdict(&what, false, json!(["success", "ENOMEM"]), said.into());
        }
    }
    ensure!(false, "{name} makes more than {MOST} allocations");
    Ok(())
}

const BUS_DRIVER: &str = "/sys/bus/xen/drivers/xen_drm_front";
const MODULE: &str = "xen_drm_front";
const BUS_DEVICE: &str = "vdispl-0";

/// A safety net: a display is there in a second or two, or a second after what it lacked.
const PATIENCE: Duration = Duration::from_secs(60);

/// Binds the display's device to its driver, again and again, and has the driver's first allocation in a thread fail, then its second, and so on.
/// Each time there must be a display, without further ado unless the binding itself told that there is no memory.
///
/// # Errors
/// When the kernel injects no faults, or the device cannot be unbound, or nothing brings the display back.
pub fn bind(report: &mut Report, driver: &str, whose: Whose, least: u32) -> Result<()> {
    let injection = Injection::into_module(MODULE)?;
    let mut seen = Steps::default();
    for nth in least..=MOST {
        say_to("unbind").context("unbind")?;
        // New ones come and old ones go between the steps.
        let victims = match whose {
            Whose::Caller => injection.of_this_thread()?,
            Whose::Xenwatch => injection.of_threads("xenwatch")?,
            Whose::Workers => injection.of_threads("kworker/")?,
        };
        victims.arm(nth)?;
        let bound = say_to("bind");
        let mut hit = match whose {
            Whose::Caller => victims.disarm()?,
            Whose::Xenwatch | Whose::Workers => false,
        };
        let said = outcome(&bound);
        let what = format!("binding, allocation {nth} of {whose:?}");
        match (whose, said.as_str()) {
            (_, "success") => seen.without += 1,
            (Whose::Caller, "ENOMEM") if hit => say_to("bind").context("bind, with memory")?,
            _ => {
                report.verdict(&what, false, json!(["success", "ENOMEM"]), said.into());
                say_to("bind").context("bind, with memory")?;
            }
        }
        let display = wait_for_display(driver);
        hit |= victims.disarm()?;
        if let Err(error) = display {
            report.verdict(
                &what,
                false,
                json!("a display"),
                format!("{error:#}").into(),
            );
            say_to("unbind").context("unbind, without a display")?;
            say_to("bind").context("bind, without a display")?;
            wait_for_display(driver).context("after it was bound anew")?;
        }
        if !hit {
            report.check("allocations that failed are some", true, seen.failed > 0);
            report.say(
                "allocations",
                json!({"call": "bind", "whose": format!("{whose:?}"), "failed": seen.failed, "bound": seen.without}),
            );
            return Ok(());
        }
        seen.failed += 1;
    }
    ensure!(false, "binding makes more than {MOST} allocations");
    Ok(())
}

fn say_to(file: &str) -> io::Result<()> {
    use std::io::Write;
    let mut file = File::options()
        .write(true)
        .open(Path::new(BUS_DRIVER).join(file))?;
    file.write_all(BUS_DEVICE.as_bytes())
}

/// Waits until there is a display with a backend, and has made a framebuffer on it.
fn wait_for_display(driver: &str) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = || -> Result<()> {
            let device = Device::of_driver(driver)?;
            ensure!(has_backend()?, "the display has no backend");
            drop(Frame::new(&device, SMALL)?);
            Ok(())
        };
        match shown() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => sleep(Duration::from_millis(50)),
        }
    }
}

/// Whether a display is connected, as debugfs has it.
fn has_backend() -> Result<bool> {
    for dir in fs::read_dir("/sys/kernel/debug/dri")? {
        // Not every device has this file, and displays come and go.
        let state = fs::read_to_string(dir?.path().join("xen_state")).unwrap_or_default();
        if state.lines().any(|line| line.starts_with("backend: ")) {
            return Ok(true);
        }
    }
    Ok(false)
}
