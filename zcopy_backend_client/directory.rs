// SPDX-License-Identifier: GPL-2.0

//! A page directory of ours, granted to a peer: filled in by us for pages that we grant, or by the peer for pages of its own.
//!
//! # Invariants
//!
//! The pages are ours until their grants have ended. The peer may write any word at any moment: so no reference into them exists, each
//! access is one volatile one, and what is read is checked before it is used.

use core::{
    iter,
    ptr, //
};

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

/// A granted page directory. The drop revokes the grants.
pub struct Directory {
    pages: Granted,
    /// How many references it is for.
    references: usize,
}

impl Directory {
    /// A directory with room for `references`, its pages linked, granted to `peer`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no reference at all. `ENOSPC`: no room in the grant table. `ENOMEM`.
    pub fn new(peer: DomId, references: usize) -> Result<Self> {
        if references == 0 {
            return Err(EINVAL);
        }
        let count = pgdir::pages(references);
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            pages.push(PageRef::new_zeroed()?, GFP_KERNEL)?;
        }
        let directory = Self {
            pages: Granted::new(peer, pages)?,
            references,
        };
        directory.fill(iter::empty());
        Ok(directory)
    }

    /// Writes `references` in, as many as there is room for.
    pub fn fill(&self, mut references: impl Iterator<Item = u32>) {
        let mut next = self.pages.references().skip(1);
        for address in self.pages.addresses() {
            let words = pgdir::words(next.next().unwrap_or(0), &mut references);
            for (i, word) in words.enumerate() {
                // SAFETY: `address` is a directory page of `pgdir::WORDS` words, alive as long as `self`, and `words` gives no
                // more than that.
                unsafe { ptr::write_volatile(address.cast::<u32>().add(i), word) };
            }
        }
    }

    /// Reads once what the peer has filled in, and takes the directory back.
    ///
    /// # Errors
    ///
    /// `EPROTO`: a reference is missing, or there twice. `ENOMEM`.
    pub fn take(self) -> Result<KVVec<u32>> {
        let mut references = KVVec::with_capacity(self.references, GFP_KERNEL)?;
        for address in self.pages.addresses() {
            let left = self.references.saturating_sub(references.len());
            for i in pgdir::places(left) {
                // SAFETY: As in `fill`; `places` are within the page.
                let word = unsafe { ptr::read_volatile(address.cast::<u32>().add(i)) };
                references.push(word, GFP_KERNEL)?;
            }
        }
        drop(self);
        let mut sorted = KVVec::with_capacity(references.len(), GFP_KERNEL)?;
        sorted.extend_from_slice(&references, GFP_KERNEL)?;
        if !pgdir::are_distinct(&mut sorted) {
            return Err(EPROTO);
        }
        Ok(references)
    }

    /// The reference of its first page.
    pub fn reference(&self) -> u32 {
        self.pages.references().next().unwrap_or(0)
    }

    /// How many grants it takes itself.
    pub fn grants(&self) -> usize {
        self.pages.references().count()
    }
}
