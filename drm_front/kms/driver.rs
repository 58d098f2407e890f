// SPDX-License-Identifier: GPL-2.0

//! What a driver says to KMS, and what KMS asks it. No unsafe.

use kernel::{
    alloc::KVVec,
    prelude::*,
    seq_file::SeqFile,
    sync::Arc, //
};

use super::{
    event::FlipEvent,
    foreign::ForeignMemory, //
};
use xen_zcopy::{
    dmabuf::DmaBuf,
    page::PageRef, //
};

/// The geometry of a dumb buffer.
#[derive(Copy, Clone)]
pub(crate) struct DumbGeometry {
    /// In pixels.
    pub(crate) width: u32,
    /// In lines.
    pub(crate) height: u32,
    /// Bits per pixel: 16, 24 or 32.
    pub(crate) bpp: u32,
    /// Bytes from one line to the next.
    pub(crate) pitch: u32,
    /// Bytes of all lines, not rounded.
    pub(crate) size: u64,
}

/// The geometry of a framebuffer.
#[derive(Copy, Clone)]
pub(crate) struct FbGeometry {
    /// In pixels.
    pub(crate) width: u32,
    /// In lines.
    pub(crate) height: u32,
    /// A FOURCC.
    pub(crate) format: u32,
    /// Bytes per pixel.
    pub(crate) cpp: u8,
    /// Bytes from one line to the next.
    pub(crate) pitch: u32,
    /// Bytes before the first line.
    pub(crate) offset: u32,
}

/// A mode's size.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) struct ModeSize {
    /// In pixels.
    pub(crate) width: u32,
    /// In lines.
    pub(crate) height: u32,
}

/// A file in the device's debugfs directory.
pub(crate) struct DebugfsFile<T> {
    /// Its name.
    pub(crate) name: &'static CStr,
    /// Writes its text. May sleep.
    pub(crate) show: fn(&T, &SeqFile),
}

/// A display driver. One value per DRM device; it may outlive the device.
///
/// `pipe` is a head's index, below what [`Driver::pipes`] gave when the device was made.
pub(crate) trait Driver: Send + Sync + Sized + 'static {
    /// What the driver keeps for a buffer. Dropped when the last handle, mapping, framebuffer and export is gone, just before
    /// the pages are freed; whoever still needs these keeps references to them.
    type Buffer: Send + Sync;

    /// What the driver keeps for a framebuffer. Dropped with the last reference, before the buffer's.
    type Framebuffer: Send + Sync;

    /// DRM driver name, as user space sees it.
    const NAME: &'static CStr;
    /// A description for people.
    const DESCRIPTION: &'static CStr;
    /// The version.
    const VERSION: (i32, i32);
    /// The primary planes' formats, the preferred one first.
    const FORMATS: &'static [u32];
    /// The largest width and height of a framebuffer.
    const MAX_SIZE: u32;
    /// The module's parameters and state for people.
    const DEBUGFS: &'static [DebugfsFile<Self>];

    /// How many heads there are.
    fn pipes(&self) -> usize;

    /// Says whether a buffer of `size` bytes may be made, before memory is taken for it.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: not now, or never.
    fn admit(&self, size: u64) -> Result;

    /// Has somebody else allocate a dumb buffer for user space, if that is wanted and can be done; otherwise it is to be given pages of
    /// this domain. The memory goes before the driver's part. May sleep.
    ///
    /// # Errors
    ///
    /// What user space is to be told, instead of being given this domain's pages.
    #[allow(clippy::type_complexity)]
    fn allocate_buffer(
        this: &Arc<Self>,
        geometry: DumbGeometry,
    ) -> Result<Option<(Self::Buffer, Arc<ForeignMemory>)>>;

    /// A dumb buffer has got its `pages`. May sleep.
    fn create_buffer(
        this: &Arc<Self>,
        geometry: DumbGeometry,
        pages: KVVec<PageRef>,
    ) -> Result<Self::Buffer>;

    /// A dma-buf of somebody else's is to be a buffer. May sleep.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`: its memory is not what can be shown.
    fn import_buffer(this: &Arc<Self>, dmabuf: DmaBuf) -> Result<Self::Buffer>;

    /// A framebuffer that shows a part of `buffer`. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL`: there is no such part, or it cannot be shown.
    fn create_framebuffer(buffer: &Self::Buffer, geometry: FbGeometry)
        -> Result<Self::Framebuffer>;

    /// Whether the head's monitor is there.
    fn connected(&self, pipe: usize) -> bool;

    /// The size of the head's mode.
    fn mode(&self, pipe: usize) -> ModeSize;

    /// Whether the head can show a mode of this size.
    fn mode_valid(&self, pipe: usize, size: ModeSize) -> bool;

    /// Whether the head can show the top left part of `fb`, as much of it as its mode has room for.
    fn can_show(&self, pipe: usize, fb: &Self::Framebuffer) -> bool;

    /// Turns the head on, showing `fb`. In a commit: may sleep for memory, waits for nobody.
    fn enable(this: &Arc<Self>, pipe: usize, fb: &Self::Framebuffer);

    /// Turns the head off; a pending flip's event is let go. In a commit.
    fn disable(this: &Arc<Self>, pipe: usize);

    /// Shows `fb`, or shows it again, on a head that is on. `event` is let go when it is on the screen. In a commit.
    fn flip(this: &Arc<Self>, pipe: usize, fb: &Self::Framebuffer, event: Option<FlipEvent>);

    /// A frame's time has passed on a head whose vertical blank somebody waits for. In interrupt context.
    fn tick(this: &Arc<Self>, pipe: usize);
}
