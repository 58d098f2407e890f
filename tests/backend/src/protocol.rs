// SPDX-License-Identifier: GPL-2.0
//! The displif wire format, seen from the backend: requests are decoded, responses and events are encoded.
//!
//! Nothing here knows about Xen, memory or displays, and nothing is shared with the frontend in this repository: an error
//! in one of the two shows as a disagreement. `header_test` compares this file with Xen's own header.

#[cfg(test)]
mod header_test;

/// Octets in a request, a response or an event.
pub const SLOT_SIZE: usize = 64;
/// One request, response or event as it lies in shared memory.
pub type Slot = [u8; SLOT_SIZE];

/// Octets in a granted page; Xen's, whatever the page size of either kernel.
pub const PAGE_SIZE: usize = 4096;
/// References in one page of a page directory; its first word links to the next page.
pub const REFS_PER_DIRECTORY_PAGE: usize = PAGE_SIZE / 4 - 1;
/// Octets in an EDID block.
pub const EDID_BLOCK_SIZE: usize = 128;
/// What a frontend must provide for an EDID, in octets.
pub const EDID_MAX_SIZE: u32 = 128 * 256;
/// `flags` of DBUF_CREATE: the backend shall allocate the buffer.
pub const FLAG_BACKEND_ALLOCATES: u32 = 1 << 0;

/// Event channel and grant reference numbers are 32-bit words on the wire.
pub type GrantRef = u32;

/// The operation codes of requests.
pub mod op {
    #![allow(missing_docs)]
    pub const DBUF_CREATE: u8 = 0x10;
    pub const DBUF_DESTROY: u8 = 0x11;
    pub const FB_ATTACH: u8 = 0x12;
    pub const FB_DETACH: u8 = 0x13;
    pub const SET_CONFIG: u8 = 0x14;
    pub const PG_FLIP: u8 = 0x15;
    pub const GET_EDID: u8 = 0x16;
}

/// The type of the only event that there is.
pub const EVENT_PG_FLIP: u8 = 0x00;

/// Errors that this backend answers with. The numbers are Xen's (`xen/errno.h`), the same on every architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(
    missing_docs,
    clippy::upper_case_acronyms,
    reason = "these are the names that everybody knows"
)]
pub enum Errno {
    ENOENT = 2,
    EIO = 5,
    ENOMEM = 12,
    EBUSY = 16,
    EEXIST = 17,
    EINVAL = 22,
    ENOSPC = 28,
    EOPNOTSUPP = 95,
}

/// DBUF_CREATE: make a display buffer known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbufCreate {
    /// The frontend's name for the buffer, not 0.
    pub dbuf: u64,
    /// Pixels; 0, with `height` and `bpp`: not known before FB_ATTACH.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits per pixel.
    pub bpp: u32,
    /// Octets.
    pub buffer_size: u32,
    /// [`FLAG_BACKEND_ALLOCATES`]; other bits must be clear.
    pub flags: u32,
    /// The first page of the page directory.
    pub directory: GrantRef,
    /// Octets from the buffer's start to the first pixel; version 2 only.
    pub data_offset: u32,
}

/// FB_ATTACH: a framebuffer, a view of a display buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FbAttach {
    /// The display buffer.
    pub dbuf: u64,
    /// The frontend's name for the framebuffer, not 0.
    pub fb: u64,
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// FOURCC.
    pub pixel_format: u32,
}

/// SET_CONFIG: show a framebuffer on the ring's connector; all zeros switch it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetConfig {
    /// The framebuffer to show.
    pub fb: u64,
    /// Pixels.
    pub x: u32,
    /// Lines.
    pub y: u32,
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits per pixel.
    pub bpp: u32,
}

impl SetConfig {
    /// Whether this switches the connector off.
    pub fn is_off(&self) -> bool {
        *self
            == SetConfig {
                fb: 0,
                x: 0,
                y: 0,
                width: 0,
                height: 0,
                bpp: 0,
            }
    }
}

/// GET_EDID (version 2): write the connector's EDID to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetEdid {
    /// Octets.
    pub buffer_size: u32,
    /// The first page of the page directory.
    pub directory: GrantRef,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Command {
    DbufCreate(DbufCreate),
    DbufDestroy {
        dbuf: u64,
    },
    FbAttach(FbAttach),
    FbDetach {
        fb: u64,
    },
    SetConfig(SetConfig),
    PageFlip {
        fb: u64,
    },
    GetEdid(GetEdid),
    /// A code that the protocol does not define.
    Unknown,
}

impl Command {
    /// The protocol's name of the operation.
    pub fn name(&self) -> &'static str {
        match self {
            Command::DbufCreate(_) => "DBUF_CREATE",
            Command::DbufDestroy { .. } => "DBUF_DESTROY",
            Command::FbAttach(_) => "FB_ATTACH",
            Command::FbDetach { .. } => "FB_DETACH",
            Command::SetConfig(_) => "SET_CONFIG",
            Command::PageFlip { .. } => "PG_FLIP",
            Command::GetEdid(_) => "GET_EDID",
            Command::Unknown => "request with an unknown operation",
        }
    }

    /// Whether the operation must be sent on the ring of connector 0.
    pub fn is_for_first_ring(&self) -> bool {
        matches!(
            self,
            Command::DbufCreate(_)
                | Command::DbufDestroy { .. }
                | Command::FbAttach(_)
                | Command::FbDetach { .. }
        )
    }
}

/// A decoded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Echoed in the response.
    pub id: u16,
    /// Echoed in the response.
    pub operation: u8,
    /// What is asked for.
    pub command: Command,
    /// Whether all octets that the protocol reserves are 0, as it demands.
    pub reserved_clear: bool,
}

impl Request {
    /// Decodes a private copy of a slot. Any 64 octets decode; whether the values make sense is not judged here.
    pub fn decode(slot: &Slot) -> Self {
        let operation = slot[2];
        let (command, used) = match operation {
            op::DBUF_CREATE => (
                Command::DbufCreate(DbufCreate {
                    dbuf: get_u64(slot, 8),
                    width: get_u32(slot, 16),
                    height: get_u32(slot, 20),
                    bpp: get_u32(slot, 24),
                    buffer_size: get_u32(slot, 28),
                    flags: get_u32(slot, 32),
                    directory: get_u32(slot, 36),
                    data_offset: get_u32(slot, 40),
                }),
                44,
            ),
            op::DBUF_DESTROY => (
                Command::DbufDestroy {
                    dbuf: get_u64(slot, 8),
                },
                16,
            ),
            op::FB_ATTACH => (
                Command::FbAttach(FbAttach {
                    dbuf: get_u64(slot, 8),
                    fb: get_u64(slot, 16),
                    width: get_u32(slot, 24),
                    height: get_u32(slot, 28),
                    pixel_format: get_u32(slot, 32),
                }),
                36,
            ),
            op::FB_DETACH => (
                Command::FbDetach {
                    fb: get_u64(slot, 8),
                },
                16,
            ),
            op::SET_CONFIG => (
                Command::SetConfig(SetConfig {
                    fb: get_u64(slot, 8),
                    x: get_u32(slot, 16),
                    y: get_u32(slot, 20),
                    width: get_u32(slot, 24),
                    height: get_u32(slot, 28),
                    bpp: get_u32(slot, 32),
                }),
                36,
            ),
            op::PG_FLIP => (
                Command::PageFlip {
                    fb: get_u64(slot, 8),
                },
                16,
            ),
            op::GET_EDID => (
                Command::GetEdid(GetEdid {
                    buffer_size: get_u32(slot, 8),
                    directory: get_u32(slot, 12),
                }),
                16,
            ),
            _ => (Command::Unknown, SLOT_SIZE),
        };
        Request {
            id: get_u16(slot, 0),
            operation,
            command,
            reserved_clear: slot[3..8]
                .iter()
                .chain(&slot[used..])
                .all(|octet| *octet == 0),
        }
    }
}

/// An answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The request's id.
    pub id: u16,
    /// The request's operation.
    pub operation: u8,
    /// What came of it; the number answers GET_EDID (octets written) and is 0 for everything else.
    pub outcome: Result<u32, Errno>,
}

impl Response {
    /// The response as it goes to shared memory; what the protocol reserves is 0.
    pub fn encode(&self) -> Slot {
        let mut slot = [0; SLOT_SIZE];
        slot[0..2].copy_from_slice(&self.id.to_ne_bytes());
        slot[2] = self.operation;
        match self.outcome {
            Ok(edid_size) => slot[8..12].copy_from_slice(&edid_size.to_ne_bytes()),
            Err(errno) => slot[4..8].copy_from_slice(&(-(errno as i32)).to_ne_bytes()),
        }
        slot
    }
}

/// The event "this framebuffer is on the screen now".
pub fn encode_flip_event(id: u16, fb: u64) -> Slot {
    let mut slot = [0; SLOT_SIZE];
    slot[0..2].copy_from_slice(&id.to_ne_bytes());
    slot[2] = EVENT_PG_FLIP;
    slot[8..16].copy_from_slice(&fb.to_ne_bytes());
    slot
}

// Both ends are on one machine: the wire has its byte order.

fn get_u16(slot: &Slot, at: usize) -> u16 {
    u16::from_ne_bytes([slot[at], slot[at + 1]])
}

fn get_u32(slot: &Slot, at: usize) -> u32 {
    u32::from_ne_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]])
}

fn get_u64(slot: &Slot, at: usize) -> u64 {
    let mut octets = [0; 8];
    octets.copy_from_slice(&slot[at..at + 8]);
    u64::from_ne_bytes(octets)
}
