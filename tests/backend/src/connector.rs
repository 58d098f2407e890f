// SPDX-License-Identifier: GPL-2.0
//! What a frontend and the toolstack say about a device's connectors in XenStore. A guest may write most of it: nothing is
//! taken as it is.

use crate::buffer::MAX_SIDE;
use crate::protocol::GrantRef;
use crate::xenstore::Store;
use anyhow::{Context, Result, bail};
use std::str::FromStr;

/// Connectors that one device may have.
pub const MAX_CONNECTORS: u32 = 16;
const MAX_NAME: usize = 64;

/// One connector, as the frontend has published it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// Its number in the device, from 0 on.
    pub index: u32,
    /// The toolstack's name for it: printable ASCII, no white space, at most 64 characters.
    pub unique_id: String,
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// The page of requests and responses.
    pub req_ring: GrantRef,
    /// The event channel for them.
    pub req_port: u32,
    /// The page of events.
    pub evt_ring: GrantRef,
    /// The event channel for them.
    pub evt_port: u32,
}

/// Reads all connectors of the frontend's directory `frontend`.
///
/// # Errors
///
/// There are none, or too many, or something about one is missing or makes no sense; or XenStore's errors.
pub async fn read_all(store: &Store, frontend: &str) -> Result<Vec<Connector>> {
    let mut connectors = Vec::new();
    for index in 0..=MAX_CONNECTORS {
        let directory = format!("{frontend}/{index}");
        if store.list(&directory).await?.is_empty() {
            break;
        }
        if index == MAX_CONNECTORS {
            bail!("there are more than {MAX_CONNECTORS} connectors");
        }
        connectors.push(read(store, &directory, index).await?);
    }
    if connectors.is_empty() {
        bail!("there is no connector in {frontend}");
    }
    Ok(connectors)
}

async fn read(store: &Store, directory: &str, index: u32) -> Result<Connector> {
    let text = async |node: &str| {
        let path = format!("{directory}/{node}");
        store
            .read(&path)
            .await?
            .with_context(|| format!("{path} is missing"))
    };
    let unique_id = text("unique-id").await?;
    check_name(&unique_id).with_context(|| format!("{directory}/unique-id"))?;
    let resolution = text("resolution").await?;
    let (width, height) =
        parse_resolution(&resolution).with_context(|| format!("{directory}/resolution"))?;
    let number = async |node: &str| {
        parse_number(&text(node).await?).with_context(|| format!("{directory}/{node}"))
    };
    Ok(Connector {
        index,
        unique_id,
        width,
        height,
        req_ring: number("req-ring-ref").await?,
        req_port: number("req-event-channel").await?,
        evt_ring: number("evt-ring-ref").await?,
        evt_port: number("evt-event-channel").await?,
    })
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty()
        || name.len() > MAX_NAME
        || !name.bytes().all(|octet| octet.is_ascii_graphic())
    {
        bail!(
            "{:?} is not a name of 1 to {MAX_NAME} printable characters",
            clip(name)
        );
    }
    Ok(())
}

/// `WIDTHxHEIGHT`, each from 1 to [`MAX_SIDE`].
fn parse_resolution(text: &str) -> Result<(u32, u32)> {
    let sides = text
        .split_once('x')
        .and_then(|(width, height)| Some((side(width)?, side(height)?)));
    sides.with_context(|| {
        format!(
            "{:?} is not WIDTHxHEIGHT, each from 1 to {MAX_SIDE}",
            clip(text)
        )
    })
}

fn side(text: &str) -> Option<u32> {
    digits::<u32>(text).filter(|side| (1..=MAX_SIDE).contains(side))
}

/// A reference or a port; neither is ever 0.
fn parse_number(text: &str) -> Result<u32> {
    digits(text)
        .filter(|number| *number != 0)
        .with_context(|| format!("{:?} is not a number above 0", clip(text)))
}

/// Decimal digits and nothing else (`parse` alone would take a sign).
fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|octet| octet.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// So much of a guest's text as may go to a log.
fn clip(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions_are_taken_whole_or_not_at_all() {
        assert_eq!(parse_resolution("1024x768").ok(), Some((1024, 768)));
        assert_eq!(parse_resolution("16384x1").ok(), Some((16384, 1)));
        let bad = [
            "",
            "x",
            "1024",
            "1024x",
            "x768",
            "-1x5",
            "+1x5",
            "0x5",
            "5x0",
            "16385x1",
            "4294967297x1",
            "800x600junk",
            "800x600x2",
            " 800x600",
            "800 x600",
        ];
        for text in bad {
            assert!(parse_resolution(text).is_err(), "{text:?}");
        }
        assert!(parse_resolution(&"9".repeat(4000)).is_err());
    }

    #[test]
    fn numbers_are_decimal_and_not_zero() {
        assert_eq!(parse_number("4294967295").ok(), Some(u32::MAX));
        for text in ["", "0", "-1", "+1", "1 ", "0x10", "4294967296"] {
            assert!(parse_number(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        assert!(check_name("Virtual-1").is_ok());
        for name in ["", "a b", "a\n", "\u{e4}", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
