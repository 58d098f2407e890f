// SPDX-License-Identifier: GPL-2.0

//! `flip-forever`: flips until told to end, through whatever happens to the backend or the device meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::buffer::Frame;
use crate::cli::Target;
use crate::events::{Arrival, Events, Sequence};
use crate::screen::{Pace, Screen};
use crate::session::Session;
use crate::stop::Woken;

/// Time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Time between two looks at whether the device is still there: its removal wakes nobody who waits for an event.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Pause after an error that is survived.
const BREATH: Duration = Duration::from_millis(100);

/// Flips between variants 0 and 1.
///
/// # Errors
/// ENODEV when the device goes away; without `survive`, any refusal and any event that is late or out of order.
pub fn run(session: &mut Session<'_>, target: &Target, survive: bool) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let frames = [
        session.frame(&mode, target.format, 0)?,
        session.frame(&mode, target.format, 1)?,
    ];
    screen.set_mode(mode, frames[1].handle())?;
    session.say_shown(screen.output(), frames[1].geometry(), 1);

    let mut flipper = Flipper {
        session,
        screen: &screen,
        events: session.events(),
        ids: frames.each_ref().map(Frame::id),
        sequence: Sequence::new(screen.output().crtc.into(), 0),
        submitted: 0,
        errors: 0,
        late: 0,
        next_line: Instant::now() + LINE_EVERY,
    };
    let ending = loop {
        match flipper.flip() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) if session.device.is_gone() => break Err(error),
            Err(error) => {
                flipper.trouble(&error);
                if !survive {
                    break Err(error);
                }
                if session.stop.wait(None, Some(BREATH))? == Woken::Stopped {
                    break Ok(());
                }
                // A flip that is refused for ever, such as on an output that was switched off, needs its mode again.
                if let Err(error) = screen.set_mode(mode, frames[1].handle()) {
                    if session.device.is_gone() {
                        break Err(error);
                    }
                    flipper.trouble(&error);
                }
            }
        }
    };
    flipper.say("flipped");
    let errors = flipper.errors;
    ending?;
    if !survive {
        session.report.check("errors", 0, errors);
    }
    Ok(())
}

struct Flipper<'s, 'd> {
    session: &'s Session<'d>,
    screen: &'s Screen<'d>,
    events: Events<'s>,
    ids: [u32; 2],
    sequence: Sequence,
    submitted: u64,
    errors: u64,
    /// Events of flips that were given up.
    late: u64,
    next_line: Instant,
}

impl Flipper<'_, '_> {
    /// One flip and its event. `false` when told to end.
    fn flip(&mut self) -> Result<bool> {
        let flip = self.submitted;
        let id = self.ids[usize::from(flip % 2 == 1)];
        self.screen
            .flip(id, Pace::Nonblocking, flip)
            .with_context(|| format!("flip {flip} was refused"))?;
        self.submitted += 1;
        let deadline = Instant::now() + self.session.event_limit;
        loop {
            if Instant::now() >= self.next_line {
                self.say("flipping");
                self.next_line += LINE_EVERY;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.next(left.min(LOOK_EVERY))? {
                Arrival::Stopped => return Ok(false),
                // Of a flip that was given up.
                Arrival::Flip(event) if self.errors > 0 && event.user_data < flip => self.late += 1,
                Arrival::Flip(event) => {
                    let judged = self.sequence.accept(event, Instant::now());
                    judged.map_err(anyhow::Error::msg)?;
                    return Ok(true);
                }
                Arrival::TimeOut => {
                    ensure!(!self.session.device.is_gone(), "the device was removed");
                    ensure!(Instant::now() < deadline, "no event of flip {flip} in time");
                }
            }
        }
    }

    fn trouble(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        eprintln!("{error:#}");
        self.session
            .report
            .say("trouble", json!(format!("{error:#}")));
        self.sequence.restart_at(self.submitted);
    }

    fn say(&self, kind: &str) {
        self.session.report.say(
            kind,
            json!({
                "flips": self.submitted,
                "events": self.sequence.events,
                "longest_gap_ms": self.sequence.longest_gap.as_secs_f64() * 1000.0,
                "errors": self.errors,
                "late_events": self.late,
            }),
        );
    }
}
