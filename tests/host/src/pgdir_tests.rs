// SPDX-License-Identifier: GPL-2.0

//! The page directory, read back the way the protocol's header says a backend reads it.

use crate::pgdir::REFERENCES;
use crate::pgdir::WORDS;
use crate::pgdir::are_distinct;
use crate::pgdir::pages;
use crate::pgdir::places;
use crate::pgdir::words;
use proptest::prelude::*;

/// The directory of `references`, as pages; page `i` has the reference `1_000_000 + i`.
fn write(references: &[u32]) -> Vec<Vec<u32>> {
    let count = pages(references.len());
    let mut references = references.iter().copied();
    (0..count)
        .map(|page| {
            let next = if page + 1 < count {
                1_000_001 + page as u32
            } else {
                0
            };
            words(next, &mut references).collect()
        })
        .collect()
}

/// Follows the chain from the first page, and takes `count` references.
fn read(directory: &[Vec<u32>], count: usize) -> Vec<u32> {
    let mut found = Vec::new();
    let mut page = directory.first();
    while let Some(words) = page {
        let (next, references) = words.split_first().expect("a page has words");
        found.extend_from_slice(references);
        page = match next {
            0 => None,
            next => directory.get((next - 1_000_000) as usize),
        };
    }
    assert!(
        found.iter().skip(count).all(|reference| *reference == 0),
        "the rest is zero"
    );
    found.truncate(count);
    found
}

#[test]
fn boundaries() {
    let per_page = REFERENCES;
    assert_eq!(per_page, 1023);
    for (references, directory) in [
        (0, 0),
        (1, 1),
        (per_page, 1),
        (per_page + 1, 2),
        (2 * per_page, 2),
        (2 * per_page + 1, 3),
        (32400, 32),
    ] {
        assert_eq!(pages(references), directory, "{references} references");
    }
}

#[test]
fn references_are_behind_the_link() {
    assert_eq!(places(0), 1..1);
    assert_eq!(places(1), 1..2);
    assert_eq!(places(REFERENCES), 1..WORDS);
    assert_eq!(places(usize::MAX), 1..WORDS);
}

#[test]
fn a_1080p_picture_takes_two_pages() {
    let references: Vec<u32> = (1..=2025).collect();
    let directory = write(&references);
    assert_eq!(directory.len(), 2);
    assert!(directory.iter().all(|page| page.len() == WORDS));
    assert_eq!(directory[1][0], 0);
    assert_eq!(read(&directory, 2025), references);
}

#[test]
fn zero_and_twice_the_same_are_no_references_of_pages() {
    assert!(are_distinct(&mut []));
    assert!(are_distinct(&mut [8]));
    assert!(are_distinct(&mut [9, 8, 7]));
    assert!(!are_distinct(&mut [0]));
    assert!(!are_distinct(&mut [9, 0, 7]));
    assert!(!are_distinct(&mut [9, 8, 7, 9]));
}

proptest! {
    #[test]
    fn a_reference_that_is_there_again_is_found(
        references in prop::collection::hash_set(1u32.., 1..3000),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let mut references: Vec<u32> = references.into_iter().collect();
        prop_assert!(are_distinct(&mut references.clone()));
        let again = references[from.index(references.len())];
        references.insert(to.index(references.len() + 1), again);
        prop_assert!(!are_distinct(&mut references));
    }

    #[test]
    fn what_is_written_is_read(references in prop::collection::vec(1u32.., 0..5000)) {
        let directory = write(&references);
        prop_assert!(directory.iter().all(|page| page.len() == WORDS));
        prop_assert_eq!(read(&directory, references.len()), references);
    }
}
