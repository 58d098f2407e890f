// SPDX-License-Identifier: GPL-2.0

//! Requests, responses and events, and their 64 bytes on the wire.

use core::num::NonZeroU64;

/// Bytes of a message.
pub const SLOT_SIZE: usize = 64;

/// A message as it lies in a ring.
pub type Slot = [u8; SLOT_SIZE];

/// Flag of `DBUF_CREATE`: the backend allocates the buffer.
const FLAG_REQ_ALLOC: u32 = 1 << 0;

/// Kind of the event that a flip is done.
const EVENT_PAGE_FLIP: u8 = 0x00;

/// Names a display buffer: an opaque number, never a pointer, never used twice.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct DbufCookie(NonZeroU64);

impl DbufCookie {
    /// The cookie with this number.
    pub const fn new(number: NonZeroU64) -> Self {
        Self(number)
    }

    /// Its number, as the backend sees it.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// Names a framebuffer: an opaque number, never a pointer, never used twice.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct FbCookie(NonZeroU64);

impl FbCookie {
    /// The cookie with this number.
    pub const fn new(number: NonZeroU64) -> Self {
        Self(number)
    }

    /// Its number, as the backend sees it.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// What a request asks for.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Operation {
    /// Make a display buffer.
    DbufCreate = 0x10,
    /// Destroy a display buffer.
    DbufDestroy = 0x11,
    /// Make a framebuffer of a display buffer.
    FbAttach = 0x12,
    /// Destroy a framebuffer.
    FbDetach = 0x13,
    /// Set the mode of a connector, or switch it off.
    SetConfig = 0x14,
    /// Show another framebuffer.
    PageFlip = 0x15,
    /// Read the EDID of a connector.
    GetEdid = 0x16,
}

impl Operation {
    #[cfg_attr(
        MODULE,
        expect(dead_code, reason = "the driver compares numbers; tools read names")
    )]
    /// The operation with this number, if there is one.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0x10 => Self::DbufCreate,
            0x11 => Self::DbufDestroy,
            0x12 => Self::FbAttach,
            0x13 => Self::FbDetach,
            0x14 => Self::SetConfig,
            0x15 => Self::PageFlip,
            0x16 => Self::GetEdid,
            _ => return None,
        })
    }

    /// Its number on the wire.
    pub const fn raw(self) -> u8 {
        self as u8
    }

    /// Its name in the words of `displif.h`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DbufCreate => "DBUF_CREATE",
            Self::DbufDestroy => "DBUF_DESTROY",
            Self::FbAttach => "FB_ATTACH",
            Self::FbDetach => "FB_DETACH",
            Self::SetConfig => "SET_CONFIG",
            Self::PageFlip => "PG_FLIP",
            Self::GetEdid => "GET_EDID",
        }
    }
}

/// The picture that a connector shows. All in pixels, but for `bpp`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The framebuffer to show.
    pub fb: FbCookie,
    /// Left edge on the connector.
    pub x: u32,
    /// Upper edge on the connector.
    pub y: u32,
    /// Width of the picture.
    pub width: u32,
    /// Height of the picture.
    pub height: u32,
    /// Bits per pixel.
    pub bpp: u32,
}

/// A request to the backend.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Makes a display buffer of granted pages, or asks the backend for pages.
    DbufCreate {
        /// Its name, not in use.
        dbuf: DbufCookie,
        /// Width in pixels; 0, with `height` and `bpp`, for memory whose shape `FB_ATTACH` tells.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bits per pixel.
        bpp: u32,
        /// Size of the buffer in bytes.
        buffer_sz: u32,
        /// The backend allocates the pages, and writes their references into the directory.
        req_alloc: bool,
        /// Grant reference of the first page of the directory.
        gref_directory: u32,
        /// Offset of the first pixel in the buffer, in bytes. Version 2; 0 before.
        data_ofs: u32,
    },
    /// Destroys a display buffer.
    DbufDestroy {
        /// Its name.
        dbuf: DbufCookie,
    },
    /// Makes a framebuffer of a display buffer.
    FbAttach {
        /// The buffer's name.
        dbuf: DbufCookie,
        /// The framebuffer's name, not in use.
        fb: FbCookie,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// FOURCC of the pixel format.
        pixel_format: u32,
    },
    /// Destroys a framebuffer.
    FbDetach {
        /// Its name.
        fb: FbCookie,
    },
    /// Sets the mode of the connector that owns the ring; `None` switches it off.
    SetConfig(Option<Config>),
    /// Shows another framebuffer on the connector that owns the ring.
    PageFlip {
        /// Its name.
        fb: FbCookie,
    },
    #[cfg_attr(
        MODULE,
        expect(dead_code, reason = "the driver does not ask for an EDID yet")
    )]
    /// Reads the EDID of the connector that owns the ring. Version 2.
    GetEdid {
        /// Size of the buffer in bytes.
        buffer_sz: u32,
        /// Grant reference of the first page of the directory of the buffer.
        gref_directory: u32,
    },
}

impl Request {
    /// What is asked for.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::DbufCreate { .. } => Operation::DbufCreate,
            Self::DbufDestroy { .. } => Operation::DbufDestroy,
            Self::FbAttach { .. } => Operation::FbAttach,
            Self::FbDetach { .. } => Operation::FbDetach,
            Self::SetConfig(_) => Operation::SetConfig,
            Self::PageFlip { .. } => Operation::PageFlip,
            Self::GetEdid { .. } => Operation::GetEdid,
        }
    }

    /// The request on the wire, under the given id. Every byte that the request does not use is zero.
    pub fn encode(&self, id: u16) -> Slot {
        let mut slot = [0; SLOT_SIZE];
        put::<0, 2>(&mut slot, id.to_ne_bytes());
        put::<2, 1>(&mut slot, [self.operation().raw()]);
        match *self {
            Self::DbufCreate {
                dbuf,
                width,
                height,
                bpp,
                buffer_sz,
                req_alloc,
                gref_directory,
                data_ofs,
            } => {
                let flags = if req_alloc { FLAG_REQ_ALLOC } else { 0 };
                put::<8, 8>(&mut slot, dbuf.get().to_ne_bytes());
                put::<16, 4>(&mut slot, width.to_ne_bytes());
                put::<20, 4>(&mut slot, height.to_ne_bytes());
                put::<24, 4>(&mut slot, bpp.to_ne_bytes());
                put::<28, 4>(&mut slot, buffer_sz.to_ne_bytes());
                put::<32, 4>(&mut slot, flags.to_ne_bytes());
                put::<36, 4>(&mut slot, gref_directory.to_ne_bytes());
                put::<40, 4>(&mut slot, data_ofs.to_ne_bytes());
            }
            Self::DbufDestroy { dbuf } => put::<8, 8>(&mut slot, dbuf.get().to_ne_bytes()),
            Self::FbAttach {
                dbuf,
                fb,
                width,
                height,
                pixel_format,
            } => {
                put::<8, 8>(&mut slot, dbuf.get().to_ne_bytes());
                put::<16, 8>(&mut slot, fb.get().to_ne_bytes());
                put::<24, 4>(&mut slot, width.to_ne_bytes());
                put::<28, 4>(&mut slot, height.to_ne_bytes());
                put::<32, 4>(&mut slot, pixel_format.to_ne_bytes());
            }
            Self::FbDetach { fb } | Self::PageFlip { fb } => {
                put::<8, 8>(&mut slot, fb.get().to_ne_bytes());
            }
            Self::SetConfig(None) => {}
            Self::SetConfig(Some(config)) => {
                put::<8, 8>(&mut slot, config.fb.get().to_ne_bytes());
                put::<16, 4>(&mut slot, config.x.to_ne_bytes());
                put::<20, 4>(&mut slot, config.y.to_ne_bytes());
                put::<24, 4>(&mut slot, config.width.to_ne_bytes());
                put::<28, 4>(&mut slot, config.height.to_ne_bytes());
                put::<32, 4>(&mut slot, config.bpp.to_ne_bytes());
            }
            Self::GetEdid {
                buffer_sz,
                gref_directory,
            } => {
                put::<8, 4>(&mut slot, buffer_sz.to_ne_bytes());
                put::<12, 4>(&mut slot, gref_directory.to_ne_bytes());
            }
        }
        slot
    }
}

/// An error number, 1 to 4095.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Errno(u16);

impl Errno {
    /// The other end failed, or talks nonsense.
    pub const EIO: Self = Self(5);

    /// The status of the largest number: beyond it, an error pointer would not be one.
    const MIN_STATUS: i32 = -4095;

    /// Its number, positive.
    pub const fn get(self) -> i32 {
        self.0 as i32
    }

    /// What may be told to user space or to the kernel: a number that says what happened, and nothing that steers the caller.
    ///
    /// The backend must not be able to make a caller retry for ever (`EINTR`, `EAGAIN`, the kernel's `ERESTARTSYS` and its
    /// kin) or back off from a lock that it never took (`EDEADLK`). Those, and what Xen's `errno.h` does not have, become
    /// [`Errno::EIO`].
    pub const fn for_caller(self) -> Self {
        match self.0 {
            1..=3 | 5..=10 | 12..=14 | 16..=24 | 28 | 30 | 31 | 33 | 34 | 36..=39 => self,
            61 | 62 | 74 | 75 | 84 | 88 | 90 | 95 | 98 | 99 | 105..=107 | 110 | 111 => self,
            _ => Self::EIO,
        }
    }
}

/// How a request went.
pub type Status = Result<(), Errno>;

/// Reads a status word: 0 is success, -4095 to -1 an error, and anything else is taken for [`Errno::EIO`].
fn decode_status(raw: i32) -> Status {
    match raw {
        0 => Ok(()),
        Errno::MIN_STATUS..=-1 => Err(u16::try_from(raw.unsigned_abs()).map_or(Errno::EIO, Errno)),
        _ => Err(Errno::EIO),
    }
}

/// A response, as the backend wrote it; only the status has been brought into its range.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Id of the request that it claims to answer.
    pub id: u16,
    /// Operation of the request that it claims to answer.
    pub operation: u8,
    /// How the request went.
    pub status: Status,
    /// Size of the EDID in bytes, unchecked; noise in other responses.
    pub edid_size: u32,
}

impl Response {
    /// Reads a response.
    pub fn decode(slot: &Slot) -> Self {
        let [operation] = get::<2, 1>(slot);
        Self {
            id: u16::from_ne_bytes(get::<0, 2>(slot)),
            operation,
            status: decode_status(i32::from_ne_bytes(get::<4, 4>(slot))),
            edid_size: u32::from_ne_bytes(get::<8, 4>(slot)),
        }
    }
}

/// An event, as the backend wrote it. Its id means nothing and is not read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A flip is done.
    PageFlip {
        /// Name of the framebuffer, unchecked.
        fb_cookie: u64,
    },
    /// An event that this frontend does not know.
    Unknown {
        /// Its kind.
        kind: u8,
    },
}

impl Event {
    /// Reads an event.
    pub fn decode(slot: &Slot) -> Self {
        match get::<2, 1>(slot) {
            [EVENT_PAGE_FLIP] => Self::PageFlip {
                fb_cookie: u64::from_ne_bytes(get::<8, 8>(slot)),
            },
            [kind] => Self::Unknown { kind },
        }
    }
}

/// Puts a field of `SIZE` bytes at offset `AT`. That it fits is checked when this is compiled.
fn put<const AT: usize, const SIZE: usize>(slot: &mut Slot, bytes: [u8; SIZE]) {
    const { assert!(AT + SIZE <= SLOT_SIZE) };
    for (to, from) in slot.iter_mut().skip(AT).zip(bytes) {
        *to = from;
    }
}

/// Gets the field of `SIZE` bytes at offset `AT`. That it is there is checked when this is compiled.
fn get<const AT: usize, const SIZE: usize>(slot: &Slot) -> [u8; SIZE] {
    const { assert!(AT + SIZE <= SLOT_SIZE) };
    let mut bytes = [0; SIZE];
    for (to, from) in bytes.iter_mut().zip(slot.iter().skip(AT)) {
        *to = *from;
    }
    bytes
}
