// SPDX-License-Identifier: GPL-2.0

//! The state machine against any states in any order.

#![no_main]

use displif_host_tests::properties::state;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| state::check_states(data));
