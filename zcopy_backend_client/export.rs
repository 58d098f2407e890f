// SPDX-License-Identifier: GPL-2.0

//! A buffer of ours that a peer may use: its pages, granted, and the page directory that tells the peer their references.

use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    directory::Directory,
    domain::DomId,
    grant::Granted,
    page::PageRef, //
};

/// A granted buffer. The drop revokes the grants, the directory's first.
pub struct Exported {
    directory: Directory,
    data: Granted,
}

impl Exported {
    /// Grants `pages`, in order, to `peer`, and writes their directory.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no page at all. `ENOSPC`: no room in the grant table. `ENOMEM`.
    pub fn new(peer: DomId, pages: KVVec<PageRef>) -> Result<Self> {
        let buffer = Self {
            directory: Directory::new(peer, pages.len())?,
            data: Granted::new(peer, pages)?,
        };
        buffer.directory.fill(buffer.data.references());
        Ok(buffer)
    }

    /// The reference of the directory's first page.
    pub fn directory_reference(&self) -> u32 {
        self.directory.reference()
    }

    /// How many grants the buffer takes, the directory's included.
    pub fn grants(&self) -> usize {
        self.data
            .references()
            .count()
            .saturating_add(self.directory.grants())
    }
}
