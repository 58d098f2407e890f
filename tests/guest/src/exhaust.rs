// SPDX-License-Identifier: GPL-2.0

//! `exhaust`: buffers until there is no room for another.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::buffer::Dumb;
use crate::cli::Target;
use crate::report::outcome;
use crate::session::Session;

/// A display that has room for more has no limit that is looked for here.
const MOST: usize = 1000;

/// Creates buffers of the mode's size until the kernel refuses one; as many as are freed then can be created again.
///
/// # Errors
/// When it refuses the first, or none.
pub fn run(session: &mut Session<'_>, target: &Target) -> Result<()> {
    let screen = session.screen(target)?;
    let (width, height) = screen.output().mode(&target.mode)?.size();
    let bits = target.format.bits_per_pixel();
    let device = session.device;
    let another = || Dumb::new(device, width.into(), height.into(), bits);
    let mut buffers = vec![another().context("the first buffer")?];
    let refusal = loop {
        match another() {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => break Err(error),
        }
        ensure!(buffers.len() < MOST, "there is room for {MOST} buffers");
    };
    let count = buffers.len();
    let report = &mut session.report;
    report.say("buffers", json!(count));
    report.check("one buffer too many", "ENOSPC", outcome::<()>(&refusal));
    buffers.truncate(count / 2);
    let again: Result<Vec<_>, _> = (buffers.len()..count).map(|_| another()).collect();
    report.check("as many as were freed", "success", outcome(&again));
    report.check("one too many again", "ENOSPC", outcome(&another()));
    Ok(())
}
