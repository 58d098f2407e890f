// SPDX-License-Identifier: GPL-2.0
//! The nine pixel formats that a guest may show, and what they look like as 8-bit red, green and blue.
//!
//! Channels of fewer than 8 bits are widened by repeating their bits from the top; alpha is ignored, since nothing lies
//! under the picture; YUYV is BT.601 with limited range.

use drm::buffer::DrmFourcc;

/// A pixel format of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PixelFormat {
    Rgb565,
    Rgb888,
    Xrgb8888,
    Argb8888,
    Xrgb4444,
    Argb4444,
    Xrgb1555,
    Argb1555,
    Yuyv,
}

impl PixelFormat {
    /// All formats.
    pub const ALL: [PixelFormat; 9] = [
        PixelFormat::Rgb565,
        PixelFormat::Rgb888,
        PixelFormat::Xrgb8888,
        PixelFormat::Argb8888,
        PixelFormat::Xrgb4444,
        PixelFormat::Argb4444,
        PixelFormat::Xrgb1555,
        PixelFormat::Argb1555,
        PixelFormat::Yuyv,
    ];

    /// The format with this FOURCC, if it is one of the nine.
    pub fn from_fourcc(code: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.fourcc() as u32 == code)
    }

    /// The format's FOURCC.
    pub fn fourcc(self) -> DrmFourcc {
        match self {
            PixelFormat::Rgb565 => DrmFourcc::Rgb565,
            PixelFormat::Rgb888 => DrmFourcc::Rgb888,
            PixelFormat::Xrgb8888 => DrmFourcc::Xrgb8888,
            PixelFormat::Argb8888 => DrmFourcc::Argb8888,
            PixelFormat::Xrgb4444 => DrmFourcc::Xrgb4444,
            PixelFormat::Argb4444 => DrmFourcc::Argb4444,
            PixelFormat::Xrgb1555 => DrmFourcc::Xrgb1555,
            PixelFormat::Argb1555 => DrmFourcc::Argb1555,
            PixelFormat::Yuyv => DrmFourcc::Yuyv,
        }
    }

    /// Bits that a pixel takes in memory.
    pub fn bits_per_pixel(self) -> u32 {
        match self {
            PixelFormat::Xrgb8888 | PixelFormat::Argb8888 => 32,
            PixelFormat::Rgb888 => 24,
            _ => 16,
        }
    }

    /// Whether a line in memory can be shown as XRGB8888 without conversion.
    pub fn is_xrgb8888_in_memory(self) -> bool {
        matches!(self, PixelFormat::Xrgb8888 | PixelFormat::Argb8888)
    }

    /// Converts a line to red, green, blue, red, green, blue ... of 8 bits each; as many pixels as both lines hold.
    pub fn to_rgb(self, line: &[u8], rgb: &mut [u8]) {
        let mut out = rgb.chunks_exact_mut(3);
        self.unpack(line, |pixel| {
            if let Some(place) = out.next() {
                place.copy_from_slice(&pixel);
            }
        });
    }

    /// Converts a line to XRGB8888, X being 0; as many pixels as both lines hold.
    pub fn to_xrgb8888(self, line: &[u8], xrgb: &mut [u8]) {
        let mut out = xrgb.chunks_exact_mut(4);
        self.unpack(line, |[r, g, b]| {
            if let Some(place) = out.next() {
                place.copy_from_slice(&[b, g, r, 0]);
            }
        });
    }

    /// Calls `put` with red, green and blue of every pixel of a line.
    fn unpack(self, line: &[u8], mut put: impl FnMut([u8; 3])) {
        match self {
            PixelFormat::Xrgb8888 | PixelFormat::Argb8888 => {
                line.chunks_exact(4).for_each(|p| put([p[2], p[1], p[0]]));
            }
            PixelFormat::Rgb888 => line.chunks_exact(3).for_each(|p| put([p[2], p[1], p[0]])),
            PixelFormat::Rgb565 => {
                words(line, |p| put([widen5(p >> 11), widen6(p >> 5), widen5(p)]))
            }
            PixelFormat::Xrgb1555 | PixelFormat::Argb1555 => {
                words(line, |p| put([widen5(p >> 10), widen5(p >> 5), widen5(p)]));
            }
            PixelFormat::Xrgb4444 | PixelFormat::Argb4444 => {
                words(line, |p| put([widen4(p >> 8), widen4(p >> 4), widen4(p)]));
            }
            PixelFormat::Yuyv => line.chunks_exact(4).for_each(|p| {
                put(bt601(p[0], p[1], p[3]));
                put(bt601(p[2], p[1], p[3]));
            }),
        }
    }
}

/// Formats are little-endian by definition, whatever the machine is.
fn words(line: &[u8], mut each: impl FnMut(u16)) {
    line.chunks_exact(2)
        .for_each(|p| each(u16::from_le_bytes([p[0], p[1]])));
}

fn widen4(bits: u16) -> u8 {
    (bits & 0xf) as u8 * 0x11
}

fn widen5(bits: u16) -> u8 {
    let bits = (bits & 0x1f) as u8;
    (bits << 3) | (bits >> 2)
}

fn widen6(bits: u16) -> u8 {
    let bits = (bits & 0x3f) as u8;
    (bits << 2) | (bits >> 4)
}

/// Red, green and blue from BT.601, limited range.
fn bt601(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    // Factors times 2^16: 255/219, 1.402 * 255/224, 0.344136 and 0.714136 * 255/224, 1.772 * 255/224.
    let y = (i32::from(y) - 16) * 76_309;
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    [
        y + 104_597 * cr,
        y - 25_675 * cb - 53_279 * cr,
        y + 132_201 * cb,
    ]
    .map(|channel| ((channel + (1 << 15)) >> 16).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(format: PixelFormat, line: &[u8]) -> Vec<u8> {
        let mut out = vec![0xaa; line.len() * 8 / format.bits_per_pixel() as usize * 3];
        format.to_rgb(line, &mut out);
        out
    }

    #[test]
    fn fourccs_are_known_and_others_are_not() {
        for (format, code) in PixelFormat::ALL.into_iter().zip([
            b"RG16", b"RG24", b"XR24", b"AR24", b"XR12", b"AR12", b"XR15", b"AR15", b"YUYV",
        ]) {
            assert_eq!(
                PixelFormat::from_fourcc(u32::from_le_bytes(*code)),
                Some(format)
            );
        }
        for code in [
            0,
            u32::MAX,
            u32::from_le_bytes(*b"XB24"),
            u32::from_le_bytes(*b"NV12"),
        ] {
            assert_eq!(PixelFormat::from_fourcc(code), None);
        }
    }

    #[test]
    fn eight_bit_formats_are_reordered_only() {
        assert_eq!(
            rgb(PixelFormat::Xrgb8888, &[3, 2, 1, 9, 6, 5, 4, 9]),
            [1, 2, 3, 4, 5, 6]
        );
        assert_eq!(rgb(PixelFormat::Argb8888, &[3, 2, 1, 0]), [1, 2, 3]);
        assert_eq!(
            rgb(PixelFormat::Rgb888, &[3, 2, 1, 6, 5, 4]),
            [1, 2, 3, 4, 5, 6]
        );
    }

    #[test]
    fn small_channels_are_widened_by_repetition() {
        // The top n bits of every 8-bit value, widened again, are the repeated bits.
        for value in 0..=255u16 {
            let five = value >> 3;
            let six = value >> 2;
            let four = value >> 4;
            let wide5 = ((five << 3) | (five >> 2)) as u8;
            let wide6 = ((six << 2) | (six >> 4)) as u8;
            let wide4 = ((four << 4) | four) as u8;
            let cases = [
                (PixelFormat::Rgb565, five << 11, [wide5, 0, 0]),
                (PixelFormat::Rgb565, six << 5, [0, wide6, 0]),
                (PixelFormat::Rgb565, five, [0, 0, wide5]),
                (PixelFormat::Xrgb1555, five << 10, [wide5, 0, 0]),
                (
                    PixelFormat::Argb1555,
                    (1 << 15) | (five << 5),
                    [0, wide5, 0],
                ),
                (PixelFormat::Argb1555, five, [0, 0, wide5]),
                (PixelFormat::Xrgb4444, four << 8, [wide4, 0, 0]),
                (
                    PixelFormat::Argb4444,
                    (0xf << 12) | (four << 4),
                    [0, wide4, 0],
                ),
                (PixelFormat::Argb4444, four, [0, 0, wide4]),
            ];
            for (format, pixel, expected) in cases {
                assert_eq!(
                    rgb(format, &pixel.to_le_bytes()),
                    expected,
                    "{format:?} {pixel:#x}"
                );
            }
        }
    }

    #[test]
    fn yuyv_is_within_one_of_the_exact_inverse() {
        for y in (0..=255u8).step_by(5) {
            for cb in (0..=255u8).step_by(5) {
                for cr in (0..=255u8).step_by(5) {
                    let (fy, fcb, fcr) = (
                        f64::from(y) - 16.0,
                        f64::from(cb) - 128.0,
                        f64::from(cr) - 128.0,
                    );
                    // Kr = 0.299, Kb = 0.114; see the standard.
                    let luma = fy / 219.0;
                    let r = luma + 1.402 * fcr / 224.0;
                    let b = luma + 1.772 * fcb / 224.0;
                    let g = (luma - 0.299 * r - 0.114 * b) / 0.587;
                    let exact = [r, g, b].map(|c| (255.0 * c).clamp(0.0, 255.0));
                    let line = rgb(PixelFormat::Yuyv, &[y, cb, y, cr]);
                    for (got, exact) in line.iter().zip(exact.iter().cycle()) {
                        assert!(
                            (f64::from(*got) - exact).abs() < 1.0,
                            "{y} {cb} {cr}: {line:?} {exact}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn yuyv_black_white_and_order() {
        assert_eq!(
            rgb(PixelFormat::Yuyv, &[16, 128, 235, 128]),
            [0, 0, 0, 255, 255, 255]
        );
    }

    #[test]
    fn xrgb_and_rgb_agree() {
        let line: Vec<u8> = (0..48).map(|i| (i * 37 + 11) as u8).collect();
        for format in PixelFormat::ALL {
            let rgb = rgb(format, &line);
            let mut xrgb = vec![0xaa; rgb.len() / 3 * 4];
            format.to_xrgb8888(&line, &mut xrgb);
            for (a, b) in rgb.chunks_exact(3).zip(xrgb.chunks_exact(4)) {
                assert_eq!([a[2], a[1], a[0], 0], b, "{format:?}");
            }
        }
    }

    #[test]
    fn short_output_lines_are_not_overrun() {
        let mut out = [0; 4];
        PixelFormat::Rgb565.to_rgb(&[0xff; 8], &mut out);
        assert_eq!(out, [255, 255, 255, 0]);
    }
}
