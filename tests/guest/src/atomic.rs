// SPDX-License-Identifier: GPL-2.0

//! Atomic commits.

use std::io;
use std::os::fd::AsFd;

use anyhow::Result;
use drm::control::{AtomicCommitFlags, Device as _, Mode, property};

use crate::device::Device;
use crate::output::Output;
use crate::properties::Properties;
use crate::raw::{self, AtomicLists};

/// The properties that one commit sets.
#[derive(Clone, Debug, Default)]
pub struct Request {
    objects: Vec<u32>,
    properties: Vec<u32>,
    values: Vec<u64>,
}

impl Request {
    /// Adds a property by ids, valid or not.
    pub fn set_raw(&mut self, object: u32, property: u32, value: u64) {
        self.objects.push(object);
        self.properties.push(property);
        self.values.push(value);
    }

    /// Adds a property by name.
    ///
    /// # Errors
    /// When the object has none of that name.
    pub fn set(&mut self, of: &Properties, name: &str, value: impl Into<u64>) -> Result<()> {
        self.set_raw(of.object(), of.id(name)?, value.into());
        Ok(())
    }

    /// Commits it; `flags` are bits of `DRM_MODE_ATOMIC_*` and `DRM_MODE_PAGE_FLIP_*`, valid or not.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn commit_raw(&self, device: &Device, flags: u32, user_data: u64) -> io::Result<()> {
        raw::atomic(device.as_fd(), flags, self.lists(), 0, user_data)
    }

    /// Commits it without an event.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn commit(&self, device: &Device, flags: AtomicCommitFlags) -> io::Result<()> {
        self.commit_raw(device, flags.bits(), 0)
    }

    /// The lists that the ioctl takes.
    pub fn lists(&self) -> AtomicLists<'_> {
        AtomicLists {
            objects: &self.objects,
            properties: &self.properties,
            values: &self.values,
        }
    }
}

/// The properties of an output's three objects.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// Of the connector.
    pub connector: Properties,
    /// Of the CRTC.
    pub crtc: Properties,
    /// Of the primary plane.
    pub plane: Properties,
}

/// What a plane shows and where, in whole pixels.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// Framebuffer.
    pub fb: u32,
    /// Left, top, width and height of the part of the framebuffer.
    pub source: [u32; 4],
    /// Left, top, width and height on the CRTC.
    pub target: [u32; 4],
}

impl Placement {
    /// The framebuffer's top left `width` by `height` pixels over the whole CRTC.
    pub fn whole(fb: u32, width: u32, height: u32) -> Self {
        Self {
            fb,
            source: [0, 0, width, height],
            target: [0, 0, width, height],
        }
    }
}

impl Pipe {
    /// Reads the properties of `output`'s objects.
    ///
    /// # Errors
    /// When the kernel does not give them.
    pub fn of(device: &Device, output: &Output) -> Result<Self> {
        Ok(Self {
            connector: Properties::of(device, output.connector)?,
            crtc: Properties::of(device, output.crtc)?,
            plane: Properties::of(device, output.plane)?,
        })
    }

    /// Adds "the plane shows this".
    ///
    /// # Errors
    /// When the driver lacks one of the properties.
    pub fn place(&self, request: &mut Request, placement: Placement) -> Result<()> {
        request.set(&self.plane, "FB_ID", placement.fb)?;
        request.set(&self.plane, "CRTC_ID", self.crtc.object())?;
        for (name, value) in ["SRC_X", "SRC_Y", "SRC_W", "SRC_H"]
            .into_iter()
            .zip(placement.source)
        {
            // Source coordinates are 16.16 fixed point.
            request.set(&self.plane, name, u64::from(value) << 16)?;
        }
        for (name, value) in ["CRTC_X", "CRTC_Y", "CRTC_W", "CRTC_H"]
            .into_iter()
            .zip(placement.target)
        {
            request.set(&self.plane, name, value)?;
        }
        Ok(())
    }

    /// Adds "the connector is lit by the CRTC with the mode of this blob".
    ///
    /// # Errors
    /// When the driver lacks one of the properties.
    pub fn light(&self, request: &mut Request, mode_blob: u32) -> Result<()> {
        request.set(&self.connector, "CRTC_ID", self.crtc.object())?;
        request.set(&self.crtc, "MODE_ID", mode_blob)?;
        request.set(&self.crtc, "ACTIVE", 1u64)
    }

    /// Adds "everything off".
    ///
    /// # Errors
    /// When the driver lacks one of the properties.
    pub fn darken(&self, request: &mut Request) -> Result<()> {
        request.set(&self.connector, "CRTC_ID", 0u64)?;
        request.set(&self.crtc, "MODE_ID", 0u64)?;
        request.set(&self.crtc, "ACTIVE", 0u64)?;
        request.set(&self.plane, "FB_ID", 0u64)?;
        request.set(&self.plane, "CRTC_ID", 0u64)
    }
}

/// A mode in a property blob that destroys itself; a commit that used it keeps its own reference.
#[derive(Debug)]
pub struct ModeBlob<'d> {
    device: &'d Device,
    /// The blob's id.
    pub id: u32,
}

impl<'d> ModeBlob<'d> {
    /// Makes the blob.
    ///
    /// # Errors
    /// The ioctl's errno.
    pub fn new(device: &'d Device, mode: &Mode) -> io::Result<Self> {
        let blob = property::RawValue::from(device.create_property_blob(mode)?);
        let id = u32::try_from(blob).map_err(io::Error::other)?;
        Ok(Self { device, id })
    }
}

impl Drop for ModeBlob<'_> {
    fn drop(&mut self) {
        let result = drm_ffi::mode::destroy_property_blob(self.device.as_fd(), self.id);
        self.device
            .report_removal("property blob", self.id, result.map(drop));
    }
}
