// SPDX-License-Identifier: GPL-2.0

//! Objects that the backend knows by a cookie: a request makes one known, another makes it forgotten.
//!
//! Buffers and framebuffers are both such objects, and live longer than sessions: every new session is told of those
//! that are alive. What user space has dropped is *retired*: it stays in its [`Registry`], and keeps what the backend may still use,
//! until the backend has forgotten it or the session is gone.
//!
//! Lock order: [`Remote::presence`] > [`Registry::list`] > the session's locks.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

use crate::{
    display::{
        CurrentSession,
        DisplaySession, //
    },
    displif::message::Request,
    session::{
        CallError,
        Pending, //
    }, //
};

/// Slots of the first ring that are left to everything else when retired objects are taken back.
const LEAVE_RESERVE: usize = 8;

/// What a backend that knows an object has been told last.
enum Presence {
    /// Nothing, or what was told is void.
    Unknown,
    /// The session of this generation has refused it, and is not asked again.
    Refused(u64, Error),
    /// The session of this generation knows it, or may.
    Known(u64),
    /// The session of this generation was asked to forget it.
    Leaving(u64, Pending),
    /// As `Leaving`, and the time limit has passed.
    Late(u64, Pending),
    /// Forgotten, for good.
    Gone,
}

/// The part of an object that tracks what the backend knows of it.
#[pin_data]
pub(crate) struct Remote {
    #[pin]
    presence: Mutex<Presence>,
    /// The generation of the session that was the last to know it; 0: none has.
    known_to: Atomic<u64>,
    retired: Atomic<bool>,
}

impl Remote {
    /// An object that no backend knows.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            presence <- new_mutex!(Presence::Unknown),
            known_to: Atomic::new(0),
            retired: Atomic::new(false),
        })
    }

    /// An object that the session of this generation knows, or may know.
    pub(crate) fn known_to(generation: u64) -> impl PinInit<Self> {
        pin_init!(Self {
            presence <- new_mutex!(Presence::Known(generation)),
            known_to: Atomic::new(generation),
            retired: Atomic::new(false),
        })
    }

    /// Whether this session knows it, or did before it was asked to forget it.
    pub(crate) fn is_known_to(&self, session: &DisplaySession) -> bool {
        self.known_to.load(Relaxed) == session.generation
    }

    /// Whether user space has dropped it.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Whether a session may still use it other than by forgetting it.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(&*self.presence.lock(), Presence::Known(_))
    }

    /// A word for debugfs.
    pub(crate) fn state(&self) -> &'static str {
        match &*self.presence.lock() {
            Presence::Unknown => "local",
            Presence::Refused(..) => "refused",
            Presence::Known(_) => "known",
            Presence::Leaving(..) => "leaving",
            Presence::Late(..) => "late",
            Presence::Gone => "gone",
        }
    }

    /// Makes it known to the current session, if there is one, and waits for that; a session that ends meanwhile is as
    /// good as none. A `request` that is `Lost` is left to the keeper. What fails now, not earlier, is told to `report`.
    ///
    /// # Errors
    ///
    /// [`CallError`], but never `Lost`.
    pub(crate) fn enter(
        &self,
        sessions: &CurrentSession,
        request: impl Fn(&DisplaySession) -> Result<Request, CallError>,
        report: impl Fn(CallError),
    ) -> Result<(), CallError> {
        let mut presence = self.presence.lock();
        loop {
            let Some(session) = sessions.get() else {
                return Ok(());
            };
            match &*presence {
                Presence::Unknown => {}
                Presence::Refused(generation, errno) if *generation == session.generation => {
                    return Err(CallError::Refused(*errno));
                }
                Presence::Refused(..) => {}
                Presence::Known(generation) if *generation != session.generation => {}
                _ => return Ok(()),
            }
            let result = request(&session).and_then(|request| session.call(&request));
            match result {
                Ok(()) => {
                    *presence = Presence::Known(session.generation);
                    self.known_to.store(session.generation, Relaxed);
                    return Ok(());
                }
                // Its end is the keeper's business; if there is a new one already, it is to be told.
                Err(CallError::Lost) if sessions.is_current(&session) => return Ok(()),
                Err(CallError::Lost) => {}
                Err(e) => {
                    match e {
                        CallError::Refused(errno) => {
                            *presence = Presence::Refused(session.generation, errno);
                        }
                        // It may still be executed.
                        CallError::TimedOut | CallError::Killed => {
                            *presence = Presence::Known(session.generation);
                            self.known_to.store(session.generation, Relaxed);
                        }
                        _ => {}
                    }
                    report(e);
                    return Err(e);
                }
            }
        }
    }

    /// Asks the session, without waiting, to forget a retired object.
    fn leave(&self, sessions: &CurrentSession, request: &Request) -> Result<(), CallError> {
        let mut presence = self.presence.lock();
        // Read under the lock: no session that is newer can know the object.
        let session = sessions.get();
        let current = session.as_ref().map(|session| session.generation);
        match &*presence {
            Presence::Known(generation) if current == Some(*generation) => {}
            Presence::Leaving(generation, _) | Presence::Late(generation, _)
                if current == Some(*generation) =>
            {
                return Ok(());
            }
            // The session that knew it is gone, and with it all that it had mapped, or soon.
            _ => {
                *presence = Presence::Gone;
                return Ok(());
            }
        }
        let Some(session) = session else {
            return Ok(());
        };
        *presence = match session.start(request, LEAVE_RESERVE) {
            Ok(pending) => Presence::Leaving(session.generation, pending),
            Err(CallError::Lost) => Presence::Gone,
            Err(e) => return Err(e),
        };
        Ok(())
    }

    /// Waits until the session has answered [`Self::leave`]. Tells whether the object is gone.
    fn left(&self, sessions: &CurrentSession) -> bool {
        let mut presence = self.presence.lock();
        let session = sessions.get();
        let session = session.as_deref();
        let (generation, result) = match (&*presence, session) {
            (Presence::Gone, _) => return true,
            (Presence::Leaving(g, pending), Some(session)) if *g == session.generation => {
                (*g, session.finish(pending))
            }
            (Presence::Late(g, pending), Some(session)) if *g == session.generation => {
                (*g, pending.result().unwrap_or(Err(CallError::TimedOut)))
            }
            (Presence::Leaving(..) | Presence::Late(..), _) => (0, Err(CallError::Lost)),
            (Presence::Unknown | Presence::Refused(..) | Presence::Known(_), _) => return false,
        };
        if matches!(result, Err(CallError::TimedOut | CallError::Killed)) {
            if let Presence::Leaving(_, pending) =
                core::mem::replace(&mut *presence, Presence::Unknown)
            {
                *presence = Presence::Late(generation, pending);
            }
            return false;
        }
        // Answered. A refusal means that the backend does not know it.
        *presence = Presence::Gone;
        true
    }
}

/// An object with a [`Remote`] part.
pub(crate) trait Object {
    /// That part.
    fn remote(&self) -> &Remote;
    /// The request that makes it forgotten.
    fn leave_request(&self) -> Request;
}

/// The objects of one kind, in the order of their creation, retired ones included.
#[pin_data]
pub(crate) struct Registry<T> {
    #[pin]
    list: Mutex<KVec<Arc<T>>>,
}

impl<T: Object> Registry<T> {
    /// An empty one.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(KVec::new()),
        })
    }

    /// Adds `object`. To be done before it is first made known, so that a new session cannot miss it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn add(&self, object: Arc<T>) -> Result {
        Ok(self.list.lock().push(object, GFP_KERNEL)?)
    }

    /// The `index`th object.
    pub(crate) fn get(&self, index: usize) -> Option<Arc<T>> {
        self.list.lock().get(index).cloned()
    }

    /// All objects there are at each step; others may come and go meanwhile.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<T>> + '_ {
        (0..).map_while(|index| self.get(index))
    }

    /// User space has dropped `object`.
    pub(crate) fn retire(&self, object: &T) {
        object.remote().retired.store(true, Relaxed);
    }

    /// Asks the current session, if any, to forget those retired objects that nothing `holds`.
    ///
    /// # Errors
    ///
    /// [`CallError::Full`]: some have to be asked for later.
    pub(crate) fn leave(
        &self,
        sessions: &CurrentSession,
        holds: impl Fn(&T) -> bool,
    ) -> Result<(), CallError> {
        for object in self.iter() {
            if object.remote().is_retired() && !holds(&object) {
                object.remote().leave(sessions, &object.leave_request())?;
            }
        }
        Ok(())
    }

    /// Waits for the answers to [`Self::leave`], and lets go what is gone. Tells whether retired objects remain.
    pub(crate) fn collect(&self, sessions: &CurrentSession) -> bool {
        let mut index = 0;
        let mut remain = false;
        while let Some(object) = self.get(index) {
            let retired = object.remote().is_retired();
            if retired && object.remote().left(sessions) {
                // Let go outside the lock: its memory may take a while.
                let removed = self.remove(&object);
                drop(removed);
            } else {
                remain |= retired;
                index += 1;
            }
        }
        remain
    }

    fn remove(&self, object: &Arc<T>) -> Option<Arc<T>> {
        let mut list = self.list.lock();
        let index = list.iter().position(|other| Arc::ptr_eq(other, object))?;
        list.remove(index).ok()
    }
}
