// SPDX-License-Identifier: GPL-2.0
//! Guests' framebuffers that the device shows out of the guests' own pages, which it has as a dma-buf.

use super::Card;
use crate::buffer::{Framebuffer, pitch};
use crate::output::Picture;
use crate::report::Complaints;
use anyhow::{Context, Result, anyhow, ensure};
use drm::buffer::{DrmFourcc, DrmModifier, Handle, PlanarBuffer};
use drm::control::{Device as _, FbCmd2Flags, framebuffer};
use log::error;
use std::collections::HashMap;
use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A guest's framebuffer made known to the device.
struct Scanout {
    card: Arc<Card>,
    framebuffer: framebuffer::Handle,
}

impl Scanout {
    fn new(card: &Arc<Card>, dmabuf: BorrowedFd<'_>, picture: Picture<'_>) -> Result<Self> {
        let Picture {
            framebuffer, width, ..
        } = picture;
        // Some drivers (bochs) use a framebuffer's pitch in memory of the device's own, whose size they compare with the mode's only.
        let mode_pitch = pitch(width, framebuffer.format.bits_per_pixel());
        ensure!(
            framebuffer.pitch() as u64 == mode_pitch,
            "its pitch is {}, the mode's {mode_pitch}",
            framebuffer.pitch()
        );
        let handle = card
            .prime_fd_to_buffer(dmabuf)
            .context("the dma-buf is not taken")?;
        let layout = Layout::new(framebuffer, handle);
        let added = layout.and_then(|layout| {
            card.add_planar_framebuffer(&layout, FbCmd2Flags::empty())
                .with_context(|| format!("{} is not taken", layout.format))
        });
        // The framebuffer has the buffer by itself.
        card.close_buffer(handle)?;
        Ok(Scanout {
            card: card.clone(),
            framebuffer: added?,
        })
    }
}

impl Drop for Scanout {
    fn drop(&mut self) {
        if let Err(error) = self.card.destroy_framebuffer(self.framebuffer) {
            error!("cannot remove a guest's framebuffer: {error}");
        }
    }
}

/// A guest's framebuffer as the device is told of it.
struct Layout {
    size: (u32, u32),
    format: DrmFourcc,
    pitch: u32,
    offset: u32,
    handle: Handle,
}

impl Layout {
    fn new(framebuffer: &Framebuffer, handle: Handle) -> Result<Self> {
        Ok(Layout {
            size: (framebuffer.width, framebuffer.height),
            // Alpha is ignored, since nothing lies under the picture.
            format: if framebuffer.format.is_xrgb8888_in_memory() {
                DrmFourcc::Xrgb8888
            } else {
                framebuffer.format.fourcc()
            },
            pitch: u32::try_from(framebuffer.pitch())?,
            offset: u32::try_from(framebuffer.line_offset(0))?,
            handle,
        })
    }
}

impl PlanarBuffer for Layout {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn format(&self) -> DrmFourcc {
        self.format
    }

    fn modifier(&self) -> Option<DrmModifier> {
        None
    }

    fn pitches(&self) -> [u32; 4] {
        [self.pitch, 0, 0, 0]
    }

    fn handles(&self) -> [Option<Handle>; 4] {
        [Some(self.handle), None, None, None]
    }

    fn offsets(&self) -> [u32; 4] {
        [self.offset, 0, 0, 0]
    }
}

/// A framebuffer that a head has shown. One that is copied may have been on the screen before, and stays until it is detached.
#[derive(Default)]
struct Known {
    scanout: Option<Scanout>,
    is_copied: bool,
}

/// The guest's framebuffers that a head has shown.
pub struct Scanouts {
    card: Arc<Card>,
    /// By cookie and the width that is shown.
    known: HashMap<(u64, u32), Known>,
    complaints: Complaints,
}

impl Scanouts {
    /// None yet; `label` is the head's name.
    pub fn new(card: Arc<Card>, label: &str) -> Self {
        Scanouts {
            card,
            known: HashMap::new(),
            complaints: Complaints::new(label),
        }
    }

    /// The device's framebuffer for a picture. None: it has to be copied, and why was said, unless nothing else is wanted.
    pub fn get(&mut self, picture: Picture<'_>) -> Option<framebuffer::Handle> {
        let dmabuf = picture.framebuffer.dmabuf()?;
        if let Some(known) = self.known.get(&key(picture)) {
            let scanout = known.scanout.as_ref().filter(|_| !known.is_copied)?;
            return Some(scanout.framebuffer);
        }
        let made = dmabuf
            .map_err(|error| anyhow!("its pages make no dma-buf: {error}"))
            .and_then(|dmabuf| Scanout::new(&self.card, dmabuf, picture));
        match made {
            Ok(scanout) => {
                let framebuffer = scanout.framebuffer;
                let known = self.known.entry(key(picture)).or_default();
                known.scanout = Some(scanout);
                Some(framebuffer)
            }
            Err(error) => {
                self.refuse(picture, format!("{error:#}"));
                None
            }
        }
    }

    /// A picture is copied from now on.
    pub fn refuse(&mut self, picture: Picture<'_>, reason: impl Display) {
        self.complaints.line(format!(
            "framebuffer {:#x} is copied: {reason}",
            picture.framebuffer.cookie
        ));
        self.known.entry(key(picture)).or_default().is_copied = true;
    }

    /// The guest has detached a framebuffer.
    pub fn forget(&mut self, framebuffer: &Framebuffer) {
        self.known
            .retain(|(cookie, _), _| *cookie != framebuffer.cookie);
    }
}

fn key(picture: Picture<'_>) -> (u64, u32) {
    (picture.framebuffer.cookie, picture.width)
}
