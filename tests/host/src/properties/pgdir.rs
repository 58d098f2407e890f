// SPDX-License-Identifier: GPL-2.0

//! A page directory that the peer fills in.

use std::collections::HashSet;

use arbitrary::{Arbitrary, Unstructured};

use super::ArbitraryOr;
use crate::pgdir::{REFERENCES, WORDS, are_distinct, pages, places, words};

/// More than two pages of references.
const MOST: usize = 2100;

/// Checks a directory that is made here, that the peer writes any words into, and that is read back: what is read are the references and nothing
/// else, each once, and only what can be references of pages is accepted.
pub fn check(data: &[u8]) {
    let mut story = Unstructured::new(data);
    let count = usize::from(u16::arbitrary_or(&mut story)) % MOST;
    let first = u32::arbitrary_or(&mut story);

    // The peer that does as it should: references one after the other.
    let mut given = (0..).map(|i| first.wrapping_add(i)).take(count);
    let mut directory: Vec<u32> = Vec::new();
    for page in 1..=pages(count) {
        let next = if page < pages(count) { u32::MAX } else { 0 };
        let page: Vec<u32> = words(next, &mut given).collect();
        assert_eq!(page.len(), WORDS);
        assert_eq!(page[0], next);
        directory.extend(page);
    }
    assert_eq!(given.next(), None, "there is room for all");
    assert!(directory.len() < (count / REFERENCES + 2) * WORDS);

    // And then as it likes.
    while !story.is_empty() && !directory.is_empty() {
        let (Ok(place), Ok(word)) = (u16::arbitrary(&mut story), u32::arbitrary(&mut story)) else {
            break;
        };
        let place = usize::from(place) % directory.len();
        directory[place] = word;
    }

    let mut read = Vec::new();
    for page in directory.chunks(WORDS) {
        let places = places(count - read.len());
        read.extend(places.map(|place| page[place]));
    }
    let expected: Vec<u32> = (0..count)
        .map(|i| directory[i / 1023 * 1024 + 1 + i % 1023])
        .collect();
    assert_eq!(read, expected);

    let different: HashSet<u32> = read.iter().copied().collect();
    let good = different.len() == count && !different.contains(&0);
    let mut sorted = read.clone();
    assert_eq!(are_distinct(&mut sorted), good);
    read.sort_unstable();
    assert_eq!(sorted, read, "sorted, and nothing else");
}
