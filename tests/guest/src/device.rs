// SPDX-License-Identifier: GPL-2.0

//! Opening a DRM device by its driver's name or its path.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use drm::Device as _;
use drm::{ClientCapability, DriverCapability};
use rustix::io::Errno;

const NODES: &str = "/dev/dri";

/// An open DRM device node.
#[derive(Debug)]
pub struct Device {
    file: File,
    path: PathBuf,
    driver: String,
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl drm::Device for Device {}
impl drm::control::Device for Device {}

impl Device {
    /// Opens the node at `path`.
    ///
    /// # Errors
    /// When there is none, or it is not a DRM device.
    pub fn at(path: &Path) -> Result<Self> {
        let open = || -> io::Result<Self> {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let mut device = Self {
                file,
                path: path.to_owned(),
                driver: String::new(),
            };
            device.driver = device.get_driver()?.name().to_string_lossy().into_owned();
            Ok(device)
        };
        open().with_context(|| format!("cannot open {} as a DRM device", path.display()))
    }

    /// Opens the first device of the driver named `driver`.
    ///
    /// # Errors
    /// When there is none; the message names the drivers that there are.
    pub fn of_driver(driver: &str) -> Result<Self> {
        let entries = NODES.as_ref() as &Path;
        let entries = entries
            .read_dir()
            .with_context(|| format!("cannot list {NODES}"))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("card"))
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        let mut seen = Vec::new();
        for path in paths {
            match Self::at(&path) {
                Ok(device) if device.driver == driver => return Ok(device),
                Ok(device) => seen.push(format!("{} is of {}", path.display(), device.driver)),
                Err(error) => seen.push(format!("{error:#}")),
            }
        }
        bail!(
            "no DRM device of driver {driver:?}; seen: [{}]",
            seen.join("; ")
        )
    }

    /// Makes every plane and the properties of atomic modesetting visible. Returns whether the driver is atomic.
    ///
    /// # Errors
    /// When the device has no modesetting at all.
    pub fn enable_modesetting(&self) -> Result<bool> {
        self.set_client_capability(ClientCapability::UniversalPlanes, true)
            .with_context(|| format!("{} has no modesetting", self.path.display()))?;
        Ok(self
            .set_client_capability(ClientCapability::Atomic, true)
            .is_ok())
    }

    /// A second, independent open of the same node.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reopen(&self) -> Result<Self> {
        Self::at(&self.path)
    }

    /// Says that an object of this device could not be removed. Objects of a device that was removed went with it.
    pub fn report_removal(&self, what: &str, id: u32, result: io::Result<()>) {
        match result {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::NODEV) => {
                eprintln!("cannot remove {what} {id}: {error}");
            }
            _ => {}
        }
    }

    /// Whether the device was removed under us: any ioctl gives ENODEV then.
    pub fn is_gone(&self) -> bool {
        let answer = self.get_driver_capability(DriverCapability::DumbBuffer);
        answer.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::NODEV))
    }

    /// The node's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The driver's name.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// A capability's value; 0 when the driver does not know it.
    pub fn capability(&self, capability: DriverCapability) -> u64 {
        self.get_driver_capability(capability).unwrap_or(0)
    }
}
