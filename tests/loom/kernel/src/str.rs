// SPDX-License-Identifier: GPL-2.0

//! Strings.

use crate::{error::Result, fmt};

/// An owned string.
pub struct CString(String);

impl CString {
    /// What `text` is formatted to.
    pub fn try_from_fmt(text: fmt::Arguments<'_>) -> Result<Self> {
        Ok(Self(text.to_string()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
