// SPDX-License-Identifier: GPL-2.0

//! Properties that hold whatever the peer does.
//!
//! Each `check` turns bytes into a story, of the frontend's calls and the peer's deeds, and panics if the code under test
//! departs from what is expected. The property tests feed random bytes, the fuzz targets chosen ones.

pub mod config;
pub mod event_ring;
pub mod flip;
pub mod messages;
pub mod pgdir;
pub mod request_ring;
pub mod state;

use arbitrary::Unstructured;

/// An index for the rings to start at: often just before the wrap.
fn start_index(input: &mut Unstructured<'_>) -> u32 {
    match u8::arbitrary_or(input) % 4 {
        0 => 0,
        1 => u32::arbitrary_or(input),
        _ => 0_u32.wrapping_sub(u8::arbitrary_or(input).into()),
    }
}

/// Values from bytes that may have run out: the default then.
trait ArbitraryOr: for<'a> arbitrary::Arbitrary<'a> + Default {
    fn arbitrary_or(input: &mut Unstructured<'_>) -> Self {
        input.arbitrary().unwrap_or_default()
    }
}

impl<T: for<'a> arbitrary::Arbitrary<'a> + Default> ArbitraryOr for T {}
