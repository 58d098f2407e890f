// SPDX-License-Identifier: GPL-2.0
//! Memory shared between Xen domains, for programs: pages that another domain has granted as a dma-buf ([`Zcopy`]), and pages of
//! our own granted to another domain ([`Granted`]).

mod gntalloc;
mod mapping;
mod request;
mod zcopy;

pub use gntalloc::Granted;
pub use mapping::Mapping;
pub use zcopy::DEVICE;
pub use zcopy::Zcopy;

/// Size of a page in Xen's interfaces, in bytes.
pub const PAGE_SIZE: usize = 4096;
