// SPDX-License-Identifier: GPL-2.0

//! Frontend and backend together: every state that the two can reach, with a backend that dies, comes back, fails and closes
//! at any moment, and a frontend that gives up by itself.
//!
//! The backend follows the rules of a public one: it reacts to changes of the frontend's state only, ends a teardown in
//! InitWait or Closed, and passes through Closing, Closed and Initialising when its process starts. Each end sees the
//! other's state as a watch shows it: some time after a change, and only the latest.
//!
//! The property: once nothing goes wrong any longer, every path leads to both ends being Connected over the rings of the
//! frontend's present session, in finitely many steps.
//!
//! Beyond reach: a backend that says Closed although it has seen the frontend's Initialising, and then waits for a change.
//! The frontend has nothing new to say to it that a watch would be sure to show.

use std::collections::{HashMap, HashSet};

use displif_host_tests::displif::state::{Action, BackendState, Phase, step};

/// Which rings the backend uses.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
enum Bound {
    None,
    /// Those of the present session, and nobody has used them before.
    Current,
    /// Those of an earlier session, or that an earlier process has used.
    Stale,
}

/// The process of the backend.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
enum Process {
    Dead,
    /// Starting: how many of its states it has written.
    Starting(u8),
    Running,
}

/// Both ends.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    phase: Phase,
    /// The rings of the session have been used by some process of the backend.
    used: bool,
    /// The frontend has not looked since the backend wrote.
    frontend_to_look: bool,

    process: Process,
    backend: u32,
    bound: Bound,
    /// The frontend's state that the backend saw last.
    seen: Option<u32>,
    /// The backend has not looked since the frontend wrote.
    backend_to_look: bool,
}

/// The frontend's state in XenStore.
fn frontend(phase: Phase) -> u32 {
    match phase {
        Phase::Unconnected => 1,
        Phase::Published => 3,
        Phase::Connected => 4,
        Phase::Closing => 6,
    }
}

impl World {
    fn start() -> Self {
        Self {
            phase: Phase::Unconnected,
            used: false,
            frontend_to_look: true,
            process: Process::Dead,
            backend: 1,
            bound: Bound::None,
            seen: None,
            backend_to_look: false,
        }
    }

    fn connected(&self) -> bool {
        self.phase == Phase::Connected && self.backend == 4 && self.bound == Bound::Current
    }

    fn backend_says(&mut self, state: u32) {
        self.backend = state;
        self.frontend_to_look = true;
    }

    fn frontend_does(&mut self, action: Action) {
        if matches!(action, Action::Drop | Action::Publish) {
            self.used = false;
            if self.bound == Bound::Current {
                self.bound = Bound::Stale;
            }
        }
        self.phase = action.phase_after(self.phase);
        self.backend_to_look = true;
    }

    /// The frontend looks.
    fn frontend_looks(mut self) -> Self {
        self.frontend_to_look = false;
        for _ in 0..4 {
            match step(self.phase, BackendState::from_raw(self.backend)) {
                Action::Ignore => return self,
                action => self.frontend_does(action),
            }
        }
        panic!("the frontend never rests: {self:?}");
    }

    /// The backend looks.
    fn backend_looks(mut self) -> Self {
        self.backend_to_look = false;
        let state = frontend(self.phase);
        if self.seen == Some(state) {
            return self;
        }
        self.seen = Some(state);
        match (state, self.backend) {
            (1 | 6, 4) => {
                self.bound = Bound::None;
                self.backend_says(2);
            }
            (1, 1 | 6) => self.backend_says(2),
            (3 | 4, 1 | 2) => {
                self.bound = if self.used {
                    Bound::Stale
                } else {
                    Bound::Current
                };
                self.used = true;
                self.backend_says(4);
            }
            _ => (),
        }
        self
    }

    /// The backend's process goes on starting.
    fn starts(mut self, written: u8) -> Self {
        match written {
            0 => self.backend_says(5),
            1 => self.backend_says(6),
            _ => {
                self.backend_says(1);
                self.process = Process::Running;
                self.backend_to_look = true;
                return self;
            }
        }
        self.process = Process::Starting(written + 1);
        self
    }

    /// The session finds out by itself that it is of no use: time-outs, a dead ring, a lost event channel.
    fn session_gives_up(mut self) -> Self {
        self.frontend_does(Action::Drop);
        self.frontend_to_look = true;
        self
    }

    /// What may come next when nothing goes wrong.
    fn next(self) -> Vec<Self> {
        let mut next = Vec::new();
        if self.frontend_to_look {
            next.push(self.frontend_looks());
        }
        match self.process {
            Process::Running if self.backend_to_look => next.push(self.backend_looks()),
            Process::Starting(written) => next.push(self.starts(written)),
            Process::Running | Process::Dead => (),
        }
        // A session over other rings than the backend's cannot go on for ever without anybody noticing.
        if self.phase == Phase::Connected && self.bound != Bound::Current {
            next.push(self.session_gives_up());
        }
        next
    }

    /// What may go wrong.
    fn faults(self) -> Vec<Self> {
        let mut faults = Vec::new();
        if self.process != Process::Dead {
            faults.push(Self {
                process: Process::Dead,
                bound: Bound::None,
                seen: None,
                backend_to_look: false,
                ..self
            });
        }
        if self.process == Process::Dead {
            faults.push(Self {
                process: Process::Starting(0),
                ..self
            });
        }
        if self.process == Process::Running && self.backend == 4 {
            // It found the ring broken, or could not show the picture.
            let mut closed = Self {
                bound: Bound::None,
                ..self
            };
            closed.backend_says(6);
            faults.push(closed);
        }
        if matches!(self.phase, Phase::Published | Phase::Connected) {
            faults.push(self.session_gives_up());
        }
        faults
    }
}

/// All worlds that can be reached.
fn reachable() -> HashSet<World> {
    let mut found = HashSet::from([World::start()]);
    let mut todo = vec![World::start()];
    while let Some(world) = todo.pop() {
        for next in world.next().into_iter().chain(world.faults()) {
            if found.insert(next) {
                todo.push(next);
            }
        }
    }
    found
}

/// The most steps from here until both ends are at rest, all being well there. Panics when they are not, or never rest.
fn steps_to_rest(world: World, known: &mut HashMap<World, Option<u32>>) -> u32 {
    match known.insert(world, None) {
        Some(Some(steps)) => {
            known.insert(world, Some(steps));
            return steps;
        }
        Some(None) => panic!("round in circles: {world:?}"),
        None => (),
    }
    let next = world.next();
    if next.is_empty() {
        assert!(world.connected(), "stuck: {world:?}");
    }
    let steps = next
        .into_iter()
        .map(|next| steps_to_rest(next, known) + 1)
        .max()
        .unwrap_or(0);
    known.insert(world, Some(steps));
    steps
}

#[test]
fn every_path_leads_to_a_connection() {
    let worlds = reachable();
    let mut known = HashMap::new();
    let mut most = 0;
    for world in &worlds {
        // A backend that stays dead connects with nobody.
        if world.process != Process::Dead {
            most = most.max(steps_to_rest(*world, &mut known));
        }
    }
    // That the exploration is one.
    assert!(worlds.len() > 100, "{} worlds", worlds.len());
    assert!(worlds.iter().any(World::connected));
    assert!(most < 40, "{most} steps");
}

#[test]
fn a_new_session_never_meets_used_rings() {
    for world in reachable() {
        if world.phase == Phase::Unconnected || world.phase == Phase::Closing {
            assert!(!world.used, "{world:?}");
            assert_ne!(world.bound, Bound::Current, "{world:?}");
        }
    }
}
