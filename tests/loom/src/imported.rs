// SPDX-License-Identifier: GPL-2.0

//! Buffers that are dma-bufs of other drivers: no model has any.

use kernel::{prelude::*, sync::Arc};

use xen_zcopy::dmabuf::DmaBuf;

use crate::{buffer::Dbuf, display::Display, kms::driver::FbGeometry};

pub(crate) struct ImportedBuffer(DmaBuf);

impl ImportedBuffer {
    pub(crate) fn new(dmabuf: DmaBuf) -> Result<Pin<KBox<Self>>> {
        dmabuf.never()
    }

    pub(crate) fn dbuf_for(&self, _: &Arc<Display>, _: FbGeometry) -> Result<Arc<Dbuf>> {
        self.0.never()
    }

    pub(crate) fn for_each(&self, _: impl FnMut(&Arc<Dbuf>)) {
        self.0.never()
    }
}
