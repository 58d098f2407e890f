// SPDX-License-Identifier: GPL-2.0

//! What the toolstack and the backend write into XenStore for the frontend. All of it is untrusted text.

use core::fmt;

/// The most connectors of a device.
pub const MAX_CONNECTORS: usize = 16;

/// The longest value that is looked at, in bytes.
pub const MAX_TEXT: usize = 256;

/// The largest width and height, in pixels.
pub const MAX_EDGE: u32 = 16384;

// A picture of 32 bits per pixel has a size that a request can carry.
const _: () = assert!((MAX_EDGE as u64) * (MAX_EDGE as u64) * 4 <= u32::MAX as u64);

/// Why a value was refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The value is empty.
    Empty,
    /// The value is longer than [`MAX_TEXT`].
    TooLong,
    /// The value has not the form that it should have.
    Malformed,
    /// A number is too small or too large.
    OutOfRange,
}

impl ConfigError {
    /// The rest of a sentence that begins with the value's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "is empty",
            Self::TooLong => "is too long",
            Self::Malformed => "has not the right form",
            Self::OutOfRange => "is out of range",
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A version of the protocol.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// As first published.
    V1,
    /// With `data_ofs` and `GET_EDID`.
    V2,
}

impl Version {
    /// Its name in XenStore.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
        }
    }
}

/// The newest version that both ends speak, from the backend's list: numbers with commas between.
///
/// Without a list, or with one that makes no sense, it is version 1: every backend speaks it, and most write no list.
pub fn choose_version(offered: Option<&[u8]>) -> Version {
    let offered = offered.filter(|text| text.len() <= MAX_TEXT).unwrap_or(b"");
    let wanted = Version::V2.name().as_bytes();
    if offered
        .split(|&byte| byte == b',')
        .any(|version| version.trim_ascii() == wanted)
    {
        Version::V2
    } else {
        Version::V1
    }
}

/// Width and height of a connector, in pixels, each 1 to 16384.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Resolution {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// Reads `WIDTHxHEIGHT`: two decimal numbers and nothing else, not even a space or a sign.
///
/// # Errors
///
/// Any [`ConfigError`].
pub fn parse_resolution(text: &[u8]) -> Result<Resolution, ConfigError> {
    check_length(text)?;
    let mut numbers = text.split(|&byte| byte == b'x');
    let (Some(width), Some(height), None) = (numbers.next(), numbers.next(), numbers.next()) else {
        return Err(ConfigError::Malformed);
    };
    Ok(Resolution {
        width: parse_edge(width)?,
        height: parse_edge(height)?,
    })
}

/// Reads a width or a height.
fn parse_edge(text: &[u8]) -> Result<u32, ConfigError> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(ConfigError::Malformed);
    }
    text.iter()
        .try_fold(0_u32, |number, &digit| {
            let digit = u32::from(digit.wrapping_sub(b'0'));
            number.checked_mul(10)?.checked_add(digit)
        })
        .filter(|number| (1..=MAX_EDGE).contains(number))
        .ok_or(ConfigError::OutOfRange)
}

/// Whether the backend allocates the buffers: only if the value is exactly `1`.
pub fn parse_be_alloc(text: Option<&[u8]>) -> bool {
    text == Some(b"1")
}

/// The name by which the backend knows a connector: 1 to [`MAX_TEXT`] printable ASCII characters.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct UniqueId<'a>(&'a str);

impl<'a> UniqueId<'a> {
    /// The name.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// Reads the name of a connector. That there is none at all is for the caller to judge.
///
/// # Errors
///
/// [`ConfigError::Empty`], [`ConfigError::TooLong`], or [`ConfigError::Malformed`] for anything unprintable.
pub fn parse_unique_id(text: &[u8]) -> Result<UniqueId<'_>, ConfigError> {
    check_length(text)?;
    core::str::from_utf8(text)
        .ok()
        .filter(|name| name.bytes().all(|byte| matches!(byte, b' '..=b'~')))
        .map(UniqueId)
        .ok_or(ConfigError::Malformed)
}

/// Refuses what is empty or too long.
fn check_length(text: &[u8]) -> Result<(), ConfigError> {
    match text.len() {
        0 => Err(ConfigError::Empty),
        1..=MAX_TEXT => Ok(()),
        _ => Err(ConfigError::TooLong),
    }
}
