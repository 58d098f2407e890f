// SPDX-License-Identifier: GPL-2.0
//! Writes PNG files without keeping the guest waiting.

use log::error;
use png::{BitDepth, ColorType, Compression, Encoder};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

/// Red, green and blue of 8 bits for every pixel, line by line.
#[derive(Clone, Default)]
pub struct Image {
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// `3 * width * height` octets.
    pub rgb: Vec<u8>,
}

impl Image {
    /// Writes a PNG file; it is complete when its name appears.
    fn write(&self, file: &Path) -> io::Result<()> {
        let unfinished = file.with_extension("png.part");
        let mut encoder = Encoder::new(
            BufWriter::new(File::create(&unfinished)?),
            self.width,
            self.height,
        );
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_compression(Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()?;
        fs::rename(&unfinished, file)
    }
}

/// A thread that writes PNG files; dropping it waits until all are written.
pub struct PngWriter {
    jobs: Option<Sender<(PathBuf, Image)>>,
    thread: Option<JoinHandle<()>>,
}

impl PngWriter {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn new() -> io::Result<Self> {
        let (jobs, queue) = channel::<(PathBuf, Image)>();
        let thread = thread::Builder::new()
            .name("png writer".into())
            .spawn(move || {
                for (file, image) in queue {
                    if let Err(error) = image.write(&file) {
                        error!("cannot write {}: {error}", file.display());
                    }
                }
            })?;
        Ok(PngWriter {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Has a file written.
    pub fn write(&self, file: PathBuf, image: Image) {
        if let Some(jobs) = &self.jobs {
            // The thread ends only after this sender.
            let _ = jobs.send((file, image));
        }
    }
}

impl Drop for PngWriter {
    fn drop(&mut self) {
        self.jobs = None;
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            error!("the PNG writer has panicked");
        }
    }
}
