// SPDX-License-Identifier: GPL-2.0

//! Display buffers as the backend knows them: displif's dbuf.

use core::num::NonZeroU64;

use kernel::{
    alloc::KVVec,
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

use xen_zcopy::{
    domain::DomId,
    export::Exported,
    page::PageRef, //
};

use crate::{
    display::{
        Display,
        DisplaySession, //
    },
    displif::message::{
        DbufCookie,
        Operation,
        Request, //
    },
    kms::driver::DumbGeometry,
    remote::{
        Object,
        Remote, //
    },
    session::CallError, //
};

/// Makes cookies: counters, never 0, never used twice by a device.
pub(crate) struct Cookies(Atomic<u64>);

impl Cookies {
    /// The first is 1.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(1))
    }

    /// The next one.
    pub(crate) fn next(&self) -> NonZeroU64 {
        NonZeroU64::new(self.0.fetch_add(1, Relaxed)).unwrap_or(NonZeroU64::MIN)
    }
}

/// A display buffer: pages of ours, granted to the backend.
#[pin_data]
pub(crate) struct Dbuf {
    /// Its name on the wire.
    pub(crate) cookie: DbufCookie,
    /// What user space asked for.
    pub(crate) geometry: DumbGeometry,
    /// The bytes that it really has: whole pages.
    pub(crate) size: u64,
    pages: KVVec<PageRef>,
    #[pin]
    grants: Mutex<Option<Grants>>,
    #[pin]
    remote: Remote,
}

/// No domain has this number (`DOMID_INVALID`).
const NOBODY: DomId = 0x7ff4;

/// Grants to one domain, kept from session to session as long as that is the same.
struct Grants {
    peer: DomId,
    buffer: Exported,
}

impl Grants {
    fn new(peer: DomId, pages: &KVVec<PageRef>) -> Result<Self> {
        let mut granted = KVVec::with_capacity(pages.len(), GFP_KERNEL)?;
        for page in pages {
            granted.push(page.clone(), GFP_KERNEL)?;
        }
        let buffer = Exported::new(peer, granted)?;
        Ok(Self { peer, buffer })
    }
}

impl Dbuf {
    fn new(
        cookies: &Cookies,
        geometry: DumbGeometry,
        peer: DomId,
        pages: KVVec<PageRef>,
    ) -> Result<Arc<Self>> {
        let size = u64::try_from(pages.len())?.saturating_mul(kernel::page::PAGE_SIZE as u64);
        let grants = Grants::new(peer, &pages)?;
        Arc::pin_init(
            pin_init!(Self {
                cookie: DbufCookie::new(cookies.next()),
                geometry,
                size,
                pages,
                grants <- new_mutex!(Some(grants)),
                remote <- Remote::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes it known to the backend, if there is one, and waits for that.
    ///
    /// # Errors
    ///
    /// [`CallError`], logged.
    pub(crate) fn enter(&self, display: &Display) -> Result<(), CallError> {
        self.remote.enter(
            &display.session,
            |session| self.enter_request(session),
            |e| display.refused(Operation::DbufCreate, e),
        )
    }

    /// The request that makes it known to `session`; grants the pages anew when the backend's domain is another one.
    fn enter_request(&self, session: &DisplaySession) -> Result<Request, CallError> {
        let mut slot = self.grants.lock();
        let kept = slot.take_if(|grants| grants.peer == session.peer);
        // Others are revoked first: there may be no room for both.
        drop(slot.take());
        let grants = match kept {
            Some(grants) => grants,
            None => Grants::new(session.peer, &self.pages).map_err(CallError::Unsent)?,
        };
        let gref_directory = slot.insert(grants).buffer.directory_reference();
        Ok(Request::DbufCreate {
            dbuf: self.cookie,
            width: self.geometry.width,
            height: self.geometry.height,
            bpp: self.geometry.bpp,
            // Exactly what the geometry says: some backends compute the number of pages from it.
            buffer_sz: u32::try_from(self.geometry.size).map_err(|_| CallError::Unsent(EINVAL))?,
            req_alloc: false,
            gref_directory,
            data_ofs: 0,
        })
    }

    /// The grants are void, after a restore of the domain: new ones are made for the next session.
    pub(crate) fn void_grants(&self) {
        if let Some(grants) = &mut *self.grants.lock() {
            grants.peer = NOBODY;
        }
    }

    /// How many grants it takes.
    pub(crate) fn grants(&self) -> usize {
        self.grants
            .lock()
            .as_ref()
            .map_or(0, |grants| grants.buffer.grants())
    }
}

impl Object for Dbuf {
    fn remote(&self) -> &Remote {
        &self.remote
    }

    fn leave_request(&self) -> Request {
        Request::DbufDestroy { dbuf: self.cookie }
    }
}

/// User space's hold on a buffer. The drop retires it.
pub(crate) struct BufferHandle {
    pub(crate) display: Arc<Display>,
    pub(crate) dbuf: Arc<Dbuf>,
}

impl BufferHandle {
    /// A new buffer, known to the backend if there is one.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: no room in the grant table. `ENOMEM`. What the backend refuses with. `ETIMEDOUT`: it does not answer. `EBUSY`: it
    /// has too many requests to answer.
    pub(crate) fn new(
        display: &Arc<Display>,
        geometry: DumbGeometry,
        pages: KVVec<PageRef>,
    ) -> Result<Self> {
        let dbuf = Dbuf::new(&display.cookies, geometry, display.peer(), pages)?;
        display.dbufs.add(dbuf.clone())?;
        // From here on the drop cleans up.
        let handle = Self {
            display: display.clone(),
            dbuf: dbuf.clone(),
        };
        display.count_wait();
        dbuf.enter(display)?;
        Ok(handle)
    }

    /// What user space asked for.
    pub(crate) fn geometry(&self) -> DumbGeometry {
        self.dbuf.geometry
    }
}

impl Drop for BufferHandle {
    fn drop(&mut self) {
        self.display.dbufs.retire(&self.dbuf);
        Display::collect_soon(&self.display);
    }
}
