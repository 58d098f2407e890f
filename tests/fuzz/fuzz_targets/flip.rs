// SPDX-License-Identifier: GPL-2.0

//! Flips against events in any order.

#![no_main]

use displif_host_tests::properties::flip;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| flip::check(data));
