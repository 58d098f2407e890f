// SPDX-License-Identifier: GPL-2.0
//! Display buffers and framebuffers of a guest.

use crate::memory::SharedMemory;
use crate::pages::Pages;
use crate::pixels::PixelFormat;
use crate::protocol::{DbufCreate, FbAttach};
use crate::refusal::Refusal;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest side of a picture, in pixels.
pub const MAX_SIDE: u32 = 16384;

/// The distance of two lines in memory, in octets. The protocol has no field for it: this is what its frontends and
/// backends agree on.
pub fn pitch(width: u32, bits_per_pixel: u32) -> u64 {
    (u64::from(width) * u64::from(bits_per_pixel)).div_ceil(32) * 4
}

/// How a buffer is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The pitch, in octets.
    Known(u64),
    /// Left to FB_ATTACH: the buffer was made elsewhere and imported by the guest.
    Pending,
}

impl Layout {
    /// The layout that a DBUF_CREATE asks for, checked against the buffer's size.
    ///
    /// # Errors
    ///
    /// EINVAL.
    pub fn of(create: &DbufCreate) -> Result<Self, Refusal> {
        let DbufCreate {
            width,
            height,
            bpp,
            buffer_size,
            data_offset,
            ..
        } = *create;
        if buffer_size == 0 || data_offset >= buffer_size {
            return Err(Refusal::invalid(format!(
                "{buffer_size} octets, pixels from {data_offset} on"
            )));
        }
        if (width, height, bpp) == (0, 0, 0) {
            return Ok(Layout::Pending);
        }
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) || !matches!(bpp, 16 | 24 | 32) {
            return Err(Refusal::invalid(format!(
                "a size of {width}x{height} with {bpp} bits per pixel"
            )));
        }
        let pitch = pitch(width, bpp);
        let needed = u64::from(data_offset) + pitch * u64::from(height);
        if needed > u64::from(buffer_size) {
            return Err(Refusal::invalid(format!(
                "{width}x{height} with {bpp} bits per pixel needs {needed} octets, the buffer has {buffer_size}"
            )));
        }
        Ok(Layout::Known(pitch))
    }
}

/// A part of what one guest may have mapped; given back when dropped.
pub struct Share {
    used: Arc<AtomicU64>,
    octets: u64,
}

impl Share {
    /// Takes `octets` of `limit`, if so much is left.
    pub fn take(used: &Arc<AtomicU64>, octets: u64, limit: u64) -> Option<Self> {
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(octets).filter(|sum| *sum <= limit)
        })
        .ok()?;
        Some(Share {
            used: used.clone(),
            octets,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// A display buffer.
pub struct DisplayBuffer {
    /// Its pages.
    pub pages: Pages,
    /// Octets that the guest declared; not more than the pages have.
    pub size: u64,
    /// Octets before the first pixel.
    pub data_offset: u64,
    /// The pitch.
    pub layout: Layout,
    /// Counted as long as the pages are held.
    pub _share: Share,
}

/// A view of a display buffer: a picture. Keeps its pages.
pub struct Framebuffer {
    buffer: Arc<DisplayBuffer>,
    /// The guest's name for it.
    pub cookie: u64,
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Of the pixels.
    pub format: PixelFormat,
    /// Octets.
    pitch: usize,
}

impl Framebuffer {
    /// A view of a buffer.
    ///
    /// # Errors
    ///
    /// EINVAL: a format that is not one of the nine, or a size that does not fit.
    pub fn new(buffer: Arc<DisplayBuffer>, attach: &FbAttach) -> Result<Self, Refusal> {
        let FbAttach {
            fb,
            width,
            height,
            pixel_format,
            ..
        } = *attach;
        let format = PixelFormat::from_fourcc(pixel_format).ok_or_else(|| {
            Refusal::invalid(format!(
                "the pixel format {pixel_format:#010x} is not one of the protocol's nine"
            ))
        })?;
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(Refusal::invalid(format!(
                "a framebuffer of {width}x{height}"
            )));
        }
        if format == PixelFormat::Yuyv && width % 2 != 0 {
            return Err(Refusal::invalid(format!("YUYV with the odd width {width}")));
        }
        let own_pitch = pitch(width, format.bits_per_pixel());
        let pitch = match buffer.layout {
            Layout::Known(pitch) => pitch,
            Layout::Pending => own_pitch,
        };
        let needed = buffer.data_offset + pitch * u64::from(height);
        if own_pitch > pitch || needed > buffer.size {
            return Err(Refusal::invalid(format!(
                "{width}x{height} {} does not fit a buffer of {} octets with a pitch of {pitch}",
                format.fourcc(),
                buffer.size
            )));
        }
        let pitch =
            usize::try_from(pitch).map_err(|_| Refusal::invalid(format!("a pitch of {pitch}")))?;
        Ok(Framebuffer {
            buffer,
            cookie: fb,
            width,
            height,
            format,
            pitch,
        })
    }

    /// The buffer's memory, which is mapped for this; line y starts at [`Self::line_offset`].
    ///
    /// # Errors
    ///
    /// As [`Pages::memory`].
    pub fn memory(&self) -> io::Result<&SharedMemory> {
        self.buffer.pages.memory()
    }

    /// The buffer as [`Pages::dmabuf`]; line y starts at [`Self::line_offset`].
    pub fn dmabuf(&self) -> Option<Result<BorrowedFd<'_>, &io::Error>> {
        self.buffer.pages.dmabuf()
    }

    /// Where a line starts, in octets.
    pub fn line_offset(&self, y: u32) -> usize {
        // Both were checked against the buffer's size.
        self.buffer.data_offset as usize + self.pitch * y as usize
    }

    /// Octets between two lines.
    pub fn pitch(&self) -> usize {
        self.pitch
    }

    /// Octets that `width` pixels take.
    pub fn line_octets(&self, width: u32) -> usize {
        (u64::from(width) * u64::from(self.format.bits_per_pixel()) / 8) as usize
    }

    /// Copies the first `width` pixels of line `y` to `line`, which is resized to fit.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof`: there are no such pixels. Others: as [`Self::memory`].
    pub fn read_line(&self, y: u32, width: u32, line: &mut Vec<u8>) -> io::Result<()> {
        if y >= self.height || width > self.width {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.resize(self.line_octets(width), 0);
        self.memory()?.read(self.line_offset(y), line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Mapper;
    use crate::protocol::GrantRef;

    fn create(width: u32, height: u32, bpp: u32, buffer_size: u32, data_offset: u32) -> DbufCreate {
        DbufCreate {
            dbuf: 1,
            width,
            height,
            bpp,
            buffer_size,
            flags: 0,
            directory: 1,
            data_offset,
        }
    }

    #[test]
    fn pitches_are_whole_words() {
        for (width, bpp, expected) in [
            (1, 16, 4),
            (2, 16, 4),
            (3, 16, 8),
            (1, 24, 4),
            (5, 24, 16),
            (7, 32, 28),
        ] {
            assert_eq!(pitch(width, bpp), expected);
        }
    }

    #[test]
    fn layouts_are_checked_against_the_size() {
        assert_eq!(
            Layout::of(&create(4, 2, 32, 32, 0)).ok(),
            Some(Layout::Known(16))
        );
        assert_eq!(
            Layout::of(&create(4, 2, 32, 96, 64)).ok(),
            Some(Layout::Known(16))
        );
        assert_eq!(
            Layout::of(&create(0, 0, 0, 4096, 0)).ok(),
            Some(Layout::Pending)
        );
        for bad in [
            create(4, 2, 32, 31, 0),
            create(4, 2, 32, 95, 64),
            create(4, 2, 8, 4096, 0),
            create(0, 2, 32, 4096, 0),
            create(4, 0, 32, 4096, 0),
            create(4, 2, 0, 4096, 0),
            create(16385, 1, 32, u32::MAX, 0),
            create(u32::MAX, u32::MAX, 32, u32::MAX, 0),
            create(0, 0, 0, 0, 0),
            create(0, 0, 0, 64, 64),
        ] {
            assert!(Layout::of(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn shares_are_limited_and_given_back() {
        let used = Arc::new(AtomicU64::new(0));
        let first = Share::take(&used, 60, 100).expect("60 of 100");
        assert!(Share::take(&used, 41, 100).is_none());
        let second = Share::take(&used, 40, 100).expect("the rest");
        drop(first);
        assert!(Share::take(&used, 60, 100).is_some());
        drop(second);
        assert_eq!(used.load(Ordering::Relaxed), 0);
        assert!(Share::take(&used, u64::MAX, 100).is_none());
    }

    /// A page of words that count up from 0.
    struct Words;

    impl Mapper for Words {
        fn map(&self, _: &[GrantRef]) -> io::Result<SharedMemory> {
            Ok(SharedMemory::heap(&(0..1024).collect::<Vec<u32>>()))
        }
    }

    fn buffer(layout: Layout, data_offset: u64) -> Arc<DisplayBuffer> {
        let words: Arc<dyn Mapper> = Arc::new(Words);
        let share = Share::take(&Arc::default(), 0, 0).expect("nothing");
        Arc::new(DisplayBuffer {
            pages: Pages::granted(&words, vec![1]).expect("mapped"),
            size: 4096,
            data_offset,
            layout,
            _share: share,
        })
    }

    fn attach(width: u32, height: u32, code: &[u8; 4]) -> FbAttach {
        FbAttach {
            dbuf: 1,
            fb: 2,
            width,
            height,
            pixel_format: u32::from_le_bytes(*code),
        }
    }

    #[test]
    fn framebuffers_must_fit() {
        let known = || buffer(Layout::Known(64), 0);
        assert!(Framebuffer::new(known(), &attach(16, 64, b"XR24")).is_ok());
        assert!(Framebuffer::new(known(), &attach(8, 64, b"XR24")).is_ok());
        assert!(Framebuffer::new(known(), &attach(17, 1, b"XR24")).is_err());
        assert!(Framebuffer::new(known(), &attach(16, 65, b"XR24")).is_err());
        assert!(Framebuffer::new(known(), &attach(0, 1, b"XR24")).is_err());
        assert!(Framebuffer::new(known(), &attach(16, 0, b"XR24")).is_err());
        assert!(Framebuffer::new(known(), &attach(16, 16, b"NV12")).is_err());
        assert!(Framebuffer::new(known(), &attach(3, 16, b"YUYV")).is_err());
        assert!(Framebuffer::new(buffer(Layout::Pending, 64), &attach(16, 63, b"XR24")).is_ok());
        assert!(Framebuffer::new(buffer(Layout::Pending, 64), &attach(16, 64, b"XR24")).is_err());
        assert!(
            Framebuffer::new(buffer(Layout::Pending, 0), &attach(16384, 16384, b"XR24")).is_err()
        );
    }

    #[test]
    fn lines_are_read_where_they_are() {
        let fb =
            Framebuffer::new(buffer(Layout::Known(64), 8), &attach(4, 2, b"XR24")).expect("fits");
        let mut line = Vec::new();
        fb.read_line(1, 2, &mut line).expect("line 1");
        assert_eq!(line, [18u32, 19].map(u32::to_ne_bytes).concat());
        assert!(fb.read_line(2, 2, &mut line).is_err());
        assert!(fb.read_line(0, 5, &mut line).is_err());
    }
}
