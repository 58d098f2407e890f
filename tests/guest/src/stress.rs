// SPDX-License-Identifier: GPL-2.0

//! `stress`: threads that make, show, share and free buffers in any order, each with the device open for itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use drm::control::{Device as _, Mode, framebuffer};
use serde_json::json;

use crate::buffer::{Dumb, FbId, Geometry, Imported};
use crate::cli::Target;
use crate::device::Device;
use crate::events::Arrival;
use crate::import::udmabuf;
use crate::raw::{self, Mapping};
use crate::report::outcome;
use crate::screen::{Pace, Screen};
use crate::session::Session;

/// Buffers that a thread has at most.
const MOST: usize = 4;

/// Time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Threads.
    pub threads: u32,
    /// Operations of all of them together.
    pub operations: u64,
    /// Seed of what they are; the order in which threads have their turns is the kernel's.
    pub seed: u64,
}

/// What the threads share.
struct Common<'s, 'd> {
    screen: &'s Screen<'d>,
    mode: Mode,
    geometry: Geometry,
    /// Operations left to do.
    left: AtomicU64,
    /// Flips that the kernel has accepted.
    flips: AtomicU64,
}

/// How many operations of each kind ended how.
type Outcomes = BTreeMap<String, u64>;

/// A buffer of a thread's.
struct Item<'d> {
    // In the order of their ends.
    fb: Option<FbId<'d>>,
    memory: Memory<'d>,
    pitch: u32,
    geometry: Geometry,
}

enum Memory<'d> {
    Dumb {
        dumb: Dumb<'d>,
        /// Mapped as long as the buffer lasts.
        _map: Mapping,
    },
    Imported(Imported<'d>),
}

/// Runs the threads; each flip that was accepted has its event, and nothing is refused but a flip that comes while another is under way.
///
/// # Errors
/// When a thread cannot begin, or the kernel gives no mode.
pub fn run(session: &mut Session<'_>, target: &Target, plan: Plan) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let first = session.frame(&mode, target.format, 0)?;
    screen.set_mode(mode, first.handle())?;
    session.say_shown(screen.output(), first.geometry(), 0);
    let common = Common {
        screen: &screen,
        mode,
        geometry: first.geometry(),
        left: AtomicU64::new(plan.operations),
        flips: AtomicU64::new(0),
    };
    let start = Instant::now();
    let (outcomes, events) = thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|number| {
                let (common, device, first) = (&common, session.device, first.handle());
                let seed = plan.seed.wrapping_mul(1000).wrapping_add(number.into());
                scope.spawn(move || work(common, &device.reopen()?, first, seed))
            })
            .collect();
        let mut events = 0;
        let mut stream = session.events();
        let mut next_line = Instant::now() + LINE_EVERY;
        while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            if let Arrival::Flip(_) = stream.next(Duration::from_millis(100))? {
                events += 1;
            }
            if Instant::now() >= next_line {
                let left = common.left.load(Ordering::Relaxed);
                session
                    .report
                    .say("stressing", json!(plan.operations.saturating_sub(left)));
                next_line += LINE_EVERY;
            }
        }
        let limit = session.event_limit;
        while events < common.flips.load(Ordering::Relaxed) {
            match stream.next(limit)? {
                Arrival::Flip(_) => events += 1,
                Arrival::TimeOut | Arrival::Stopped => break,
            }
        }
        let mut all = Outcomes::new();
        for thread in threads {
            let outcomes = thread.join().map_err(|_| anyhow!("a thread panicked"))??;
            for (what, count) in outcomes {
                *all.entry(what).or_default() += count;
            }
        }
        anyhow::Ok((all, events))
    })?;
    screen.off()?;
    drop(first);
    let flips = common.flips.load(Ordering::Relaxed);
    let report = &mut session.report;
    report.say(
        "stress",
        json!({ "outcomes": outcomes, "flips": flips, "seconds": start.elapsed().as_secs_f64() }),
    );
    report.check("events of flips that were accepted", flips, events);
    let refused: Vec<_> = outcomes
        .keys()
        .filter(|what| !what.ends_with(" success") && *what != "flip EBUSY")
        .collect();
    report.check("refused", json!([]), json!(refused));
    Ok(())
}

/// One thread.
fn work(
    common: &Common<'_, '_>,
    device: &Device,
    first: framebuffer::Handle,
    seed: u64,
) -> Result<Outcomes> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut items: Vec<Item<'_>> = Vec::new();
    let mut outcomes = Outcomes::new();
    let mut count = |what: &str, result: io::Result<()>| {
        *outcomes
            .entry(format!("{what} {}", outcome(&result)))
            .or_default() += 1;
    };
    let take = |left: u64| left.checked_sub(1);
    while common
        .left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let at = random.usize(..items.len().max(1));
        match random.u32(..100) {
            0..25 if items.len() < MOST => {
                let made = create(device, common.geometry, &mut random);
                count("create", made.map(|item| items.push(item)));
            }
            25..30 if items.len() < MOST => {
                let made = import(device, common.geometry, random.bool());
                count("import", made.map(|item| items.push(item)));
            }
            30..50 => {
                if let Some(item) = items.get_mut(at).filter(|item| item.fb.is_none()) {
                    count("attach", attach(device, item));
                }
            }
            50..70 => {
                if let Some(fb) = items.get(at).and_then(|item| shown(common, item)) {
                    let flipped = common.screen.flip(fb, Pace::Nonblocking, 0);
                    if flipped.is_ok() {
                        common.flips.fetch_add(1, Ordering::Relaxed);
                    }
                    count("flip", flipped);
                }
            }
            70..75 => {
                if let Some(fb) = items.get(at).and_then(|item| item.fb.as_ref()) {
                    let screen = common.screen.device();
                    count("dirty", raw::dirty_whole(screen.as_fd(), fb.handle.into()));
                }
            }
            75..80 => {
                if let Some(item) = items.get(at) {
                    count("share", share(device, common.screen.device(), item));
                }
            }
            80..81 => {
                // Whoever has freed what was shown has switched the output off.
                let set = common.screen.set_mode(common.mode, first);
                count("mode", set.map_err(io::Error::other));
            }
            81..85 => {
                if let Some(item) = items.get_mut(at) {
                    item.fb = None;
                }
            }
            _ => {
                if !items.is_empty() {
                    items.swap_remove(at);
                }
            }
        }
    }
    Ok(outcomes)
}

/// A dumb buffer of the mode's size, or a smaller one, with something in it.
fn create<'d>(
    device: &'d Device,
    geometry: Geometry,
    random: &mut fastrand::Rng,
) -> io::Result<Item<'d>> {
    let geometry = match random.bool() {
        true => geometry,
        false => Geometry {
            width: random.u32(1..=geometry.width),
            height: random.u32(1..=geometry.height),
            ..geometry
        },
    };
    let dumb = Dumb::of(device, geometry)?;
    let mut map = dumb.map_all()?;
    map.write(0, &[1])?;
    map.write(map.len() - 1, &[2])?;
    Ok(Item {
        fb: None,
        pitch: dumb.pitch,
        memory: Memory::Dumb { dumb, _map: map },
        geometry,
    })
}

/// Memory of no device's that has room for the mode.
fn import(device: &Device, geometry: Geometry, of_heap: bool) -> io::Result<Item<'_>> {
    let pitch = geometry.width * geometry.format.bits_per_pixel() / 8;
    let size = (u64::from(pitch) * u64::from(geometry.height)).next_multiple_of(4096);
    let dma_buf: OwnedFd = if of_heap {
        raw::dma_heap_alloc(File::open("/dev/dma_heap/system")?.as_fd(), size)?
    } else {
        udmabuf(size)?
    };
    Ok(Item {
        fb: None,
        memory: Memory::Imported(Imported::new(device, dma_buf.as_fd())?),
        pitch,
        geometry,
    })
}

impl Item<'_> {
    fn handle(&self) -> u32 {
        match &self.memory {
            Memory::Dumb { dumb, .. } => dumb.handle,
            Memory::Imported(imported) => imported.handle.into(),
        }
    }
}

fn attach<'d>(device: &'d Device, item: &mut Item<'d>) -> io::Result<()> {
    let fb = FbId::add(device, item.geometry, item.handle(), item.pitch)?;
    item.fb = Some(fb);
    Ok(())
}

/// The framebuffer of an item, if it is one that the mode can show.
fn shown(common: &Common<'_, '_>, item: &Item<'_>) -> Option<u32> {
    let geometry = common.geometry;
    let fits = (item.geometry.width, item.geometry.height) == (geometry.width, geometry.height);
    let fb = item.fb.as_ref().filter(|_| fits)?;
    Some(fb.handle.into())
}

/// Passes an item to another file of the same device, which makes a framebuffer of it for a moment.
fn share(device: &Device, other: &Device, item: &Item<'_>) -> io::Result<()> {
    let handle = drm::control::from_u32(item.handle()).ok_or(io::ErrorKind::InvalidInput)?;
    let dma_buf = device.buffer_to_prime_fd(handle, drm::CLOEXEC | drm::RDWR)?;
    // A file has one handle for an object, which threads would close under each other.
    let other = other.reopen().map_err(io::Error::other)?;
    let handle = other.prime_fd_to_buffer(dma_buf.as_fd())?;
    let fb = FbId::add(&other, item.geometry, handle.into(), item.pitch)?;
    drop(fb);
    other.close_buffer(handle)
}
