// SPDX-License-Identifier: GPL-2.0

//! The properties of a KMS object, by name.

use std::collections::HashMap;
use std::io;

use anyhow::{Context, Result};
use drm::control::{Device as _, ResourceHandle};

use crate::device::Device;

/// The properties of one object as they were when read.
#[derive(Clone, Debug)]
pub struct Properties {
    object: u32,
    by_name: HashMap<String, (u32, u64)>,
}

impl Properties {
    /// Reads the properties of `handle`.
    ///
    /// # Errors
    /// When the kernel does not give them.
    pub fn of<T: ResourceHandle>(device: &Device, handle: T) -> io::Result<Self> {
        let mut by_name = HashMap::new();
        for (property, value) in device.get_properties(handle)? {
            let info = device.get_property(property)?;
            by_name.insert(
                info.name().to_string_lossy().into_owned(),
                (property.into(), value),
            );
        }
        Ok(Self {
            object: handle.into(),
            by_name,
        })
    }

    /// The object that has them.
    pub fn object(&self) -> u32 {
        self.object
    }

    /// The id of the property `name`.
    ///
    /// # Errors
    /// When the object has none of that name.
    pub fn id(&self, name: &str) -> Result<u32> {
        self.entry(name).map(|(id, _)| id)
    }

    /// The value that the property `name` had.
    ///
    /// # Errors
    /// When the object has none of that name.
    pub fn value(&self, name: &str) -> Result<u64> {
        self.entry(name).map(|(_, value)| value)
    }

    fn entry(&self, name: &str) -> Result<(u32, u64)> {
        self.by_name
            .get(name)
            .copied()
            .with_context(|| format!("object {} has no property {name:?}", self.object))
    }
}
