// SPDX-License-Identifier: GPL-2.0

//! displif as Xen's own headers have it, and messages written with nothing but that.

use crate::displif::message::Slot;

/// Where a field lies in its struct.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Offset in bytes.
    pub offset: usize,
    /// Size in bytes, at most 8.
    pub size: usize,
}

impl Field {
    /// Reads the field, little-endian as all of Xen's hosts are.
    pub fn get(self, bytes: &[u8]) -> u64 {
        let field = &bytes[self.offset..self.offset + self.size];
        field
            .iter()
            .rev()
            .fold(0, |value, &byte| (value << 8) | u64::from(byte))
    }

    /// Writes the field, with as many low bytes of `value` as it has.
    pub fn put(self, bytes: &mut [u8], value: u64) {
        bytes[self.offset..self.offset + self.size]
            .copy_from_slice(&value.to_le_bytes()[..self.size]);
    }
}

/// Constants that the build made from the C headers, under the names that they have there.
#[expect(missing_docs, reason = "generated")]
pub mod layout {
    use super::Field;

    include!(concat!(env!("OUT_DIR"), "/xen_layout.rs"));
}

/// A response.
pub fn response(id: u16, operation: u8, status: i32) -> Slot {
    let mut slot = [0; 64];
    layout::RESP_ID.put(&mut slot, id.into());
    layout::RESP_OPERATION.put(&mut slot, operation.into());
    layout::RESP_STATUS.put(&mut slot, u64::from(status as u32));
    slot
}

/// An event.
pub fn event(kind: u8, fb_cookie: u64) -> Slot {
    let mut slot = [0; 64];
    layout::EVT_TYPE.put(&mut slot, kind.into());
    layout::EVT_PG_FLIP_FB_COOKIE.put(&mut slot, fb_cookie);
    slot
}
