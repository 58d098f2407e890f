// SPDX-License-Identifier: GPL-2.0

//! `rounds`: buffers of many sizes, each created, mapped, flipped to and destroyed.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use drm::control::Mode;
use rustix::io::Errno;
use serde_json::json;

use crate::buffer::{Dumb, FbId, Geometry};
use crate::cli::Target;
use crate::raw::Mapping;
use crate::screen::Pace;
use crate::session::Session;

/// Largest width and height, in pixels.
const LARGEST: (u32, u32) = (3840, 2160);
/// So many of the buffers at least have more pixels than [`FULL_HD`], if there are enough of them for one in [`LARGE_EVERY`] to be one.
const LARGE: u32 = 50;
const LARGE_EVERY: u32 = 10;
const FULL_HD: (u32, u32) = (1920, 1080);
const PAGE: usize = 4096;

/// A buffer that is shown, or was.
struct Round<'d> {
    // In the order of their ends.
    fb: FbId<'d>,
    _map: Mapping,
    _dumb: Dumb<'d>,
}

/// How often a buffer is asked for that the backend is too slow for: on a busy machine it may be for the largest.
const TRIES: u32 = 5;

/// What the rounds have taken so far, by their steps.
#[derive(Default)]
struct Steps {
    /// How often a buffer was asked for again.
    again: u32,
    create: Duration,
    write: Duration,
    framebuffer: Duration,
    flip: Duration,
    end: Duration,
}

/// Rounds of buffers from the mode's size up.
///
/// # Errors
/// When the kernel refuses a step, or an event does not come.
pub fn run(session: &mut Session<'_>, target: &Target, rounds: u32, seed: u64) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut steps = Steps::default();
    let first = crate::session::geometry(&mode, target.format);
    let mut shown = Round::patiently(session, first, &mut steps)?;
    screen.set_mode(mode, shown.fb.handle)?;
    let (mut pixels, mut large) = (0, 0);
    let large_every = (rounds / LARGE).max(LARGE_EVERY);
    let start = Instant::now();
    let mut events = session.events();
    for round in 0..rounds {
        let (width, height) = size(&mut random, &mode, round % large_every == 0);
        let describe = || format!("round {round}, {width}x{height}");
        let geometry = Geometry {
            width,
            height,
            format: target.format,
        };
        let next = Round::patiently(session, geometry, &mut steps).with_context(describe)?;
        let before = Instant::now();
        screen
            .flip(next.fb.handle.into(), Pace::Nonblocking, round.into())
            .with_context(describe)?;
        let event = events.expect(session.event_limit).with_context(describe)?;
        ensure!(
            event.user_data == u64::from(round),
            "the event of another flip came: {}",
            event.user_data
        );
        steps.flip += before.elapsed();
        let before = Instant::now();
        shown = next;
        steps.end += before.elapsed();
        pixels += u64::from(width) * u64::from(height);
        large += u32::from(is_large(width, height));
    }
    drop(events);
    screen.off()?;
    drop(shown);
    session.report.say(
        "rounds",
        json!({
            "rounds": rounds,
            "larger than 1920x1080": large,
            "mean pixels": pixels / u64::from(rounds.max(1)),
            "seconds": start.elapsed().as_secs_f64(),
            "of these to create": steps.create.as_secs_f64(),
            "to write": steps.write.as_secs_f64(),
            "to make a framebuffer": steps.framebuffer.as_secs_f64(),
            "to flip": steps.flip.as_secs_f64(),
            "to let go": steps.end.as_secs_f64(),
            "asked for again": steps.again,
        }),
    );
    session.report.check(
        "enough are larger than 1920x1080",
        true,
        large >= rounds / large_every,
    );
    Ok(())
}

impl<'d> Round<'d> {
    /// One, asked for again when it is not there in time. What has come too late is the driver's to give back.
    fn patiently(session: &Session<'d>, geometry: Geometry, steps: &mut Steps) -> io::Result<Self> {
        let mut tries = 1;
        loop {
            match Self::new(session, geometry, steps) {
                Err(error)
                    if Errno::from_io_error(&error) == Some(Errno::TIMEDOUT) && tries < TRIES =>
                {
                    tries += 1;
                    steps.again += 1;
                }
                result => return result,
            }
        }
    }

    fn new(session: &Session<'d>, geometry: Geometry, steps: &mut Steps) -> io::Result<Self> {
        let before = Instant::now();
        let dumb = Dumb::of(session.device, geometry)?;
        steps.create += before.elapsed();
        let before = Instant::now();
        let mut map = dumb.map_all()?;
        for at in (0..map.len()).step_by(PAGE) {
            map.write(at, &[0x5a])?;
        }
        steps.write += before.elapsed();
        let before = Instant::now();
        let fb = FbId::add(session.device, geometry, dumb.handle, dumb.pitch)?;
        steps.framebuffer += before.elapsed();
        Ok(Self {
            fb,
            _map: map,
            _dumb: dumb,
        })
    }
}

/// A size from the mode's to [`LARGEST`], spread evenly over the orders of magnitude.
fn size(random: &mut fastrand::Rng, mode: &Mode, large: bool) -> (u32, u32) {
    let (width, height) = (u32::from(mode.size().0), u32::from(mode.size().1));
    loop {
        let (width, height) = (
            between(random, width, LARGEST.0),
            between(random, height, LARGEST.1),
        );
        if !large || is_large(width, height) {
            return (width, height);
        }
    }
}

fn is_large(width: u32, height: u32) -> bool {
    u64::from(width) * u64::from(height) > u64::from(FULL_HD.0) * u64::from(FULL_HD.1)
}

fn between(random: &mut fastrand::Rng, least: u32, most: u32) -> u32 {
    let ratio = f64::from(most) / f64::from(least);
    let size = f64::from(least) * ratio.powf(random.f64());
    (size.round() as u32).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_spread_over_the_orders_of_magnitude() {
        let mut random = fastrand::Rng::with_seed(3);
        let sizes: Vec<_> = (0..10_000)
            .map(|_| between(&mut random, 64, 3840))
            .collect();
        assert!(sizes.iter().all(|size| (64..=3840).contains(size)));
        // The middle of 64 and 3840 by their ratio.
        let below = sizes.iter().filter(|size| **size < 496).count();
        assert!((4_500..5_500).contains(&below), "{below}");
    }
}
