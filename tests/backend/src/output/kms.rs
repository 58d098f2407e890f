// SPDX-License-Identifier: GPL-2.0
//! Output to a display device of this domain: a guest's connector is shown on the connector of the same name.
//!
//! A picture whose pages are a dma-buf is shown out of them ([`scanout`]), if the device takes it. Others are copied to two dumb buffers
//! in turn, in XRGB8888, which every device takes. The guest hears of a flip when the device says that it is done.

mod scanout;

use super::{Completion, FlipDone, Head, Output, Picture, Transfer};
use crate::buffer::{Framebuffer, pitch};
use crate::memory::SharedMemory;
use crate::protocol::{DbufCreate, Errno};
use crate::refusal::Refusal;
use crate::report::say;
use crate::stats::HeadName;
use crate::timing::Timing;
use anyhow::{Context, Result, bail};
use drm::Device as _;
use drm::buffer::{Buffer, DrmFourcc};
use drm::control::dumbbuffer::DumbBuffer;
use drm::control::{
    Device as _, Event, Mode, ModeTypeFlags, PageFlipFlags, connector, crtc, framebuffer,
};
use log::error;
use scanout::Scanouts;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const REFRESH: u32 = 60;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// A display device.
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Card {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl drm::Device for Card {}
impl drm::control::Device for Card {}

/// A CRTC in use: the connector that it feeds, and whom to tell about flips.
struct Claim {
    connector: connector::Handle,
    flip_done: FlipDone,
}

type Claims = Arc<Mutex<HashMap<crtc::Handle, Claim>>>;

/// Output to one display device.
pub struct Kms {
    card: Arc<Card>,
    claims: Claims,
    /// The device's name of a connector, by the guest's.
    names: HashMap<String, String>,
}

impl Kms {
    /// Opens a device, and starts a thread for its events.
    ///
    /// # Errors
    ///
    /// It cannot be opened, somebody else is its master, or it has no dumb buffers.
    pub fn open(path: &Path, names: HashMap<String, String>) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let card = Arc::new(Card(
            file.with_context(|| format!("cannot open {}", path.display()))?,
        ));
        card.acquire_master_lock()
            .with_context(|| format!("somebody else is master of {}", path.display()))?;
        let dumb = card.get_driver_capability(drm::DriverCapability::DumbBuffer)?;
        if dumb == 0 {
            bail!("{} has no dumb buffers", path.display());
        }
        let claims = Claims::default();
        let (events, routes) = (card.clone(), claims.clone());
        thread::Builder::new()
            .name("display events".into())
            .spawn(move || dispatch(&events, &routes))?;
        Ok(Kms {
            card,
            claims,
            names,
        })
    }

    fn find(&self, name: &str) -> Result<connector::Info> {
        let mut present = Vec::new();
        for handle in self.card.resource_handles()?.connectors() {
            let connector = self.card.get_connector(*handle, true)?;
            if connector.to_string() == name {
                return Ok(connector);
            }
            present.push(connector.to_string());
        }
        bail!(
            "this display device has no connector {name}, only {}",
            present.join(", ")
        )
    }
}

fn dispatch(card: &Card, claims: &Claims) {
    loop {
        match card.receive_events() {
            Ok(events) => {
                for event in events {
                    let Event::PageFlip(flip) = event else {
                        continue;
                    };
                    let claims = claims.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(claim) = claims.get(&flip.crtc) {
                        (claim.flip_done)();
                    }
                }
            }
            Err(error) => {
                error!("cannot read the display device's events: {error}");
                thread::sleep(PAUSE_AFTER_ERROR);
            }
        }
    }
}

impl Output for Kms {
    fn allocate(&self, create: &DbufCreate) -> io::Result<Option<OwnedFd>> {
        export_dumb(&self.card, create).map(Some)
    }

    fn open(&self, name: &HeadName, flip_done: FlipDone) -> Result<Box<dyn Head>> {
        let wanted = self.names.get(&name.connector).unwrap_or(&name.connector);
        let connector = self.find(wanted)?;
        let resources = self.card.resource_handles()?;
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if claims
            .values()
            .any(|claim| claim.connector == connector.handle())
        {
            bail!("{wanted} is in use by another guest");
        }
        let mut possible = Vec::new();
        for encoder in connector.encoders() {
            possible
                .extend(resources.filter_crtcs(self.card.get_encoder(*encoder)?.possible_crtcs()));
        }
        let crtc = possible.into_iter().find(|crtc| !claims.contains_key(crtc));
        let crtc = crtc.with_context(|| format!("no CRTC is free for {wanted}"))?;
        claims.insert(
            crtc,
            Claim {
                connector: connector.handle(),
                flip_done,
            },
        );
        Ok(Box::new(KmsHead {
            card: self.card.clone(),
            claims: self.claims.clone(),
            label: name.to_string(),
            connector,
            crtc,
            before: self.card.get_crtc(crtc).ok(),
            screen: None,
            scanouts: Scanouts::new(self.card.clone(), &name.to_string()),
            line: Vec::new(),
            converted: Vec::new(),
        }))
    }
}

/// A dma-buf of a new dumb buffer, whose lines lie as displif has them.
fn export_dumb(card: &Card, create: &DbufCreate) -> io::Result<OwnedFd> {
    let size = (create.width, create.height);
    let dumb = card.create_dumb_buffer(size, DrmFourcc::Xrgb8888, create.bpp)?;
    let lies_as_wanted = u64::from(dumb.pitch()) == pitch(create.width, create.bpp);
    let exported = match lies_as_wanted {
        true => card.buffer_to_prime_fd(dumb.handle(), drm::CLOEXEC | drm::RDWR),
        false => Err(io::Error::other(format!(
            "the device's pitch is {}",
            dumb.pitch()
        ))),
    };
    // The dma-buf has the memory by itself.
    card.destroy_dumb_buffer(dumb)?;
    exported
}

/// A buffer that the device can show.
struct Surface {
    card: Arc<Card>,
    dumb: DumbBuffer,
    framebuffer: framebuffer::Handle,
    memory: SharedMemory,
}

impl Surface {
    fn new(card: &Arc<Card>, width: u32, height: u32) -> io::Result<Self> {
        let dumb = card.create_dumb_buffer((width, height), DrmFourcc::Xrgb8888, 32)?;
        let framebuffer = match card.add_framebuffer(&dumb, 24, 32) {
            Ok(framebuffer) => framebuffer,
            Err(error) => {
                let _ = card.destroy_dumb_buffer(dumb);
                return Err(error);
            }
        };
        match SharedMemory::map_dumb(&**card, &dumb) {
            Ok(memory) => Ok(Surface {
                card: card.clone(),
                dumb,
                framebuffer,
                memory,
            }),
            Err(error) => {
                let _ = card.destroy_framebuffer(framebuffer);
                let _ = card.destroy_dumb_buffer(dumb);
                Err(error)
            }
        }
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        // The device keeps the memory as long as it shows it.
        if let Err(error) = self.card.destroy_framebuffer(self.framebuffer) {
            error!("cannot remove a framebuffer: {error}");
        }
        if let Err(error) = self.card.destroy_dumb_buffer(self.dumb) {
            error!("cannot free a buffer: {error}");
        }
    }
}

/// A mode that is set.
struct Screen {
    width: u32,
    height: u32,
    /// Made when the first picture is copied.
    surfaces: Option<Surfaces>,
}

/// Where pictures are copied to in turn; what is on the screen may be neither, but is never the back.
struct Surfaces {
    front: Surface,
    back: Surface,
}

struct KmsHead {
    card: Arc<Card>,
    claims: Claims,
    label: String,
    connector: connector::Info,
    crtc: crtc::Handle,
    /// What the CRTC did before, to be put back at the end.
    before: Option<crtc::Info>,
    screen: Option<Screen>,
    scanouts: Scanouts,
    /// A line of the guest's pixels, and the same in the device's format.
    line: Vec<u8>,
    converted: Vec<u8>,
}

impl KmsHead {
    /// A mode of exactly this size: the device's own, else a computed one, which the device may refuse.
    fn mode(&self, width: u32, height: u32) -> Result<Mode, Refusal> {
        let size =
            |mode: &&Mode| (u32::from(mode.size().0), u32::from(mode.size().1)) == (width, height);
        let listed: Vec<_> = self.connector.modes().iter().filter(size).collect();
        let preferred = listed
            .iter()
            .find(|mode| mode.mode_type().contains(ModeTypeFlags::PREFERRED));
        if let Some(mode) = preferred.or(listed.first()) {
            return Ok(**mode);
        }
        computed_mode(width, height).ok_or_else(|| {
            Refusal::invalid(format!(
                "there is no mode of {width}x{height} for {}",
                self.connector
            ))
        })
    }

    fn copy(&mut self, picture: Picture<'_>, to: &Surface) -> Result<(), Refusal> {
        let Picture {
            framebuffer,
            width,
            height,
        } = picture;
        let pitch = to.dumb.pitch() as usize;
        let mut lines = || -> io::Result<()> {
            if !framebuffer.format.is_xrgb8888_in_memory() {
                self.converted.resize(4 * width as usize, 0);
                for y in 0..height {
                    framebuffer.read_line(y, width, &mut self.line)?;
                    framebuffer
                        .format
                        .to_xrgb8888(&self.line, &mut self.converted);
                    to.memory.write(pitch * y as usize, &self.converted)?;
                }
            } else if framebuffer.pitch() == pitch && framebuffer.line_octets(width) == pitch {
                to.memory.copy_from(
                    0,
                    framebuffer.memory()?,
                    framebuffer.line_offset(0),
                    pitch * height as usize,
                )?;
            } else {
                let octets = framebuffer.line_octets(width);
                for y in 0..height {
                    to.memory.copy_from(
                        pitch * y as usize,
                        framebuffer.memory()?,
                        framebuffer.line_offset(y),
                        octets,
                    )?;
                }
            }
            Ok(())
        };
        lines().map_err(|error| {
            Refusal::new(Errno::EIO, format!("the picture cannot be copied: {error}"))
        })
    }

    fn set(&self, framebuffer: framebuffer::Handle, mode: Mode) -> io::Result<()> {
        self.card.set_crtc(
            self.crtc,
            Some(framebuffer),
            (0, 0),
            &[self.connector.handle()],
            Some(mode),
        )
    }

    fn page_flip(&self, framebuffer: framebuffer::Handle) -> io::Result<()> {
        self.card
            .page_flip(self.crtc, framebuffer, PageFlipFlags::EVENT, None)
    }

    fn surfaces(&self, width: u32, height: u32) -> Result<Surfaces, Refusal> {
        let surface = || {
            Surface::new(&self.card, width, height).map_err(|error| {
                Refusal::new(
                    Errno::ENOMEM,
                    format!(
                        "no buffer of {width}x{height} for {}: {error}",
                        self.connector
                    ),
                )
            })
        };
        Ok(Surfaces {
            front: surface()?,
            back: surface()?,
        })
    }

    /// Flips to a picture of the screen's size.
    fn flip_to(&mut self, picture: Picture<'_>, screen: &mut Screen) -> Result<Transfer, Refusal> {
        let refusal = |connector: &connector::Info, error: io::Error| {
            let errno = if is_busy(&error) {
                Errno::EBUSY
            } else {
                Errno::EIO
            };
            Refusal::new(errno, format!("{connector} does not flip: {error}"))
        };
        if let Some(scanout) = self.scanouts.get(picture) {
            match self.page_flip(scanout) {
                Ok(()) => return Ok(Transfer::InPlace),
                Err(error) if is_busy(&error) => return Err(refusal(&self.connector, error)),
                Err(error) => self.scanouts.refuse(picture, error),
            }
        }
        let surfaces = match screen.surfaces.take() {
            Some(surfaces) => surfaces,
            None => self.surfaces(screen.width, screen.height)?,
        };
        let surfaces = screen.surfaces.insert(surfaces);
        self.copy(picture, &surfaces.back)?;
        self.page_flip(surfaces.back.framebuffer)
            .map_err(|error| refusal(&self.connector, error))?;
        std::mem::swap(&mut surfaces.front, &mut surfaces.back);
        Ok(Transfer::Copied)
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}

impl Head for KmsHead {
    fn set_config(&mut self, picture: Picture<'_>) -> Result<Transfer, Refusal> {
        let Picture { width, height, .. } = picture;
        // The device may have been plugged or resized since.
        if let Ok(connector) = self.card.get_connector(self.connector.handle(), true) {
            self.connector = connector;
        }
        let mode = self.mode(width, height)?;
        // The old buffers go only when the device shows the new ones.
        let mut screen = Screen {
            width,
            height,
            surfaces: None,
        };
        if let Some(scanout) = self.scanouts.get(picture) {
            match self.set(scanout, mode) {
                Ok(()) => {
                    self.screen = Some(screen);
                    return Ok(Transfer::InPlace);
                }
                Err(error) => self.scanouts.refuse(picture, error),
            }
        }
        let surfaces = screen.surfaces.insert(self.surfaces(width, height)?);
        self.copy(picture, &surfaces.front)?;
        self.set(surfaces.front.framebuffer, mode)
            .map_err(|error| {
                Refusal::invalid(format!(
                    "{} does not take a mode of {width}x{height}: {error}",
                    self.connector
                ))
            })?;
        self.screen = Some(screen);
        Ok(Transfer::Copied)
    }

    fn flip(&mut self, picture: Picture<'_>) -> Result<(Completion, Transfer), Refusal> {
        let Some(mut screen) = self.screen.take() else {
            return Err(Refusal::invalid("no mode is set"));
        };
        let shown = if (screen.width, screen.height) == (picture.width, picture.height) {
            self.flip_to(picture, &mut screen)
        } else {
            Err(Refusal::invalid("the picture has not the size of the mode"))
        };
        self.screen = Some(screen);
        Ok((Completion::OnEvent, shown?))
    }

    fn off(&mut self) {
        if self.screen.is_none() {
            return;
        }
        if let Err(error) = self.card.set_crtc(self.crtc, None, (0, 0), &[], None) {
            say!(
                "{}: {} cannot be switched off: {error}",
                self.label,
                self.connector
            );
        }
        self.screen = None;
    }

    fn forget(&mut self, framebuffer: &Framebuffer) {
        self.scanouts.forget(framebuffer);
    }

    fn snapshot(&mut self, _: Picture<'_>) -> Result<()> {
        Ok(()) // the picture is on the screen
    }
}

impl Drop for KmsHead {
    fn drop(&mut self) {
        if self.screen.is_some() {
            let before = self
                .before
                .as_ref()
                .and_then(|before| Some((before.framebuffer()?, before.mode()?)));
            // What was shown before the guest came, such as a console; its framebuffer may be gone.
            let restored =
                before.is_some_and(|(framebuffer, mode)| self.set(framebuffer, mode).is_ok());
            if restored {
                self.screen = None;
            } else {
                self.off();
            }
        }
        self.claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.crtc);
    }
}

fn computed_mode(width: u32, height: u32) -> Option<Mode> {
    let t = Timing::reduced_blanking(width, height, REFRESH);
    let short = |number: u32| u16::try_from(number).ok();
    let mut mode = drm_ffi::drm_mode_modeinfo {
        clock: t.clock_khz,
        hdisplay: short(t.width)?,
        hsync_start: short(t.hsync_start)?,
        hsync_end: short(t.hsync_end)?,
        htotal: short(t.htotal)?,
        hskew: 0,
        vdisplay: short(t.height)?,
        vsync_start: short(t.vsync_start)?,
        vsync_end: short(t.vsync_end)?,
        vtotal: short(t.vtotal)?,
        vscan: 0,
        vrefresh: t.refresh,
        flags: drm_ffi::DRM_MODE_FLAG_PHSYNC | drm_ffi::DRM_MODE_FLAG_NVSYNC,
        type_: drm_ffi::DRM_MODE_TYPE_USERDEF,
        name: [0; 32],
    };
    for (place, letter) in mode
        .name
        .iter_mut()
        .zip(format!("{width}x{height}").bytes())
    {
        *place = letter as _;
    }
    Some(mode.into())
}
