// SPDX-License-Identifier: GPL-2.0

//! The page directory: how the references of a large buffer are told to the peer.
//!
//! Pages of 4096 bytes, each with the reference of the next page (0: this is the last), then up to 1023 references of the
//! buffer's pages. Pure: no unsafe, no allocation.

/// Words of 32 bits in a directory page.
pub const WORDS: usize = 1024;

/// References in a directory page.
pub const REFERENCES: usize = WORDS - 1;

/// How many directory pages `references` need.
pub const fn pages(references: usize) -> usize {
    references.div_ceil(REFERENCES)
}

/// The words of one directory page: `next`, then as many of `references` as fit, then zeroes.
pub fn words(
    next: u32,
    references: &mut impl Iterator<Item = u32>,
) -> impl Iterator<Item = u32> + '_ {
    let fill = core::iter::repeat(0);
    core::iter::once(next)
        .chain(references.take(REFERENCES))
        .chain(fill)
        .take(WORDS)
}
