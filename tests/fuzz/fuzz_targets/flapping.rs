// SPDX-License-Identifier: GPL-2.0

//! The limit on reconnects.

#![no_main]

use displif_host_tests::properties::state;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| state::check_flapping(data));
