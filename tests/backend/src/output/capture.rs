// SPDX-License-Identifier: GPL-2.0
//! Output to files: one line of JSON for every picture, with its checksum, and PNG files of some.
//!
//! The checksum is the CRC-32 of zlib and PNG over the picture as 8-bit red, green, blue, line by line without gaps. The lines
//! go to `GUEST-CONNECTOR.jsonl`; the first and the last picture to `GUEST-CONNECTOR-first.png` and `-last.png`, and what is
//! in the guest's memory at a given moment to `-now.png`.

use super::png_writer::{Image, PngWriter};
use super::{Completion, FlipDone, Head, Output, Picture, Transfer};
use crate::protocol::Errno;
use crate::refusal::Refusal;
use crate::stats::HeadName;
use anyhow::{Context, Result};
use log::error;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Captures to a directory.
pub struct Capture {
    directory: PathBuf,
    /// Between two ticks of the pretended display; none: flips are done at once.
    period: Option<Duration>,
    png: bool,
}

impl Capture {
    /// Captures to `directory`, which is made if need be, as a display of `refresh` Hz (0: flips are done at once).
    ///
    /// # Errors
    ///
    /// The directory cannot be made.
    pub fn new(directory: PathBuf, refresh: u32, png: bool) -> Result<Self> {
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let period = (refresh != 0).then(|| Duration::from_secs(1) / refresh);
        Ok(Capture {
            directory,
            period,
            png,
        })
    }
}

impl Output for Capture {
    fn open(&self, name: &HeadName, _: FlipDone) -> Result<Box<dyn Head>> {
        let stem = file_name(&format!("{}-{}", name.guest, name.connector));
        let path = self.directory.join(format!("{stem}.jsonl"));
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        let png = self
            .png
            .then(PngWriter::new)
            .transpose()
            .context("cannot start the PNG writer")?;
        Ok(Box::new(CaptureHead {
            name: name.clone(),
            directory: self.directory.clone(),
            stem,
            log,
            clock: self.period.map(|period| Clock {
                start: Instant::now(),
                period,
            }),
            png,
            sequence: 0,
            line: Vec::new(),
            last: None,
            first_written: false,
        }))
    }
}

/// The ticks of a display.
struct Clock {
    start: Instant,
    period: Duration,
}

impl Clock {
    fn next(&self, now: Instant) -> Instant {
        let period = self.period.as_nanos().max(1);
        let into = now.saturating_duration_since(self.start).as_nanos() % period;
        now + Duration::from_nanos(u64::try_from(period - into).unwrap_or(u64::MAX))
    }
}

/// A line of the log.
#[derive(Serialize)]
struct Record<'a> {
    /// From 0 on, for each connection of the guest.
    sequence: u64,
    event: &'a str,
    domid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<PictureRecord>,
    /// Seconds since 1970.
    time: f64,
}

#[derive(Serialize)]
struct PictureRecord {
    /// Hexadecimal: JSON's numbers do not hold 64 bits everywhere.
    cookie: String,
    width: u32,
    height: u32,
    fourcc: String,
    crc32: String,
}

struct CaptureHead {
    name: HeadName,
    directory: PathBuf,
    stem: String,
    log: File,
    clock: Option<Clock>,
    png: Option<PngWriter>,
    sequence: u64,
    /// A line of the guest's pixels, to copy once and then look at.
    line: Vec<u8>,
    /// What is shown.
    last: Option<Image>,
    first_written: bool,
}

impl CaptureHead {
    fn show(&mut self, event: &str, picture: Picture<'_>) -> Result<(), Refusal> {
        let mut image = self.last.take().unwrap_or_default();
        let read = read(picture, &mut self.line, &mut image);
        let image = self.last.insert(image);
        read.map_err(|error| {
            Refusal::new(Errno::EIO, format!("the picture cannot be read: {error}"))
        })?;
        let record = PictureRecord {
            cookie: format!("{:#018x}", picture.framebuffer.cookie),
            width: picture.width,
            height: picture.height,
            fourcc: picture.framebuffer.format.fourcc().to_string(),
            crc32: format!("{:08x}", crc32fast::hash(&image.rgb)),
        };
        if !self.first_written {
            self.first_written = true;
            if let Some(png) = &self.png {
                png.write(
                    self.directory.join(format!("{}-first.png", self.stem)),
                    image.clone(),
                );
            }
        }
        self.record(event, Some(record));
        Ok(())
    }

    fn record(&mut self, event: &str, picture: Option<PictureRecord>) {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let record = Record {
            sequence: self.sequence,
            event,
            domid: self.name.domid,
            picture,
            time,
        };
        self.sequence += 1;
        // One write for a line: several heads may append to one file.
        let written = serde_json::to_string(&record)
            .map_err(io::Error::from)
            .and_then(|text| self.log.write_all(format!("{text}\n").as_bytes()));
        if let Err(error) = written {
            error!("cannot write {}.jsonl: {error}", self.stem);
        }
    }
}

impl Head for CaptureHead {
    fn set_config(&mut self, picture: Picture<'_>) -> Result<Transfer, Refusal> {
        self.show("set_config", picture)?;
        Ok(Transfer::Copied)
    }

    fn flip(&mut self, picture: Picture<'_>) -> Result<(Completion, Transfer), Refusal> {
        self.show("flip", picture)?;
        let completion = match &self.clock {
            Some(clock) => Completion::At(clock.next(Instant::now())),
            None => Completion::Now,
        };
        Ok((completion, Transfer::Copied))
    }

    fn off(&mut self) {
        if let Some(image) = self.last.take() {
            self.record("off", None);
            if let Some(png) = &self.png {
                png.write(
                    self.directory.join(format!("{}-last.png", self.stem)),
                    image,
                );
            }
        }
    }

    fn snapshot(&mut self, picture: Picture<'_>) -> Result<()> {
        let Some(png) = &self.png else { return Ok(()) };
        let mut image = Image::default();
        read(picture, &mut self.line, &mut image).context("the picture cannot be read")?;
        png.write(self.directory.join(format!("{}-now.png", self.stem)), image);
        Ok(())
    }
}

impl Drop for CaptureHead {
    fn drop(&mut self) {
        self.off();
    }
}

fn read(picture: Picture<'_>, line: &mut Vec<u8>, image: &mut Image) -> io::Result<()> {
    let Picture {
        framebuffer,
        width,
        height,
    } = picture;
    let octets = 3 * width as usize;
    (image.width, image.height) = (width, height);
    image.rgb.resize(octets * height as usize, 0);
    for (y, rgb) in (0..height).zip(image.rgb.chunks_exact_mut(octets)) {
        framebuffer.read_line(y, width, line)?;
        framebuffer.format.to_rgb(line, rgb);
    }
    Ok(())
}

/// A guest's words as a file's name: no separators, nothing hidden, not too long.
fn file_name(text: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = text.chars().map(safe).take(150).collect();
    if name.starts_with('.') {
        format!("_{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_directory() {
        assert_eq!(file_name("guest1-Virtual-1"), "guest1-Virtual-1");
        assert_eq!(file_name("../../etc/x"), "_.._.._etc_x");
        assert_eq!(file_name("a b\u{e4}"), "a_b_");
    }

    #[test]
    fn the_clock_ticks_on_its_grid() {
        let start = Instant::now();
        let clock = Clock {
            start,
            period: Duration::from_millis(10),
        };
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(clock.next(at(0)), at(10));
        assert_eq!(clock.next(at(9)), at(10));
        assert_eq!(clock.next(at(10)), at(20));
    }
}
