// SPDX-License-Identifier: GPL-2.0
//! Page directories: linked pages of grant references, which a guest fills.

use crate::memory::Mapper;
use crate::protocol::{Errno, GrantRef, REFS_PER_DIRECTORY_PAGE};
use crate::refusal::Refusal;
use std::sync::atomic::{AtomicU32, Ordering};

/// Reads `count` references from the directory that starts with the page `first`; each word is read once.
///
/// # Errors
///
/// EINVAL: the directory ends early, or holds the reference 0, which no guest may grant. EIO: a page of it cannot be mapped.
pub fn read(mapper: &dyn Mapper, first: GrantRef, count: usize) -> Result<Vec<GrantRef>, Refusal> {
    let mut refs = Vec::with_capacity(count);
    walk(mapper, first, count, |page, index, word| {
        match word.load(Ordering::Relaxed) {
            0 => Err(Refusal::invalid(format!(
                "reference {index} of the directory page {page} is 0"
            ))),
            reference => {
                refs.push(reference);
                Ok(())
            }
        }
    })?;
    Ok(refs)
}

/// Writes references to the directory that starts with the page `first`, which the guest has linked.
///
/// # Errors
///
/// EINVAL: the directory ends early. EIO: a page of it cannot be mapped.
pub fn write(mapper: &dyn Mapper, first: GrantRef, refs: &[GrantRef]) -> Result<(), Refusal> {
    let mut rest = refs.iter();
    walk(mapper, first, refs.len(), |_, _, word| {
        word.store(rest.next().copied().unwrap_or(0), Ordering::Relaxed);
        Ok(())
    })
}

/// What the last page of the directory of `count` references has after them: nothing of the protocol's.
///
/// # Errors
///
/// As [`read`].
pub fn rest(mapper: &dyn Mapper, first: GrantRef, count: usize) -> Result<Vec<u32>, Refusal> {
    let used = match count % REFS_PER_DIRECTORY_PAGE {
        0 => return Ok(Vec::new()),
        used => used,
    };
    let mut last = first;
    walk(mapper, first, count, |page, _, _| {
        last = page;
        Ok(())
    })?;
    let page = mapper
        .map(&[last])
        .map_err(|error| Refusal::new(Errno::EIO, format!("the directory page {last}: {error}")))?;
    let rest = page.words().iter().skip(1 + used);
    Ok(rest.map(|word| word.load(Ordering::Relaxed)).collect())
}

/// Goes over the places of `count` references: `visit` gets the page, the place's index there, and the word.
fn walk(
    mapper: &dyn Mapper,
    first: GrantRef,
    count: usize,
    mut visit: impl FnMut(GrantRef, usize, &AtomicU32) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut next = first;
    let mut left = count;
    // `count` bounds the walk, so a directory that is linked to itself does no harm.
    while left > 0 {
        if next == 0 {
            return Err(Refusal::invalid(format!(
                "the page directory ends after {} of {count} references",
                count - left
            )));
        }
        let page = mapper.map(&[next]).map_err(|error| {
            Refusal::new(
                Errno::EIO,
                format!("the directory page {next} cannot be mapped: {error}"),
            )
        })?;
        let here = left.min(REFS_PER_DIRECTORY_PAGE);
        for (index, word) in page.words().iter().skip(1).take(here).enumerate() {
            visit(next, index, word)?;
        }
        left -= here;
        let words = page.words();
        next = words.first().map_or(0, |word| word.load(Ordering::Relaxed));
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::memory::SharedMemory;
    use crate::protocol::PAGE_SIZE;
    use std::collections::HashMap;
    use std::io;

    /// A guest made of page directories; any other reference below 1000000 is a page of zeros.
    pub struct FakeGuest(pub HashMap<GrantRef, Vec<u32>>);

    impl Mapper for FakeGuest {
        fn map(&self, refs: &[GrantRef]) -> io::Result<SharedMemory> {
            if refs.iter().any(|reference| *reference >= 1_000_000) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let mut words = vec![0; refs.len() * PAGE_SIZE / 4];
            if let Some(page) = refs.first().and_then(|first| self.0.get(first)) {
                words[..page.len()].copy_from_slice(page);
            }
            Ok(SharedMemory::heap(&words))
        }
    }

    fn page(next: u32, refs: impl Iterator<Item = u32>) -> Vec<u32> {
        std::iter::once(next).chain(refs).collect()
    }

    #[test]
    fn pages_are_followed_at_their_edges() {
        let full = REFS_PER_DIRECTORY_PAGE as u32;
        let guest = FakeGuest(HashMap::from([
            (7, page(8, 100..100 + full)),
            (8, page(9, 5000..5000 + full)),
            (9, page(0, 9000..9003)),
        ]));
        for count in [0, 1, full, full + 1, 2 * full, 2 * full + 3] {
            let refs = read(&guest, 7, count as usize).expect("a sound directory");
            assert_eq!(refs.len(), count as usize);
            if count > full {
                assert_eq!(refs[full as usize], 5000);
            }
        }
    }

    #[test]
    fn what_follows_the_references_is_found() {
        let full = REFS_PER_DIRECTORY_PAGE as u32;
        let guest = FakeGuest(HashMap::from([
            (7, page(8, 100..100 + full)),
            (8, page(0, [5, 6, 0, 9].into_iter())),
        ]));
        let rest = |count| rest(&guest, 7, count).expect("a sound directory");
        assert!(rest(full as usize).is_empty());
        let after_two = rest(full as usize + 2);
        assert_eq!(after_two.len(), full as usize - 2);
        assert_eq!(after_two.iter().position(|word| *word != 0), Some(1));
    }

    #[test]
    fn broken_directories_are_refused() {
        let guest = FakeGuest(HashMap::from([
            (7, page(0, 100..100 + REFS_PER_DIRECTORY_PAGE as u32)),
            (8, page(8, 100..100 + REFS_PER_DIRECTORY_PAGE as u32)),
            (9, page(0, [5, 0, 6].into_iter())),
        ]));
        let count = 2 * REFS_PER_DIRECTORY_PAGE;
        let errno = |first, count| read(&guest, first, count).map_err(|refusal| refusal.errno);
        assert_eq!(errno(0, 1), Err(Errno::EINVAL));
        assert_eq!(errno(7, count), Err(Errno::EINVAL));
        assert_eq!(errno(9, 3), Err(Errno::EINVAL));
        assert_eq!(errno(1_000_000, 1), Err(Errno::EIO));
        // Linked to itself: bounded by the count.
        assert_eq!(errno(8, count).map(|refs| refs.len()), Ok(count));
    }
}
