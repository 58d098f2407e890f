// SPDX-License-Identifier: GPL-2.0
//! Pictures: 8-bit red, green and blue.

use crate::paths::outside;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::io::BufWriter;
use std::path::Path;

/// A picture.
pub struct Picture {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Row by row, three bytes a pixel.
    rgb: Vec<u8>,
}

impl Picture {
    /// The picture whose pixel (x, y) is `colour(x, y)`.
    pub fn from_fn(width: u32, height: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Self {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Self {
            width,
            height,
            rgb: pixels.flat_map(|(x, y)| colour(x, y)).collect(),
        }
    }

    /// Read a PNG; an alpha channel is left out.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or has no 8-bit colours.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| outside(path))?;
        let mut reader = png::Decoder::new(BufReader::new(file))
            .read_info()
            .with_context(|| outside(path))?;
        let size = reader
            .output_buffer_size()
            .context("a PNG too large for this computer")?;
        let mut bytes = vec![0; size];
        let info = reader
            .next_frame(&mut bytes)
            .with_context(|| outside(path))?;
        bytes.truncate(info.buffer_size());
        let rgb = match (info.color_type, info.bit_depth) {
            (png::ColorType::Rgb, png::BitDepth::Eight) => bytes,
            (png::ColorType::Rgba, png::BitDepth::Eight) => bytes
                .chunks_exact(4)
                .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
                .collect(),
            other => bail!("{} has pixels of the kind {other:?}", outside(path)),
        };
        Ok(Self {
            width: info.width,
            height: info.height,
            rgb,
        })
    }

    /// Write a PNG.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = BufWriter::new(File::create(path).with_context(|| outside(path))?);
        let mut encoder = png::Encoder::new(file, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        encoder.write_header()?.write_image_data(&self.rgb)?;
        Ok(())
    }

    /// The colour of a pixel; black outside of the picture.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let start = (y as usize * self.width as usize + x as usize) * 3;
        match self.rgb.get(start..start + 3) {
            Some(&[r, g, b]) => [r, g, b],
            _ => [0; 3],
        }
    }

    /// CRC-32 of the pixels, as the backend's capture logs it.
    pub fn crc32(&self) -> String {
        format!("{:08x}", crc32fast::hash(&self.rgb))
    }

    /// How many pixels have this colour.
    pub fn pixels_of(&self, colour: [u8; 3]) -> usize {
        self.rgb
            .chunks_exact(3)
            .filter(|pixel| **pixel == colour)
            .count()
    }

    /// How many different colours it has.
    pub fn colours(&self) -> usize {
        self.rgb.chunks_exact(3).collect::<HashSet<_>>().len()
    }

    /// Compare with what is expected, each channel within `tolerance`.
    ///
    /// # Errors
    ///
    /// When they differ: names the first differing pixel and writes a picture of the differences, black where there are none.
    pub fn compare(&self, expected: &Self, tolerance: u8, diff: &Path) -> Result<()> {
        ensure!(
            (self.width, self.height) == (expected.width, expected.height),
            "the picture is {}x{}, expected is {}x{}",
            self.width,
            self.height,
            expected.width,
            expected.height
        );
        let differs = |x, y| {
            let (got, wanted) = (self.pixel(x, y), expected.pixel(x, y));
            got.iter()
                .zip(wanted)
                .any(|(g, w)| g.abs_diff(w) > tolerance)
        };
        let mut pixels = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)));
        let Some((x, y)) = pixels.find(|&(x, y)| differs(x, y)) else {
            return Ok(());
        };
        let count = 1 + pixels.filter(|&(x, y)| differs(x, y)).count();
        let picture = Self::from_fn(self.width, self.height, |x, y| {
            let (got, wanted) = (self.pixel(x, y), expected.pixel(x, y));
            // Never quite black, so that a small difference is seen.
            if differs(x, y) {
                std::array::from_fn(|i| 64 + got[i].abs_diff(wanted[i]) / 4 * 3)
            } else {
                [0; 3]
            }
        });
        picture.write(diff)?;
        bail!(
            "{count} pixels differ from what is expected, the first at ({x}, {y}): {:?}, expected {:?}; see {}",
            self.pixel(x, y),
            expected.pixel(x, y),
            outside(diff)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_and_named() {
        let dir = std::env::temp_dir().join(format!("lab-picture-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let one = Picture::from_fn(4, 3, |x, y| [x as u8, y as u8, 7]);
        let other = Picture::from_fn(4, 3, |x, y| {
            [x as u8, y as u8, if (x, y) == (2, 1) { 9 } else { 7 }]
        });
        let diff = dir.join("diff.png");
        one.compare(&one, 0, &diff).unwrap();
        one.compare(&other, 2, &diff).unwrap();
        let error = one.compare(&other, 1, &diff).unwrap_err().to_string();
        assert!(
            error.contains("1 pixels") && error.contains("(2, 1)"),
            "{error}"
        );
        let diff = Picture::read(&diff).unwrap();
        let all = usize::try_from(diff.width * diff.height).unwrap();
        assert_eq!(diff.pixels_of([0; 3]), all - 1);
        assert_eq!(diff.colours(), 2);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
