// SPDX-License-Identifier: GPL-2.0

//! `modes` and `dpms`: off and on again, and what a flip gets in between.

use std::time::Instant;

use anyhow::{Context, Result};
use drm::control::Mode;
use serde_json::json;

use crate::buffer::Frame;
use crate::cli::Target;
use crate::output::Output;
use crate::report::outcome;
use crate::screen::{Pace, Screen, Via};
use crate::session::Session;

/// What a flip gets while no mode is set. PAGE_FLIP finds no framebuffer on the primary plane: EBUSY
/// (`drm_mode_page_flip_ioctl`, "presumably due to a hotplug event"). An atomic commit sets FB_ID on a plane without
/// a CRTC: EINVAL (`drm_atomic_plane_check`, "FB set but no CRTC").
fn flip_without_mode(via: Via) -> &'static str {
    match via {
        Via::Legacy => "EBUSY",
        Via::Atomic => "EINVAL",
    }
}

/// What a flip gets while the CRTC keeps mode and framebuffer but sleeps: EINVAL either way (`page_flip_common`,
/// "disabled, rejecting legacy flip"; `drm_atomic_crtc_check`, "requesting event but off").
const FLIP_ASLEEP: &str = "EINVAL";

/// Switches the output off and on.
///
/// # Errors
/// When the kernel refuses a step.
pub fn modes(session: &mut Session<'_>, target: &Target, loops: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let modes = if target.mode == "first" {
        screen.output().modes.clone()
    } else {
        vec![screen.output().mode(&target.mode)?]
    };
    let start = Instant::now();
    let mut last = None;
    for (round, mode) in (0..loops).zip(modes.into_iter().cycle()) {
        let frame = session.frame(&mode, target.format, round % 2)?;
        screen.set_mode(mode, frame.handle())?;
        let label = format!("round {round}");
        let report = &mut session.report;
        report.check(&format!("{label}: mode set"), true, screen.has_mode()?);
        report.check(
            &format!("{label}: framebuffer shown"),
            frame.id(),
            screen.shown()?,
        );
        screen.off()?;
        report.check(
            &format!("{label}: mode set after off"),
            false,
            screen.has_mode()?,
        );
        report.check(
            &format!("{label}: framebuffer shown after off"),
            0,
            screen.shown()?,
        );
        let flip = screen.flip(frame.id(), Pace::Nonblocking, u64::from(round));
        report.check(
            &format!("{label}: flip while off"),
            flip_without_mode(target.via),
            outcome(&flip),
        );
        last = Some((mode, frame, round % 2));
    }
    session.report.say(
        "modes",
        json!({"loops": loops, "seconds": start.elapsed().as_secs_f64()}),
    );
    let (mode, frame, variant) =
        last.context("no mode was set: the connector has none, or loops is 0")?;
    screen.set_mode(mode, frame.handle())?;
    flip_works(session, &screen, &frame, "flip after the last round")?;
    session.say_shown(screen.output(), frame.geometry(), variant);
    session.hold(target)
}

/// Puts the output to sleep and wakes it, by the DPMS property and, where the driver is atomic, by ACTIVE. While it
/// sleeps, flips must fail both ways. It ends on variant 0.
///
/// # Errors
/// When the kernel refuses a step.
pub fn dpms(session: &mut Session<'_>, target: &Target, loops: u32) -> Result<()> {
    let atomic = session.device.enable_modesetting()?;
    let output = Output::find(session.device, &target.connector)?;
    let mode = output.mode(&target.mode)?;
    let frames = [
        session.frame(&mode, target.format, 0)?,
        session.frame(&mode, target.format, 1)?,
    ];
    let vias: &[Via] = if atomic {
        &[Via::Legacy, Via::Atomic]
    } else {
        &[Via::Legacy]
    };
    for &via in vias {
        let power = Screen::new(session.device, output.clone(), via)?;
        sleep_and_wake(session, &power, vias, &frames, mode, loops)?;
    }
    session.say_shown(&output, frames[0].geometry(), 0);
    session.hold(target)
}

fn sleep_and_wake(
    session: &mut Session<'_>,
    power: &Screen<'_>,
    vias: &[Via],
    frames: &[Frame<'_>; 2],
    mode: Mode,
    loops: u32,
) -> Result<()> {
    power.set_mode(mode, frames[0].handle())?;
    let start = Instant::now();
    for round in 0..loops {
        power.set_power(false)?;
        let label = format!("round {round}");
        if vias.contains(&Via::Atomic) {
            session.report.check(
                &format!("{label}: ACTIVE asleep"),
                false,
                power.is_active()?,
            );
        }
        session.report.check(
            &format!("{label}: mode set asleep"),
            true,
            power.has_mode()?,
        );
        for &via in vias {
            let flipper = Screen::new(session.device, power.output().clone(), via)?;
            let flip = flipper.flip(frames[1].id(), Pace::Nonblocking, 0);
            let name = format!("{label}: {via:?} flip asleep");
            session.report.check(&name, FLIP_ASLEEP, outcome(&flip));
        }
        power.set_power(true)?;
        session.report.check(
            &format!("{label}: framebuffer shown awake"),
            frames[0].id(),
            power.shown()?,
        );
        flip_works(session, power, &frames[1], &format!("{label}: flip awake"))?;
        flip_works(session, power, &frames[0], &format!("{label}: flip back"))?;
    }
    session.report.say(
        "dpms",
        json!({"loops": loops, "seconds": start.elapsed().as_secs_f64()}),
    );
    Ok(())
}

/// Flips to `frame` and waits for the event.
fn flip_works(
    session: &mut Session<'_>,
    screen: &Screen<'_>,
    frame: &Frame<'_>,
    name: &str,
) -> Result<()> {
    let user_data = u64::from(frame.id());
    let flip = screen.flip(frame.id(), Pace::Nonblocking, user_data);
    if session.report.check(name, "success", outcome(&flip)) {
        let event = session.events().expect(session.event_limit)?;
        session
            .report
            .check(&format!("{name}: event"), user_data, event.user_data);
    }
    Ok(())
}
