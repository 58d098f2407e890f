// SPDX-License-Identifier: GPL-2.0

//! `info`: what the device is and offers.

use anyhow::Result;
use drm::control::{Device as _, Mode, connector};
use drm::{Device as _, DriverCapability};
use serde_json::{Value, json};

use crate::output::connector_name;
use crate::properties::Properties;
use crate::session::Session;

/// Prints a line for the driver, for each connector and for each plane.
///
/// # Errors
/// When the kernel does not answer.
pub fn run(session: &mut Session<'_>) -> Result<()> {
    let device = session.device;
    let atomic = device.enable_modesetting()?;
    let resources = device.resource_handles()?;
    let driver = device.get_driver()?;
    session.report.say(
        "driver",
        json!({
            "name": device.driver(),
            "version": format!("{}.{}.{}", driver.version.0, driver.version.1, driver.version.2),
            "description": driver.description().to_string_lossy(),
            "node": device.path().to_string_lossy(),
            "atomic": atomic,
            "crtcs": resources.crtcs().len(),
            "capabilities": {
                "dumb_buffer": device.capability(DriverCapability::DumbBuffer),
                "prime": device.capability(DriverCapability::Prime),
                "addfb2_modifiers": device.capability(DriverCapability::AddFB2Modifiers),
                "async_page_flip": device.capability(DriverCapability::ASyncPageFlip),
                "crtc_in_vblank_event": device.capability(DriverCapability::CRTCInVBlankEvent),
                "monotonic_timestamp": device.capability(DriverCapability::MonotonicTimestamp),
            },
        }),
    );
    for &handle in resources.connectors() {
        let info = device.get_connector(handle, true)?;
        let properties = Properties::of(device, handle)?;
        session.report.say(
            "connector",
            json!({
                "name": connector_name(&info),
                "id": u32::from(handle),
                "status": status(info.state()),
                "link_status": properties.value("link-status").ok(),
                "modes": info.modes().iter().map(mode).collect::<Vec<Value>>(),
            }),
        );
    }
    for handle in device.plane_handles()? {
        let info = device.get_plane(handle)?;
        let formats: Vec<String> = info.formats().iter().map(|code| fourcc(*code)).collect();
        session.report.say(
            "plane",
            json!({
                "id": u32::from(handle),
                "type": Properties::of(device, handle)?.value("type")?,
                "crtcs": resources.filter_crtcs(info.possible_crtcs()).len(),
                "formats": formats,
            }),
        );
    }
    Ok(())
}

/// The four characters of a format code.
pub fn fourcc(code: u32) -> String {
    code.to_le_bytes().map(char::from).iter().collect()
}

fn status(state: connector::State) -> &'static str {
    match state {
        connector::State::Connected => "connected",
        connector::State::Disconnected => "disconnected",
        connector::State::Unknown => "unknown",
    }
}

fn mode(mode: &Mode) -> Value {
    json!({
        "width": mode.size().0,
        "height": mode.size().1,
        "refresh": mode.vrefresh(),
        "clock_khz": mode.clock(),
    })
}
