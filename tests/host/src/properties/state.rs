// SPDX-License-Identifier: GPL-2.0

//! The state machine against a backend, or a toolstack, that writes any states in any order; and the limit on reconnects.

use arbitrary::{Arbitrary, Unstructured};

use super::ArbitraryOr;
use crate::displif::state::{Action, BackendState, Flapping, Phase, step};

/// Checks a story of states: each action fits what the frontend has, and the frontend always comes to rest.
pub fn check_states(data: &[u8]) {
    let mut phase = Phase::Unconnected;
    let mut rings = false;
    for &raw in data {
        let backend = BackendState::from_raw(u32::from(raw % 10));
        let mut actions = 0;
        loop {
            let action = step(phase, backend);
            match action {
                Action::Ignore => break,
                Action::Publish => {
                    assert!(!rings, "old rings would be published");
                    assert_eq!(backend, BackendState::InitWait);
                    rings = true;
                }
                Action::GoLive => {
                    assert!(rings);
                    assert_eq!(phase, Phase::Published);
                    assert_eq!(backend, BackendState::Connected);
                }
                Action::Drop => {
                    assert!(rings, "nothing to drop");
                    rings = false;
                }
                Action::Restart | Action::RestartUnlessDetached => {
                    assert!(!rings);
                    assert_eq!(phase, Phase::Closing, "the state must change");
                }
            }
            phase = action.phase_after(phase);
            actions += 1;
            assert!(actions <= 3, "no rest at {phase:?}, {backend:?}");
        }
        assert_eq!(rings, matches!(phase, Phase::Published | Phase::Connected));
    }
}

/// Checks a story of reconnects: at most four in any window, and each wait is exact.
pub fn check_flapping(data: &[u8]) {
    let mut story = Unstructured::new(data);
    let window = u64::from(u16::arbitrary_or(&mut story));
    let mut flapping = Flapping::new(window);
    let mut now = u64::from(u32::arbitrary_or(&mut story));
    let mut reconnects = Vec::new();
    while !story.is_empty() {
        let Ok(passed) = u16::arbitrary(&mut story) else {
            break;
        };
        now += u64::from(passed) % 4096;
        let recent = reconnects.iter().filter(|&&at| now - at < window);
        let allowed = recent.clone().count() < 4;
        match flapping.reconnect(now) {
            Ok(()) => {
                assert!(allowed);
                reconnects.push(now);
            }
            Err(wait) => {
                assert!(!allowed);
                let oldest = recent.min().copied().unwrap_or(now);
                assert_eq!(now + wait, oldest + window);
            }
        }
    }
}
