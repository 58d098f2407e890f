// SPDX-License-Identifier: GPL-2.0

//! The decoders of responses and events, on any bytes.

#![no_main]

use displif_host_tests::properties::messages;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| messages::check_decoders(data));
