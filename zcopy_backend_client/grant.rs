// SPDX-License-Identifier: GPL-2.0

//! Pages of ours, or of a dma-buf, granted to another domain.
//!
//! # Invariants
//!
//! - A [`Grant`] owns its entry in the grant table and a reference to the page that the entry names, or its [`Ending`] has the dma-buf
//!   that the frame belongs to: a frame is not used for anything else while the peer could still reach it.
//! - An entry is ended by trying. What the peer still maps goes to [`crate::reclaim`], page and entry together.
//! - [`IN_USE`] counts the entries that exist, those waiting in `reclaim` included.

use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

use crate::{
    attached::Attached,
    budget::{
        Budget,
        Share, //
    },
    domain::DomId,
    ledger::{
        self,
        Direction,
        Entry,
        State, //
    },
    page::PageRef,
    reclaim, //
};

/// Entries in one frame of the grant table (version 1, which Linux uses unless memory is huge).
const ENTRIES_PER_FRAME: u64 = 512;

/// The most entries taken from the grant table in one go: the interface counts in 16 bits.
const BATCH: usize = 0x8000;

static IN_USE: Budget = Budget::unused();
static LIMIT: Atomic<u64> = Atomic::new(0);

/// Sets the share of the domain's grant table, in per cent, that this module may use: the rest is for its disks and networks.
pub(crate) fn set_share(percent: u32) {
    // SAFETY: Asks the hypervisor for a number.
    let frames = u64::from(unsafe { xen_sys::gnttab_max_grant_frames() });
    let entries = frames.saturating_mul(ENTRIES_PER_FRAME);
    LIMIT.store(
        entries.saturating_mul(u64::from(percent.min(100))) / 100,
        Relaxed,
    );
}

/// The grant entries that exist now, and the most there may be.
pub fn usage() -> (u64, u64) {
    (IN_USE.used(), LIMIT.load(Relaxed))
}

/// Says whether `entries` more would fit.
///
/// # Errors
///
/// `ENOSPC`: they do not.
pub fn admit(entries: u64) -> Result {
    let (used, limit) = usage();
    if used.saturating_add(entries) > limit {
        return Err(ENOSPC);
    }
    Ok(())
}

/// Whether the domain's grant table could grow by `entries`. What the kernel says when it could not is the same for want of memory as for want
/// of room.
fn has_room_for(entries: u64) -> bool {
    let (mut frames, mut most) = (0, 0);
    // SAFETY: Both are ours to be written.
    let err = unsafe { xen_sys::xen_sys_gnttab_query_size(&mut frames, &mut most) };
    let wanted = u64::from(frames).saturating_add(entries.div_ceil(ENTRIES_PER_FRAME));
    err == 0 && wanted <= u64::from(most)
}

/// Entries of the grant table set aside for us, given back when dropped.
struct Reserve(xen_sys::grant_ref_t);

impl Reserve {
    fn new(entries: usize) -> Result<Self> {
        let entries = u16::try_from(entries).map_err(|_| ENOSPC)?;
        let mut head = 0;
        // SAFETY: `head` is ours to be written.
        let err = unsafe { xen_sys::gnttab_alloc_grant_references(entries, &mut head) };
        if err < 0 {
            return Err(match has_room_for(u64::from(entries)) {
                true => ENOMEM,
                false => ENOSPC,
            });
        }
        Ok(Self(head))
    }

    fn grant(&mut self, peer: DomId, frame: Frame) -> Result<Grant> {
        // SAFETY: `self.0` is the head of a list that we own.
        let reference = unsafe { xen_sys::gnttab_claim_grant_reference(&mut self.0) };
        let reference = u32::try_from(reference).map_err(|_| ENOSPC)?;
        let gfn = match &frame {
            Frame::Page(page) => page.gfn(),
            Frame::OfDmaBuf(gfn) => *gfn,
        };
        // SAFETY: `reference` is a free entry of ours; the frame stays until the entry is ended, by this file's invariants. The
        // peer may write: real backends map buffers and directories writable.
        unsafe { xen_sys::gnttab_grant_foreign_access_ref(reference, peer, gfn, 0) };
        // INVARIANT: The entry is live and names `frame`.
        Ok(Grant { reference, frame })
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        // SAFETY: What is left of the list is ours; an empty list is allowed.
        unsafe { xen_sys::gnttab_free_grant_references(self.0) }
    }
}

/// What is granted.
enum Frame {
    Page(PageRef),
    /// By its number; it belongs to the dma-buf in [`Ending`].
    OfDmaBuf(usize),
}

/// One granted frame.
///
/// Dropping it by itself would forget the entry: only [`Granted`] holds these, and ends them.
struct Grant {
    reference: xen_sys::grant_ref_t,
    frame: Frame,
}

impl Grant {
    /// Ends the grant, unless the peer has the page mapped.
    fn try_end(&self) -> bool {
        // SAFETY: By the invariant the entry is ours; on success it is free, and the caller drops `self`.
        unsafe { xen_sys::gnttab_try_end_foreign_access(self.reference) != 0 }
    }
}

/// Grants that are to be ended, and what they need for that. A list element of [`reclaim`], so that nothing has to
/// be allocated to put it there.
pub(crate) struct Ending {
    grants: KVVec<Grant>,
    share: Share,
    /// Whose frames they are, if not ours. Goes after the grants.
    _dmabuf: Option<Arc<Attached>>,
    entry: Entry,
    /// The next one that waits.
    pub(crate) next: Option<KBox<Ending>>,
}

impl Ending {
    /// Ends what can be ended; tells whether that was all.
    pub(crate) fn try_end_all(&mut self) -> bool {
        let mut i = 0;
        while let Some(grant) = self.grants.get(i) {
            if grant.try_end() {
                // The order does not matter any more.
                let last = self.grants.len().saturating_sub(1);
                self.grants.swap(i, last);
                drop(self.grants.pop());
                self.share.give_back_one();
            } else {
                i = i.saturating_add(1);
            }
        }
        if !self.grants.is_empty() {
            self.entry.note(State::Waiting, self.grants.len());
        }
        self.grants.is_empty()
    }

    /// How many pages the peer still holds.
    pub(crate) fn len(&self) -> usize {
        self.grants.len()
    }
}

/// Pages granted to one domain, until dropped.
pub struct Granted {
    /// Always there until the drop.
    ending: Option<KBox<Ending>>,
}

impl Granted {
    /// Grants `pages` to `peer`.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: the module's share of the grant table, or the table, is used up. `ENOMEM`.
    pub fn new(peer: DomId, pages: KVVec<PageRef>) -> Result<Self> {
        let count = pages.len();
        Self::of_frames(peer, count, pages.into_iter().map(Frame::Page), None)
    }

    /// Grants the `count` pages of `dmabuf` to `peer`.
    ///
    /// # Errors
    ///
    /// As [`Self::new`], and [`Attached::frames`].
    pub(crate) fn of_dmabuf(peer: DomId, count: usize, dmabuf: Arc<Attached>) -> Result<Self> {
        let frames = dmabuf.frames(count)?;
        let frames = frames.into_iter().map(Frame::OfDmaBuf);
        Self::of_frames(peer, count, frames, Some(dmabuf))
    }

    fn of_frames(
        peer: DomId,
        count: usize,
        mut frames: impl Iterator<Item = Frame>,
        dmabuf: Option<Arc<Attached>>,
    ) -> Result<Self> {
        let share = IN_USE.take(count, LIMIT.load(Relaxed))?;
        let entry = Entry::new(Direction::Granted, peer, count)?;
        if let Some(dmabuf) = &dmabuf {
            ledger::note_dmabuf(entry.number(), dmabuf.inode());
        }
        let mut granted = Self {
            ending: Some(KBox::new(
                Ending {
                    grants: KVVec::with_capacity(count, GFP_KERNEL)?,
                    share,
                    _dmabuf: dmabuf,
                    entry,
                    next: None,
                },
                GFP_KERNEL,
            )?),
        };
        let Some(ending) = granted.ending.as_deref_mut() else {
            return Err(EINVAL);
        };
        while ending.grants.len() < count {
            let batch = count.saturating_sub(ending.grants.len()).min(BATCH);
            let mut reserve = Reserve::new(batch)?;
            for frame in frames.by_ref().take(batch) {
                let grant = reserve.grant(peer, frame)?;
                // Cannot fail: the room was made above. If it did, the frame would stay with its grant, for ever.
                if let Err(e) = ending.grants.push_within_capacity(grant) {
                    core::mem::forget(e);
                    return Err(ENOMEM);
                }
            }
        }
        Ok(granted)
    }

    /// The grants' references, in the order of the pages.
    pub fn references(&self) -> impl Iterator<Item = u32> + '_ {
        self.grants().iter().map(|grant| grant.reference)
    }

    /// The addresses of the pages in the kernel's own map, in order.
    pub fn addresses(&self) -> impl Iterator<Item = *mut u8> + '_ {
        self.grants().iter().filter_map(|grant| match &grant.frame {
            Frame::Page(page) => Some(page.address()),
            Frame::OfDmaBuf(_) => None,
        })
    }

    fn grants(&self) -> &[Grant] {
        match &self.ending {
            Some(ending) => &ending.grants,
            None => &[],
        }
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(mut ending) = self.ending.take() {
            if !ending.try_end_all() {
                reclaim::adopt(ending);
            }
        }
    }
}
