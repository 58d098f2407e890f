// SPDX-License-Identifier: GPL-2.0

//! Display buffers that the backend allocates (`be-alloc=1`).
//!
//! The backend's memory is a convenience for it, never a need of ours: whatever is wrong with it, and in every session after the first that has a
//! buffer, the buffer's memory is this domain's.

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

use xen_zcopy::{
    directory::Directory,
    domain,
    import::Imported, //
};

use crate::{
    buffer::{
        BufferHandle,
        Dbuf, //
    },
    display::{
        warn_limited,
        Display,
        DisplaySession, //
    },
    displif::message::DbufCookie,
    kms::{
        driver::DumbGeometry,
        foreign::{
            self,
            ForeignMemory, //
        }, //
    },
    module_parameters,
    session::CallError, //
};

const PAGES_PER_MIB: u64 = (1 << 20) / PAGE_SIZE as u64;

/// Whether the backend is to allocate.
pub(crate) struct Allocation {
    wanted: bool,
    /// The generation of the last session that has refused to.
    refused: Atomic<u64>,
}

impl Allocation {
    /// As the toolstack wants it, unless this domain is one that cannot.
    pub(crate) fn new(wanted: bool) -> Self {
        if wanted && domain::is_pv() {
            pr_info!(
                "a PV guest cannot map the backend's memory for programs: be-alloc=1 is ignored, buffers are allocated in this domain\n"
            );
        }
        Self {
            wanted: wanted && !domain::is_pv(),
            refused: Atomic::new(0),
        }
    }

    fn is_possible_in(&self, session: &DisplaySession) -> bool {
        self.wanted && self.refused.load(Relaxed) != session.generation
    }

    /// Does not ask this session again.
    fn give_up(&self, session: &DisplaySession) {
        self.refused.store(session.generation, Relaxed);
    }
}

/// Why there is no memory of the backend's.
enum Failure {
    /// The session cannot do it at all.
    Session(&'static str, Error),
    /// Not now.
    Now(&'static str, Error),
    /// User space is to be told.
    Fatal(Error),
}

/// Has the backend allocate a buffer: the buffer, and its memory. `None`: this domain's memory is to be taken.
///
/// # Errors
///
/// `ETIMEDOUT`, `EINTR`: the backend has not answered. `ENOMEM`.
pub(crate) fn allocate(
    display: &Arc<Display>,
    geometry: DumbGeometry,
) -> Result<Option<(BufferHandle, Arc<ForeignMemory>)>> {
    let Some(session) = display.session.get() else {
        return Ok(None);
    };
    if !display.allocation.is_possible_in(&session) {
        return Ok(None);
    }
    let (what, e) = match try_allocate(display, &session, geometry) {
        Ok(buffer) => return Ok(buffer),
        Err(Failure::Fatal(e)) => return Err(e),
        Err(Failure::Session(what, e)) => {
            display.allocation.give_up(&session);
            (what, e)
        }
        Err(Failure::Now(what, e)) => (what, e),
    };
    warn_limited!(
        display,
        "{what} ({e:?}): the buffer is allocated in this domain\n"
    );
    Ok(None)
}

fn try_allocate(
    display: &Arc<Display>,
    session: &Arc<DisplaySession>,
    geometry: DumbGeometry,
) -> Result<Option<(BufferHandle, Arc<ForeignMemory>)>, Failure> {
    let local = |e| Failure::Now("the backend's memory cannot be taken", e);
    let pages = geometry.size.div_ceil(PAGE_SIZE as u64);
    let pages = usize::try_from(pages).map_err(|_| local(ENOSPC))?;
    let limit = u64::from(module_parameters::be_alloc_mib.value()).saturating_mul(PAGES_PER_MIB);
    let share = display
        .take_with_room(|| foreign::PAGES.take(pages, limit))
        .map_err(|e| Failure::Now("the limit be_alloc_mib is reached", e))?;
    let directory = Directory::new(session.peer, pages).map_err(local)?;

    let cookie = DbufCookie::new(display.cookies.next());
    let request = Dbuf::create_request(cookie, geometry, true, directory.reference());
    display.count_wait();
    let answer = session.call(&request.map_err(local)?);
    match answer {
        Ok(()) | Err(CallError::TimedOut | CallError::Killed) => {}
        Err(CallError::Refused(e)) if e == EINVAL || e == EOPNOTSUPP => {
            return Err(Failure::Session("the backend does not allocate buffers", e));
        }
        Err(CallError::Refused(e)) => return Err(Failure::Now("the backend has no buffer", e)),
        Err(CallError::Lost | CallError::Full | CallError::Unsent(_)) => return Ok(None),
    }
    // The backend has it, or may: from here on the drop has it forget that.
    let (handle, dbuf) = BufferHandle::of_backend(display, cookie, geometry, session.generation)
        .map_err(Failure::Fatal)?;
    if let Err(e) = answer {
        return Err(Failure::Fatal(e.into()));
    }
    let memory = directory
        .take()
        .and_then(|references| Imported::new(session.peer, &references));
    match memory {
        Ok(memory) => {
            let memory = ForeignMemory::new(memory, share).map_err(local)?;
            dbuf.set_memory(memory.clone());
            if !display.session.is_current(session) {
                // One that has begun meanwhile may have missed it.
                Display::schedule(display);
            }
            Ok(Some((handle, memory)))
        }
        Err(e) if e == EPROTO => Err(Failure::Session("the backend's pages cannot be mapped", e)),
        Err(e) => Err(local(e)),
    }
}
