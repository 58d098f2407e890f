// SPDX-License-Identifier: GPL-2.0

//! A page directory that a hostile peer fills in.

#![no_main]

use displif_host_tests::properties::pgdir;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pgdir::check(data));
