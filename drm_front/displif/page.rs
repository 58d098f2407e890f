// SPDX-License-Identifier: GPL-2.0

//! How the rings reach the memory that they share with the peer.

use super::message::{
    self,
    Slot, //
};

/// Offset of the first slot in a ring page and in an event page: both have a header of one slot's size.
pub(super) const FIRST_SLOT: usize = 64;

/// A page of 4096 bytes that the peer may write at any moment.
///
/// Each call is exactly one access, a slot being copied once: what is checked is then what is used. Words are in the byte
/// order of the machine, which all domains of a host share. Offsets are in bytes; the rings ask for aligned ones within the
/// page only.
pub trait SharedPage {
    /// Reads the word at `offset`. Later accesses stay behind it.
    fn load_acquire(&self, offset: usize) -> u32;

    /// Writes the word at `offset`. Earlier accesses, reads as well, stay before it.
    fn store_release(&self, offset: usize, value: u32);

    /// No access passes this, in either direction.
    fn full_barrier(&self);

    /// Copies the slot at `offset` out.
    fn read_slot(&self, offset: usize) -> Slot;

    /// Copies `slot` in at `offset`.
    fn write_slot(&self, offset: usize, slot: &Slot);
}

/// Offset of the slot that the free-running `index` falls on, in a page with `entries` slots (at most 63).
pub(super) const fn slot_offset<const ENTRIES: u32>(index: u32) -> usize {
    const { assert!(0 < ENTRIES && ENTRIES < 64) };
    // Below 64, so that neither the conversion nor the product can lose anything.
    FIRST_SLOT + message::SLOT_SIZE * (index % ENTRIES) as usize
}
