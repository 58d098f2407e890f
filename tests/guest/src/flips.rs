// SPDX-License-Identifier: GPL-2.0

//! `flips`: flips between two cards, one at a time, and judges every event.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::cli::Target;
use crate::events::{Arrival, Events, Sequence};
use crate::report::outcome;
use crate::screen::{Pace, Screen, Via};
use crate::session::Session;

/// Tries at catching a flip while another is pending, before the vblank ends the other.
const BUSY_TRIES: u64 = 20;

/// What is flipped.
pub struct Plan {
    /// Flips.
    pub count: u64,
    /// Whether commits wait.
    pub pace: Pace,
    /// The least time from one flip's turn to the next one's.
    pub interval: Duration,
}

/// Shows variant 1, then flips as planned: flip `i` shows variant `i % 2`.
///
/// # Errors
/// When the kernel refuses a step or an event does not come.
pub fn run(session: &mut Session<'_>, target: &Target, plan: &Plan) -> Result<()> {
    let &Plan {
        count,
        pace,
        interval,
    } = plan;
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let frames = [
        session.frame(&mode, target.format, 0)?,
        session.frame(&mode, target.format, 1)?,
    ];
    screen.set_mode(mode, frames[1].handle())?;
    let ids = frames.each_ref().map(|frame| frame.id());
    let limit = session.event_limit;

    let mut sequence = Sequence::new(screen.output().crtc.into(), 0);
    let mut wrong = Vec::new();
    let mut submitted = 0;
    session.report.say("flipping", json!(count));
    let start = Instant::now();
    let mut turn = start;
    let mut events = Events::new(session.device, &session.stop);
    for flip in 0..count {
        std::thread::sleep(turn.saturating_duration_since(Instant::now()));
        turn += interval;
        let at = usize::from(flip % 2 == 1);
        screen.flip(ids[at], pace, flip).with_context(|| {
            format!("flip {flip} of {count} was refused, with no other pending")
        })?;
        submitted += 1;
        let event = events
            .expect(limit)
            .with_context(|| format!("after flip {flip} of {count}"))?;
        let judged = sequence.accept(event, Instant::now());
        // The first few tell what is wrong; the number of good events tells how much of it.
        if wrong.len() < 10 {
            wrong.extend(judged.err());
        }
    }
    let duration = start.elapsed();
    let last_variant = usize::from((count - 1) % 2 == 1);
    let shown = screen.shown()?;

    let busy = if target.via == Via::Atomic && pace == Pace::Blocking {
        None
    } else {
        // Ends on the last picture again.
        Some(second_flip_is_busy(
            &screen,
            &mut events,
            ids,
            last_variant,
            session,
        )?)
    };
    // An event too many would arrive by the next vblanks.
    let surplus = events.next(Duration::from_millis(100))?;
    drop(events);

    let report = &mut session.report;
    report.say(
        "flips",
        json!({
            "via": format!("{:?}", target.via).to_lowercase(),
            "nonblock": pace == Pace::Nonblocking,
            "count": submitted,
            "events": sequence.events,
            "seconds": duration.as_secs_f64(),
            "flips_per_second": count as f64 / duration.as_secs_f64(),
            "smallest_step": sequence.smallest_step,
            "largest_step": sequence.largest_step,
            "longest_gap_ms": sequence.longest_gap.as_secs_f64() * 1000.0,
        }),
    );
    report.check("events out of order", json!([]), wrong);
    report.check("events", count, sequence.events);
    report.check(
        "framebuffer shown after the last flip",
        ids[last_variant],
        shown,
    );
    if let Some(busy) = busy {
        report.check("flip while one is pending", "EBUSY", busy);
    }
    let surplus = match surplus {
        Arrival::Flip(event) => json!(event.user_data),
        Arrival::TimeOut | Arrival::Stopped => json!(null),
    };
    report.check("event too many", json!(null), surplus);
    report.check(
        "framebuffer shown at the end",
        ids[last_variant],
        screen.shown()?,
    );
    session.say_shown(
        screen.output(),
        frames[last_variant].geometry(),
        last_variant as u32,
    );
    session.hold(target)
}

/// Asks for a flip while one is pending and returns the outcome. Where the first is done before the second is asked for,
/// both succeed and it is tried again.
fn second_flip_is_busy(
    screen: &Screen<'_>,
    events: &mut Events<'_>,
    ids: [u32; 2],
    shown: usize,
    session: &Session<'_>,
) -> Result<String> {
    let limit = session.event_limit;
    let flip = |index: usize, user_data| screen.flip(ids[index], Pace::Nonblocking, user_data);
    for _ in 0..BUSY_TRIES {
        flip(1 - shown, 1)?;
        let second = flip(shown, 2);
        let first_event = events.expect(limit)?;
        ensure!(
            first_event.user_data == 1,
            "the event of a flip that was refused came"
        );
        if second.is_err() {
            flip(shown, 3)?;
            events.expect(limit)?;
            return Ok(outcome(&second));
        }
        events.expect(limit)?;
    }
    Ok(outcome(&Ok(())))
}
