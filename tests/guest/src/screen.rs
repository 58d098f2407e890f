// SPDX-License-Identifier: GPL-2.0

//! Showing framebuffers on an output, by the legacy ioctls or by atomic commits.

use std::io;
use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use drm::control::{AtomicCommitFlags, Device as _, Mode, PageFlipFlags, framebuffer};
use drm_ffi::drm_sys::drm_mode_crtc_page_flip;

use crate::atomic::{ModeBlob, Pipe, Placement, Request};
use crate::device::Device;
use crate::output::Output;
use crate::properties::Properties;
use crate::raw;

/// The interface that modes are set and frames are flipped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// SETCRTC, PAGE_FLIP and the DPMS property.
    Legacy,
    /// Atomic commits.
    Atomic,
}

/// Whether a flip may wait inside the ioctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// An atomic commit returns when it is done. PAGE_FLIP never waits.
    Blocking,
    /// The ioctl returns at once; EBUSY while an earlier flip is not done.
    Nonblocking,
}

/// An output in use.
#[derive(Debug)]
pub struct Screen<'d> {
    device: &'d Device,
    output: Output,
    via: Via,
    pipe: Pipe,
}

impl<'d> Screen<'d> {
    /// Takes an output into use; nothing changes yet.
    ///
    /// # Errors
    /// When the kernel does not give the output's properties.
    pub fn new(device: &'d Device, output: Output, via: Via) -> Result<Self> {
        let pipe = Pipe::of(device, &output)
            .with_context(|| format!("cannot read the properties of {}", output.name))?;
        Ok(Self {
            device,
            output,
            via,
            pipe,
        })
    }

    /// The output.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The device.
    pub fn device(&self) -> &'d Device {
        self.device
    }

    /// The ids of the output's properties.
    pub fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Sets a mode that shows the whole of a framebuffer of the mode's size.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_mode(&self, mode: Mode, fb: framebuffer::Handle) -> Result<()> {
        let Output {
            name,
            crtc,
            connector,
            ..
        } = &self.output;
        let (width, height) = (u32::from(mode.size().0), u32::from(mode.size().1));
        let set = || -> Result<()> {
            match self.via {
                Via::Legacy => {
                    Ok(self
                        .device
                        .set_crtc(*crtc, Some(fb), (0, 0), &[*connector], Some(mode))?)
                }
                Via::Atomic => {
                    let blob = ModeBlob::new(self.device, &mode)?;
                    let mut request = Request::default();
                    self.pipe.light(&mut request, blob.id)?;
                    self.pipe
                        .place(&mut request, Placement::whole(fb.into(), width, height))?;
                    Ok(request.commit(self.device, AtomicCommitFlags::ALLOW_MODESET)?)
                }
            }
        };
        set().with_context(|| format!("cannot show {width}x{height} on {name}"))
    }

    /// Switches the output off: no mode, no framebuffer.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn off(&self) -> Result<()> {
        let off = || -> Result<()> {
            match self.via {
                Via::Legacy => {
                    Ok(self
                        .device
                        .set_crtc(self.output.crtc, None, (0, 0), &[], None)?)
                }
                Via::Atomic => {
                    let mut request = Request::default();
                    self.pipe.darken(&mut request)?;
                    Ok(request.commit(self.device, AtomicCommitFlags::ALLOW_MODESET)?)
                }
            }
        };
        off().with_context(|| format!("cannot switch {} off", self.output.name))
    }

    /// Puts the output to sleep or wakes it; mode and framebuffer stay.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_power(&self, on: bool) -> Result<()> {
        let set = || -> Result<()> {
            match self.via {
                Via::Legacy => {
                    let dpms = drm::control::from_u32(self.pipe.connector.id("DPMS")?)
                        .ok_or_else(|| anyhow!("the DPMS property has the id 0"))?;
                    // DRM_MODE_DPMS_ON and DRM_MODE_DPMS_OFF.
                    let value = if on { 0 } else { 3 };
                    Ok(self
                        .device
                        .set_property(self.output.connector, dpms, value)?)
                }
                Via::Atomic => {
                    let mut request = Request::default();
                    request.set(&self.pipe.crtc, "ACTIVE", u64::from(on))?;
                    Ok(request.commit(self.device, AtomicCommitFlags::ALLOW_MODESET)?)
                }
            }
        };
        set().with_context(|| format!("cannot switch the power of {}", self.output.name))
    }

    /// Asks for a flip to framebuffer `fb`, with an event that carries `user_data`.
    ///
    /// # Errors
    /// The ioctl's errno; EBUSY while an earlier flip is not done.
    pub fn flip(&self, fb: u32, pace: Pace, user_data: u64) -> io::Result<()> {
        match self.via {
            Via::Legacy => raw::page_flip(
                self.device.as_fd(),
                drm_mode_crtc_page_flip {
                    crtc_id: self.output.crtc.into(),
                    fb_id: fb,
                    flags: PageFlipFlags::EVENT.bits(),
                    reserved: 0,
                    user_data,
                },
            ),
            Via::Atomic => {
                let mut request = Request::default();
                request
                    .set(&self.pipe.plane, "FB_ID", fb)
                    .map_err(io::Error::other)?;
                let mut flags = AtomicCommitFlags::PAGE_FLIP_EVENT;
                if pace == Pace::Nonblocking {
                    flags |= AtomicCommitFlags::NONBLOCK;
                }
                request.commit_raw(self.device, flags.bits(), user_data)
            }
        }
    }

    /// The id of the framebuffer that the kernel says is shown; 0 for none.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn shown(&self) -> Result<u32> {
        let plane = self.device.get_plane(self.output.plane);
        let plane = plane.context("cannot read the primary plane")?;
        Ok(plane.framebuffer().map_or(0, u32::from))
    }

    /// Whether a mode is set, as the kernel says.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn has_mode(&self) -> Result<bool> {
        let crtc = self
            .device
            .get_crtc(self.output.crtc)
            .context("cannot read the CRTC")?;
        Ok(crtc.mode().is_some())
    }

    /// The current value of the CRTC's ACTIVE property.
    ///
    /// # Errors
    /// When the kernel does not answer, or the driver is not atomic.
    pub fn is_active(&self) -> Result<bool> {
        Ok(Properties::of(self.device, self.output.crtc)?.value("ACTIVE")? == 1)
    }
}
