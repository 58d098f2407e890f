// SPDX-License-Identifier: GPL-2.0

//! Buffers granted to another domain.

use std::cell::RefCell;
use std::collections::HashSet;

use kernel::{alloc::KVVec, error::Result, sync::Arc};

use crate::{attached::Attached, domain::DomId, page::PageRef};

type OnEnd = Box<dyn Fn(u32)>;

thread_local! {
    static ON_END: RefCell<Option<OnEnd>> = const { RefCell::new(None) };
    static GRANTED: RefCell<HashSet<u32>> = RefCell::new(HashSet::new());
    static NEXT: RefCell<u32> = const { RefCell::new(1) };
}

/// Nothing is granted.
pub fn reset() {
    ON_END.take();
    GRANTED.take();
    NEXT.replace(1);
}

/// Has `look` look at each directory when its grants end.
pub fn on_end(look: impl Fn(u32) + 'static) {
    ON_END.replace(Some(Box::new(look)));
}

/// Whether a buffer with this directory is granted.
pub fn is_granted(directory: u32) -> bool {
    GRANTED.with_borrow(|granted| granted.contains(&directory))
}

/// How many buffers are granted.
pub fn granted() -> usize {
    GRANTED.with_borrow(HashSet::len)
}

/// A buffer granted to a domain, until the drop.
pub struct Exported {
    directory: u32,
}

impl Exported {
    /// Grants `pages`.
    pub fn new(_: DomId, _: KVVec<PageRef>) -> Result<Self> {
        let directory = NEXT.with_borrow_mut(|next| {
            *next += 1;
            *next
        });
        GRANTED.with_borrow_mut(|granted| granted.insert(directory));
        Ok(Self { directory })
    }

    /// Grants a dma-buf.
    pub fn of_dmabuf(_: DomId, dmabuf: Arc<Attached>) -> Result<Self> {
        dmabuf.never()
    }

    /// The directory's reference.
    pub fn directory_reference(&self) -> u32 {
        self.directory
    }

    /// How many grants it takes.
    pub fn grants(&self) -> usize {
        1
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        let look = ON_END.take();
        if let Some(look) = &look {
            look(self.directory);
        }
        ON_END.replace(look);
        GRANTED.with_borrow_mut(|granted| granted.remove(&self.directory));
    }
}
