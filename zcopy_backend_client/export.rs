// SPDX-License-Identifier: GPL-2.0

//! A buffer of ours that a peer may use: its pages, granted, and the page directory that tells the peer their references.
//!
//! # Invariants
//!
//! The directory's pages are ours until their grants have ended; nothing in them is ever read back, since the peer
//! may write there.

use core::ptr;

use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    domain::DomId,
    grant::Granted,
    page::PageRef,
    pgdir, //
};

/// A granted buffer. The drop revokes the grants, the directory's first.
pub struct Exported {
    directory: Granted,
    data: Granted,
}

impl Exported {
    /// Grants `pages`, in order, to `peer`, and writes their directory.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no page at all. `ENOSPC`: no room in the grant table. `ENOMEM`.
    pub fn new(peer: DomId, pages: KVVec<PageRef>) -> Result<Self> {
        if pages.is_empty() {
            return Err(EINVAL);
        }
        let count = pgdir::pages(pages.len());
        let mut directory = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            directory.push(PageRef::new_zeroed()?, GFP_KERNEL)?;
        }
        let buffer = Self {
            directory: Granted::new(peer, directory)?,
            data: Granted::new(peer, pages)?,
        };
        buffer.write_directory();
        Ok(buffer)
    }

    fn write_directory(&self) {
        let mut next = self.directory.references().skip(1);
        let mut references = self.data.references();
        for address in self.directory.addresses() {
            let words = pgdir::words(next.next().unwrap_or(0), &mut references);
            for (i, word) in words.enumerate() {
                // SAFETY: `address` is a directory page of `pgdir::WORDS` words, alive as long as `self`, and `words` gives no
                // more than that. The peer may write there at the same time: hence volatile.
                unsafe { ptr::write_volatile(address.cast::<u32>().add(i), word) };
            }
        }
    }

    /// The reference of the directory's first page.
    pub fn directory_reference(&self) -> u32 {
        self.directory.references().next().unwrap_or(0)
    }

    /// How many grants the buffer takes, the directory's included.
    pub fn grants(&self) -> usize {
        self.data
            .references()
            .count()
            .saturating_add(self.directory.references().count())
    }
}
