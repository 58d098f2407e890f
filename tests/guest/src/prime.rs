// SPDX-License-Identifier: GPL-2.0

//! `prime`: buffers shared with another device by PRIME.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result};
use drm::control::Device as _;

use crate::buffer::{Dumb, FbId, Geometry, draw_card, lines_unlike_card};
use crate::cli::{Direction, Target};
use crate::device::Device;
use crate::raw::{self, Mapping};
use crate::report::outcome;
use crate::session::Session;

/// `DMA_BUF_SYNC_READ`, with `DMA_BUF_SYNC_START` (0) or `DMA_BUF_SYNC_END`.
const SYNC_READ: u64 = 1;
const SYNC_END: u64 = 4;

/// Shares a buffer in the given direction, and checks the picture at the other end.
///
/// # Errors
/// When there is no other device, or the kernel refuses a step.
pub fn run(
    session: &mut Session<'_>,
    target: &Target,
    with: Option<&Path>,
    direction: Direction,
    variant: u32,
) -> Result<()> {
    let other = match with {
        Some(node) => Device::at(node)?,
        None => Device::of_driver("vgem").context("vgem is needed (modprobe vgem)")?,
    };
    match direction {
        Direction::Export => export(session, target, &other, variant),
        Direction::Import => import(session, target, &other, variant),
        Direction::Outlive => outlive(session, target, &other, variant),
    }
}

/// The display's buffer goes to the other device and the display is let go of; the other device still has it.
fn outlive(session: &mut Session<'_>, target: &Target, other: &Device, variant: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let frame = session.frame(&mode, target.format, variant)?;
    screen.set_mode(mode, frame.handle())?;
    let exported = export_fd(session.device, frame.dumb().handle)?;
    let imported = other.prime_fd_to_buffer(exported.as_fd());
    let imported = imported.context("the other device cannot import the display's buffer")?;
    drop(exported);
    let (pitch, geometry, size) = (frame.dumb().pitch, frame.geometry(), frame.dumb().size);
    screen.off()?;
    drop(frame);
    session.say_shown(screen.output(), geometry, variant);
    session.hold(target)?;
    let through_other = export_fd(other, imported.into())?;
    let map = map_dma_buf(through_other.as_fd(), size)?;
    read_back(
        session,
        through_other.as_fd(),
        &map,
        pitch,
        geometry,
        variant,
        "card read after the display's end of it",
    )?;
    other
        .close_buffer(imported)
        .context("cannot close the other device's import")
}

/// The display's buffer, shown, goes to the other device, which hands it out again; the picture is read there.
fn export(session: &mut Session<'_>, target: &Target, other: &Device, variant: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let mut frame = session.frame(&mode, target.format, variant)?;
    screen.set_mode(mode, frame.handle())?;
    session.say_shown(screen.output(), frame.geometry(), variant);
    let handle = frame.dumb().handle;
    let (pitch, geometry) = (frame.dumb().pitch, frame.geometry());

    let exported = export_fd(session.device, handle)?;
    let size = rustix::fs::seek(&exported, rustix::fs::SeekFrom::End(0));
    let size = size.context("cannot seek to the end of the exported dma-buf")?;
    session
        .report
        .check("size of the exported dma-buf", frame.dumb().size, size);

    let imported = other.prime_fd_to_buffer(exported.as_fd());
    let imported = imported.context("the other device cannot import the display's buffer")?;
    // drm_gem_dumb_map_offset: imported objects are mapped through their dma-buf only.
    let map_offset = drm_ffi::mode::dumbbuffer::map(other.as_fd(), imported.into(), 0, 0);
    session.report.check(
        "MAP_DUMB of an import on the other device",
        "EINVAL",
        outcome(&map_offset),
    );
    let through_other = export_fd(other, imported.into())?;
    let map = map_dma_buf(through_other.as_fd(), frame.dumb().size)?;

    read_back(
        session,
        through_other.as_fd(),
        &map,
        pitch,
        geometry,
        variant,
        "card read through the other device",
    )?;
    // It is the same memory, not a copy: what is drawn afterwards is seen too.
    frame.draw(variant + 1)?;
    read_back(
        session,
        through_other.as_fd(),
        &map,
        pitch,
        geometry,
        variant + 1,
        "next card read through the other device",
    )?;
    frame.draw(variant)?;

    let again = session.device.prime_fd_to_buffer(exported.as_fd());
    let again = again.context("cannot import the buffer's own dma-buf")?;
    session.report.check(
        "handle of the buffer's own dma-buf",
        handle,
        u32::from(again),
    );
    let round_trip = session.device.prime_fd_to_buffer(through_other.as_fd());
    let round_trip = round_trip.context("cannot import what the other device hands out")?;
    session.report.check(
        "handle after a trip through the other device",
        handle,
        u32::from(round_trip),
    );

    other
        .close_buffer(imported)
        .context("cannot close the other device's import")?;
    // The mapping outlives the other device's handle: it holds the dma-buf.
    read_back(
        session,
        through_other.as_fd(),
        &map,
        pitch,
        geometry,
        variant,
        "card read after the other device's close",
    )?;
    session.hold(target)
}

/// The other device's buffer, with a card in it, goes to the display.
fn import(session: &mut Session<'_>, target: &Target, other: &Device, variant: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let geometry = crate::session::geometry(&mode, target.format);
    let dumb = Dumb::of(other, geometry);
    let dumb = dumb.context("the other device cannot create the buffer")?;
    let mut map = dumb
        .map_all()
        .context("cannot map the other device's buffer")?;
    draw_card(&mut map, dumb.pitch, geometry, variant)?;

    let exported = export_fd(other, dumb.handle)?;
    let handle = session.device.prime_fd_to_buffer(exported.as_fd());
    let handle = handle.context("the display cannot import the other device's buffer")?;
    let again = session.device.prime_fd_to_buffer(exported.as_fd())?;
    session.report.check(
        "handle when imported twice",
        u32::from(handle),
        u32::from(again),
    );
    let fb = FbId::add(session.device, geometry, handle.into(), dumb.pitch)
        .context("cannot make a framebuffer of the other device's buffer")?;
    screen.set_mode(mode, fb.handle)?;
    session
        .report
        .check("framebuffer shown", u32::from(fb.handle), screen.shown()?);
    session.say_shown(screen.output(), geometry, variant);
    session.hold(target)?;
    drop(fb);
    session
        .device
        .close_buffer(handle)
        .context("cannot close the imported buffer")
}

fn export_fd(device: &Device, handle: u32) -> Result<std::os::fd::OwnedFd> {
    let handle = drm::control::from_u32(handle).context("0 is no handle")?;
    device
        .buffer_to_prime_fd(handle, drm::CLOEXEC | drm::RDWR)
        .with_context(|| format!("{} cannot export its buffer", device.driver()))
}

fn map_dma_buf(dma_buf: BorrowedFd<'_>, size: u64) -> Result<Mapping> {
    let size = usize::try_from(size).context("the buffer does not fit the address space")?;
    Mapping::new(dma_buf, size, 0).context("cannot map the dma-buf")
}

fn read_back(
    session: &mut Session<'_>,
    dma_buf: BorrowedFd<'_>,
    map: &Mapping,
    pitch: u32,
    geometry: Geometry,
    variant: u32,
    name: &str,
) -> Result<()> {
    raw::dma_buf_sync(dma_buf, SYNC_READ).context("DMA_BUF_IOCTL_SYNC, start")?;
    let unlike = lines_unlike_card(map, pitch, geometry, variant)?;
    raw::dma_buf_sync(dma_buf, SYNC_READ | SYNC_END).context("DMA_BUF_IOCTL_SYNC, end")?;
    session
        .report
        .check(&format!("wrong lines, {name}"), 0, unlike);
    Ok(())
}
