// SPDX-License-Identifier: GPL-2.0

//! The readers of configuration, compared with the same rules in other words.

use crate::displif::config::{
    MAX_TEXT, Resolution, Version, choose_version, parse_be_alloc, parse_resolution,
    parse_unique_id,
};

/// Checks all readers on one value.
pub fn check(text: &[u8]) {
    let expected = resolution(text).map(|(width, height)| Resolution { width, height });
    assert_eq!(parse_resolution(text).ok(), expected);

    let version = if text.len() <= MAX_TEXT && offers_two(text) {
        Version::V2
    } else {
        Version::V1
    };
    assert_eq!(choose_version(Some(text)), version);

    assert_eq!(parse_be_alloc(Some(text)), text.len() == 1 && text[0] == 49);

    let printable = text
        .iter()
        .all(|&byte| byte == b' ' || byte.is_ascii_graphic());
    let good = printable && (1..=MAX_TEXT).contains(&text.len());
    let name = parse_unique_id(text).map(|name| name.as_str().as_bytes());
    assert_eq!(name.ok(), good.then_some(text));
}

fn resolution(text: &[u8]) -> Option<(u32, u32)> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let (width, height) = std::str::from_utf8(text).ok()?.split_once('x')?;
    Some((edge(width)?, edge(height)?))
}

fn edge(text: &str) -> Option<u32> {
    // `parse` would take a sign.
    let number: u32 = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())??;
    (1..=16384).contains(&number).then_some(number)
}

fn offers_two(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.split(',')
        .any(|version| version.trim_matches([' ', '\t', '\n', '\r', '\x0c']) == "2")
}
