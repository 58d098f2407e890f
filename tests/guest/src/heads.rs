// SPDX-License-Identifier: GPL-2.0

//! `heads`: every connected connector at once.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::buffer::Frame;
use crate::cli::Target;
use crate::events::{Events, Sequence};
use crate::output::outputs;
use crate::screen::{Pace, Screen};
use crate::session::Session;

struct Head<'d> {
    screen: Screen<'d>,
    /// Variants 2i and 2i + 1 on head i.
    frames: [Frame<'d>; 2],
    first_variant: u32,
    sequence: Sequence,
    submitted: u64,
}

impl Head<'_> {
    fn flip(&mut self) -> Result<()> {
        let id = self.frames[usize::from(self.submitted % 2 == 1)].id();
        self.screen
            .flip(id, Pace::Nonblocking, self.submitted)
            .with_context(|| format!("flip {} on {}", self.submitted, self.screen.output().name))?;
        self.submitted += 1;
        Ok(())
    }
}

/// Shows variant 2i on head i; with flips, all heads flip between 2i and 2i + 1, each as fast as its events come.
///
/// # Errors
/// When the kernel refuses a step or an event does not come.
pub fn run(session: &mut Session<'_>, target: &Target, flips: u64) -> Result<()> {
    session.device.enable_modesetting()?;
    let mut heads = Vec::new();
    for (index, output) in outputs(session.device)?.into_iter().enumerate() {
        let screen = Screen::new(session.device, output, target.via)?;
        let mode = screen.output().mode(&target.mode)?;
        let first_variant = 2 * u32::try_from(index)?;
        let frames = [
            session.frame(&mode, target.format, first_variant)?,
            session.frame(&mode, target.format, first_variant + 1)?,
        ];
        // With flips, the first flip must change the picture.
        screen.set_mode(mode, frames[usize::from(flips > 0)].handle())?;
        let sequence = Sequence::new(screen.output().crtc.into(), 0);
        heads.push(Head {
            screen,
            frames,
            first_variant,
            sequence,
            submitted: 0,
        });
    }
    ensure!(!heads.is_empty(), "no connector is connected");

    let start = Instant::now();
    let mut wrong = Vec::new();
    let mut events = Events::new(session.device, &session.stop);
    if flips > 0 {
        heads.iter_mut().try_for_each(Head::flip)?;
    }
    while heads.iter().any(|head| head.sequence.events < flips) && wrong.is_empty() {
        let event = events.expect(session.event_limit)?;
        let of_event = |head: &&mut Head<'_>| u32::from(head.screen.output().crtc) == event.crtc;
        let head = heads.iter_mut().find(of_event);
        let head =
            head.with_context(|| format!("an event names the unused CRTC {}", event.crtc))?;
        match head.sequence.accept(event, Instant::now()) {
            Ok(()) if head.submitted < flips => head.flip()?,
            Ok(()) => {}
            Err(why) => wrong.push(format!("{}: {why}", head.screen.output().name)),
        }
    }
    drop(events);

    session
        .report
        .check("events out of order", json!([]), wrong);
    let seconds = start.elapsed().as_secs_f64();
    for head in &heads {
        let name = &head.screen.output().name;
        if flips > 0 {
            session.report.say(
                "flips",
                json!({
                    "connector": name,
                    "count": head.submitted,
                    "events": head.sequence.events,
                    "seconds": seconds,
                    "smallest_step": head.sequence.smallest_step,
                    "largest_step": head.sequence.largest_step,
                }),
            );
            session
                .report
                .check(&format!("events of {name}"), flips, head.sequence.events);
        }
        let last = usize::from(flips > 0 && (flips - 1) % 2 == 1);
        let frame = &head.frames[last];
        let check = format!("framebuffer shown on {name}");
        session
            .report
            .check(&check, frame.id(), head.screen.shown()?);
        let variant = head.first_variant + u32::from(last == 1);
        session.say_shown(head.screen.output(), frame.geometry(), variant);
    }
    session.hold(target)
}
