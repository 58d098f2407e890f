// SPDX-License-Identifier: GPL-2.0
//! The life of one guest device: both ends' states in XenStore, and the session while they are connected.

use crate::connector;
use crate::report::say;
use crate::session::{Environment, Guest, Handle};
use crate::xenstore::{Store, XenbusState};
use anyhow::{Context, Result, bail};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a frontend may stay in the state Initialised after a failure before it is tried again nevertheless.
const STUCK_FRONTEND: Duration = Duration::from_secs(3);
/// Between the first failure and the next attempt; each further failure doubles it. A guest that always fails must not keep
/// this domain busy.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 5;

/// What the backend tells frontends that it speaks.
#[derive(Clone, Debug)]
pub struct Versions {
    /// From lowest to highest.
    pub supported: Vec<u32>,
    /// Whether XenStore says so; some backends never do.
    pub advertised: bool,
}

impl Versions {
    fn node(&self) -> Option<String> {
        self.advertised.then(|| {
            self.supported
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        })
    }
}

/// Where a device is.
enum Phase {
    /// Not touched yet.
    New,
    /// InitWait: the frontend may connect.
    Waiting,
    /// Connected.
    Serving {
        session: Handle,
        /// The frontend has said so, too; if it is Initialised after that, it has started anew.
        confirmed: bool,
    },
    /// The session was told to end.
    Stopping { session: Handle, then: Then },
    /// Closed after a failure, or because the states that were found are somebody else's: until the frontend starts over.
    Failed { since: Instant },
    /// Closed because the toolstack wants it so.
    Detached,
    /// The directory is gone.
    Gone,
}

/// What follows the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Wait,
    Detach,
    Vanish,
}

/// One guest device.
pub struct Device {
    domid: u32,
    number: u32,
    directory: String,
    /// The frontend's directory, once it is known and watched.
    frontend: Option<String>,
    /// What this side last wrote.
    state: XenbusState,
    phase: Phase,
    /// Since the device was last connected, and why the last one.
    failures: u32,
    reason: String,
    environment: Arc<Environment>,
}

impl Device {
    /// A device with this directory.
    pub fn new(domid: u32, number: u32, directory: String, environment: Arc<Environment>) -> Self {
        Device {
            domid,
            number,
            directory,
            frontend: None,
            state: XenbusState::Unknown,
            phase: Phase::New,
            failures: 0,
            reason: String::new(),
            environment,
        }
    }

    /// Whether this is the device with this directory.
    pub fn is_at(&self, directory: &str) -> bool {
        self.directory == directory
    }

    /// Whether there is nothing left of it.
    pub fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    /// Whether it waits for its session to end, which no hint will tell.
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// Whether a frontend is connected to it.
    pub fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving { .. })
    }

    /// Writes a text to a node of its directory, for a fault.
    ///
    /// # Errors
    ///
    /// XenStore's.
    pub async fn write_fault(&self, node: &str, value: &str, store: &Store) -> Result<()> {
        store
            .update(&self.directory, &[(node, Some(value))])
            .await
            .map(drop)
    }

    /// Asks for files of what is on the screen.
    pub fn snapshot(&self) {
        if let Phase::Serving { session, .. } = &self.phase {
            session.snapshot();
        }
    }

    /// Looks at both ends and does what is to be done; to be called whenever something may have changed.
    ///
    /// # Errors
    ///
    /// XenStore's.
    pub async fn poll(&mut self, store: &Store) -> Result<()> {
        let Some(own) = store.read(&format!("{}/state", self.directory)).await? else {
            return self.vanish(store).await;
        };
        let own = XenbusState::parse(&own);
        let online = store
            .read(&format!("{}/online", self.directory))
            .await?
            .is_none_or(|online| online != "0");
        if matches!(self.phase, Phase::New) {
            return self.take_up(own, store).await;
        }
        if own != self.state && own == XenbusState::Initialising && online {
            // The toolstack has made it anew under the same name.
            return self.leave(Then::Wait, store).await;
        }
        if !online
            || (own != self.state && matches!(own, XenbusState::Closing | XenbusState::Closed))
        {
            return self.leave(Then::Detach, store).await;
        }
        let theirs = self.frontend_state(store).await?;
        self.follow(theirs, store).await
    }

    /// Ends everything, for the process is about to end: the frontend sees Closing and Closed.
    ///
    /// # Errors
    ///
    /// XenStore's.
    pub async fn shut_down(&mut self, store: &Store) -> Result<()> {
        match &self.phase {
            Phase::New | Phase::Gone | Phase::Detached => Ok(()),
            _ => self.leave(Then::Detach, store).await,
        }
    }

    /// Whether [`Self::shut_down`] has come to its end.
    pub fn is_down(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Gone | Phase::Detached)
    }

    async fn take_up(&mut self, own: XenbusState, store: &Store) -> Result<()> {
        let path = format!("{}/frontend", self.directory);
        let expected = format!("/local/domain/{}/device/vdispl/{}", self.domid, self.number);
        let frontend = store
            .read(&path)
            .await?
            .filter(|path| !path.is_empty())
            .unwrap_or(expected);
        if self.frontend.is_none() {
            store.watch(&format!("{frontend}/state")).await?;
            self.frontend = Some(frontend);
        }
        log::info!("{self}: found in state {own}");
        if own == XenbusState::Initialising {
            return self.wait(store).await;
        }
        // Another backend's states: whatever the frontend had with that one, it has to give up first.
        self.close(store).await?;
        self.phase = Phase::Failed {
            since: Instant::now(),
        };
        Ok(())
    }

    async fn follow(&mut self, theirs: XenbusState, store: &Store) -> Result<()> {
        let phase = std::mem::replace(&mut self.phase, Phase::New);
        match phase {
            Phase::Waiting if theirs == XenbusState::Initialised => {
                self.phase = phase;
                self.connect(store).await
            }
            Phase::Serving { session, .. } if session.is_finished() => {
                let why = session.join().map_or_else(
                    |error| format!("{error:#}"),
                    |()| "its session has ended".into(),
                );
                self.fail(&why, store).await
            }
            Phase::Serving { session, confirmed } => {
                let over = match theirs {
                    XenbusState::Unknown
                    | XenbusState::Initialising
                    | XenbusState::Closing
                    | XenbusState::Closed => true,
                    // A frontend that has started anew without being seen to close.
                    XenbusState::Initialised => {
                        confirmed || !self.is_unchanged(&session, store).await
                    }
                    _ => false,
                };
                let confirmed = confirmed || theirs == XenbusState::Connected;
                self.phase = Phase::Serving { session, confirmed };
                if over {
                    self.leave(Then::Wait, store).await
                } else {
                    Ok(())
                }
            }
            Phase::Stopping { session, then } if session.is_finished() => {
                self.ended(session);
                self.phase = Phase::Waiting;
                self.leave(then, store).await
            }
            Phase::Failed { since } => {
                self.phase = phase;
                let restarted = matches!(
                    theirs,
                    XenbusState::Unknown | XenbusState::Initialising | XenbusState::Closed
                );
                // A frontend may have missed that this side was closed, and wait for it to connect.
                let stuck = theirs == XenbusState::Initialised && since.elapsed() > STUCK_FRONTEND;
                let doublings = self.failures.saturating_sub(1).min(MOST_DOUBLINGS);
                let paused = since.elapsed() > PAUSE_AFTER_FAILURE * 2u32.pow(doublings);
                if paused && (restarted || stuck) {
                    self.wait(store).await?;
                }
                Ok(())
            }
            _ => {
                self.phase = phase;
                Ok(())
            }
        }
    }

    async fn connect(&mut self, store: &Store) -> Result<()> {
        match self.start_session(store).await {
            Ok(session) => {
                let count = session.connectors.len();
                self.phase = Phase::Serving {
                    session,
                    confirmed: false,
                };
                self.failures = 0;
                self.write_state(XenbusState::Connected, store).await?;
                say!(
                    "{self}: connected, {count} connector{}",
                    if count == 1 { "" } else { "s" }
                );
                Ok(())
            }
            Err(error) => self.fail(&format!("{error:#}"), store).await,
        }
    }

    async fn start_session(&self, store: &Store) -> Result<Handle> {
        let frontend = self.frontend.as_deref().context("there is no frontend")?;
        let version = match store.read(&format!("{frontend}/version")).await? {
            None => 1,
            Some(text) => match text.parse() {
                Ok(version) if self.environment.versions.supported.contains(&version) => version,
                _ => bail!("the frontend wants a protocol version that is not offered"),
            },
        };
        let connectors = connector::read_all(store, frontend).await?;
        // A driver domain may not read it.
        let name = store
            .read(&format!("/local/domain/{}/name", self.domid))
            .await
            .unwrap_or_else(|error| {
                log::info!("{self}: the guest goes by its number: {error:#}");
                None
            });
        let name = name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| self.domid.to_string());
        let guest = Guest {
            domid: self.domid,
            name,
            device: self.number,
            version,
        };
        Handle::start(guest, connectors, &self.environment)
    }

    /// Whether the frontend still offers what the session is bound to.
    async fn is_unchanged(&self, session: &Handle, store: &Store) -> bool {
        let Some(frontend) = self.frontend.as_deref() else {
            return false;
        };
        connector::read_all(store, frontend)
            .await
            .is_ok_and(|now| now == session.connectors)
    }

    /// Ends the session, if there is one, and goes on to `then`.
    async fn leave(&mut self, then: Then, store: &Store) -> Result<()> {
        match std::mem::replace(&mut self.phase, Phase::New) {
            Phase::Serving { session, .. } => {
                session.stop();
                self.phase = Phase::Stopping { session, then };
                Ok(())
            }
            Phase::Stopping {
                session,
                then: before,
            } if !session.is_finished() => {
                // What the toolstack wants outlasts what the guest wants.
                let then = if then == Then::Wait { before } else { then };
                self.phase = Phase::Stopping { session, then };
                Ok(())
            }
            phase => {
                if let Phase::Stopping { session, .. } = phase {
                    self.ended(session);
                }
                match then {
                    Then::Wait => self.wait(store).await,
                    Then::Detach => {
                        self.close(store).await?;
                        self.phase = Phase::Detached;
                        Ok(())
                    }
                    Then::Vanish => {
                        self.phase = Phase::Gone;
                        match self.frontend.take() {
                            Some(frontend) => store.unwatch(&format!("{frontend}/state")).await,
                            None => Ok(()),
                        }
                    }
                }
            }
        }
    }

    async fn vanish(&mut self, store: &Store) -> Result<()> {
        if self.is_gone() {
            Ok(())
        } else {
            self.leave(Then::Vanish, store).await
        }
    }

    async fn fail(&mut self, why: &str, store: &Store) -> Result<()> {
        // Once is enough for one that is tried again and again.
        if self.failures == 0 || self.reason != why {
            say!("{self}: closed: {why}");
        }
        self.failures = self.failures.saturating_add(1);
        why.clone_into(&mut self.reason);
        self.close(store).await?;
        self.phase = Phase::Failed {
            since: Instant::now(),
        };
        Ok(())
    }

    async fn wait(&mut self, store: &Store) -> Result<()> {
        self.phase = Phase::Waiting;
        let versions = self.environment.versions.node();
        let nodes = [("versions", versions.as_deref())];
        store.update(&self.directory, &nodes).await?;
        self.write_state(XenbusState::InitWait, store).await
    }

    async fn close(&mut self, store: &Store) -> Result<()> {
        if self.state != XenbusState::Closed {
            self.write_state(XenbusState::Closing, store).await?;
        }
        self.write_state(XenbusState::Closed, store).await
    }

    fn ended(&self, session: Handle) {
        match session.join() {
            Ok(()) => say!("{self}: disconnected"),
            Err(error) => say!("{self}: disconnected: {error:#}"),
        }
    }

    async fn frontend_state(&self, store: &Store) -> Result<XenbusState> {
        let Some(frontend) = &self.frontend else {
            return Ok(XenbusState::Unknown);
        };
        let text = store.read(&format!("{frontend}/state")).await?;
        Ok(text.map_or(XenbusState::Unknown, |text| XenbusState::parse(&text)))
    }

    async fn write_state(&mut self, state: XenbusState, store: &Store) -> Result<()> {
        self.state = state;
        // If the directory is gone meanwhile, the next look finds that out.
        let number = (state as usize).to_string();
        store
            .update(&self.directory, &[("state", Some(&number))])
            .await
            .map(drop)
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "guest {} device {}", self.domid, self.number)
    }
}
