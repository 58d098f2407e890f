// SPDX-License-Identifier: GPL-2.0
//! Memory shared between Xen domains, for programs ([`Zcopy`]): pages that another domain has granted as a dma-buf, and the pages of a
//! dma-buf granted to another domain.

mod mapping;
mod memory;
mod request;
mod zcopy;

pub use mapping::Mapping;
pub use memory::Memory;
pub use zcopy::DEVICE;
pub use zcopy::DEVICES;
pub use zcopy::Known;
pub use zcopy::Zcopy;

/// Size of a page in Xen's interfaces, in bytes.
pub const PAGE_SIZE: usize = 4096;
