// SPDX-License-Identifier: GPL-2.0

//! The pixel formats of `Documentation/test-card.md`: how a line of colours is stored.

use std::fmt;
use std::str::FromStr;

use drm::buffer::DrmFourcc;

use crate::card::Rgb;

/// A pixel format that the card can be drawn in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(DrmFourcc);

/// Every format that the card is defined for, and its name.
const KNOWN: [(DrmFourcc, &str); 9] = [
    (DrmFourcc::Xrgb8888, "XRGB8888"),
    (DrmFourcc::Argb8888, "ARGB8888"),
    (DrmFourcc::Rgb888, "RGB888"),
    (DrmFourcc::Rgb565, "RGB565"),
    (DrmFourcc::Xrgb1555, "XRGB1555"),
    (DrmFourcc::Argb1555, "ARGB1555"),
    (DrmFourcc::Xrgb4444, "XRGB4444"),
    (DrmFourcc::Argb4444, "ARGB4444"),
    (DrmFourcc::Yuyv, "YUYV"),
];

impl Format {
    /// The format that every display offers.
    pub const XRGB8888: Self = Self(DrmFourcc::Xrgb8888);

    /// The format of a DRM format code; `None` when the card is not defined for it.
    pub fn from_code(code: u32) -> Option<Self> {
        let mut known = KNOWN.into_iter().map(|(fourcc, _)| Self(fourcc));
        known.find(|format| format.code() == code)
    }

    /// The DRM format code.
    pub fn code(self) -> u32 {
        self.0 as u32
    }

    /// Bits that a pixel takes in memory.
    pub fn bits_per_pixel(self) -> u32 {
        match self.0 {
            DrmFourcc::Xrgb8888 | DrmFourcc::Argb8888 => 32,
            DrmFourcc::Rgb888 => 24,
            _ => 16,
        }
    }

    /// Appends a line of pixels, as it is stored, to `out`.
    ///
    /// YUYV stores pixels in pairs: an odd last pixel is left out, so widths must be even there
    /// (see [`Format::takes_width`]).
    pub fn encode(self, line: impl Iterator<Item = Rgb>, out: &mut Vec<u8>) {
        if self.0 == DrmFourcc::Yuyv {
            return encode_yuyv(line, out);
        }
        for Rgb { r, g, b } in line {
            match self.0 {
                DrmFourcc::Argb8888 => out.extend([b, g, r, 0xff]),
                DrmFourcc::Rgb888 => out.extend([b, g, r]),
                DrmFourcc::Rgb565 => out.extend(packed(0, (r, 5), (g, 6), (b, 5))),
                DrmFourcc::Xrgb1555 => out.extend(packed(0, (r, 5), (g, 5), (b, 5))),
                DrmFourcc::Argb1555 => out.extend(packed(0x8000, (r, 5), (g, 5), (b, 5))),
                DrmFourcc::Xrgb4444 => out.extend(packed(0, (r, 4), (g, 4), (b, 4))),
                DrmFourcc::Argb4444 => out.extend(packed(0xf000, (r, 4), (g, 4), (b, 4))),
                _ => out.extend([b, g, r, 0]),
            }
        }
    }

    /// Whether a line of this many pixels can be stored.
    pub fn takes_width(self, width: u32) -> bool {
        self.0 != DrmFourcc::Yuyv || width % 2 == 0
    }
}

/// A 16-bit little-endian pixel: `alpha` bits, then the highest `n` bits of each `(channel, n)`.
fn packed(alpha: u16, r: (u8, u32), g: (u8, u32), b: (u8, u32)) -> [u8; 2] {
    let top = |(channel, bits): (u8, u32)| u16::from(channel >> (8 - bits));
    let pixel = alpha | (top(r) << (g.1 + b.1)) | (top(g) << b.1) | top(b);
    pixel.to_le_bytes()
}

fn encode_yuyv(mut line: impl Iterator<Item = Rgb>, out: &mut Vec<u8>) {
    while let (Some(left), Some(right)) = (line.next(), line.next()) {
        let (cb, cr) = chroma(left, right);
        out.extend([luma(left), cb, luma(right), cr]);
    }
}

/// BT.601 luma, limited range.
fn luma(Rgb { r, g, b }: Rgb) -> u8 {
    weighted(16, [65_481, 128_553, 24_966], [r, g, b].map(u16::from), 255)
}

/// BT.601 Cb and Cr, limited range, of the mean of two pixels.
fn chroma(left: Rgb, right: Rgb) -> (u8, u8) {
    // The sum of two channels, divided by twice their range, is the mean without its rounding.
    let sum = [(left.r, right.r), (left.g, right.g), (left.b, right.b)]
        .map(|(a, b)| u16::from(a) + u16::from(b));
    (
        weighted(128, [-37_797, -74_203, 112_000], sum, 510),
        weighted(128, [112_000, -93_786, -18_214], sum, 510),
    )
}

/// `base` plus the channels (0 to `range`) by their weights in thousandths, rounded to the nearest.
fn weighted(base: i64, weights: [i64; 3], channels: [u16; 3], range: i64) -> u8 {
    let scale = 1000 * range;
    let value: i64 = weights
        .iter()
        .zip(channels)
        .map(|(weight, channel)| weight * i64::from(channel))
        .sum();
    // Limited range keeps this between 16 and 240, so the clamp only states the type's range.
    let rounded = (base * scale + value + scale / 2) / scale;
    rounded.clamp(0, 255) as u8
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KNOWN.iter().find(|(fourcc, _)| *fourcc == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    /// Takes a name ("XRGB8888") or a format code's four characters ("XR24").
    fn from_str(text: &str) -> Result<Self, String> {
        KNOWN
            .into_iter()
            .find(|(fourcc, name)| name.eq_ignore_ascii_case(text) || fourcc.to_string() == text)
            .map(|(fourcc, _)| Self(fourcc))
            .ok_or_else(|| {
                let names = KNOWN.map(|(_, name)| name).join(", ");
                format!("the test card is not defined for it; known: {names}")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(format: DrmFourcc, pixels: &[Rgb]) -> Vec<u8> {
        let mut out = Vec::new();
        Format(format).encode(pixels.iter().copied(), &mut out);
        out
    }

    const PIXEL: Rgb = Rgb {
        r: 0xab,
        g: 0x5f,
        b: 0x12,
    };

    #[test]
    fn eight_bit_channels() {
        assert_eq!(
            encoded(DrmFourcc::Xrgb8888, &[PIXEL]),
            [0x12, 0x5f, 0xab, 0x00]
        );
        assert_eq!(
            encoded(DrmFourcc::Argb8888, &[PIXEL]),
            [0x12, 0x5f, 0xab, 0xff]
        );
        assert_eq!(encoded(DrmFourcc::Rgb888, &[PIXEL]), [0x12, 0x5f, 0xab]);
    }

    #[test]
    fn sixteen_bit_pixels() {
        // 0xab = 10101 011, 0x5f = 010111 11, 0x12 = 00010 010:
        // 10101 010111 00010 = 1010 1010 1110 0010.
        assert_eq!(encoded(DrmFourcc::Rgb565, &[PIXEL]), [0xe2, 0xaa]);
        // 0 10101 01011 00010 = 0101 0101 0110 0010.
        assert_eq!(encoded(DrmFourcc::Xrgb1555, &[PIXEL]), [0x62, 0x55]);
        assert_eq!(encoded(DrmFourcc::Argb1555, &[PIXEL]), [0x62, 0xd5]);
        assert_eq!(encoded(DrmFourcc::Xrgb4444, &[PIXEL]), [0x51, 0x0a]);
        assert_eq!(encoded(DrmFourcc::Argb4444, &[PIXEL]), [0x51, 0xfa]);
    }

    #[test]
    fn yuyv_extremes() {
        let black = Rgb { r: 0, g: 0, b: 0 };
        let white = Rgb {
            r: 255,
            g: 255,
            b: 255,
        };
        assert_eq!(
            encoded(DrmFourcc::Yuyv, &[black, white]),
            [16, 128, 235, 128]
        );
        // Red: Y = 16 + 65.481 = 81.481, Cb = 128 - 37.797 = 90.203, Cr = 128 + 112 = 240.
        let red = Rgb { r: 255, g: 0, b: 0 };
        assert_eq!(encoded(DrmFourcc::Yuyv, &[red, red]), [81, 90, 81, 240]);
        // Blue: Y = 16 + 24.966 = 40.966, Cb = 240, Cr = 128 - 18.214 = 109.786.
        let blue = Rgb { r: 0, g: 0, b: 255 };
        assert_eq!(encoded(DrmFourcc::Yuyv, &[blue, blue]), [41, 240, 41, 110]);
        // Red beside blue: Cb = 128 + (-37.797 + 112)/2 = 165.1015, Cr = 128 + (112 - 18.214)/2 = 174.893.
        assert_eq!(encoded(DrmFourcc::Yuyv, &[red, blue]), [81, 165, 41, 175]);
    }

    #[test]
    fn names_and_codes() {
        assert_eq!("xrgb8888".parse(), Ok(Format::XRGB8888));
        assert_eq!("YUYV".parse(), Ok(Format(DrmFourcc::Yuyv)));
        assert_eq!("AR12".parse(), Ok(Format(DrmFourcc::Argb4444)));
        assert!("NV12".parse::<Format>().is_err());
        assert_eq!(Format::from_code(0x3432_5258), Some(Format::XRGB8888));
        assert_eq!(Format::from_code(0), None);
        assert_eq!(Format(DrmFourcc::Rgb565).to_string(), "RGB565");
    }
}
