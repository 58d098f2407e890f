// SPDX-License-Identifier: GPL-2.0

//! A page that both ends read and write.
//!
//! A word is an atomic of loom's. A slot is one as well: the number of what was written to it, so that whoever reads it too early gets what was there
//! before, as on a machine that reorders.

use std::cell::RefCell;
use std::sync::Arc;

use kernel::prelude::*;
use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use xen_zcopy::domain::DomId;

pub(crate) const BLOCK: usize = 64;

/// Words of a header that are used, and as many slots as the models' messages need.
const WORDS: usize = 4;
const SLOTS: usize = 12;

struct Memory {
    words: [AtomicU32; WORDS],
    slots: [AtomicUsize; SLOTS],
}

thread_local! {
    /// By reference.
    static PAGES: RefCell<Vec<Arc<Memory>>> = const { RefCell::new(Vec::new()) };
    /// By number.
    static BLOCKS: RefCell<Vec<[u8; BLOCK]>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn reset() {
    PAGES.take();
    BLOCKS.replace(vec![[0; BLOCK]]);
}

/// A page shared with one peer: either's end.
pub(crate) struct SharedPage {
    reference: u32,
    memory: Arc<Memory>,
}

impl SharedPage {
    pub(crate) fn new(_: DomId) -> Result<Self> {
        let memory = Arc::new(Memory {
            words: std::array::from_fn(|_| AtomicU32::new(0)),
            slots: std::array::from_fn(|_| AtomicUsize::new(0)),
        });
        let reference = PAGES.with_borrow_mut(|pages| {
            pages.push(memory.clone());
            pages.len() - 1
        });
        Ok(Self {
            reference: u32::try_from(reference)?,
            memory,
        })
    }

    /// The peer's end of the page with this reference.
    pub(crate) fn of_peer(reference: u32) -> Self {
        Self {
            reference,
            memory: PAGES.with_borrow(|pages| pages[reference as usize].clone()),
        }
    }

    pub(crate) fn reference(&self) -> u32 {
        self.reference
    }

    fn slot(&self, offset: usize) -> &AtomicUsize {
        &self.memory.slots[offset / BLOCK - 1]
    }

    pub(crate) fn load_acquire(&self, offset: usize) -> u32 {
        self.memory.words[offset / 4].load(Ordering::Acquire)
    }

    pub(crate) fn store_release(&self, offset: usize, value: u32) {
        self.memory.words[offset / 4].store(value, Ordering::Release);
    }

    pub(crate) fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn read_block(&self, offset: usize) -> [u8; BLOCK] {
        let number = self.slot(offset).load(Ordering::Relaxed);
        BLOCKS.with_borrow(|blocks| blocks[number])
    }

    pub(crate) fn write_block(&self, offset: usize, block: &[u8; BLOCK]) {
        let number = BLOCKS.with_borrow_mut(|blocks| {
            blocks.push(*block);
            blocks.len() - 1
        });
        self.slot(offset).store(number, Ordering::Relaxed);
    }
}
