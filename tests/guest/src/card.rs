// SPDX-License-Identifier: GPL-2.0

//! The test card of `Documentation/test-card.md`: the colour of every pixel, before any pixel format.

/// A colour, 8 bits a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Red.
    pub r: u8,
    /// Green.
    pub g: u8,
    /// Blue.
    pub b: u8,
}

impl Rgb {
    const BLACK: Self = Self { r: 0, g: 0, b: 0 };
    const WHITE: Self = Self {
        r: 255,
        g: 255,
        b: 255,
    };

    fn inverted(self) -> Self {
        Self {
            r: !self.r,
            g: !self.g,
            b: !self.b,
        }
    }
}

const COLUMNS: u64 = 8;
const ROWS: u64 = 6;
const DIAGONAL_PERIOD: u64 = 61;

/// One card: its size in pixels and which of the different cards of that size it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Pixels in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// 0, 1, 2, ...: each has other colours.
    pub variant: u32,
}

impl Card {
    /// The colour at (`x`, `y`), counted from the top left corner; both must lie inside the card.
    pub fn pixel(&self, x: u32, y: u32) -> Rgb {
        if (x, y) == (0, 0) {
            return Rgb::BLACK;
        }
        if x == 0 || y == 0 || x + 1 == self.width || y + 1 == self.height {
            return Rgb::WHITE;
        }
        let (x, y) = (u64::from(x), u64::from(y));
        let column = x * COLUMNS / u64::from(self.width);
        let row = y * ROWS / u64::from(self.height);
        let colour = self.region(row * COLUMNS + column);
        if (x + 2 * y) % DIAGONAL_PERIOD == 0 {
            colour.inverted()
        } else {
            colour
        }
    }

    /// The pixels of line `y`, from the left.
    pub fn line(&self, y: u32) -> impl Iterator<Item = Rgb> + '_ {
        (0..self.width).map(move |x| self.pixel(x, y))
    }

    fn region(&self, region: u64) -> Rgb {
        let variant = u64::from(self.variant);
        // The remainder of a division by 256 is the lowest byte.
        let channel = |per_region: u64, per_variant: u64, base: u64| {
            (per_region * region + per_variant * variant + base).to_le_bytes()[0]
        };
        Rgb {
            r: channel(37, 11, 23),
            g: channel(59, 101, 71),
            b: channel(97, 53, 131),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(r: u8, g: u8, b: u8) -> Rgb {
        Rgb { r, g, b }
    }

    #[test]
    fn golden_pixels_of_variant_0() {
        let card = Card {
            width: 1024,
            height: 768,
            variant: 0,
        };
        // Region 0; 1 + 2*1 = 3 is no multiple of 61.
        assert_eq!(card.pixel(1, 1), rgb(23, 71, 131));
        // Column 4, row 3: region 28. 37*28+23 = 1059 = 4*256+35; 59*28+71 = 1723 = 6*256+187;
        // 97*28+131 = 2847 = 11*256+31. 513 + 2*400 = 1313 is no multiple of 61 (21*61 = 1281).
        assert_eq!(card.pixel(513, 400), rgb(35, 187, 31));
        // Region 47, the last one. 37*47+23 = 1762 = 6*256+226; 59*47+71 = 2844 = 11*256+28;
        // 97*47+131 = 4690 = 18*256+82. 1022 + 2*766 = 2554 is no multiple of 61 (41*61 = 2501).
        assert_eq!(card.pixel(1022, 766), rgb(226, 28, 82));
    }

    #[test]
    fn variant_changes_every_region() {
        let card = Card {
            width: 1920,
            height: 1080,
            variant: 3,
        };
        // 23+33 = 56, 71+303 = 374 = 256+118, 131+159 = 290 = 256+34.
        assert_eq!(card.pixel(2, 2), rgb(56, 118, 34));
    }

    #[test]
    fn diagonals_are_inverted() {
        let card = Card {
            width: 1024,
            height: 768,
            variant: 0,
        };
        // 59 + 2*1 = 61.
        assert_eq!(card.pixel(59, 1), rgb(255 - 23, 255 - 71, 255 - 131));
        assert_eq!(card.pixel(58, 1), rgb(23, 71, 131));
        assert_eq!(card.pixel(57, 2), rgb(255 - 23, 255 - 71, 255 - 131));
    }

    #[test]
    fn frame_is_white_with_one_black_corner() {
        let card = Card {
            width: 640,
            height: 480,
            variant: 1,
        };
        assert_eq!(card.pixel(0, 0), Rgb::BLACK);
        for (x, y) in [(1, 0), (639, 0), (0, 1), (0, 479), (639, 479), (300, 479)] {
            assert_eq!(card.pixel(x, y), Rgb::WHITE, "at {x}, {y}");
        }
        // The diagonal does not reach into the frame: 61 + 2*0 = 61.
        assert_eq!(card.pixel(61, 0), Rgb::WHITE);
    }

    #[test]
    fn a_line_is_its_pixels() {
        let card = Card {
            width: 9,
            height: 7,
            variant: 0,
        };
        let line: Vec<Rgb> = card.line(3).collect();
        assert_eq!(line.len(), 9);
        assert_eq!(line[4], card.pixel(4, 3));
    }
}
