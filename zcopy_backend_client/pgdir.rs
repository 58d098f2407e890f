// SPDX-License-Identifier: GPL-2.0

//! The page directory: how the references of a large buffer are told to the peer.
//!
//! Pages of 4096 bytes, each with the reference of the next page (0: this is the last), then up to 1023 references of the
//! buffer's pages. Pure: no unsafe, no allocation.

use core::ops::Range;

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

/// Where the references are in a directory page when `left` are still to come, those of the page included.
pub const fn places(left: usize) -> Range<usize> {
    let here = if left < REFERENCES { left } else { REFERENCES };
    1..here.saturating_add(1)
}

/// Whether `references`, which this sorts, are those of as many pages: none is zero, none is there twice.
pub fn are_distinct(references: &mut [u32]) -> bool {
    sort(references);
    references.first() != Some(&0)
        && references
            .windows(2)
            .all(|pair| pair.first() != pair.last())
}

/// Sorts by a heap. `core`'s sort has ends that objtool does not know not to return.
fn sort(words: &mut [u32]) {
    for root in (0..words.len() / 2).rev() {
        sift(words, root);
    }
    for end in (1..words.len()).rev() {
        words.swap(0, end);
        if let Some(heap) = words.get_mut(..end) {
            sift(heap, 0);
        }
    }
}

/// Lets the word at `root` sink below greater ones, in a heap that it alone spoils.
fn sift(heap: &mut [u32], mut root: usize) {
    loop {
        let left = root.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let greater = if heap.get(left) < heap.get(right) {
            right
        } else {
            left
        };
        // What is not there is less than all.
        if heap.get(greater) <= heap.get(root) {
            return;
        }
        heap.swap(root, greater);
        root = greater;
    }
}
