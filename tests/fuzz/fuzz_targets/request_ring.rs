// SPDX-License-Identifier: GPL-2.0

//! The request ring against a hostile peer.

#![no_main]

use displif_host_tests::properties::request_ring;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| request_ring::check(data));
