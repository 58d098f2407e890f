// SPDX-License-Identifier: GPL-2.0
//! Pages of our own granted to another domain, by the kernel's `/dev/xen/gntalloc`.

use crate::PAGE_SIZE;
use crate::mapping::Mapping;
use crate::request::Request;
use std::fs::File;
use std::io;

const ALLOC: Request = Request::new(5, 24);

/// The other domain may write.
const WRITABLE: u32 = 1;

/// Granted pages. They are given back when this is dropped, and the other domain has unmapped them.
pub struct Granted {
    /// The pages.
    pub memory: Mapping,
    /// Their references, in order.
    pub refs: Vec<u32>,
    /// The kernel keeps the grants as long as it is open.
    _device: File,
}

impl Granted {
    /// Grants `pages` new pages to the domain `domid`, for reading and writing.
    ///
    /// # Errors
    ///
    /// The kernel's. `NotFound`: the module `xen-gntalloc` is not loaded. `ENOSPC`: more than its limit.
    pub fn new(domid: u16, pages: usize) -> io::Result<Self> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/xen/gntalloc")?;
        let count = u32::try_from(pages).map_err(|_| io::ErrorKind::InvalidInput)?;
        // domid and flags of 16 bits each, the count, the offset for mmap of 64 bits, the references.
        let mut words = vec![u32::from(domid) | (WRITABLE << 16), count, 0, 0];
        words.resize(4 + pages.max(2), 0);
        ALLOC.send(&device, &mut words)?;
        let offset = u64::from(words[2]) | (u64::from(words[3]) << 32);
        let memory = Mapping::new(&device, offset, pages * PAGE_SIZE)?;
        Ok(Self {
            memory,
            refs: words[4..4 + pages].to_vec(),
            _device: device,
        })
    }
}
