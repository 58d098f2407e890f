// SPDX-License-Identifier: GPL-2.0

//! What the driver's files import as a whole.

pub use core::ffi::CStr;
pub use core::pin::Pin;

pub use loom_kernel_macros::pin_data;

pub use crate::{
    alloc::{GFP_KERNEL, KBox, KVec},
    error::*,
    fmt,
    init::{InPlaceInit, PinInit},
    pin_init,
};
