// SPDX-License-Identifier: GPL-2.0

//! The whole table of the state machine, and the limit on reconnects.

use displif_host_tests::displif::state::{Action, BackendState, Flapping, Phase, step};

use Action::{Drop, GoLive, Ignore, Publish, Restart, RestartUnlessDetached};

const PHASES: [Phase; 4] = [
    Phase::Unconnected,
    Phase::Published,
    Phase::Connected,
    Phase::Closing,
];

/// The backend's states by number; 9 stands for all that are none. In each row the phases as in [`PHASES`].
const TABLE: [[Action; 4]; 10] = [
    /* Unknown       */ [Ignore, Drop, Drop, Ignore],
    /* Initialising  */ [Ignore, Drop, Drop, Restart],
    /* InitWait      */ [Publish, Ignore, Drop, Restart],
    /* Initialised   */ [Ignore, Ignore, Ignore, Ignore],
    /* Connected     */ [Ignore, GoLive, Ignore, Ignore],
    /* Closing       */ [Ignore, Drop, Drop, Ignore],
    /* Closed        */ [Ignore, Drop, Drop, RestartUnlessDetached],
    /* Reconfiguring */ [Ignore, Ignore, Ignore, Ignore],
    /* Reconfigured  */ [Ignore, Ignore, Ignore, Ignore],
    /* no state      */ [Ignore, Drop, Drop, Ignore],
];

/// Steps until there is nothing to do.
fn settle(mut phase: Phase, raw: u32) -> (Phase, Vec<Action>) {
    let mut actions = Vec::new();
    loop {
        match step(phase, BackendState::from_raw(raw)) {
            Ignore => return (phase, actions),
            action => {
                phase = action.phase_after(phase);
                actions.push(action);
                assert!(actions.len() <= 3);
            }
        }
    }
}

fn story(states: &[u32]) -> (Phase, Vec<Action>) {
    let mut phase = Phase::Unconnected;
    let mut all = Vec::new();
    for &raw in states {
        let (next, actions) = settle(phase, raw);
        phase = next;
        all.extend(actions);
    }
    (phase, all)
}

#[test]
fn table() {
    for (raw, row) in (0..).zip(TABLE) {
        for (phase, action) in PHASES.into_iter().zip(row) {
            assert_eq!(
                step(phase, BackendState::from_raw(raw)),
                action,
                "{phase:?} {raw}"
            );
        }
    }
}

#[test]
fn first_connection() {
    let expected = (Phase::Connected, vec![Publish, GoLive]);
    assert_eq!(story(&[1, 2, 4]), expected);
    // Q-START, and each state seen more than once.
    assert_eq!(story(&[5, 6, 1, 2, 4]), expected);
    assert_eq!(story(&[5, 5, 6, 1, 1, 2, 2, 2, 4, 4]), expected);
    assert_eq!(story(&[0, 2, 4]), expected);
}

#[test]
fn a_backend_that_comes_back() {
    let expected = vec![Publish, GoLive, Drop, Restart, Publish, GoLive];
    // Its states seen all, or the last only.
    for states in [&[5, 1, 2, 4][..], &[1, 2, 4], &[2, 4]] {
        let (phase, actions) = story(&[&[2, 4], states].concat());
        assert_eq!((phase, &actions), (Phase::Connected, &expected));
    }
    let (phase, actions) = story(&[2, 4, 5, 6, 1, 2, 4]);
    assert_eq!(phase, Phase::Connected);
    assert_eq!(actions[2..4], [Drop, RestartUnlessDetached]);
}

#[test]
fn teardown_ends_in_init_wait_or_closed() {
    // Q-CLOSE: the frontend left by itself, and the backend follows.
    assert_eq!(
        settle(Phase::Closing, 2),
        (Phase::Published, vec![Restart, Publish])
    );
    assert_eq!(
        settle(Phase::Closing, 6),
        (Phase::Unconnected, vec![RestartUnlessDetached])
    );
    // It has not followed yet.
    for raw in [0, 4, 5] {
        assert_eq!(settle(Phase::Closing, raw), (Phase::Closing, vec![]));
    }
}

#[test]
fn any_sign_of_death_ends_a_session() {
    // Q-REBIND
    for raw in [0, 1, 5, 6, 99] {
        for phase in [Phase::Published, Phase::Connected] {
            assert_eq!(settle(phase, raw).1[0], Drop);
        }
    }
}

#[test]
fn reconnects_are_limited() {
    let mut flapping = Flapping::new(100);
    for now in [10, 10, 20, 30] {
        assert_eq!(flapping.reconnect(now), Ok(()));
    }
    assert_eq!(flapping.reconnect(30), Err(80));
    assert_eq!(flapping.reconnect(109), Err(1));
    assert_eq!(flapping.reconnect(110), Ok(()));
    assert_eq!(flapping.reconnect(110), Ok(()));
    assert_eq!(flapping.reconnect(110), Err(10));
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let mut flapping = Flapping::new(100);
    for _ in 0..4 {
        assert_eq!(flapping.reconnect(u64::MAX), Ok(()));
    }
    assert_eq!(flapping.reconnect(0), Err(100));
    let mut flapping = Flapping::new(u64::MAX);
    for _ in 0..4 {
        assert_eq!(flapping.reconnect(0), Ok(()));
    }
    assert_eq!(flapping.reconnect(5), Err(u64::MAX - 5));
    let mut flapping = Flapping::new(0);
    for _ in 0..100 {
        assert_eq!(flapping.reconnect(0), Ok(()));
    }
}
