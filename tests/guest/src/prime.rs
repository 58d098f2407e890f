// SPDX-License-Identifier: GPL-2.0

//! `vgem`: buffers shared with another device by PRIME.

use std::os::fd::{AsFd, BorrowedFd};

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
/// When vgem is not loaded, or the kernel refuses a step.
pub fn run(
    session: &mut Session<'_>,
    target: &Target,
    direction: Direction,
    variant: u32,
) -> Result<()> {
    let vgem = Device::of_driver("vgem").context("vgem is needed (modprobe vgem)")?;
    match direction {
        Direction::Export => export(session, target, &vgem, variant),
        Direction::Import => import(session, target, &vgem, variant),
        Direction::Outlive => outlive(session, target, &vgem, variant),
    }
}

/// The display's buffer goes to vgem and the display is let go of; vgem still has it.
fn outlive(session: &mut Session<'_>, target: &Target, vgem: &Device, variant: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let frame = session.frame(&mode, target.format, variant)?;
    screen.set_mode(mode, frame.handle())?;
    let exported = export_fd(session.device, frame.dumb().handle)?;
    let imported = vgem.prime_fd_to_buffer(exported.as_fd());
    let imported = imported.context("vgem cannot import the display's buffer")?;
    drop(exported);
    let (pitch, geometry, size) = (frame.dumb().pitch, frame.geometry(), frame.dumb().size);
    screen.off()?;
    drop(frame);
    session.say_shown(screen.output(), geometry, variant);
    session.hold(target)?;
    let through_vgem = export_fd(vgem, imported.into())?;
    let map = map_dma_buf(through_vgem.as_fd(), size)?;
    read_back(
        session,
        through_vgem.as_fd(),
        &map,
        pitch,
        geometry,
        variant,
        "card read after the display's end of it",
    )?;
    vgem.close_buffer(imported)
        .context("cannot close vgem's import")
}

/// The display's buffer, shown, goes to vgem, which hands it out again; the picture is read there.
fn export(session: &mut Session<'_>, target: &Target, vgem: &Device, variant: u32) -> Result<()> {
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

    let imported = vgem.prime_fd_to_buffer(exported.as_fd());
    let imported = imported.context("vgem cannot import the display's buffer")?;
    // drm_gem_dumb_map_offset: imported objects are mapped through their dma-buf only.
    let map_offset = drm_ffi::mode::dumbbuffer::map(vgem.as_fd(), imported.into(), 0, 0);
    session.report.check(
        "MAP_DUMB of an import on vgem",
        "EINVAL",
        outcome(&map_offset),
    );
    let through_vgem = export_fd(vgem, imported.into())?;
    let map = map_dma_buf(through_vgem.as_fd(), frame.dumb().size)?;

    read_back(
        session,
        through_vgem.as_fd(),
        &map,
        pitch,
        geometry,
        variant,
        "card read through vgem",
    )?;
    // It is the same memory, not a copy: what is drawn afterwards is seen too.
    frame.draw(variant + 1)?;
    read_back(
        session,
        through_vgem.as_fd(),
        &map,
        pitch,
        geometry,
        variant + 1,
        "next card read through vgem",
    )?;
    frame.draw(variant)?;

    let again = session.device.prime_fd_to_buffer(exported.as_fd());
    let again = again.context("cannot import the buffer's own dma-buf")?;
    session.report.check(
        "handle of the buffer's own dma-buf",
        handle,
        u32::from(again),
    );
    let round_trip = session.device.prime_fd_to_buffer(through_vgem.as_fd());
    let round_trip = round_trip.context("cannot import what vgem hands out")?;
    session.report.check(
        "handle after a trip through vgem",
        handle,
        u32::from(round_trip),
    );

    vgem.close_buffer(imported)
        .context("cannot close vgem's import")?;
    // The mapping outlives vgem's handle: it holds the dma-buf.
    read_back(
        session,
        through_vgem.as_fd(),
        &map,
        pitch,
        geometry,
        variant,
        "card read after vgem's close",
    )?;
    session.hold(target)
}

/// vgem's buffer, with a card in it, goes to the display.
fn import(session: &mut Session<'_>, target: &Target, vgem: &Device, variant: u32) -> Result<()> {
    let screen = session.screen(target)?;
    let mode = screen.output().mode(&target.mode)?;
    let geometry = crate::session::geometry(&mode, target.format);
    let dumb = Dumb::of(vgem, geometry);
    let dumb = dumb.context("vgem cannot create the buffer")?;
    let mut map = dumb.map_all().context("cannot map vgem's buffer")?;
    draw_card(&mut map, dumb.pitch, geometry, variant)?;

    let exported = export_fd(vgem, dumb.handle)?;
    let handle = session.device.prime_fd_to_buffer(exported.as_fd());
    let handle = handle.context("the display cannot import vgem's buffer")?;
    let again = session.device.prime_fd_to_buffer(exported.as_fd())?;
    session.report.check(
        "handle when imported twice",
        u32::from(handle),
        u32::from(again),
    );
    let fb = FbId::add(session.device, geometry, handle.into(), dumb.pitch)
        .context("cannot make a framebuffer of vgem's buffer")?;
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
