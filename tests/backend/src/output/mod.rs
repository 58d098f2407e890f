// SPDX-License-Identifier: GPL-2.0
//! Where pictures go.

pub mod capture;
pub mod kms;
mod png_writer;

use crate::buffer::Framebuffer;
use crate::protocol::DbufCreate;
use crate::refusal::Refusal;
use crate::stats::HeadName;
use anyhow::Result;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// When an accepted flip is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It is.
    Now,
    /// At this time.
    At(Instant),
    /// When the [`FlipDone`] of the head is called.
    OnEvent,
}

/// How a picture got to where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Its pixels were copied.
    Copied,
    /// It is shown out of the guest's own pages.
    InPlace,
}

/// Called, from any thread, when a flip that was to complete by an event has done so.
pub type FlipDone = Box<dyn Fn() + Send + Sync>;

/// What a picture is shown as: a part of a framebuffer, from its first pixel on.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    /// The guest's pixels.
    pub framebuffer: &'a Framebuffer,
    /// Pixels; not more than the framebuffer has.
    pub width: u32,
    /// Lines; not more than the framebuffer has.
    pub height: u32,
}

/// A kind of output, for all guests.
pub trait Output: Send + Sync {
    /// Takes up a connector of a guest.
    ///
    /// # Errors
    ///
    /// There is nothing to show this connector on.
    fn open(&self, name: &HeadName, flip_done: FlipDone) -> Result<Box<dyn Head>>;

    /// Memory of this domain for the buffer that `create` asks for, which can be shown best; none if any memory does.
    ///
    /// # Errors
    ///
    /// There is no such memory, or it does not lie as displif wants it.
    fn allocate(&self, _create: &DbufCreate) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }
}

/// The output of one connector; dropping it lets go of everything.
pub trait Head: Send {
    /// Sets the mode to the picture's size and shows it.
    ///
    /// # Errors
    ///
    /// EINVAL: not a mode of this output. Others: it did not work; what was shown before is shown on.
    fn set_config(&mut self, picture: Picture<'_>) -> Result<Transfer, Refusal>;

    /// Shows another picture of the size that was set. Not called before the last flip is complete.
    ///
    /// # Errors
    ///
    /// It did not work; what was shown before is shown on.
    fn flip(&mut self, picture: Picture<'_>) -> Result<(Completion, Transfer), Refusal>;

    /// Shows nothing.
    fn off(&mut self);

    /// Lets go of what was kept for a framebuffer, which is not shown any more.
    fn forget(&mut self, _framebuffer: &Framebuffer) {}

    /// Writes what `picture` holds now to a file, if this output is one of files.
    ///
    /// # Errors
    ///
    /// The picture cannot be read.
    fn snapshot(&mut self, picture: Picture<'_>) -> Result<()>;
}
