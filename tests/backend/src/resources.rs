// SPDX-License-Identifier: GPL-2.0
//! What one guest has created: display buffers and framebuffers by cookie, within limits.

use crate::buffer::{DisplayBuffer, Framebuffer, Layout, Share};
use crate::directory;
use crate::memory::{Mapper, pages_for};
use crate::pages::Pages;
use crate::protocol::{DbufCreate, Errno, FLAG_BACKEND_ALLOCATES, FbAttach, PAGE_SIZE};
use crate::refusal::Refusal;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What a guest may take of this domain.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Display buffers.
    pub buffers: usize,
    /// Framebuffers.
    pub framebuffers: usize,
    /// Octets mapped for display buffers.
    pub octets: u64,
}

/// The tables of one guest device.
pub struct Resources {
    mapper: Arc<dyn Mapper>,
    limits: Limits,
    mapped: Arc<AtomicU64>,
    buffers: HashMap<u64, Arc<DisplayBuffer>>,
    framebuffers: HashMap<u64, Arc<Framebuffer>>,
}

impl Resources {
    /// Empty tables.
    pub fn new(mapper: Arc<dyn Mapper>, limits: Limits) -> Self {
        Resources {
            mapper,
            limits,
            mapped: Arc::default(),
            buffers: HashMap::new(),
            framebuffers: HashMap::new(),
        }
    }

    /// Maps the guest's pages.
    pub fn mapper(&self) -> &dyn Mapper {
        &*self.mapper
    }

    /// DBUF_CREATE.
    ///
    /// # Errors
    ///
    /// EINVAL, EEXIST (the cookie is in use), ENOSPC (a limit), EOPNOTSUPP (this domain cannot allocate for others), ENOMEM, EIO (cannot be mapped).
    pub fn create_buffer(&mut self, create: &DbufCreate) -> Result<(), Refusal> {
        check_new(
            create.dbuf,
            self.buffers.contains_key(&create.dbuf),
            "display buffer",
        )?;
        if create.flags & !FLAG_BACKEND_ALLOCATES != 0 {
            return Err(Refusal::invalid(format!(
                "unknown flags {:#x}",
                create.flags
            )));
        }
        let layout = Layout::of(create)?;
        if self.buffers.len() >= self.limits.buffers {
            return Err(Refusal::new(
                Errno::ENOSPC,
                format!("more than {} display buffers", self.limits.buffers),
            ));
        }
        let count = pages_for(create.buffer_size);
        let share = Share::take(&self.mapped, (count * PAGE_SIZE) as u64, self.limits.octets)
            .ok_or_else(|| {
                Refusal::new(
                    Errno::ENOSPC,
                    format!(
                        "more than {} MiB of display buffers",
                        self.limits.octets >> 20
                    ),
                )
            })?;
        let pages = if create.flags & FLAG_BACKEND_ALLOCATES == 0 {
            self.map(create, count)?
        } else {
            self.allocate(create, count)?
        };
        let buffer = DisplayBuffer {
            pages,
            size: u64::from(create.buffer_size),
            data_offset: u64::from(create.data_offset),
            layout,
            _share: share,
        };
        self.buffers.insert(create.dbuf, Arc::new(buffer));
        Ok(())
    }

    /// The pages that the guest has allocated.
    fn map(&self, create: &DbufCreate, count: usize) -> Result<Pages, Refusal> {
        let refs = directory::read(self.mapper(), create.directory, count)?;
        Pages::granted(&self.mapper, refs).map_err(|error| {
            Refusal::new(
                Errno::EIO,
                format!(
                    "the {count} pages of display buffer {:#x} cannot be mapped: {error}",
                    create.dbuf
                ),
            )
        })
    }

    /// Allocates the pages for the guest.
    fn allocate(&self, create: &DbufCreate, count: usize) -> Result<Pages, Refusal> {
        let dmabuf = self.mapper.allocate(create).map_err(|error| {
            let errno = match error.kind() {
                io::ErrorKind::NotFound => Errno::EOPNOTSUPP,
                io::ErrorKind::StorageFull => Errno::ENOSPC,
                io::ErrorKind::OutOfMemory => Errno::ENOMEM,
                _ => Errno::EIO,
            };
            Refusal::new(
                errno,
                format!(
                    "no {count} pages can be granted for display buffer {:#x}: {error}",
                    create.dbuf
                ),
            )
        })?;
        let refs = dmabuf.refs().get(..count).ok_or_else(|| {
            Refusal::new(Errno::EIO, "what was allocated is smaller than asked for")
        })?;
        directory::write(self.mapper(), create.directory, refs)?;
        Ok(Pages::ours(dmabuf))
    }

    /// DBUF_DESTROY. The pages are held until the buffer's last framebuffer is gone.
    ///
    /// # Errors
    ///
    /// ENOENT.
    pub fn destroy_buffer(&mut self, cookie: u64) -> Result<(), Refusal> {
        self.buffers
            .remove(&cookie)
            .map(drop)
            .ok_or_else(|| unknown("display buffer", cookie))
    }

    /// FB_ATTACH.
    ///
    /// # Errors
    ///
    /// ENOENT (no such display buffer), EEXIST, EINVAL, ENOSPC.
    pub fn attach(&mut self, attach: &FbAttach) -> Result<(), Refusal> {
        check_new(
            attach.fb,
            self.framebuffers.contains_key(&attach.fb),
            "framebuffer",
        )?;
        let buffer = self
            .buffers
            .get(&attach.dbuf)
            .ok_or_else(|| unknown("display buffer", attach.dbuf))?;
        if self.framebuffers.len() >= self.limits.framebuffers {
            return Err(Refusal::new(
                Errno::ENOSPC,
                format!("more than {} framebuffers", self.limits.framebuffers),
            ));
        }
        let framebuffer = Framebuffer::new(buffer.clone(), attach)?;
        self.framebuffers.insert(attach.fb, Arc::new(framebuffer));
        Ok(())
    }

    /// FB_DETACH: the framebuffer is out of the table; whoever shows it has to let go of it.
    ///
    /// # Errors
    ///
    /// ENOENT.
    pub fn detach(&mut self, cookie: u64) -> Result<Arc<Framebuffer>, Refusal> {
        match self.framebuffers.entry(cookie) {
            Entry::Occupied(entry) => Ok(entry.remove()),
            Entry::Vacant(_) => Err(unknown("framebuffer", cookie)),
        }
    }

    /// A framebuffer.
    ///
    /// # Errors
    ///
    /// ENOENT.
    pub fn framebuffer(&self, cookie: u64) -> Result<Arc<Framebuffer>, Refusal> {
        self.framebuffers
            .get(&cookie)
            .cloned()
            .ok_or_else(|| unknown("framebuffer", cookie))
    }
}

fn check_new(cookie: u64, exists: bool, what: &str) -> Result<(), Refusal> {
    if cookie == 0 {
        return Err(Refusal::invalid(format!("0 is not a cookie for a {what}")));
    }
    if exists {
        return Err(Refusal::new(
            Errno::EEXIST,
            format!("there is a {what} {cookie:#x} already"),
        ));
    }
    Ok(())
}

fn unknown(what: &str, cookie: u64) -> Refusal {
    Refusal::new(Errno::ENOENT, format!("there is no {what} {cookie:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::FakeGuest;
    use std::sync::atomic::Ordering;

    const DIRECTORY: u32 = 7;

    fn resources(octets: u64) -> Resources {
        let refs = std::iter::once(0).chain(100..1100).collect();
        let guest = FakeGuest(HashMap::from([(DIRECTORY, refs)]));
        Resources::new(
            Arc::new(guest),
            Limits {
                buffers: 3,
                framebuffers: 2,
                octets,
            },
        )
    }

    fn create(dbuf: u64) -> DbufCreate {
        DbufCreate {
            dbuf,
            width: 32,
            height: 32,
            bpp: 32,
            buffer_size: 4096,
            flags: 0,
            directory: DIRECTORY,
            data_offset: 0,
        }
    }

    fn attach(dbuf: u64, fb: u64) -> FbAttach {
        FbAttach {
            dbuf,
            fb,
            width: 32,
            height: 32,
            pixel_format: u32::from_le_bytes(*b"XR24"),
        }
    }

    fn errno<T>(result: Result<T, Refusal>) -> Option<Errno> {
        result.err().map(|refusal| refusal.errno)
    }

    #[test]
    fn cookies_name_one_thing_at_a_time() {
        let mut all = resources(1 << 20);
        assert_eq!(errno(all.create_buffer(&create(0))), Some(Errno::EINVAL));
        assert_eq!(errno(all.create_buffer(&create(1))), None);
        assert_eq!(errno(all.create_buffer(&create(1))), Some(Errno::EEXIST));
        assert_eq!(errno(all.attach(&attach(2, 1))), Some(Errno::ENOENT));
        assert_eq!(errno(all.attach(&attach(1, 0))), Some(Errno::EINVAL));
        assert_eq!(errno(all.attach(&attach(1, 1))), None);
        assert_eq!(errno(all.attach(&attach(1, 1))), Some(Errno::EEXIST));
        assert_eq!(errno(all.framebuffer(2)), Some(Errno::ENOENT));
        assert_eq!(errno(all.detach(2)), Some(Errno::ENOENT));
        assert_eq!(errno(all.detach(1)), None);
        assert_eq!(errno(all.framebuffer(1)), Some(Errno::ENOENT));
        assert_eq!(errno(all.destroy_buffer(2)), Some(Errno::ENOENT));
        assert_eq!(errno(all.destroy_buffer(1)), None);
        assert_eq!(errno(all.destroy_buffer(1)), Some(Errno::ENOENT));
        assert_eq!(errno(all.create_buffer(&create(1))), None);
    }

    #[test]
    fn limits_hold() {
        let mut all = resources(2 * 4096);
        for cookie in 1..=2 {
            assert_eq!(errno(all.create_buffer(&create(cookie))), None);
        }
        assert_eq!(errno(all.create_buffer(&create(3))), Some(Errno::ENOSPC));
        let mut all = resources(1 << 20);
        for cookie in 1..=3 {
            assert_eq!(errno(all.create_buffer(&create(cookie))), None);
        }
        assert_eq!(errno(all.create_buffer(&create(4))), Some(Errno::ENOSPC));
        for fb in 1..=2 {
            assert_eq!(errno(all.attach(&attach(1, fb))), None);
        }
        assert_eq!(errno(all.attach(&attach(1, 3))), Some(Errno::ENOSPC));
    }

    #[test]
    fn failed_creations_leave_nothing() {
        let mut all = resources(1 << 20);
        let bad = [
            (
                DbufCreate {
                    flags: 2,
                    ..create(1)
                },
                Errno::EINVAL,
            ),
            (
                DbufCreate {
                    flags: 1,
                    ..create(1)
                },
                Errno::EOPNOTSUPP,
            ),
            (
                DbufCreate {
                    directory: 0,
                    ..create(1)
                },
                Errno::EINVAL,
            ),
            (
                DbufCreate {
                    directory: 1_000_000,
                    ..create(1)
                },
                Errno::EIO,
            ),
            (
                DbufCreate {
                    buffer_size: 4095,
                    ..create(1)
                },
                Errno::EINVAL,
            ),
            (
                DbufCreate {
                    buffer_size: u32::MAX,
                    ..create(1)
                },
                Errno::ENOSPC,
            ),
        ];
        for (create, expected) in bad {
            assert_eq!(
                errno(all.create_buffer(&create)),
                Some(expected),
                "{create:?}"
            );
        }
        assert_eq!(all.mapped.load(Ordering::Relaxed), 0);
        assert_eq!(errno(all.create_buffer(&create(1))), None);
    }

    #[test]
    fn memory_stays_until_the_last_framebuffer_is_gone() {
        let mut all = resources(1 << 20);
        assert_eq!(errno(all.create_buffer(&create(1))), None);
        assert_eq!(errno(all.attach(&attach(1, 1))), None);
        assert_eq!(errno(all.destroy_buffer(1)), None);
        assert_eq!(all.mapped.load(Ordering::Relaxed), 4096);
        drop(all.detach(1));
        assert_eq!(all.mapped.load(Ordering::Relaxed), 0);
    }
}
