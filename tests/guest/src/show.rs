// SPDX-License-Identifier: GPL-2.0

//! `card`: shows the test card.

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
