// SPDX-License-Identifier: GPL-2.0

//! Buffers that the backend allocates: no model has any.

use kernel::{prelude::*, sync::Arc};

use crate::{
    buffer::BufferHandle,
    display::Display,
    kms::{driver::DumbGeometry, foreign::ForeignMemory},
};

pub(crate) struct Allocation;

pub(crate) fn allocate(
    _: &Arc<Display>,
    _: DumbGeometry,
) -> Result<Option<(BufferHandle, Arc<ForeignMemory>)>> {
    Ok(None)
}
