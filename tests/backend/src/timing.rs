// SPDX-License-Identifier: GPL-2.0
//! Video timings for any size: VESA CVT 1.2 with reduced blanking (version 1), for EDIDs and for modes that a display does
//! not list.

/// Numbers of a video mode; everything in pixels or lines, from the first pixel shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Pixel clock.
    pub clock_khz: u32,
    /// Visible.
    pub width: u32,
    /// Start of the horizontal sync pulse.
    pub hsync_start: u32,
    /// End of the horizontal sync pulse.
    pub hsync_end: u32,
    /// The whole line.
    pub htotal: u32,
    /// Visible.
    pub height: u32,
    /// Start of the vertical sync pulse.
    pub vsync_start: u32,
    /// End of the vertical sync pulse.
    pub vsync_end: u32,
    /// The whole frame.
    pub vtotal: u32,
    /// Frames a second, rounded.
    pub refresh: u32,
}

const H_FRONT: u32 = 48;
const H_SYNC: u32 = 32;
const H_BLANK: u32 = 160;
const V_FRONT: u32 = 3;
const V_BACK_MIN: u32 = 6;
const V_BLANK_MIN_NS: u64 = 460_000;
const CLOCK_STEP_KHZ: u64 = 250;

impl Timing {
    /// A timing for a picture of `width` x `height`, both from 1 to 16384, `refresh` times a second (1 to 240).
    ///
    /// Unlike in the standard the width is not rounded to a multiple of 8: the guest's size is what must come out.
    pub fn reduced_blanking(width: u32, height: u32, refresh: u32) -> Self {
        let v_sync = v_sync_lines(width, height);
        let frame_ns = 1_000_000_000 / u64::from(refresh);
        let line_ns = ((frame_ns - V_BLANK_MIN_NS) / u64::from(height)).max(1);
        // 460 us are at most 460000 lines of 1 ns.
        let v_blank = (V_BLANK_MIN_NS / line_ns) as u32 + 1;
        let v_blank = v_blank.max(V_FRONT + v_sync + V_BACK_MIN);
        let (htotal, vtotal) = (width + H_BLANK, height + v_blank);
        let clock = u64::from(refresh) * u64::from(htotal) * u64::from(vtotal) / 1000;
        let clock_khz = (clock / CLOCK_STEP_KHZ * CLOCK_STEP_KHZ).max(CLOCK_STEP_KHZ) as u32;
        Timing {
            clock_khz,
            width,
            hsync_start: width + H_FRONT,
            hsync_end: width + H_FRONT + H_SYNC,
            htotal,
            height,
            vsync_start: height + V_FRONT,
            vsync_end: height + V_FRONT + v_sync,
            vtotal,
            refresh,
        }
    }
}

/// The width of the vertical sync pulse tells a CVT display the aspect ratio.
fn v_sync_lines(width: u32, height: u32) -> u32 {
    match (width, height) {
        (w, h) if w * 3 == h * 4 => 4,
        (w, h) if w * 9 == h * 16 => 5,
        (w, h) if w * 10 == h * 16 => 6,
        (w, h) if w * 4 == h * 5 || w * 9 == h * 15 => 7,
        _ => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand from the standard's formula.
    #[test]
    fn known_modes() {
        for (width, height, clock_khz, h, v) in [
            (1920, 1080, 138_500, [1968, 2000, 2080], [1083, 1088, 1111]),
            (1024, 768, 56_000, [1072, 1104, 1184], [771, 775, 790]),
            (3840, 2160, 533_250, [3888, 3920, 4000], [2163, 2168, 2222]),
            (1680, 1050, 119_000, [1728, 1760, 1840], [1053, 1059, 1080]),
        ] {
            let t = Timing::reduced_blanking(width, height, 60);
            assert_eq!(
                [t.hsync_start, t.hsync_end, t.htotal],
                h,
                "{width}x{height}"
            );
            assert_eq!(
                [t.vsync_start, t.vsync_end, t.vtotal],
                v,
                "{width}x{height}"
            );
            assert_eq!(t.clock_khz, clock_khz, "{width}x{height}");
        }
    }

    #[test]
    fn extremes_are_sound() {
        for width in [1, 16384] {
            for height in [1, 16384] {
                for refresh in [1, 240] {
                    let t = Timing::reduced_blanking(width, height, refresh);
                    assert!(t.clock_khz > 0 && t.htotal > t.hsync_end && t.vtotal > t.vsync_end);
                }
            }
        }
    }
}
