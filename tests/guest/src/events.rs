// SPDX-License-Identifier: GPL-2.0

//! Flip events of a device, and what must hold for them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::device::Device;
use crate::stop::{Stop, Woken};

/// `struct drm_event_vblank` of type `DRM_EVENT_FLIP_COMPLETE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlipEvent {
    /// What was passed with the flip.
    pub user_data: u64,
    /// The vblank's number.
    pub sequence: u32,
    /// The CRTC's id.
    pub crtc: u32,
}

const FLIP_COMPLETE: u32 = 2;
const FLIP_EVENT_SIZE: usize = 32;

impl FlipEvent {
    /// Takes the first event off `bytes`.
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        let word = |at: usize| -> Option<u32> {
            let word = bytes.get(at..at + 4)?;
            Some(u32::from_ne_bytes(word.try_into().ok()?))
        };
        let (kind, len) = word(0).zip(word(4)).context("an event is cut off")?;
        ensure!(
            kind == FLIP_COMPLETE && len as usize == FLIP_EVENT_SIZE,
            "an event of type {kind} and {len} bytes came, which nobody asked for"
        );
        let event = || {
            // user_data, then seconds and microseconds, then sequence and CRTC.
            let user_data = bytes.get(8..16)?.try_into().ok().map(u64::from_ne_bytes)?;
            Some(Self {
                user_data,
                sequence: word(24)?,
                crtc: word(28)?,
            })
        };
        let event = event().context("a flip event is cut off")?;
        *bytes = &bytes[FLIP_EVENT_SIZE..];
        Ok(event)
    }
}

/// What waiting for an event gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// An event.
    Flip(FlipEvent),
    /// None in time.
    TimeOut,
    /// The process was told to end.
    Stopped,
}

/// The stream of a device's flip events.
#[derive(Debug)]
pub struct Events<'d> {
    device: &'d Device,
    stop: &'d Stop,
    read: VecDeque<FlipEvent>,
}

impl<'d> Events<'d> {
    /// The events of `device`; waiting ends early when `stop` says so.
    pub fn new(device: &'d Device, stop: &'d Stop) -> Self {
        Self {
            device,
            stop,
            read: VecDeque::new(),
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// When the device cannot be read (ENODEV once it is gone), or an event is none of a flip.
    pub fn next(&mut self, limit: Duration) -> Result<Arrival> {
        if self.read.is_empty() {
            match self.stop.wait(Some(self.device), Some(limit))? {
                Woken::Stopped => return Ok(Arrival::Stopped),
                Woken::TimeOut => return Ok(Arrival::TimeOut),
                Woken::Readable => {}
            }
            let mut buffer = [0; 4096];
            let len = rustix::io::read(self.device, &mut buffer).context("cannot read events")?;
            let mut bytes = &buffer[..len];
            while !bytes.is_empty() {
                self.read.push_back(FlipEvent::take(&mut bytes)?);
            }
        }
        Ok(self
            .read
            .pop_front()
            .map_or(Arrival::TimeOut, Arrival::Flip))
    }

    /// Waits for an event that must come.
    ///
    /// # Errors
    /// As [`Events::next`], and when none comes in time or the process is told to end.
    pub fn expect(&mut self, limit: Duration) -> Result<FlipEvent> {
        match self.next(limit)? {
            Arrival::Flip(event) => Ok(event),
            Arrival::TimeOut => bail!("no flip event within {limit:?}"),
            Arrival::Stopped => bail!("told to end while waiting for a flip event"),
        }
    }
}

/// Follows the events of one CRTC: each flip's event once, in order, with growing sequence numbers.
#[derive(Clone, Debug)]
pub struct Sequence {
    crtc: u32,
    next_user_data: u64,
    last: Option<(u32, Instant)>,
    /// Events that were in order.
    pub events: u64,
    /// Smallest growth of the sequence number between two events.
    pub smallest_step: Option<u32>,
    /// Largest growth of the sequence number between two events.
    pub largest_step: Option<u32>,
    /// Longest time between two events.
    pub longest_gap: Duration,
}

impl Sequence {
    /// Expects events of `crtc` whose `user_data` counts up from `first`.
    pub fn new(crtc: u32, first: u64) -> Self {
        Self {
            crtc,
            next_user_data: first,
            last: None,
            events: 0,
            smallest_step: None,
            largest_step: None,
            longest_gap: Duration::ZERO,
        }
    }

    /// Judges the next event, that came at `now`.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn accept(&mut self, event: FlipEvent, now: Instant) -> Result<(), String> {
        let expected = self.next_user_data;
        let previous = self.last.replace((event.sequence, now));
        self.next_user_data = event.user_data.wrapping_add(1);
        if event.crtc != self.crtc {
            return Err(format!(
                "the event names CRTC {}, not {}",
                event.crtc, self.crtc
            ));
        }
        if event.user_data != expected {
            return Err(format!(
                "the event of flip {} came instead of {expected}",
                event.user_data
            ));
        }
        if let Some((sequence, at)) = previous {
            let step = event.sequence.wrapping_sub(sequence);
            // The counter wraps: more than half its range ahead is behind.
            if step == 0 || step > u32::MAX / 2 {
                return Err(format!(
                    "sequence number {} follows {sequence}",
                    event.sequence
                ));
            }
            self.smallest_step = Some(self.smallest_step.map_or(step, |old| old.min(step)));
            self.largest_step = Some(self.largest_step.map_or(step, |old| old.max(step)));
            self.longest_gap = self.longest_gap.max(now.duration_since(at));
        }
        self.events += 1;
        Ok(())
    }

    /// Takes the next event to be of this flip, whatever came before: after a flip that was given up.
    pub fn restart_at(&mut self, user_data: u64) {
        self.next_user_data = user_data;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user_data: u64, sequence: u32) -> FlipEvent {
        FlipEvent {
            user_data,
            sequence,
            crtc: 7,
        }
    }

    #[test]
    fn parses_what_the_kernel_writes() {
        let mut bytes = Vec::new();
        for word in [2u32, 32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(0x1_0000_0005u64.to_ne_bytes());
        for word in [11u32, 12, 13, 7] {
            bytes.extend(word.to_ne_bytes());
        }
        let mut rest = bytes.as_slice();
        assert_eq!(
            FlipEvent::take(&mut rest).unwrap(),
            event(0x1_0000_0005, 13)
        );
        assert!(rest.is_empty());
        assert!(FlipEvent::take(&mut &bytes[..31]).is_err());
        bytes[0] = 1;
        assert!(FlipEvent::take(&mut bytes.as_slice()).is_err());
    }

    #[test]
    fn accepts_growth_over_the_wrap() {
        let now = Instant::now();
        let mut sequence = Sequence::new(7, 0);
        assert_eq!(sequence.accept(event(0, u32::MAX - 1), now), Ok(()));
        assert_eq!(sequence.accept(event(1, 1), now), Ok(()));
        assert_eq!(sequence.accept(event(2, 2), now), Ok(()));
        assert_eq!(
            (sequence.smallest_step, sequence.largest_step),
            (Some(1), Some(3))
        );
        assert_eq!(sequence.events, 3);
    }

    #[test]
    fn rejects_disorder() {
        let now = Instant::now();
        let fresh = || {
            let mut sequence = Sequence::new(7, 0);
            sequence.accept(event(0, 5), now).unwrap();
            sequence
        };
        assert!(fresh().accept(event(1, 5), now).is_err(), "same number");
        assert!(fresh().accept(event(1, 4), now).is_err(), "smaller number");
        assert!(fresh().accept(event(0, 6), now).is_err(), "twice");
        assert!(fresh().accept(event(2, 6), now).is_err(), "one lost");
        let other_crtc = FlipEvent {
            crtc: 8,
            ..event(1, 6)
        };
        assert!(fresh().accept(other_crtc, now).is_err());
    }
}
