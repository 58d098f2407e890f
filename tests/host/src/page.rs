// SPDX-License-Identifier: GPL-2.0

//! Shared pages for tests: every access of the code under test is checked and logged, and the peer may act before each of its
//! reads.

use std::cell::RefCell;

use crate::displif::message::Slot;
use crate::displif::page::SharedPage;

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;

/// Offset of the first slot.
pub const FIRST_SLOT: usize = 64;

/// The bytes of a page, as the peer reaches them.
pub struct Memory([u8; PAGE_SIZE]);

impl Memory {
    /// The word at `offset`.
    pub fn word(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[offset..offset + 4]);
        u32::from_ne_bytes(bytes)
    }

    /// Writes the word at `offset`.
    pub fn set_word(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }

    /// The slot at `offset`.
    pub fn slot(&self, offset: usize) -> Slot {
        let mut slot = [0; 64];
        slot.copy_from_slice(&self.0[offset..offset + 64]);
        slot
    }

    /// Writes the slot at `offset`.
    pub fn set_slot(&mut self, offset: usize, slot: &Slot) {
        self.0[offset..offset + 64].copy_from_slice(slot);
    }
}

/// An access of the code under test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// A word was read: offset and value.
    Load(usize, u32),
    /// A word was written: offset and value.
    Store(usize, u32),
    /// A full barrier.
    Barrier,
    /// A slot was copied out: offset and bytes.
    ReadSlot(usize, Slot),
    /// A slot was copied in: offset and bytes.
    WriteSlot(usize, Slot),
}

/// What the peer does before a read.
type Meddler<'a> = Box<dyn FnMut(&mut Memory) + 'a>;

/// A shared page.
pub struct Page<'a> {
    memory: RefCell<Memory>,
    meddler: RefCell<Meddler<'a>>,
    log: RefCell<Vec<Access>>,
}

impl Default for Page<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Page<'a> {
    /// A page, all noise, whose peer does nothing by itself.
    pub fn new() -> Self {
        Self::meddled(|_| ())
    }

    /// The same with a peer that may do anything before each read.
    pub fn meddled(meddler: impl FnMut(&mut Memory) + 'a) -> Self {
        Self {
            memory: RefCell::new(Memory([0xa5; PAGE_SIZE])),
            meddler: RefCell::new(Box::new(meddler)),
            log: RefCell::new(Vec::new()),
        }
    }

    /// The peer acts now.
    pub fn peer<T>(&self, act: impl FnOnce(&mut Memory) -> T) -> T {
        act(&mut self.memory.borrow_mut())
    }

    /// The accesses since this was last called.
    pub fn take_log(&self) -> Vec<Access> {
        self.log.take()
    }

    fn record(&self, access: Access) {
        self.log.borrow_mut().push(access);
    }

    fn meddle(&self) {
        self.meddler.borrow_mut()(&mut self.memory.borrow_mut());
    }
}

fn check(offset: usize, size: usize) {
    assert!(offset % size == 0, "offset {offset} is not aligned");
    assert!(offset + size <= PAGE_SIZE, "offset {offset} is outside");
}

impl SharedPage for Page<'_> {
    fn load_acquire(&self, offset: usize) -> u32 {
        check(offset, 4);
        self.meddle();
        let value = self.peer(|memory| memory.word(offset));
        self.record(Access::Load(offset, value));
        value
    }

    fn store_release(&self, offset: usize, value: u32) {
        check(offset, 4);
        self.peer(|memory| memory.set_word(offset, value));
        self.record(Access::Store(offset, value));
    }

    fn full_barrier(&self) {
        self.record(Access::Barrier);
    }

    fn read_slot(&self, offset: usize) -> Slot {
        check(offset, 64);
        self.meddle();
        let slot = self.peer(|memory| memory.slot(offset));
        self.record(Access::ReadSlot(offset, slot));
        slot
    }

    fn write_slot(&self, offset: usize, slot: &Slot) {
        check(offset, 64);
        self.peer(|memory| memory.set_slot(offset, slot));
        self.record(Access::WriteSlot(offset, *slot));
    }
}
