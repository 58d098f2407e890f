// SPDX-License-Identifier: GPL-2.0

//! A buffer of ours that a peer may use: its pages, granted, and the page directory that tells the peer their references.

use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

use crate::{
    attached::Attached,
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
        let directory = Directory::new(peer, pages.len())?;
        Ok(Self::with(directory, Granted::new(peer, pages)?))
    }

    /// The same with the pages of a dma-buf.
    ///
    /// # Errors
    ///
    /// As [`Self::new`], and of [`Attached::frames`].
    pub fn of_dmabuf(peer: DomId, dmabuf: Arc<Attached>) -> Result<Self> {
        let pages = dmabuf.pages()?;
        let directory = Directory::new(peer, pages)?;
        Ok(Self::with(
            directory,
            Granted::of_dmabuf(peer, pages, dmabuf)?,
        ))
    }

    fn with(directory: Directory, data: Granted) -> Self {
        directory.fill(data.references());
        Self { directory, data }
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
