// SPDX-License-Identifier: GPL-2.0

//! `buffers`: many buffers of random sizes, to find leaks and stale memory.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::buffer::Dumb;
use crate::raw::Mapping;
use crate::session::Session;

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Buffers.
    pub rounds: u32,
    /// Largest buffer, in bytes.
    pub max_bytes: u64,
    /// Seed of the sizes.
    pub seed: u64,
    /// End without freeing.
    pub leave: bool,
}

const PAGE: usize = 4096;
const DEPTHS: [u32; 3] = [32, 24, 16];

/// Rounds of create, map, write, read back, destroy.
///
/// # Errors
/// When the kernel refuses a step.
pub fn run(session: &mut Session<'_>, plan: Plan) -> Result<()> {
    ensure!(plan.max_bytes >= 4, "a buffer has at least 4 bytes");
    let mut random = fastrand::Rng::with_seed(plan.seed);
    // Some drivers take buffers of 32 bits only.
    let depths = if session.generic {
        &DEPTHS[..1]
    } else {
        &DEPTHS
    };
    let start = Instant::now();
    let (mut bytes, mut dirty, mut unlike, mut odd_pitches) = (0u64, 0u32, 0u32, 0u32);
    let mut displaced = 0u32;
    let mut left = Vec::new();
    for round in 0..plan.rounds {
        let bits = depths[random.usize(..depths.len())];
        let (width, height) = size(&mut random, plan.max_bytes, bits);
        let describe = || format!("round {round}, {width}x{height} at {bits} bits");
        let dumb = Dumb::new(session.device, width, height, bits)
            .with_context(|| format!("cannot create a dumb buffer: {}", describe()))?;
        bytes += dumb.size;
        // Backends derive the pitch from width and depth: see "Q-PITCH" in the protocol notes.
        odd_pitches += u32::from(dumb.pitch != 4 * (width * bits).div_ceil(32));
        let all =
            usize::try_from(dumb.size).context("the buffer does not fit the address space")?;
        // A mapping of only the first pages, every third time.
        let len = match random.u32(..3) {
            0 => random.usize(..all.div_ceil(PAGE)) * PAGE + 1,
            _ => all,
        };
        let mut map = dumb
            .map(len)
            .with_context(|| format!("cannot map it: {}", describe()))?;
        // What a new buffer holds must be nobody's old data.
        dirty += u32::from(!samples(&map, &mut random)?.iter().all(|byte| *byte == 0));
        let mark = round.to_le_bytes()[0] | 1;
        unlike += u32::from(!write_and_read(&mut map, mark)?);
        // The kernel's shmem helper shows the first page there.
        if len == all && len > PAGE && !session.generic {
            displaced += u32::from(!shows_the_rest(&dumb, &mut map, mark)?);
        }
        if plan.leave {
            dumb.leave();
            left.push(map);
        } else if random.bool() {
            // The mapping must keep the memory after the handle is gone.
            drop(dumb);
            unlike += u32::from(!samples(&map, &mut random)?.iter().all(|byte| *byte == mark));
        }
    }
    session.report.say(
        "buffers",
        json!({
            "rounds": plan.rounds,
            "bytes": bytes,
            "left": left.len(),
            "seconds": start.elapsed().as_secs_f64(),
        }),
    );
    session
        .report
        .check("new buffers that were not zero", 0, dirty);
    session
        .report
        .check("buffers that did not keep what was written", 0, unlike);
    if !session.generic {
        session.report.check(
            "mappings that showed other pages when their first were unmapped",
            0,
            displaced,
        );
        session.report.check(
            "pitches other than 4 * ceil(width * bits / 32)",
            0,
            odd_pitches,
        );
    }
    if plan.leave {
        // Ending now, without unmapping, is the point of it.
        left.into_iter().for_each(std::mem::forget);
    }
    Ok(())
}

/// A size whose bytes are spread evenly over the orders of magnitude up to `max_bytes`.
fn size(random: &mut fastrand::Rng, max_bytes: u64, bits: u32) -> (u32, u32) {
    let pixels = (max_bytes * 8 / u64::from(bits)).max(1) as f64;
    let area = pixels.powf(random.f64());
    let width = area.powf(random.f64()).clamp(1.0, 16384.0).floor();
    let height = (area / width).clamp(1.0, 16384.0).floor();
    (width as u32, height as u32)
}

/// Some bytes of the mapping: the first, the last, and random ones.
fn samples(map: &Mapping, random: &mut fastrand::Rng) -> Result<Vec<u8>> {
    let last = map.len() - 1;
    let mut places = vec![0, last];
    places.extend((0..32).map(|_| random.usize(..=last)));
    let mut bytes = vec![0; places.len()];
    for (byte, place) in bytes.iter_mut().zip(places) {
        map.read(place, std::slice::from_mut(byte))?;
    }
    Ok(bytes)
}

/// Fills the mapping with a byte and reads it back.
fn write_and_read(map: &mut Mapping, mark: u8) -> Result<bool> {
    let written = [mark; PAGE];
    let mut read = [0; PAGE];
    let mut same = true;
    for at in (0..map.len()).step_by(PAGE) {
        let len = PAGE.min(map.len() - at);
        map.write(at, &written[..len])?;
    }
    for at in (0..map.len()).step_by(PAGE) {
        let len = PAGE.min(map.len() - at);
        map.read(at, &mut read[..len])?;
        same &= read[..len] == written[..len];
    }
    Ok(same)
}

/// Whether a mapping of the buffer whose first half is unmapped shows the other half. `map` shows all of it, filled with `mark`.
fn shows_the_rest(dumb: &Dumb<'_>, map: &mut Mapping, mark: u8) -> Result<bool> {
    let half = map.len().div_ceil(PAGE) / 2 * PAGE;
    map.write(half, &[!mark])?;
    let mut rest = dumb.map_all()?;
    rest.unmap_first(half)?;
    let mut first = [0];
    rest.read(0, &mut first)?;
    map.write(half, &[mark])?;
    Ok(first == [!mark])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_within_the_limit() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let (width, height) = size(&mut random, 1 << 20, 32);
            assert!((1..=16384).contains(&width) && (1..=16384).contains(&height));
            assert!(u64::from(width) * u64::from(height) * 4 <= 1 << 20);
        }
    }
}
