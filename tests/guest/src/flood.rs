// SPDX-License-Identifier: GPL-2.0

//! `flood`: asks for flips as fast as it can, and judges that one at a time is under way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use serde_json::json;

use crate::buffer::Frame;
use crate::cli::Target;
use crate::events::{Arrival, Sequence};
use crate::screen::Pace;
use crate::session::Session;

/// Flips that may have been accepted and not been seen to end: one under way, and one whose event has come since it was last looked.
const MOST_OUTSTANDING: u64 = 2;

/// Asks without pause until so many flips have been accepted. Whatever is refused is EBUSY, every flip that is accepted has its event, in order,
/// and none is left over.
///
/// # Errors
/// When the kernel refuses otherwise, or an event does not come.
pub fn run(session: &mut Session<'_>, target: &Target, flips: u64) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let frames = [
        session.frame(&mode, target.format, 0)?,
        session.frame(&mode, target.format, 1)?,
    ];
    screen.set_mode(mode, frames[1].handle())?;
    let ids = frames.each_ref().map(Frame::id);

    let mut sequence = Sequence::new(screen.output().crtc.into(), 0);
    let mut events = session.events();
    let (mut accepted, mut busy, mut most) = (0, 0_u64, 0);
    let mut progress = Instant::now();
    while sequence.events < flips {
        if accepted < flips {
            let id = ids[usize::from(accepted % 2 == 1)];
            match screen.flip(id, Pace::Nonblocking, accepted) {
                Ok(()) => accepted += 1,
                Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => busy += 1,
                Err(error) => {
                    return Err(error).with_context(|| format!("flip {accepted} was refused"));
                }
            }
            most = most.max(accepted - sequence.events);
        }
        while let Arrival::Flip(event) = events.next(Duration::ZERO)? {
            let judged = sequence.accept(event, Instant::now());
            judged.map_err(anyhow::Error::msg)?;
            progress = Instant::now();
        }
        ensure!(
            progress.elapsed() < session.event_limit,
            "no event of flip {} in time",
            sequence.events
        );
    }
    // An event too many would arrive by the next vblanks.
    let surplus = events.next(Duration::from_millis(100))?;
    drop(events);
    let report = &mut session.report;
    report.say(
        "flood",
        json!({ "accepted": accepted, "busy": busy, "most outstanding": most }),
    );
    report.check("some were refused", true, busy > 0);
    report.check("piled up", false, most > MOST_OUTSTANDING);
    report.check(
        "an event too many",
        false,
        matches!(surplus, Arrival::Flip(_)),
    );
    Ok(())
}
