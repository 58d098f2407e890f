// SPDX-License-Identifier: GPL-2.0

//! What the rows of the table work on.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use drm::control::{AtomicCommitFlags, Device as _, Mode};
use drm_ffi::drm_sys::{drm_mode_crtc_page_flip, drm_mode_fb_cmd2, drm_mode_modeinfo};
use drm_ffi::mode::{self as kms, dumbbuffer};
use serde_json::{Value, json};

use crate::atomic::{Placement, Request};
use crate::buffer::{Dumb, Frame, Geometry};
use crate::device::Device;
use crate::format::Format;
use crate::raw;
use crate::report::{Report, outcome};
use crate::screen::Screen;

/// A device with a shown framebuffer, and objects that are almost right.
pub struct Bench<'d> {
    /// The device, with a shown framebuffer; the master.
    pub device: &'d Device,
    /// The same device, opened again: not the master, and without any objects.
    pub other: Device,
    /// Something that is no dma-buf.
    pub null: File,
    /// Whether the driver is atomic.
    pub atomic: bool,
    /// The output in use.
    pub screen: &'d Screen<'d>,
    /// Its mode.
    pub mode: Mode,
    /// The shown framebuffer, of the mode's size.
    pub frame: &'d Frame<'d>,
    /// A buffer of the mode's width and twice its height.
    pub spare: Dumb<'d>,
    /// A framebuffer of half the mode's size.
    pub small: Frame<'d>,
    /// A framebuffer of a little more than the mode's size.
    pub large: Frame<'d>,
    /// A framebuffer of the mode's size in another format, if the plane takes one.
    pub other_format: Option<Frame<'d>>,
}

/// The arguments of SETCRTC.
#[derive(Clone, Debug)]
pub struct SetCrtc {
    /// CRTC.
    pub crtc: u32,
    /// Framebuffer.
    pub fb: u32,
    /// Left edge of the part of the framebuffer, in pixels.
    pub x: u32,
    /// Top edge of the part of the framebuffer, in pixels.
    pub y: u32,
    /// Connectors.
    pub connectors: Vec<u32>,
    /// Mode; none switches the CRTC off.
    pub mode: Option<drm_mode_modeinfo>,
}

/// The arguments of SETPLANE that the rows change.
#[derive(Clone, Debug)]
pub struct SetPlane {
    /// Plane.
    pub plane: u32,
    /// CRTC.
    pub crtc: u32,
    /// What it shows and where.
    pub placement: Placement,
}

impl<'d> Bench<'d> {
    /// Makes the almost right objects.
    ///
    /// # Errors
    /// When a good call is refused.
    pub fn new(
        device: &'d Device,
        screen: &'d Screen<'d>,
        mode: Mode,
        frame: &'d Frame<'d>,
    ) -> Result<Self> {
        let Geometry {
            width,
            height,
            format,
        } = frame.geometry();
        let sized = |width, height, format| {
            let geometry = Geometry {
                width,
                height,
                format,
            };
            Frame::new(device, geometry)
        };
        let other_code =
            |code: &&u32| **code != format.code() && Format::from_code(**code).is_some();
        let other_format = screen.output().formats.iter().find(other_code);
        let other_format = other_format.and_then(|code| Format::from_code(*code));
        let spare = Dumb::new(device, width, 2 * height, format.bits_per_pixel());
        Ok(Self {
            device,
            other: device.reopen()?,
            null: File::open("/dev/null").context("cannot open /dev/null")?,
            atomic: device.enable_modesetting()?,
            screen,
            mode,
            frame,
            spare: spare.context("cannot create a dumb buffer")?,
            small: sized(width / 2, height / 2, format)?,
            large: sized(width + 64, height + 64, format)?,
            other_format: other_format
                .map(|format| sized(width, height, format))
                .transpose()?,
        })
    }

    /// The shown framebuffer's width and height.
    pub fn size(&self) -> (u32, u32) {
        let Geometry { width, height, .. } = self.frame.geometry();
        (width, height)
    }

    /// Half the mode's size, top left, as a rectangle of a placement.
    pub fn half(&self) -> [u32; 4] {
        let (width, height) = self.size();
        [0, 0, width / 2, height / 2]
    }

    /// Whether the primary plane must cover the whole CRTC, as it must for most drivers. vkms composes planes of any
    /// place.
    pub fn must_cover(&self) -> bool {
        self.device.driver() != "vkms"
    }

    /// What this client holds: the lowest handle that is free, and the number of its framebuffers.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn usage(&self) -> Result<Value> {
        // The kernel gives the lowest handle that is free, so a handle left behind moves it.
        let probe = Dumb::new(self.device, 64, 64, 32).context("cannot create a dumb buffer")?;
        let framebuffers = self.device.resource_handles()?.framebuffers().len();
        Ok(json!({"next_handle": probe.handle, "framebuffers": framebuffers}))
    }

    /// Shows the framebuffer again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn restore(&self) -> Result<()> {
        self.device.enable_modesetting()?;
        self.screen.set_mode(self.mode, self.frame.handle())
    }

    /// CREATE_DUMB, undone at once if it succeeds.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn create_dumb(&self, width: u32, height: u32, bits: u32, flags: u32) -> io::Result<()> {
        let made = dumbbuffer::create(self.device.as_fd(), width, height, bits, flags)?;
        dumbbuffer::destroy(self.device.as_fd(), made.handle).map(drop)
    }

    /// ADDFB2 of the spare buffer's upper half with one thing changed, undone at once if it succeeds.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn add_fb2(&self, change: impl FnOnce(&mut drm_mode_fb_cmd2)) -> io::Result<()> {
        let (width, height) = self.size();
        let mut fb = drm_mode_fb_cmd2 {
            width,
            height,
            pixel_format: self.frame.geometry().format.code(),
            handles: [self.spare.handle, 0, 0, 0],
            pitches: [self.spare.pitch, 0, 0, 0],
            ..Default::default()
        };
        change(&mut fb);
        let made = kms::add_fb2(
            self.device.as_fd(),
            fb.width,
            fb.height,
            fb.pixel_format,
            &fb.handles,
            &fb.pitches,
            &fb.offsets,
            &fb.modifier,
            fb.flags,
        )?;
        kms::rm_fb(self.device.as_fd(), made.fb_id)
    }

    /// SETCRTC of what is shown already with one thing changed.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn set_crtc(&self, change: impl FnOnce(&mut SetCrtc)) -> io::Result<()> {
        self.set_crtc_on(self.device, change)
    }

    /// [`Bench::set_crtc`] on a given open.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn set_crtc_on(
        &self,
        device: &Device,
        change: impl FnOnce(&mut SetCrtc),
    ) -> io::Result<()> {
        let mut set = SetCrtc {
            crtc: self.screen.output().crtc.into(),
            fb: self.frame.id(),
            x: 0,
            y: 0,
            connectors: vec![self.screen.output().connector.into()],
            mode: Some(self.mode.into()),
        };
        change(&mut set);
        let SetCrtc {
            crtc,
            fb,
            x,
            y,
            connectors,
            mode,
        } = set;
        kms::set_crtc(device.as_fd(), crtc, fb, x, y, &connectors, mode).map(drop)
    }

    /// PAGE_FLIP, without an event, to what is shown already with one thing changed.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn page_flip(&self, change: impl FnOnce(&mut drm_mode_crtc_page_flip)) -> io::Result<()> {
        self.page_flip_on(self.device, change)
    }

    /// [`Bench::page_flip`] on a given open.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn page_flip_on(
        &self,
        device: &Device,
        change: impl FnOnce(&mut drm_mode_crtc_page_flip),
    ) -> io::Result<()> {
        let mut flip = drm_mode_crtc_page_flip {
            crtc_id: self.screen.output().crtc.into(),
            fb_id: self.frame.id(),
            ..Default::default()
        };
        change(&mut flip);
        raw::page_flip(device.as_fd(), flip)
    }

    /// Where the shown framebuffer is already.
    pub fn placement(&self) -> Placement {
        let (width, height) = self.size();
        Placement::whole(self.frame.id(), width, height)
    }

    /// SETPLANE of what is shown already with one thing changed.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn set_plane(&self, change: impl FnOnce(&mut SetPlane)) -> io::Result<()> {
        let mut set = SetPlane {
            plane: self.screen.output().plane.into(),
            crtc: self.screen.output().crtc.into(),
            placement: self.placement(),
        };
        change(&mut set);
        let Placement { fb, source, target } = set.placement;
        let [x, y, width, height] = target;
        // Source coordinates are 16.16 fixed point.
        let [source_x, source_y, source_width, source_height] = source.map(|value| value << 16);
        kms::set_plane(
            self.device.as_fd(),
            set.plane,
            set.crtc,
            fb,
            0,
            signed(x)?,
            signed(y)?,
            width,
            height,
            source_x,
            source_y,
            source_width,
            source_height,
        )
        .map(drop)
    }

    /// An atomic commit that may set modes.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn commit(&self, fill: impl FnOnce(&mut Request) -> Result<()>) -> io::Result<()> {
        self.commit_with(AtomicCommitFlags::ALLOW_MODESET.bits(), fill)
    }

    /// An atomic commit with any flags.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn commit_with(
        &self,
        flags: u32,
        fill: impl FnOnce(&mut Request) -> Result<()>,
    ) -> io::Result<()> {
        let mut request = Request::default();
        fill(&mut request).map_err(io::Error::other)?;
        request.commit_raw(self.device, flags, 0)
    }

    /// An atomic commit of the shown placement with one thing changed.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn place(&self, change: impl FnOnce(&mut Placement)) -> io::Result<()> {
        let mut placement = self.placement();
        change(&mut placement);
        self.commit(|request| self.screen.pipe().place(request, placement))
    }

    /// A commit with TEST_ONLY that would switch everything off succeeds and changes nothing.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn test_only_changes_nothing(&self, report: &mut Report) -> Result<()> {
        if !self.atomic {
            return Ok(());
        }
        let flags = AtomicCommitFlags::TEST_ONLY | AtomicCommitFlags::ALLOW_MODESET;
        let test = self.commit_with(flags.bits(), |request| self.screen.pipe().darken(request));
        report.check("TEST_ONLY of switching off", "success", outcome(&test));
        report.check("mode set after TEST_ONLY", true, self.screen.has_mode()?);
        report.check(
            "framebuffer shown after TEST_ONLY",
            self.frame.id(),
            self.screen.shown()?,
        );
        Ok(())
    }

    /// GETFB2 gives what ADDFB2 was given.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn get_fb2_tells_the_truth(&self, report: &mut Report) -> Result<()> {
        let fb = kms::get_framebuffer2(self.device.as_fd(), self.frame.id())?;
        let Geometry {
            width,
            height,
            format,
        } = self.frame.geometry();
        let expected = json!([width, height, format.code(), self.frame.dumb().pitch, 0]);
        let got = json!([
            fb.width,
            fb.height,
            fb.pixel_format,
            fb.pitches[0],
            fb.offsets[0]
        ]);
        report.check("GETFB2 of the shown framebuffer", expected, got);
        // GETFB2 gives the master a handle of its own, to close.
        for handle in fb.handles.into_iter().filter(|handle| *handle != 0) {
            drm_ffi::gem::close(self.device.as_fd(), handle)?;
        }
        Ok(())
    }
}

fn signed(value: u32) -> io::Result<i32> {
    i32::try_from(value).map_err(|_| io::ErrorKind::InvalidInput.into())
}
