// SPDX-License-Identifier: GPL-2.0

//! dma-bufs: no model has any.

use core::convert::Infallible;

/// There is none.
pub struct DmaBuf(Infallible);

impl DmaBuf {
    /// Whatever is to be done with it.
    pub fn never(&self) -> ! {
        match self.0 {}
    }
}
