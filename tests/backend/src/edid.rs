// SPDX-License-Identifier: GPL-2.0
//! An EDID 1.4 base block for a connector: one detailed timing, the connector's resolution, and its name.

use crate::protocol::EDID_BLOCK_SIZE;
use crate::timing::Timing;

/// One EDID block.
pub type Block = [u8; EDID_BLOCK_SIZE];

const MANUFACTURER: [u8; 3] = *b"XEN";
const MODEL_YEAR: u32 = 2026;
const REFRESH: u32 = 60;
const DETAILED_TIMING: usize = 54;
const DISPLAY_NAME: usize = 72;
const UNUSED_DESCRIPTORS: [usize; 2] = [90, 108];
/// x and y of red, green, blue and white of sRGB, as EDID packs them.
const SRGB: [u8; 10] = [0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54];

/// The EDID of a display of `width` x `height` pixels (1 to 16384 each) with a name, of which 13 printable ASCII
/// characters are used.
///
/// `None`: a detailed timing cannot hold that size (4095 pixels or lines, 655.35 MHz).
pub fn block(width: u32, height: u32, name: &str) -> Option<Block> {
    let mut edid = [0; EDID_BLOCK_SIZE];
    edid[0..8].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    let letters = MANUFACTURER.map(|letter| u16::from(letter - b'A' + 1));
    edid[8..10]
        .copy_from_slice(&((letters[0] << 10) | (letters[1] << 5) | letters[2]).to_be_bytes());
    edid[10..12].copy_from_slice(&1u16.to_le_bytes());
    edid[16] = 0xff; // the next octet is the model's year
    edid[17] = (MODEL_YEAR - 1990) as u8;
    edid[18..20].copy_from_slice(&[1, 4]);
    edid[20] = 0xa0; // digital, 8 bits a channel, interface not defined
    let (width_mm, height_mm) = (millimetres(width), millimetres(height));
    edid[21] = u8::try_from(width_mm / 10).unwrap_or(0);
    edid[22] = u8::try_from(height_mm / 10).unwrap_or(0);
    if edid[21] == 0 || edid[22] == 0 {
        edid[21..23].fill(0); // size not known; one alone would be an aspect ratio
    }
    edid[23] = 120; // gamma 2.2
    edid[24] = 0x06; // sRGB, and the first timing is the native one
    edid[25..35].copy_from_slice(&SRGB);
    edid[38..54].fill(1); // no standard timings
    let timing = Timing::reduced_blanking(width, height, REFRESH);
    edid[DETAILED_TIMING..DETAILED_TIMING + 18]
        .copy_from_slice(&detailed_timing(&timing, width_mm, height_mm)?);
    edid[DISPLAY_NAME..DISPLAY_NAME + 18].copy_from_slice(&name_descriptor(name));
    for at in UNUSED_DESCRIPTORS {
        edid[at + 3] = 0x10;
    }
    let sum = edid.iter().fold(0u8, |sum, octet| sum.wrapping_add(*octet));
    edid[EDID_BLOCK_SIZE - 1] = sum.wrapping_neg();
    Some(edid)
}

fn detailed_timing(t: &Timing, width_mm: u32, height_mm: u32) -> Option<[u8; 18]> {
    let clock = u16::try_from(t.clock_khz / 10).ok()?;
    let (h_blank, v_blank) = (t.htotal - t.width, t.vtotal - t.height);
    let (h_front, v_front) = (t.hsync_start - t.width, t.vsync_start - t.height);
    let (h_sync, v_sync) = (t.hsync_end - t.hsync_start, t.vsync_end - t.vsync_start);
    let fits = [t.width, t.height, h_blank, v_blank]
        .iter()
        .all(|n| *n < 1 << 12)
        && [h_front, h_sync].iter().all(|n| *n < 1 << 10)
        && [v_front, v_sync].iter().all(|n| *n < 1 << 6);
    if !fits {
        return None;
    }
    let (width_mm, height_mm) = (width_mm.min(4095), height_mm.min(4095));
    let [clock_low, clock_high] = clock.to_le_bytes();
    Some([
        clock_low,
        clock_high,
        low(t.width),
        low(h_blank),
        nibbles(t.width >> 8, h_blank >> 8),
        low(t.height),
        low(v_blank),
        nibbles(t.height >> 8, v_blank >> 8),
        low(h_front),
        low(h_sync),
        nibbles(v_front, v_sync),
        nibbles(
            ((h_front >> 8) << 2) | (h_sync >> 8),
            ((v_front >> 4) << 2) | (v_sync >> 4),
        ),
        low(width_mm),
        low(height_mm),
        nibbles(width_mm >> 8, height_mm >> 8),
        0,
        0,
        0x1a, // separate sync, horizontal positive, vertical negative: the mark of reduced blanking
    ])
}

fn name_descriptor(name: &str) -> [u8; 18] {
    let mut descriptor = [b' '; 18];
    descriptor[0..5].copy_from_slice(&[0, 0, 0, 0xfc, 0]);
    let letters: Vec<u8> = name
        .bytes()
        .filter(|octet| (0x20..0x7f).contains(octet))
        .take(13)
        .collect();
    descriptor[5..5 + letters.len()].copy_from_slice(&letters);
    if letters.len() < 13 {
        descriptor[5 + letters.len()] = b'\n';
    }
    descriptor
}

/// The size at 96 pixels an inch.
fn millimetres(pixels: u32) -> u32 {
    pixels * 254 / 960
}

fn low(number: u32) -> u8 {
    (number & 0xff) as u8
}

fn nibbles(high: u32, low: u32) -> u8 {
    (((high & 0xf) << 4) | low & 0xf) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a detailed timing back, by the standard's table.
    fn active(edid: &Block) -> (u32, u32, u32) {
        let t = &edid[DETAILED_TIMING..];
        let clock = u32::from(u16::from_le_bytes([t[0], t[1]])) * 10;
        (
            (u32::from(t[4] >> 4) << 8) | u32::from(t[2]),
            (u32::from(t[7] >> 4) << 8) | u32::from(t[5]),
            clock,
        )
    }

    #[test]
    fn the_resolution_comes_back_and_the_sum_is_zero() {
        for (width, height) in [
            (1, 1),
            (640, 480),
            (800, 600),
            (1366, 768),
            (1920, 1080),
            (3840, 2160),
            (1080, 1920),
        ] {
            let edid = block(width, height, "Virtual-1").expect("fits");
            assert_eq!(
                edid.iter().fold(0u8, |sum, octet| sum.wrapping_add(*octet)),
                0
            );
            let (w, h, clock) = active(&edid);
            assert_eq!((w, h), (width, height));
            assert_eq!(
                clock,
                Timing::reduced_blanking(width, height, 60).clock_khz / 10 * 10
            );
            assert_eq!(&edid[0..8], [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
            assert_eq!(edid[126], 0);
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        for (width, height) in [(4096, 2160), (16384, 16384), (3840, 4095)] {
            assert_eq!(block(width, height, "x"), None, "{width}x{height}");
        }
    }

    #[test]
    fn names_are_cut_and_cleaned() {
        let name = |text| {
            block(640, 480, text).expect("fits")[DISPLAY_NAME + 5..DISPLAY_NAME + 18].to_vec()
        };
        assert_eq!(name("HDMI-A-1"), b"HDMI-A-1\n    ");
        assert_eq!(name("a-name-of-more-than-13"), b"a-name-of-mor");
        assert_eq!(name("\u{e4}\u{7}b"), b"b\n           ");
        assert_eq!(name(""), b"\n            ");
    }
}
