// SPDX-License-Identifier: GPL-2.0

//! The readers of configuration, on any bytes.

#![no_main]

use displif_host_tests::properties::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| config::check(data));
