// SPDX-License-Identifier: GPL-2.0

//! displif, the protocol of PV displays: messages, rings, states and configuration.
//!
//! Pure: no kernel, no allocation, no unsafe, and no panic whatever the peer writes. The same files are compiled into the
//! driver and into the host tests (`tests/host`), so they keep to `core` and to the older of the two editions, 2021.
//!
//! Nothing here trusts the backend. Every shared word is read once, checked as a private copy, and never read back to
//! learn something that the frontend knows by itself.

// The host tests take this module as a library, so everything is `pub`; in the driver it is a private module.
#![allow(unreachable_pub)]

pub mod config;
pub mod events;
pub mod flip;
pub mod message;
pub mod page;
pub mod ring;
pub mod state;

/// Counts one more; a count stays at its largest value.
fn bump(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
