// SPDX-License-Identifier: GPL-2.0

//! Framebuffers as the backend knows them: displif's fb.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    buffer::{
        BufferHandle,
        Dbuf, //
    },
    display::Display,
    displif::message::{
        DbufCookie,
        FbCookie,
        Operation,
        Request, //
    },
    kms::driver::{
        FbGeometry,
        ModeSize, //
    },
    remote::{
        Object,
        Remote, //
    },
    session::CallError, //
};

/// A framebuffer as displif has it: the top left part of a display buffer, as large as what shows it.
#[pin_data]
pub(crate) struct Fb {
    /// Its name on the wire.
    pub(crate) cookie: FbCookie,
    /// What it shows of its buffer.
    pub(crate) geometry: FbGeometry,
    dbuf: Arc<Dbuf>,
    #[pin]
    remote: Remote,
}

impl Fb {
    /// Makes it known to the backend, if there is one, and waits for that; its buffer first, since a new session may not
    /// know that one yet.
    ///
    /// # Errors
    ///
    /// [`CallError`], logged.
    pub(crate) fn enter(&self, display: &Display) -> Result<(), CallError> {
        self.dbuf.enter(display)?;
        let request = Request::FbAttach {
            dbuf: self.dbuf.cookie,
            fb: self.cookie,
            width: self.geometry.width,
            height: self.geometry.height,
            pixel_format: self.geometry.format,
        };
        self.remote.enter(
            &display.session,
            // A session that has begun since does not know the buffer.
            |session| match self.dbuf.remote().is_known_to(session) {
                true => Ok(request),
                false => Err(CallError::Lost),
            },
            |e| display.refused(Operation::FbAttach, e),
        )
    }
}

impl Fb {
    /// Its buffer's name on the wire.
    pub(crate) fn dbuf_cookie(&self) -> DbufCookie {
        self.dbuf.cookie
    }
}

impl Object for Fb {
    fn remote(&self) -> &Remote {
        &self.remote
    }

    fn leave_request(&self) -> Request {
        Request::FbDetach { fb: self.cookie }
    }
}

/// User space's hold on a framebuffer: the whole, and the parts that smaller heads show. The drop retires them.
pub(crate) struct FbHandle {
    display: Arc<Display>,
    fbs: KVec<Arc<Fb>>,
}

impl FbHandle {
    /// A new framebuffer, known to the backend if there is one.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it does not fit its buffer, or the backend refuses it. `ENOMEM`: here, or the backend has none. `ETIMEDOUT`, `EBUSY`. `ENOSPC`: an
    /// imported buffer cannot be granted.
    pub(crate) fn new(buffer: &BufferHandle, geometry: FbGeometry) -> Result<Self> {
        let display = &buffer.display;
        let dbuf = buffer.dbuf_for(geometry)?;
        // From here on the drop cleans up.
        let mut handle = Self {
            display: display.clone(),
            fbs: KVec::new(),
        };
        display.count_wait();
        handle.attach(&dbuf, geometry).map_err(|e| match e {
            CallError::Refused(e) if e == ENOMEM => ENOMEM,
            CallError::Refused(_) => EINVAL,
            e => e.into(),
        })?;
        for ModeSize { width, height } in display.heads.iter().map(|head| head.mode()) {
            let fits = width <= geometry.width && height <= geometry.height;
            if fits && handle.shown_at(ModeSize { width, height }).is_none() {
                let part = FbGeometry {
                    width,
                    height,
                    ..geometry
                };
                match handle.attach(&dbuf, part) {
                    // Then it cannot be shown there, which a commit finds out.
                    Ok(()) | Err(CallError::Refused(_)) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(handle)
    }

    /// Adds a part.
    fn attach(&mut self, dbuf: &Arc<Dbuf>, geometry: FbGeometry) -> Result<(), CallError> {
        let display = &self.display;
        let fb = Arc::pin_init(
            pin_init!(Fb {
                cookie: FbCookie::new(display.cookies.next()),
                geometry,
                dbuf: dbuf.clone(),
                remote <- Remote::new(),
            }),
            GFP_KERNEL,
        )
        .map_err(CallError::Unsent)?;
        self.fbs
            .reserve(1, GFP_KERNEL)
            .map_err(|e| CallError::Unsent(e.into()))?;
        display.fbs.add(fb.clone()).map_err(CallError::Unsent)?;
        let entered = fb.enter(display);
        if matches!(entered, Err(CallError::Refused(_))) {
            display.fbs.retire(&fb);
            Display::collect_soon(display);
            return entered;
        }
        // There is room, by the reservation.
        let _ = self.fbs.push(fb, GFP_KERNEL);
        entered
    }

    /// The part that a head of this size shows, if it can.
    pub(crate) fn shown_at(&self, size: ModeSize) -> Option<&Arc<Fb>> {
        self.fbs
            .iter()
            .find(|fb| fb.geometry.width == size.width && fb.geometry.height == size.height)
    }
}

impl Drop for FbHandle {
    fn drop(&mut self) {
        for fb in &self.fbs {
            self.display.fbs.retire(fb);
        }
        Display::collect_soon(&self.display);
    }
}
