// SPDX-License-Identifier: GPL-2.0

//! `dirtyfb`: changes the shown buffer in place.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use drm::control::{ClipRect, Device as _};

use crate::cli::Target;
use crate::raw;
use crate::session::Session;

/// Shows variant 0, then draws variants 1 to `changes` into the same buffer. The whole framebuffer is announced in
/// turns as such and as two clips.
///
/// # Errors
/// When the kernel refuses a step.
pub fn run(session: &mut Session<'_>, target: &Target, changes: u32, step: bool) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let mut frame = session.frame(&mode, target.format, 0)?;
    screen.set_mode(mode, frame.handle())?;
    session.say_shown(screen.output(), frame.geometry(), 0);
    let (width, height) = mode.size();
    let halves = [
        ClipRect::new(0, 0, width, height / 2),
        ClipRect::new(0, height / 2, width, height),
    ];
    for variant in 1..=changes {
        if step && !session.stop.wait_for_line()? {
            break;
        }
        frame.draw(variant)?;
        let clips: &[ClipRect] = if variant % 2 == 1 { &[] } else { &halves };
        if clips.is_empty() {
            raw::dirty_whole(session.device.as_fd(), frame.id())
        } else {
            session.device.dirty_framebuffer(frame.handle(), clips)
        }
        .with_context(|| format!("DIRTYFB of variant {variant} with {} clips", clips.len()))?;
        let check = format!("framebuffer shown after change {variant}");
        session.report.check(&check, frame.id(), screen.shown()?);
        session.say_shown(screen.output(), frame.geometry(), variant);
    }
    session.hold(target)
}
