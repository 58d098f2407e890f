// SPDX-License-Identifier: GPL-2.0

//! Mapped pages of another domain as a dma-buf.
//!
//! # Invariants
//!
//! - The `priv` of every dma-buf with [`OPS`] is an `Arc<Shared>`, given back by [`release`], which the dma-buf's last user calls.
//! - Until then its [`Pages`] are [`Pages::There`], and stay as they are, under every mapping made here.

use core::{
    mem,
    ptr::{
        self,
        NonNull, //
    }, //
};

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    fs::File,
    new_condvar,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow,
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::Jiffies, //
};

use crate::{
    domain,
    import::Imported,
    kernel_map::KernelMap,
    ledger, //
};

/// Imported pages, and what else is needed to use them. The fields go in their order.
struct Mapped {
    /// For the kernel of a PV domain, from the first time that it is asked for: importers ask at every frame.
    kernel_map: Option<KernelMap>,
    imported: Imported,
}

/// How far a dma-buf's pages are.
enum Pages {
    There(Mapped),
    /// The dma-buf has no user any more.
    Leaving,
    Released,
}

/// What a dma-buf's users and those who wait for its end share.
#[pin_data]
pub(crate) struct Shared {
    #[pin]
    pages: Mutex<Pages>,
    #[pin]
    released: CondVar,
}

impl Shared {
    /// Whether the pages are unmapped.
    pub(crate) fn is_released(&self) -> bool {
        matches!(&*self.pages.lock(), Pages::Released)
    }

    /// Where the kernel of a PV domain has the pages, until they are unmapped.
    ///
    /// # Errors
    ///
    /// As [`KernelMap::new`].
    fn kernel_address(&self) -> Result<*mut c_void> {
        let mut pages = self.pages.lock();
        let Pages::There(mapped) = &mut *pages else {
            return Err(EINVAL);
        };
        let map = match mapped.kernel_map.take() {
            Some(map) => map,
            None => KernelMap::new(&mapped.imported)?,
        };
        Ok(mapped.kernel_map.insert(map).address())
    }

    /// Waits until the pages are unmapped.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`, `EINTR`.
    pub(crate) fn wait_released(&self, mut at_most: Jiffies) -> Result {
        let mut pages = self.pages.lock();
        while !matches!(&*pages, Pages::Released) {
            if at_most == 0 {
                return Err(ETIMEDOUT);
            }
            at_most = match self
                .released
                .wait_interruptible_timeout(&mut pages, at_most)
            {
                CondVarTimeoutResult::Woken { jiffies } => jiffies,
                CondVarTimeoutResult::Timeout => 0,
                CondVarTimeoutResult::Signal { .. } => return Err(EINTR),
            };
        }
        Ok(())
    }
}

/// A reference to a dma-buf: one of ours, or somebody else's.
pub struct DmaBuf(NonNull<xen_sys::dma_buf>);

impl DmaBuf {
    /// Makes a dma-buf of `imported`, which is unmapped when the dma-buf's last user has gone.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(module: &'static ThisModule, imported: Imported) -> Result<Self> {
        let size = imported
            .pages()
            .len()
            .checked_mul(PAGE_SIZE)
            .ok_or(EINVAL)?;
        let number = imported.number();
        let shared = Arc::pin_init(
            pin_init!(Shared {
                pages <- new_mutex!(Pages::There(Mapped { kernel_map: None, imported })),
                released <- new_condvar!(),
            }),
            GFP_KERNEL,
        )?;
        let info = xen_sys::dma_buf_export_info {
            exp_name: c"xen_zcopy".as_char_ptr(),
            owner: module.as_ptr(),
            ops: &raw const OPS,
            size,
            flags: (bindings::O_CLOEXEC | bindings::O_RDWR) as c_int,
            resv: ptr::null_mut(),
            priv_: Arc::into_raw(shared).cast_mut().cast(),
        };
        // SAFETY: `info` is complete; `OPS` and the module outlive the dma-buf, which holds the module.
        match from_err_ptr(unsafe { xen_sys::dma_buf_export(&info) }) {
            Ok(raw) => {
                // INVARIANT: The reference that the export gives.
                let dmabuf = NonNull::new(raw).map(Self).ok_or(ENOMEM)?;
                ledger::note_dmabuf(number, dmabuf.inode());
                Ok(dmabuf)
            }
            Err(e) => {
                // SAFETY: From the `into_raw` above; there is no dma-buf to give it back.
                drop(unsafe { Arc::<Shared>::from_raw(info.priv_.cast()) });
                Err(e)
            }
        }
    }

    /// Takes a reference of its own to `dmabuf`.
    ///
    /// # Safety
    ///
    /// `dmabuf` is a dma-buf to which somebody else has a reference.
    pub unsafe fn from_raw(dmabuf: NonNull<xen_sys::dma_buf>) -> Self {
        // SAFETY: By the caller.
        unsafe { xen_sys::xen_sys_get_dma_buf(dmabuf.as_ptr()) };
        // INVARIANT: The reference just taken.
        Self(dmabuf)
    }

    /// The dma-buf under a descriptor of this process.
    ///
    /// # Errors
    ///
    /// `EBADF`: no file. `EINVAL`: no dma-buf.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        // SAFETY: May be called for any number.
        let raw = from_err_ptr(unsafe { xen_sys::dma_buf_get(fd as c_int) })?;
        // INVARIANT: The reference just got.
        NonNull::new(raw).map(Self).ok_or(EBADF)
    }

    /// The dma-buf. Valid as long as `self`.
    pub(crate) fn as_ptr(&self) -> *mut xen_sys::dma_buf {
        self.0.as_ptr()
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        // SAFETY: The dma-buf is there as long as `self`.
        unsafe { self.0.as_ref() }.size
    }

    /// Its inode's number, as the kernel shows it for every dma-buf.
    pub(crate) fn inode(&self) -> u64 {
        // SAFETY: The dma-buf, and so its file and inode, is there as long as `self`.
        unsafe { (*(*self.0.as_ref().file).f_inode).i_ino }
    }

    /// What it shares with those who wait for its end, if it is one of ours.
    pub(crate) fn shared(&self) -> Option<Arc<Shared>> {
        // SAFETY: The dma-buf is there as long as `self`.
        if !ptr::eq(unsafe { self.0.as_ref() }.ops, &raw const OPS) {
            return None;
        }
        // SAFETY: A dma-buf of ours, there as long as `self`.
        Some(unsafe { shared(self.0.as_ptr()) }.into())
    }

    /// Its file; the reference goes with it.
    pub(crate) fn into_file(self) -> ARef<File> {
        // SAFETY: The dma-buf is there as long as `self`.
        let file = unsafe { (*self.0.as_ptr()).file };
        mem::forget(self);
        // SAFETY: A dma-buf's reference is its file's, which was ours; a dma-buf's file has no position that is used by `fdget_pos`.
        unsafe { ARef::from_raw(NonNull::new_unchecked(file.cast())) }
    }
}

/// Lets a system call begin anew if this thread has files to put at its return to user space: one of them may be the last reference to a
/// dma-buf whose end is to be waited for. That may be ours, or one that the kernel takes for a moment while it looks a number up.
///
/// # Errors
///
/// What makes the call begin anew.
pub(crate) fn after_pending_puts() -> Result {
    // SAFETY: Only looks at the current thread.
    if unsafe { xen_sys::xen_sys_task_work_pending() } {
        // SAFETY: Only marks the current thread.
        return to_result(unsafe { xen_sys::xen_sys_restart_syscall() });
    }
    Ok(())
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        // SAFETY: Gives our reference back.
        unsafe { xen_sys::dma_buf_put(self.0.as_ptr()) }
    }
}

/// The `Shared` of a dma-buf.
///
/// # Safety
///
/// `dmabuf` has [`OPS`], and is not released as long as the result is used.
unsafe fn shared<'a>(dmabuf: *mut xen_sys::dma_buf) -> ArcBorrow<'a, Shared> {
    // SAFETY: By this file's invariants.
    unsafe { ArcBorrow::from_raw((*dmabuf).priv_.cast()) }
}

/// The placeholders of a dma-buf: where they are, and how many.
///
/// # Safety
///
/// As of [`shared`].
unsafe fn pages(dmabuf: *mut xen_sys::dma_buf) -> Result<(*mut *mut bindings::page, usize)> {
    // SAFETY: By the caller.
    let shared = unsafe { shared(dmabuf) };
    let pages = shared.pages.lock();
    match &*pages {
        // By this file's invariants they stay where they are until the dma-buf is released.
        Pages::There(mapped) => {
            let pages = mapped.imported.pages();
            Ok((pages.as_ptr().cast_mut(), pages.len()))
        }
        Pages::Leaving | Pages::Released => Err(EINVAL),
    }
}

static OPS: xen_sys::dma_buf_ops = {
    let mut ops: xen_sys::dma_buf_ops = pin_init::zeroed();
    ops.map_dma_buf = Some(map_dma_buf);
    ops.unmap_dma_buf = Some(unmap_dma_buf);
    ops.release = Some(release);
    ops.mmap = Some(mmap);
    ops.vmap = Some(vmap);
    ops.vunmap = Some(vunmap);
    ops
};

/// The pages for a device. One entry for each: what are neighbours here need not be neighbours in the machine.
///
/// # Safety
///
/// `attachment` is to a dma-buf with [`OPS`], and stays until the table is freed by [`unmap_dma_buf`].
unsafe fn table(
    attachment: *mut xen_sys::dma_buf_attachment,
    direction: bindings::dma_data_direction,
) -> Result<KBox<bindings::sg_table>> {
    // SAFETY: By the caller.
    let (pages, count) = unsafe { pages((*attachment).dmabuf) }?;
    let size = count.checked_mul(PAGE_SIZE).ok_or(EINVAL)?;
    let mut table = KBox::new(bindings::sg_table::default(), GFP_KERNEL)?;
    // SAFETY: `pages` are `count` pages that stay as long as the dma-buf.
    to_result(unsafe {
        bindings::sg_alloc_table_from_pages_segment(
            &mut *table,
            pages,
            u32::try_from(count)?,
            0,
            size,
            u32::try_from(PAGE_SIZE)?,
            bindings::GFP_KERNEL,
        )
    })?;
    // SAFETY: The device stays as long as the attachment.
    let mapped = to_result(unsafe {
        bindings::dma_map_sgtable((*attachment).dev, &mut *table, direction, 0)
    });
    if let Err(e) = mapped {
        // SAFETY: Allocated above.
        unsafe { bindings::sg_free_table(&mut *table) };
        return Err(e);
    }
    Ok(table)
}

/// dma-buf's `map_dma_buf`.
///
/// # Safety
///
/// dma-buf's to call, as this file's invariants say.
unsafe extern "C" fn map_dma_buf(
    attachment: *mut xen_sys::dma_buf_attachment,
    direction: bindings::dma_data_direction,
) -> *mut bindings::sg_table {
    // SAFETY: By the caller.
    match unsafe { table(attachment, direction) } {
        Ok(table) => KBox::into_raw(table),
        Err(e) => e.to_ptr(),
    }
}

/// dma-buf's `unmap_dma_buf`.
///
/// # Safety
///
/// dma-buf's to call, with what [`map_dma_buf`] has returned.
unsafe extern "C" fn unmap_dma_buf(
    attachment: *mut xen_sys::dma_buf_attachment,
    table: *mut bindings::sg_table,
    direction: bindings::dma_data_direction,
) {
    // SAFETY: By the caller: mapped for this device by `table`, out of a `KBox`.
    unsafe {
        bindings::dma_unmap_sgtable((*attachment).dev, table, direction, 0);
        bindings::sg_free_table(table);
        drop(KBox::from_raw(table));
    }
}

/// dma-buf's `release`: the last user has gone.
///
/// # Safety
///
/// dma-buf's to call, once.
unsafe extern "C" fn release(dmabuf: *mut xen_sys::dma_buf) {
    // SAFETY: By this file's invariants.
    let shared = unsafe { Arc::<Shared>::from_raw((*dmabuf).priv_.cast()) };
    let pages = mem::replace(&mut *shared.pages.lock(), Pages::Leaving);
    // Unmaps them, which may take until the last reference to one of them is gone.
    drop(pages);
    *shared.pages.lock() = Pages::Released;
    shared.released.notify_all();
}

/// dma-buf's `mmap`, for user space.
///
/// # Safety
///
/// dma-buf's to call, with a new mapping within the dma-buf's size.
unsafe extern "C" fn mmap(
    dmabuf: *mut xen_sys::dma_buf,
    area: *mut bindings::vm_area_struct,
) -> c_int {
    from_result(|| {
        if domain::is_pv() {
            // A page table of user space there would need machine frames that only the hypervisor may put in.
            return Err(EOPNOTSUPP);
        }
        // SAFETY: By the caller.
        let (pages, count) = unsafe { pages(dmabuf) }?;
        // SAFETY: `pages` are `count` pages; the mapping takes references to those it maps.
        to_result(unsafe { bindings::vm_map_pages(area, pages, count) })?;
        Ok(0)
    })
}

/// dma-buf's `vmap`, for the kernel.
///
/// # Safety
///
/// dma-buf's to call.
unsafe extern "C" fn vmap(dmabuf: *mut xen_sys::dma_buf, map: *mut bindings::iosys_map) -> c_int {
    from_result(|| {
        let address = if domain::is_pv() {
            // SAFETY: By the caller.
            unsafe { shared(dmabuf) }.kernel_address()?
        } else {
            // SAFETY: By the caller.
            let (pages, count) = unsafe { pages(dmabuf) }?;
            // SAFETY: `pages` are `count` pages, which stay until the dma-buf is released, and that is after `vunmap`.
            unsafe { xen_sys::xen_sys_vmap_kernel(pages, u32::try_from(count)?) }
        };
        if address.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: `map` is the caller's, to be written.
        unsafe {
            (*map).__bindgen_anon_1.vaddr = address;
            (*map).is_iomem = false;
        }
        Ok(0)
    })
}

/// dma-buf's `vunmap`.
///
/// # Safety
///
/// dma-buf's to call, with what [`vmap`] has written.
unsafe extern "C" fn vunmap(_dmabuf: *mut xen_sys::dma_buf, map: *mut bindings::iosys_map) {
    if !domain::is_pv() {
        // SAFETY: By the caller.
        unsafe { xen_sys::vunmap((*map).__bindgen_anon_1.vaddr) }
    }
}
