// SPDX-License-Identifier: GPL-2.0

//! Buffers whose memory another domain has given, and may have to give up: pages of this domain then take its place.
//!
//! # Invariants
//!
//! - `table` is one pointer per page of the buffer, all valid: those of `imported`, or those of `own` once there are some. Its place and
//!   length never change. Its entries change under the reservation lock of `object`, if there is one.
//! - `object` is a shmem object that DRM knows, whose `pages` is `table`, with one use and one pin that are ours, from [`ForeignMemory::attach`] to
//!   [`ForeignMemory::detach`].
//! - `imported` stays mapped as long as anybody could still have its pages in a mapping, a scatter table or the kernel's map: once exported, an
//!   object cannot tell who has, so it keeps them to its end.
//!
//! Lock order: a task's `mmap_lock` > [`ForeignMemory::inner`] > DRM's `object_name_lock` > the object's reservation.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    alloc::KVVec,
    bindings,
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
    budget::{
        Budget,
        Share, //
    },
    import::Imported,
    page::{
        self,
        PageRef, //
    }, //
};

/// Pages of foreign memory in buffers of all devices.
pub(crate) static PAGES: Budget = Budget::unused();

type Object = NonNull<xen_sys::drm_gem_shmem_object>;

struct Inner {
    imported: Option<(Imported, Share)>,
    /// Pages of this domain that have replaced the imported ones.
    own: KVVec<PageRef>,
    table: KVVec<*mut bindings::page>,
    object: Option<Object>,
}

// SAFETY: Pages and GEM objects belong to no thread.
unsafe impl Send for Inner {}

/// The memory of a buffer.
#[pin_data]
pub(crate) struct ForeignMemory {
    #[pin]
    inner: Mutex<Inner>,
    exported: Atomic<bool>,
}

impl ForeignMemory {
    /// The memory of a buffer that is yet to be made.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(imported: Imported, share: Share) -> Result<Arc<Self>> {
        let mut table = KVVec::with_capacity(imported.pages().len(), GFP_KERNEL)?;
        table.extend_from_slice(imported.pages(), GFP_KERNEL)?;
        let inner = Inner {
            imported: Some((imported, share)),
            own: KVVec::new(),
            table,
            object: None,
        };
        Arc::pin_init(
            pin_init!(Self {
                inner <- new_mutex!(inner),
                exported: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// How many pages it has.
    pub(super) fn pages(&self) -> usize {
        self.inner.lock().table.len()
    }

    /// Makes this the memory of an object.
    ///
    /// # Safety
    ///
    /// `object` is a shmem object of the memory's size, without pages, that nobody else knows yet; it stays until [`Self::detach`].
    pub(super) unsafe fn attach(&self, object: Object) {
        let mut inner = self.inner.lock();
        let raw = object.as_ptr();
        // SAFETY: By the caller nobody else looks at the object. By the invariants the table stays until `detach` and has an entry for each page.
        unsafe {
            (*raw).pages = inner.table.as_mut_ptr();
            bindings::refcount_set(&mut (*raw).pages_use_count, 1);
            bindings::refcount_set(&mut (*raw).pages_pin_count, 1);
        }
        // INVARIANT: As just set.
        inner.object = Some(object);
    }

    /// Takes the memory away from its object, and gives it back.
    ///
    /// # Safety
    ///
    /// Nobody uses the object any more, nor any page of it.
    pub(super) unsafe fn detach(&self) {
        let (imported, own) = {
            let mut inner = self.inner.lock();
            if let Some(object) = inner.object.take() {
                let raw = object.as_ptr();
                // SAFETY: The object is still there (`attach`), and nobody else looks at it. The use and the pin were ours.
                unsafe {
                    (*raw).pages = ptr::null_mut();
                    bindings::refcount_set(&mut (*raw).pages_use_count, 0);
                    bindings::refcount_set(&mut (*raw).pages_pin_count, 0);
                }
            }
            (inner.imported.take(), core::mem::take(&mut inner.own))
        };
        drop(imported);
        drop(own);
    }

    /// The object is about to be exported: from now on others may have its pages.
    pub(super) fn set_exported(&self) {
        self.exported.store(true, Relaxed);
    }

    /// Replaces the other domain's pages by pages of this domain, with what they hold now, if that has not been done: references to these.
    ///
    /// User space's mappings go on with them. Importers of an exported buffer have the other domain's pages until they map it again.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: all is as before. `ENODEV`: the buffer is gone.
    pub(crate) fn bring_home(&self) -> Result<KVVec<PageRef>> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        if inner.own.is_empty() {
            if inner.imported.is_none() {
                return Err(ENODEV);
            }
            let mut own = KVVec::with_capacity(inner.table.len(), GFP_KERNEL)?;
            for _ in 0..inner.table.len() {
                own.push(PageRef::new_zeroed()?, GFP_KERNEL)?;
            }
            let reservation = inner.object.map(Reservation::of_unmapped);
            for (place, page) in inner.table.iter_mut().zip(&own) {
                // SAFETY: Both are pages, the first by the invariants. Nobody in this domain writes the first: there is no mapping of it, and
                // none can be made while the reservation is locked. What the other domain or a device writes meanwhile may be lost.
                unsafe { xen_sys::xen_sys_copy_highpage(page.as_ptr(), *place) };
                // INVARIANT: Under the lock; `own` keeps the page.
                *place = page.as_ptr();
            }
            drop(reservation);
            inner.own = own;
            if !self.exported.load(Relaxed) {
                drop(inner.imported.take());
            }
        }
        page::clone_all(&inner.own)
    }
}

/// A locked reservation of an object that user space has not mapped: it would have to wait for the lock.
struct Reservation(Object);

impl Reservation {
    fn of_unmapped(object: Object) -> Self {
        let raw = object.as_ptr();
        // SAFETY: `object` is an `Inner::object`, so it is there, whole and known to DRM. Its `dma_buf` is looked at under the lock that protects it,
        // and has a reference of the object's until then.
        unsafe {
            let base = &raw mut (*raw).base;
            let dev = (*base).dev;
            bindings::mutex_lock(&mut (*dev).object_name_lock);
            bindings::dma_resv_lock((*base).resv, ptr::null_mut());
            let node = &raw mut (*base).vma_node;
            xen_sys::xen_sys_vma_node_unmap(node, (*(*dev).anon_inode).i_mapping);
            let dmabuf = (*base).dma_buf;
            if !dmabuf.is_null() {
                xen_sys::xen_sys_vma_node_unmap(node, (*(*dmabuf).file).f_mapping);
            }
            bindings::mutex_unlock(&mut (*dev).object_name_lock);
        }
        Self(object)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: Locked by `of_unmapped`.
        unsafe { bindings::dma_resv_unlock((*self.0.as_ptr()).base.resv) }
    }
}
