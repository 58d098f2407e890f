// SPDX-License-Identifier: GPL-2.0

//! Buffers whose memory is a dma-buf of another driver's.
//!
//! A dma-buf has a size, but no lines: how these lie is only known when a framebuffer is made. So that is when the backend is told of a display buffer,
//! one for each way in which the lines lie.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use xen_zcopy::{
    attached::Attached,
    dmabuf::DmaBuf, //
};

use crate::{
    buffer::Dbuf,
    display::Display,
    displif::config::MAX_EDGE,
    kms::driver::{
        DumbGeometry,
        FbGeometry, //
    }, //
};

/// An imported dma-buf.
#[pin_data]
pub(crate) struct ImportedBuffer {
    dmabuf: Arc<Attached>,
    /// Its size in bytes.
    size: u64,
    /// Those that the framebuffers made so far need.
    #[pin]
    dbufs: Mutex<KVec<Arc<Dbuf>>>,
}

impl ImportedBuffer {
    /// Attaches a dma-buf, for good.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`: its pages are not where this domain could grant them. `EINVAL`: it is not made of whole pages. `ENOMEM`, and its exporter's.
    pub(crate) fn new(dmabuf: DmaBuf) -> Result<Pin<KBox<Self>>> {
        let size = u64::try_from(dmabuf.size())?;
        let dmabuf = Arc::new(Attached::new(dmabuf)?, GFP_KERNEL)?;
        // Says now what would otherwise be found out when it is to be granted.
        drop(dmabuf.frames(dmabuf.pages()?)?);
        KBox::pin_init(
            pin_init!(Self {
                dmabuf,
                size,
                dbufs <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// The display buffer for framebuffers whose lines lie like those of `fb`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it does not fit, or displif cannot tell of it. As of [`Dbuf::of_dmabuf`].
    pub(crate) fn dbuf_for(&self, display: &Arc<Display>, fb: FbGeometry) -> Result<Arc<Dbuf>> {
        let geometry = geometry(self.size, fb).ok_or(EINVAL)?;
        let mut dbufs = self.dbufs.lock();
        let known = dbufs.iter().find(|dbuf| {
            (dbuf.geometry.pitch, dbuf.geometry.bpp) == (geometry.pitch, geometry.bpp)
        });
        if let Some(dbuf) = known {
            return Ok(dbuf.clone());
        }
        dbufs.reserve(1, GFP_KERNEL)?;
        let dbuf = Dbuf::of_dmabuf(display, geometry, self.dmabuf.clone())?;
        dbufs.push(dbuf.clone(), GFP_KERNEL)?;
        Ok(dbuf)
    }

    /// Tells of each display buffer that there is.
    pub(crate) fn for_each(&self, each: impl FnMut(&Arc<Dbuf>)) {
        self.dbufs.lock().iter().for_each(each);
    }
}

/// The largest buffer with lines like those of `fb` in `size` bytes. displif has no pitch: a line's is its width in bits, rounded up to 32.
fn geometry(size: u64, fb: FbGeometry) -> Option<DumbGeometry> {
    let bpp = u32::from(fb.cpp).checked_mul(8)?;
    let width = fb.pitch.checked_mul(8)?.checked_div(bpp)?;
    let pitch = width.checked_mul(bpp)?.div_ceil(32).checked_mul(4)?;
    let height = size.checked_div(u64::from(fb.pitch))?;
    let height = u32::try_from(height).unwrap_or(MAX_EDGE).min(MAX_EDGE);
    let fits = fb.offset == 0 && fb.width <= width && fb.height <= height;
    if !fits || pitch != fb.pitch || width > MAX_EDGE {
        return None;
    }
    Some(DumbGeometry {
        width,
        height,
        bpp,
        pitch,
        size: u64::from(pitch).checked_mul(u64::from(height))?,
    })
}
