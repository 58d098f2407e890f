// SPDX-License-Identifier: GPL-2.0

//! The properties, on random stories.

use std::fmt;

use displif_host_tests::properties::{
    config, event_ring, flip, messages, pgdir, request_ring, state,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes that print in one line, and as the fuzz targets take them.
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn request_ring(data in bytes(4096)) {
        request_ring::check(&data.0);
    }

    #[test]
    fn event_ring(data in bytes(2048)) {
        event_ring::check(&data.0);
    }

    #[test]
    fn flip(data in bytes(512)) {
        flip::check(&data.0);
    }

    #[test]
    fn states(data in bytes(256)) {
        state::check_states(&data.0);
    }

    #[test]
    fn flapping(data in bytes(256)) {
        state::check_flapping(&data.0);
    }

    #[test]
    fn page_directory(data in bytes(256)) {
        pgdir::check(&data.0);
    }

    #[test]
    fn decoders(data in bytes(65)) {
        messages::check_decoders(&data.0);
    }

    #[test]
    fn encoder(data in bytes(65), id: u16) {
        messages::check_encoder(&data.0, id);
    }

    #[test]
    fn config_of_any_bytes(text in bytes(300)) {
        config::check(&text.0);
    }

    #[test]
    fn config_of_likely_text(text in "[0-9]{0,6}[x ,]?[0-9+-]{0,6}[x, \n]?") {
        config::check(text.as_bytes());
    }

    #[test]
    fn config_of_lists(text in "([0-9 ]{0,3},){0,6}") {
        config::check(text.as_bytes());
    }
}
