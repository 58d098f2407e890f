// SPDX-License-Identifier: GPL-2.0

//! What the driver uses of the `kernel` crate, over loom's primitives.
//!
//! Names and signatures are those of the real one as far as the driver's shipped files need them; what they do is the simplest thing
//! that a thread of a model can tell from the real one in the same way as the driver can. Locks, reference counts and atomics are
//! loom's, so loom sees each use of them. Nothing fails for want of memory.

#[macro_use]
mod macros;

pub mod alloc;
pub mod bindings;
pub mod device;
pub mod error;
pub mod init;
pub mod model;
pub mod page;
pub mod prelude;
pub mod seq_file;
pub mod str;
pub mod sync;
pub mod time;
pub mod types;
pub mod workqueue;

pub use core::fmt;
