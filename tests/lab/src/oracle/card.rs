// SPDX-License-Identifier: GPL-2.0
//! The test card of `Documentation/test-card.md`, computed from that page alone.

use super::picture::Picture;
use anyhow::Result;
use anyhow::bail;

/// How far a channel of a YUYV picture may be off, since conversions round.
const YUYV_TOLERANCE: u8 = 3;

/// A card as it is seen again after its way through a pixel format.
pub struct Card {
    /// The expected picture.
    pub picture: Picture,
    /// How far each channel may be off.
    pub tolerance: u8,
}

/// The card of this size and variant, seen through a pixel format by its name in the kernel.
///
/// # Errors
///
/// When the format is not one of the page's, or the width is odd for YUYV.
pub fn card(width: u32, height: u32, variant: u32, format: &str) -> Result<Card> {
    let exact = |x, y| colour(width, height, variant, x, y);
    let seen = |bits: [u32; 3]| {
        Picture::from_fn(width, height, |x, y| {
            let rgb = exact(x, y);
            std::array::from_fn(|channel| through(rgb[channel], bits[channel]))
        })
    };
    Ok(match format {
        "XRGB8888" | "ARGB8888" | "RGB888" => Card {
            picture: seen([8, 8, 8]),
            tolerance: 0,
        },
        "RGB565" => Card {
            picture: seen([5, 6, 5]),
            tolerance: 0,
        },
        "XRGB1555" | "ARGB1555" => Card {
            picture: seen([5, 5, 5]),
            tolerance: 0,
        },
        "XRGB4444" | "ARGB4444" => Card {
            picture: seen([4, 4, 4]),
            tolerance: 0,
        },
        "YUYV" if width % 2 == 0 => {
            let picture = Picture::from_fn(width, height, |x, y| {
                let even = x & !1;
                through_yuyv(exact(x, y), exact(even, y), exact(even + 1, y))
            });
            Card {
                picture,
                tolerance: YUYV_TOLERANCE,
            }
        }
        _ => bail!("the test card is not defined for {format} at {width}x{height}"),
    })
}

/// Points 1 to 4 of the page.
fn colour(width: u32, height: u32, variant: u32, x: u32, y: u32) -> [u8; 3] {
    if x == 0 && y == 0 {
        return [0; 3];
    }
    if x == 0 || y == 0 || x == width - 1 || y == height - 1 {
        return [255; 3];
    }
    let region = (y * 6 / height) * 8 + x * 8 / width;
    let channel = |factor: u32, step: u32, offset: u32| {
        (factor * region + step * variant + offset).to_le_bytes()[0]
    };
    let rgb = [
        channel(37, 11, 23),
        channel(59, 101, 71),
        channel(97, 53, 131),
    ];
    if (x + 2 * y) % 61 == 0 {
        rgb.map(|c| 255 - c)
    } else {
        rgb
    }
}

/// A channel stored in its highest `bits` bits and widened again by repeating them.
fn through(channel: u8, bits: u32) -> u8 {
    let kept = u32::from(channel) >> (8 - bits);
    // Enough repetitions for any width from 4 bits up.
    let repeated = (kept << (24 - bits)) | (kept << (24 - 2 * bits)) | (kept << (24 - 3 * bits));
    (repeated >> 16).to_le_bytes()[0]
}

/// A pixel of a pair after BT.601 in limited range: its own luma, the pair's mean chroma.
fn through_yuyv(own: [u8; 3], left: [u8; 3], right: [u8; 3]) -> [u8; 3] {
    let unit = |c: u8| f64::from(c) / 255.0;
    let own = own.map(unit);
    let mean: [f64; 3] = std::array::from_fn(|i| f64::midpoint(unit(left[i]), unit(right[i])));
    let luma = (16.0 + 65.481 * own[0] + 128.553 * own[1] + 24.966 * own[2]).round();
    let blue = (128.0 - 37.797 * mean[0] - 74.203 * mean[1] + 112.0 * mean[2]).round();
    let red = (128.0 + 112.0 * mean[0] - 93.786 * mean[1] - 18.214 * mean[2]).round();
    // The inverse of the matrix above, from the weights of red, green and blue in luma.
    let (weight_red, weight_green, weight_blue) = (65.481 / 219.0, 128.553 / 219.0, 24.966 / 219.0);
    let y = (luma - 16.0) / 219.0;
    let r = y + 2.0 * (1.0 - weight_red) * (red - 128.0) / 224.0;
    let b = y + 2.0 * (1.0 - weight_blue) * (blue - 128.0) / 224.0;
    let g = (y - weight_red * r - weight_blue * b) / weight_green;
    [r, g, b].map(byte)
}

/// 0 to 1 as 0 to 255.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range just before"
)]
fn byte(unit: f64) -> u8 {
    (unit * 255.0).round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_worked_out_by_hand() {
        // 64x48: regions of 8x8 pixels. (9, 1) is in region 1, and 9 + 2 is no multiple of 61.
        assert_eq!(colour(64, 48, 0, 9, 1), [60, 130, 228]);
        // (1, 30): row 3, column 0, region 24; 1 + 60 = 61 is on a diagonal.
        // r = 37*24 + 23 = 911 = 143 mod 256, g = 59*24 + 71 = 1487 = 207, b = 97*24 + 131 = 2459 = 155.
        assert_eq!(colour(64, 48, 0, 1, 30), [255 - 143, 255 - 207, 255 - 155]);
        assert_eq!(
            colour(64, 48, 3, 9, 1),
            [60 + 33, (130 + 303 - 256) as u8, (228 + 159 - 256) as u8]
        );
        assert_eq!(colour(64, 48, 0, 0, 0), [0; 3]);
        assert_eq!(colour(64, 48, 0, 63, 20), [255; 3]);
    }

    #[test]
    fn bits_are_repeated_from_the_top() {
        assert_eq!(through(0b1011_0110, 4), 0b1011_1011);
        assert_eq!(through(0b1011_0110, 5), 0b1011_0101);
        assert_eq!(through(0b1011_0110, 6), 0b1011_0110);
        assert_eq!(through(0xff, 5), 0xff);
        assert_eq!(through(0x5a, 8), 0x5a);
    }

    #[test]
    fn yuyv_keeps_grey_and_nearly_keeps_colours() {
        for grey in [0, 128, 255] {
            let seen = through_yuyv([grey; 3], [grey; 3], [grey; 3]);
            assert!(
                seen.iter().all(|c| c.abs_diff(grey) <= 1),
                "{grey} is seen as {seen:?}"
            );
        }
        let orange = [255, 128, 0];
        let seen = through_yuyv(orange, orange, orange);
        assert!(
            seen.iter().zip(orange).all(|(a, b)| a.abs_diff(b) <= 3),
            "{seen:?}"
        );
    }
}
