// SPDX-License-Identifier: GPL-2.0

//! `card`: shows the test card. `hoard`: shows one, and has more that are not shown.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use crate::cli::Target;
use crate::format::Format;
use crate::info::fourcc;
use crate::session::Session;

/// Shows one card.
///
/// # Errors
/// When the kernel refuses a step.
pub fn card(session: &mut Session<'_>, target: &Target, variant: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let frame = session.frame(&mode, target.format, variant)?;
    screen.set_mode(mode, frame.handle())?;
    session
        .report
        .check("framebuffer shown", frame.id(), screen.shown()?);
    session.say_shown(screen.output(), frame.geometry(), variant);
    session.hold(target)
}

/// Shows one card and has framebuffers with others, until told to end; then says how long it took to let go of them.
///
/// # Errors
/// When the kernel refuses a step.
pub fn hoard(session: &mut Session<'_>, target: &Target, count: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let frames = (0..count)
        .map(|variant| session.frame(&mode, target.format, variant))
        .collect::<Result<Vec<_>>>()?;
    if let Some(first) = frames.first() {
        screen.set_mode(mode, first.handle())?;
        session.say_shown(screen.output(), first.geometry(), 0);
    }
    session.hold(target)?;
    let start = Instant::now();
    drop(frames);
    let ms = start.elapsed().as_secs_f64() * 1000.0;
    session
        .report
        .say("let go", json!({"buffers": count, "ms": ms}));
    Ok(())
}

/// Lists the formats of the output's primary plane.
///
/// # Errors
/// When the kernel does not answer.
pub fn list_formats(session: &mut Session<'_>, target: &Target) -> Result<()> {
    let screen = session.screen(target)?;
    for &code in &screen.output().formats {
        let known = Format::from_code(code).map(|format| format.to_string());
        session
            .report
            .say("format", json!({"code": fourcc(code), "card": known}));
    }
    Ok(())
}

/// Shows the card in one format after the other. A line on standard input goes on to the next; its end ends the run.
///
/// # Errors
/// When the kernel refuses a step.
pub fn all_formats(session: &mut Session<'_>, target: &Target, variant: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    // The frame before is kept until the next is shown: removing a shown framebuffer would switch the output off.
    let mut last = None;
    for &code in &screen.output().formats {
        let Some(format) = Format::from_code(code) else {
            let name = format!("offered format {}", fourcc(code));
            if session.generic {
                session.report.skip(&name, "the card is not defined for it");
            } else {
                session
                    .report
                    .check(&name, "one that the card is defined for", "unknown");
            }
            continue;
        };
        if !format.takes_width(mode.size().0.into()) {
            let name = format!("offered format {format}");
            session.report.skip(&name, "odd width");
            continue;
        }
        let frame = session.frame(&mode, format, variant)?;
        screen.set_mode(mode, frame.handle())?;
        let name = format!("framebuffer shown in {format}");
        session.report.check(&name, frame.id(), screen.shown()?);
        session.say_shown(screen.output(), frame.geometry(), variant);
        last = Some(frame);
        if !session.stop.wait_for_line()? {
            break;
        }
    }
    session.hold(target)?;
    drop(last);
    Ok(())
}
