// SPDX-License-Identifier: GPL-2.0

//! What every subcommand has at hand.

use std::time::Duration;

use anyhow::Result;
use drm::control::Mode;
use serde_json::json;

use crate::buffer::{Frame, Geometry};
use crate::cli::{Cli, Target};
use crate::device::Device;
use crate::events::Events;
use crate::format::Format;
use crate::output::Output;
use crate::report::Report;
use crate::screen::Screen;
use crate::stop::Stop;

/// One run of the program on one device.
#[derive(Debug)]
pub struct Session<'d> {
    /// The device.
    pub device: &'d Device,
    /// The checks.
    pub report: Report,
    /// Being told to end.
    pub stop: Stop,
    /// Whether only what every driver does is judged.
    pub generic: bool,
    /// Longest time to wait for a flip's event.
    pub event_limit: Duration,
}

impl<'d> Session<'d> {
    /// Starts a run.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub fn new(device: &'d Device, cli: &Cli) -> Result<Self> {
        Ok(Self {
            device,
            report: Report::default(),
            stop: Stop::install()?,
            generic: cli.generic,
            event_limit: cli.timeout,
        })
    }

    /// Takes the target's output into use.
    ///
    /// # Errors
    /// When there is no such output.
    pub fn screen(&self, target: &Target) -> Result<Screen<'d>> {
        self.device.enable_modesetting()?;
        Screen::new(
            self.device,
            Output::find(self.device, &target.connector)?,
            target.via,
        )
    }

    /// The device's flip events.
    pub fn events<'s>(&'s self) -> Events<'s>
    where
        'd: 's,
    {
        Events::new(self.device, &self.stop)
    }

    /// A framebuffer with a card for the whole of `mode`.
    ///
    /// # Errors
    /// When the kernel refuses the buffer or the framebuffer.
    pub fn frame(&self, mode: &Mode, format: Format, variant: u32) -> Result<Frame<'d>> {
        Frame::with_card(self.device, geometry(mode, format), variant)
    }

    /// Tells that a card is shown.
    pub fn say_shown(&self, output: &Output, geometry: Geometry, variant: u32) {
        self.report.say(
            "shown",
            json!({
                "connector": output.name,
                "width": geometry.width,
                "height": geometry.height,
                "format": geometry.format.to_string(),
                "variant": variant,
            }),
        );
    }

    /// Keeps the picture if the command line says so.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub fn hold(&self, target: &Target) -> Result<()> {
        if target.hold {
            self.stop.hold()?;
        }
        Ok(())
    }
}

/// The geometry that fills `mode`.
pub fn geometry(mode: &Mode, format: Format) -> Geometry {
    Geometry {
        width: mode.size().0.into(),
        height: mode.size().1.into(),
        format,
    }
}
