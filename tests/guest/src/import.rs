// SPDX-License-Identifier: GPL-2.0

//! `import`: memory that is no device's, shown on the display.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use drm::control::Device as _;

use crate::buffer::{FbId, Geometry, draw_card};
use crate::cli::{Source, Target};
use crate::raw::{self, Mapping};
use crate::report::outcome;
use crate::session::Session;

/// What the pitch is a multiple of: more than a line needs.
const PITCH_ALIGNMENT: u32 = 256;
const PAGE: u64 = 4096;

/// Shows the card after `variant` in imported memory, drawn there while the card `variant` is on the screen.
///
/// # Errors
/// When there is no such memory, or the kernel refuses a step.
pub fn run(session: &mut Session<'_>, target: &Target, source: Source, variant: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let geometry = crate::session::geometry(&mode, target.format);
    let line = geometry.width * geometry.format.bits_per_pixel() / 8;
    // One that is rounded up already gets more than it needs, too.
    let pitch = (line + 1).next_multiple_of(PITCH_ALIGNMENT);
    let size = (u64::from(pitch) * u64::from(geometry.height)).next_multiple_of(PAGE);
    let dma_buf = allocate(source, size)?;
    let len = usize::try_from(size).context("the buffer does not fit the address space")?;
    let mut map = Mapping::new(dma_buf.as_fd(), len, 0).context("cannot map the dma-buf")?;
    draw_card(&mut map, pitch, geometry, variant)?;

    let handle = session.device.prime_fd_to_buffer(dma_buf.as_fd());
    let handle = handle.context("the display cannot import it")?;
    let again = session.device.prime_fd_to_buffer(dma_buf.as_fd())?;
    session.report.check(
        "handle when imported twice",
        u32::from(handle),
        u32::from(again),
    );
    refuse(session, geometry, handle.into(), pitch, size);

    let fb = FbId::add(session.device, geometry, handle.into(), pitch)
        .context("cannot make a framebuffer of it")?;
    screen.set_mode(mode, fb.handle)?;
    session
        .report
        .check("framebuffer shown", u32::from(fb.handle), screen.shown()?);
    draw_card(&mut map, pitch, geometry, variant + 1)?;
    raw::dirty_whole(session.device.as_fd(), fb.handle.into()).context("DIRTYFB")?;
    // The buffer is the framebuffer's, whatever becomes of its handle and its descriptor.
    session
        .device
        .close_buffer(handle)
        .context("cannot close the imported buffer")?;
    drop(dma_buf);
    session.say_shown(screen.output(), geometry, variant + 1);
    session.hold(target)
}

fn allocate(source: Source, size: u64) -> Result<OwnedFd> {
    match source {
        Source::Udmabuf => udmabuf(size).context("/dev/udmabuf"),
        Source::DmaHeap => {
            let heap = File::open("/dev/dma_heap/system").context("the system's dma-heap")?;
            raw::dma_heap_alloc(heap.as_fd(), size).context("DMA_HEAP_IOCTL_ALLOC")
        }
    }
}

/// A program's memory as a dma-buf.
///
/// # Errors
/// When the kernel has no udmabuf.
pub fn udmabuf(size: u64) -> io::Result<OwnedFd> {
    let size = usize::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(xen_zcopy::Memory::new(size)?.dmabuf)
}

/// Framebuffers that the memory has no room for, or whose lines displif cannot tell of.
fn refuse(session: &mut Session<'_>, geometry: Geometry, handle: u32, pitch: u32, size: u64) {
    let lines = u32::try_from(size / u64::from(pitch)).unwrap_or(u32::MAX);
    let taller = Geometry {
        height: lines + 1,
        ..geometry
    };
    for (name, geometry, pitch) in [
        ("ADDFB2 of more lines than there are", taller, pitch),
        ("ADDFB2 with half a pixel more", geometry, pitch + 2),
        ("ADDFB2 with a line too short", geometry, 4),
    ] {
        let made = FbId::add(session.device, geometry, handle, pitch);
        session
            .report
            .check(name, "EINVAL", outcome(&made.map(drop)));
    }
}
