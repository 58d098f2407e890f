// SPDX-License-Identifier: GPL-2.0

//! Display buffers as the backend knows them: displif's dbuf.

use core::num::NonZeroU64;

use kernel::{
    alloc::KVVec,
    new_mutex,
    page::PAGE_SIZE,
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
    attached::Attached,
    dmabuf::DmaBuf,
    domain::DomId,
    export::Exported,
    page::{
        self,
        PageRef, //
    }, //
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
    imported::ImportedBuffer,
    kms::{
        driver::{
            Driver,
            DumbGeometry,
            FbGeometry, //
        },
        foreign::ForeignMemory, //
    },
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
    pub(crate) fn new() -> Self {
        Self(Atomic::new(1))
    }

    /// The next one.
    pub(crate) fn next(&self) -> NonZeroU64 {
        NonZeroU64::new(self.0.fetch_add(1, Relaxed)).unwrap_or(NonZeroU64::MIN)
    }
}

/// A display buffer.
#[pin_data]
pub(crate) struct Dbuf {
    /// Its name on the wire.
    pub(crate) cookie: DbufCookie,
    /// What user space asked for.
    pub(crate) geometry: DumbGeometry,
    #[pin]
    memory: Mutex<Memory>,
    #[pin]
    remote: Remote,
}

/// Where a display buffer's memory is.
enum Memory {
    /// Not told yet, or nowhere any more.
    Nowhere,
    /// In this domain, granted to the backend.
    Here(Pages, Option<Grants>),
    /// In the backend's domain, which has granted it to this one in the session that knows the buffer.
    There(Arc<ForeignMemory>),
}

/// Pages in this domain.
enum Pages {
    Own(KVVec<PageRef>),
    /// Of another driver's dma-buf.
    OfDmaBuf(Arc<Attached>),
}

impl Memory {
    /// What this domain has of it, after bringing it here.
    fn bring_home(&mut self) -> Result<(&Pages, &mut Option<Grants>)> {
        if let Self::There(memory) = self {
            *self = Self::Here(Pages::Own(memory.bring_home()?), None);
        }
        match self {
            Self::Here(pages, grants) => Ok((pages, grants)),
            Self::Nowhere | Self::There(_) => Err(ENODEV),
        }
    }
}

/// No domain has this number (`DOMID_INVALID`).
const NOBODY: DomId = 0x7ff4;

/// Grants to one domain, kept from session to session as long as that is the same.
struct Grants {
    peer: DomId,
    buffer: Exported,
}

impl Grants {
    fn new(peer: DomId, pages: &Pages) -> Result<Self> {
        let buffer = match pages {
            Pages::Own(pages) => Exported::new(peer, page::clone_all(pages)?)?,
            Pages::OfDmaBuf(dmabuf) => Exported::of_dmabuf(peer, dmabuf.clone())?,
        };
        Ok(Self { peer, buffer })
    }
}

impl Dbuf {
    fn new(
        cookies: &Cookies,
        geometry: DumbGeometry,
        peer: DomId,
        pages: Pages,
    ) -> Result<Arc<Self>> {
        let grants = Grants::new(peer, &pages)?;
        let memory = Memory::Here(pages, Some(grants));
        Arc::pin_init(
            pin_init!(Self {
                cookie: DbufCookie::new(cookies.next()),
                geometry,
                memory <- new_mutex!(memory),
                remote <- Remote::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// One in the memory of a dma-buf, known to the backend if there is one, and to [`Display::dbufs`].
    ///
    /// # Errors
    ///
    /// As of [`BufferHandle::new`].
    pub(crate) fn of_dmabuf(
        display: &Arc<Display>,
        geometry: DumbGeometry,
        dmabuf: Arc<Attached>,
    ) -> Result<Arc<Self>> {
        display.admit(geometry.size)?;
        Self::enter_new(display, geometry, Pages::OfDmaBuf(dmabuf))
    }

    fn enter_new(
        display: &Arc<Display>,
        geometry: DumbGeometry,
        pages: Pages,
    ) -> Result<Arc<Self>> {
        let dbuf = Self::new(&display.cookies, geometry, display.peer(), pages)?;
        display.dbufs.add(dbuf.clone())?;
        display.count_wait();
        if let Err(e) = dbuf.enter(display) {
            Self::retire(display, &dbuf);
            return Err(e.into());
        }
        Ok(dbuf)
    }

    /// User space has dropped it.
    fn retire(display: &Arc<Display>, dbuf: &Arc<Self>) {
        display.dbufs.retire(dbuf);
        Display::collect_soon(display);
    }

    /// One that the session of this generation has been asked to allocate.
    fn of_backend(
        cookie: DbufCookie,
        geometry: DumbGeometry,
        generation: u64,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                cookie,
                geometry,
                memory <- new_mutex!(Memory::Nowhere),
                remote <- Remote::known_to(generation),
            }),
            GFP_KERNEL,
        )
    }

    /// The backend has allocated `memory` for it.
    pub(crate) fn set_memory(&self, memory: Arc<ForeignMemory>) {
        *self.memory.lock() = Memory::There(memory);
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
        let mut memory = self.memory.lock();
        let (pages, slot) = memory.bring_home().map_err(CallError::Unsent)?;
        let kept = slot.take_if(|grants| grants.peer == session.peer);
        // Others are revoked first: there may be no room for both.
        drop(slot.take());
        let grants = match kept {
            Some(grants) => grants,
            None => Grants::new(session.peer, pages).map_err(CallError::Unsent)?,
        };
        let gref_directory = slot.insert(grants).buffer.directory_reference();
        Self::create_request(self.cookie, self.geometry, false, gref_directory)
            .map_err(CallError::Unsent)
    }

    /// The request that tells of a buffer with this directory, for the backend to read or, if it is to allocate, to fill in.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it is larger than a request can tell.
    pub(crate) fn create_request(
        dbuf: DbufCookie,
        geometry: DumbGeometry,
        req_alloc: bool,
        gref_directory: u32,
    ) -> Result<Request> {
        Ok(Request::DbufCreate {
            dbuf,
            width: geometry.width,
            height: geometry.height,
            bpp: geometry.bpp,
            // Exactly what the geometry says: some backends compute the number of pages from it.
            buffer_sz: u32::try_from(geometry.size).map_err(|_| EINVAL)?,
            req_alloc,
            gref_directory,
            data_ofs: 0,
        })
    }

    /// Brings memory of a backend that is not `session`'s, if it has some, to this domain.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn leave_backend(&self, session: Option<&DisplaySession>) -> Result {
        if session.is_some_and(|session| self.remote.is_known_to(session)) {
            return Ok(());
        }
        let mut memory = self.memory.lock();
        match &*memory {
            Memory::There(_) => memory.bring_home().map(|_| ()),
            Memory::Nowhere | Memory::Here(..) => Ok(()),
        }
    }

    /// The grants are void, after a restore of the domain: new ones are made for the next session.
    pub(crate) fn void_grants(&self) {
        if let Memory::Here(_, Some(grants)) = &mut *self.memory.lock() {
            grants.peer = NOBODY;
        }
    }

    /// The bytes that it really has: whole pages.
    pub(crate) fn size(&self) -> u64 {
        let pages = self.geometry.size.div_ceil(PAGE_SIZE as u64);
        pages.saturating_mul(PAGE_SIZE as u64)
    }

    /// How many grants it takes.
    pub(crate) fn grants(&self) -> usize {
        match &*self.memory.lock() {
            Memory::Here(_, Some(grants)) => grants.buffer.grants(),
            _ => 0,
        }
    }

    /// Whether its memory is the backend's.
    pub(crate) fn is_there(&self) -> bool {
        matches!(&*self.memory.lock(), Memory::There(_))
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
    /// Whose it is.
    pub(crate) display: Arc<Display>,
    buffer: Buffer,
}

enum Buffer {
    Dumb(Arc<Dbuf>),
    Imported(Pin<KBox<ImportedBuffer>>),
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
        let dbuf = Dbuf::enter_new(display, geometry, Pages::Own(pages))?;
        Ok(Self::of_dbuf(display, dbuf))
    }

    /// A buffer that the session of this generation has been asked to allocate, its memory yet to be told.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn of_backend(
        display: &Arc<Display>,
        cookie: DbufCookie,
        geometry: DumbGeometry,
        generation: u64,
    ) -> Result<(Self, Arc<Dbuf>)> {
        let dbuf = Dbuf::of_backend(cookie, geometry, generation)?;
        display.dbufs.add(dbuf.clone())?;
        Ok((Self::of_dbuf(display, dbuf.clone()), dbuf))
    }

    fn of_dbuf(display: &Arc<Display>, dbuf: Arc<Dbuf>) -> Self {
        Self {
            display: display.clone(),
            buffer: Buffer::Dumb(dbuf),
        }
    }

    /// A dma-buf. The backend is told of it when a framebuffer needs it.
    ///
    /// # Errors
    ///
    /// As of [`ImportedBuffer::new`].
    pub(crate) fn import(display: &Arc<Display>, dmabuf: DmaBuf) -> Result<Self> {
        Ok(Self {
            display: display.clone(),
            buffer: Buffer::Imported(ImportedBuffer::new(dmabuf)?),
        })
    }

    /// The display buffer that a framebuffer of it is a part of.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it does not fit, or displif cannot tell of it. As of [`Self::new`].
    pub(crate) fn dbuf_for(&self, fb: FbGeometry) -> Result<Arc<Dbuf>> {
        let dbuf = match &self.buffer {
            Buffer::Imported(imported) => return imported.dbuf_for(&self.display, fb),
            Buffer::Dumb(dbuf) => dbuf,
        };
        // What is sent has neither pitch nor offset: whoever asks for others than the buffer's would get a skewed picture.
        let buffer = dbuf.geometry;
        let fits = fb.width <= buffer.width
            && fb.height <= buffer.height
            && u32::from(fb.cpp).checked_mul(8) == Some(buffer.bpp);
        match fits && fb.pitch == buffer.pitch && fb.offset == 0 {
            true => Ok(dbuf.clone()),
            false => Err(EINVAL),
        }
    }
}

impl Drop for BufferHandle {
    fn drop(&mut self) {
        match &self.buffer {
            Buffer::Dumb(dbuf) => Dbuf::retire(&self.display, dbuf),
            Buffer::Imported(imported) => {
                imported.for_each(|dbuf| Dbuf::retire(&self.display, dbuf))
            }
        }
    }
}
