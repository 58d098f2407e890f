// SPDX-License-Identifier: GPL-2.0

//! The event page against a hostile peer.

#![no_main]

use displif_host_tests::properties::event_ring;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| event_ring::check(data));
