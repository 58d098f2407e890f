// SPDX-License-Identifier: GPL-2.0

//! Dumb buffers and framebuffers that remove themselves.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use drm::buffer::Handle;
use drm::control::{Device as _, framebuffer};
use drm_ffi::mode::dumbbuffer;

use crate::card::Card;
use crate::device::Device;
use crate::format::Format;
use crate::raw::Mapping;

/// A dumb buffer.
#[derive(Debug)]
pub struct Dumb<'d> {
    device: &'d Device,
    /// GEM handle.
    pub handle: u32,
    /// Bytes from one line to the next.
    pub pitch: u32,
    /// Bytes in all.
    pub size: u64,
}

impl<'d> Dumb<'d> {
    /// Creates a buffer of `width` by `height` pixels.
    ///
    /// # Errors
    /// The errno of `CREATE_DUMB`.
    pub fn new(
        device: &'d Device,
        width: u32,
        height: u32,
        bits_per_pixel: u32,
    ) -> io::Result<Self> {
        let made = dumbbuffer::create(device.as_fd(), width, height, bits_per_pixel, 0)?;
        Ok(Self {
            device,
            handle: made.handle,
            pitch: made.pitch,
            size: made.size,
        })
    }

    /// Creates a buffer for pictures of this geometry.
    ///
    /// # Errors
    /// As [`Dumb::new`].
    pub fn of(device: &'d Device, geometry: Geometry) -> io::Result<Self> {
        let bits = geometry.format.bits_per_pixel();
        Self::new(device, geometry.width, geometry.height, bits)
    }

    /// Maps the buffer's first `len` bytes.
    ///
    /// # Errors
    /// The errno of `MAP_DUMB` or of `mmap`.
    pub fn map(&self, len: usize) -> io::Result<Mapping> {
        Mapping::new(self.device.as_fd(), len, self.map_offset()?)
    }

    /// The offset at which the device node shows this buffer.
    ///
    /// # Errors
    /// The errno of `MAP_DUMB`.
    pub fn map_offset(&self) -> io::Result<u64> {
        Ok(dumbbuffer::map(self.device.as_fd(), self.handle, 0, 0)?.offset)
    }

    /// Maps the whole buffer.
    ///
    /// # Errors
    /// As [`Dumb::map`].
    pub fn map_all(&self) -> io::Result<Mapping> {
        self.map(usize::try_from(self.size).map_err(|_| io::ErrorKind::InvalidInput)?)
    }

    /// Leaves the buffer to the closing of the device.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Dumb<'_> {
    fn drop(&mut self) {
        let result = dumbbuffer::destroy(self.device.as_fd(), self.handle).map(drop);
        self.device
            .report_removal("dumb buffer", self.handle, result);
    }
}

/// Another driver's memory, imported. Its handle is closed when this is dropped.
#[derive(Debug)]
pub struct Imported<'d> {
    device: &'d Device,
    /// GEM handle.
    pub handle: Handle,
}

impl<'d> Imported<'d> {
    /// Imports a dma-buf.
    ///
    /// # Errors
    /// The errno of `PRIME_FD_TO_HANDLE`.
    pub fn new(device: &'d Device, dma_buf: BorrowedFd<'_>) -> io::Result<Self> {
        let handle = device.prime_fd_to_buffer(dma_buf)?;
        Ok(Self { device, handle })
    }
}

impl Drop for Imported<'_> {
    fn drop(&mut self) {
        let result = self.device.close_buffer(self.handle);
        self.device
            .report_removal("imported buffer", self.handle.into(), result);
    }
}

/// A framebuffer's geometry.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Pixels in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Pixel format.
    pub format: Format,
}

/// A framebuffer on a dumb buffer of its own, mapped.
#[derive(Debug)]
pub struct Frame<'d> {
    // Dropped in this order: framebuffer, mapping, buffer.
    id: FbId<'d>,
    map: Mapping,
    dumb: Dumb<'d>,
    geometry: Geometry,
}

impl<'d> Frame<'d> {
    /// Makes an empty framebuffer.
    ///
    /// # Errors
    /// The errno of `CREATE_DUMB`, `MAP_DUMB`, `mmap` or `ADDFB2`.
    pub fn new(device: &'d Device, geometry: Geometry) -> Result<Self> {
        let Geometry {
            width,
            height,
            format,
        } = geometry;
        ensure!(
            format.takes_width(width),
            "{format} has no lines of {width} pixels"
        );
        let dumb = Dumb::of(device, geometry).with_context(|| {
            format!("cannot create a {width}x{height} dumb buffer for {format}")
        })?;
        let map = dumb.map_all().context("cannot map a dumb buffer")?;
        let id = FbId::add(device, geometry, dumb.handle, dumb.pitch)
            .with_context(|| format!("cannot make a {width}x{height} framebuffer in {format}"))?;
        Ok(Self {
            id,
            map,
            dumb,
            geometry,
        })
    }

    /// Makes a framebuffer with a card in it.
    ///
    /// # Errors
    /// As [`Frame::new`].
    pub fn with_card(device: &'d Device, geometry: Geometry, variant: u32) -> Result<Self> {
        let mut frame = Self::new(device, geometry)?;
        frame.draw(variant)?;
        Ok(frame)
    }

    /// Draws the card over whatever is there.
    ///
    /// # Errors
    /// When the buffer that the kernel gave is smaller than pitch by height.
    pub fn draw(&mut self, variant: u32) -> Result<()> {
        draw_card(&mut self.map, self.dumb.pitch, self.geometry, variant)
    }

    /// The framebuffer's handle.
    pub fn handle(&self) -> framebuffer::Handle {
        self.id.handle
    }

    /// The framebuffer's id.
    pub fn id(&self) -> u32 {
        self.id.handle.into()
    }

    /// The buffer behind it.
    pub fn dumb(&self) -> &Dumb<'d> {
        &self.dumb
    }

    /// Its size and format.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }
}

/// Draws a card of `geometry` into mapped memory.
///
/// # Errors
/// When the mapping is smaller than pitch by height.
pub fn draw_card(map: &mut Mapping, pitch: u32, geometry: Geometry, variant: u32) -> Result<()> {
    each_line(geometry, variant, |y, line| {
        Ok(map.write(line_start(pitch, y)?, line)?)
    })
}

/// The number of lines in mapped memory that are not those of the card.
///
/// # Errors
/// When the mapping is smaller than pitch by height.
pub fn lines_unlike_card(
    map: &Mapping,
    pitch: u32,
    geometry: Geometry,
    variant: u32,
) -> Result<u32> {
    let mut unlike = 0;
    let mut found = Vec::new();
    each_line(geometry, variant, |y, line| {
        found.resize(line.len(), 0);
        map.read(line_start(pitch, y)?, &mut found)?;
        unlike += u32::from(found != line);
        Ok(())
    })?;
    Ok(unlike)
}

fn each_line(
    geometry: Geometry,
    variant: u32,
    mut line_of: impl FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    let card = Card {
        width: geometry.width,
        height: geometry.height,
        variant,
    };
    let mut line = Vec::new();
    for y in 0..geometry.height {
        line.clear();
        geometry.format.encode(card.line(y), &mut line);
        line_of(y, &line).with_context(|| format!("line {y} lies outside the buffer"))?;
    }
    Ok(())
}

fn line_start(pitch: u32, y: u32) -> Result<usize> {
    usize::try_from(u64::from(pitch) * u64::from(y))
        .context("the buffer does not fit the address space")
}

/// A framebuffer's id that removes itself.
#[derive(Debug)]
pub struct FbId<'d> {
    device: &'d Device,
    /// The framebuffer.
    pub handle: framebuffer::Handle,
}

impl<'d> FbId<'d> {
    /// `ADDFB2` of a whole buffer, one plane, no modifier.
    ///
    /// # Errors
    /// The errno of the ioctl.
    pub fn add(
        device: &'d Device,
        geometry: Geometry,
        handle: u32,
        pitch: u32,
    ) -> io::Result<Self> {
        let made = drm_ffi::mode::add_fb2(
            device.as_fd(),
            geometry.width,
            geometry.height,
            geometry.format.code(),
            &[handle, 0, 0, 0],
            &[pitch, 0, 0, 0],
            &[0; 4],
            &[0; 4],
            0,
        )?;
        let handle = drm::control::from_u32(made.fb_id)
            .ok_or_else(|| io::Error::other("ADDFB2 gave the framebuffer the id 0"))?;
        Ok(Self { device, handle })
    }
}

impl Drop for FbId<'_> {
    fn drop(&mut self) {
        let result = self.device.destroy_framebuffer(self.handle);
        self.device
            .report_removal("framebuffer", self.handle.into(), result);
    }
}
