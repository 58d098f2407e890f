// SPDX-License-Identifier: GPL-2.0

//! Outputs: a connected connector with a CRTC and a primary plane of its own.

use anyhow::{Context, Result, bail};
use drm::control::{Device as _, Mode, PlaneType, ResourceHandles, connector, crtc, plane};

use crate::device::Device;
use crate::properties::Properties;

/// A connector and the pipe that feeds it.
#[derive(Clone, Debug)]
pub struct Output {
    /// The connector's name, such as "Virtual-1".
    pub name: String,
    /// The connector.
    pub connector: connector::Handle,
    /// A CRTC that can feed it, used by no other output of the list.
    pub crtc: crtc::Handle,
    /// A primary plane of that CRTC.
    pub plane: plane::Handle,
    /// The connector's modes, in the kernel's order.
    pub modes: Vec<Mode>,
    /// Format codes that the plane takes.
    pub formats: Vec<u32>,
}

/// The connector's name as the kernel's logs and sysfs write it.
pub fn connector_name(info: &connector::Info) -> String {
    format!("{}-{}", info.interface().as_str(), info.interface_id())
}

/// Every connected connector, each with a pipe of its own.
///
/// # Errors
/// When the kernel does not answer, or a connected connector finds no free pipe.
pub fn outputs(device: &Device) -> Result<Vec<Output>> {
    let resources = device
        .resource_handles()
        .context("cannot list the display's parts")?;
    let mut outputs: Vec<Output> = Vec::new();
    for &handle in resources.connectors() {
        let info = device
            .get_connector(handle, true)
            .context("cannot probe a connector")?;
        if info.state() != connector::State::Connected {
            continue;
        }
        let name = connector_name(&info);
        let crtc = free_crtc(device, &resources, &info, &outputs)
            .with_context(|| format!("connector {name} has no CRTC left"))?;
        let (plane, formats) = free_primary_plane(device, &resources, crtc, &outputs)
            .with_context(|| format!("connector {name} has no primary plane left"))?;
        outputs.push(Output {
            name,
            connector: handle,
            crtc,
            plane,
            modes: info.modes().to_vec(),
            formats,
        });
    }
    Ok(outputs)
}

fn free_crtc(
    device: &Device,
    resources: &ResourceHandles,
    connector: &connector::Info,
    taken: &[Output],
) -> Result<crtc::Handle> {
    for &encoder in connector.encoders() {
        let possible = device.get_encoder(encoder)?.possible_crtcs();
        let free = |crtc: &crtc::Handle| taken.iter().all(|output| output.crtc != *crtc);
        if let Some(crtc) = resources.filter_crtcs(possible).into_iter().find(free) {
            return Ok(crtc);
        }
    }
    bail!("its encoders reach none that is free")
}

fn free_primary_plane(
    device: &Device,
    resources: &ResourceHandles,
    crtc: crtc::Handle,
    taken: &[Output],
) -> Result<(plane::Handle, Vec<u32>)> {
    for handle in device.plane_handles()? {
        if taken.iter().any(|output| output.plane == handle) {
            continue;
        }
        let info = device.get_plane(handle)?;
        let primary = Properties::of(device, handle)?.value("type")? == PlaneType::Primary as u64;
        if primary
            && resources
                .filter_crtcs(info.possible_crtcs())
                .contains(&crtc)
        {
            return Ok((handle, info.formats().to_vec()));
        }
    }
    bail!("no plane of that kind reaches the CRTC")
}

impl Output {
    /// The output named `name`, or the first one for "first".
    ///
    /// # Errors
    /// When there is none; the message names those that there are.
    pub fn find(device: &Device, name: &str) -> Result<Self> {
        let mut outputs = outputs(device)?;
        match outputs
            .iter()
            .position(|output| name == "first" || output.name == name)
        {
            Some(index) => Ok(outputs.swap_remove(index)),
            None => {
                let names: Vec<String> = outputs.into_iter().map(|output| output.name).collect();
                bail!(
                    "no connected connector {name:?}; connected: [{}]",
                    names.join(", ")
                )
            }
        }
    }

    /// The mode of that size, or the connector's first one for "first".
    ///
    /// # Errors
    /// When there is none; the message names those that there are.
    pub fn mode(&self, wanted: &str) -> Result<Mode> {
        let name = |mode: &Mode| format!("{}x{}", mode.size().0, mode.size().1);
        let mode = self
            .modes
            .iter()
            .find(|mode| wanted == "first" || name(mode) == wanted);
        mode.copied().with_context(|| {
            let names: Vec<String> = self.modes.iter().map(name).collect();
            format!(
                "connector {} has no mode {wanted:?}; it has: [{}]",
                self.name,
                names.join(", ")
            )
        })
    }
}
