// SPDX-License-Identifier: GPL-2.0

//! The decoders agree with Xen's layout for any 64 bytes, and the encoder leaves nothing but its fields.

use std::num::NonZeroU64;

use arbitrary::{Arbitrary, Unstructured};

use crate::displif::message::{
    Config, DbufCookie, Errno, Event, FbCookie, Request, Response, SLOT_SIZE, Slot, Status,
};
use crate::xen::{Field, layout};

/// A status by the rule: 0, or an errno in -4095 to -1, or else `EIO`.
pub fn status(raw: i32) -> Result<(), i32> {
    match i64::from(raw) {
        0 => Ok(()),
        errno @ -4095..=-1 => Err(-errno as i32),
        _ => Err(5),
    }
}

/// A status in numbers.
pub fn number(status: Status) -> Result<(), i32> {
    status.map_err(Errno::get)
}

/// Checks both decoders.
pub fn check_decoders(data: &[u8]) {
    let mut slot = [0; SLOT_SIZE];
    for (to, from) in slot.iter_mut().zip(data) {
        *to = *from;
    }

    let response = Response::decode(&slot);
    let raw_status = layout::RESP_STATUS.get(&slot) as u32 as i32;
    assert_eq!(u64::from(response.id), layout::RESP_ID.get(&slot));
    assert_eq!(
        u64::from(response.operation),
        layout::RESP_OPERATION.get(&slot)
    );
    assert_eq!(number(response.status), status(raw_status));
    assert_eq!(
        u64::from(response.edid_size),
        layout::RESP_EDID_SZ.get(&slot)
    );
    if let Err(errno) = response.status {
        assert!((1..=4095).contains(&errno.get()));
        assert_eq!(errno.for_caller().for_caller(), errno.for_caller());
    }

    let kind = layout::EVT_TYPE.get(&slot);
    match Event::decode(&slot) {
        Event::PageFlip { fb_cookie } => {
            assert_eq!(kind, layout::EVT_PG_FLIP);
            assert_eq!(fb_cookie, layout::EVT_PG_FLIP_FB_COOKIE.get(&slot));
        }
        Event::Unknown { kind: unknown } => {
            assert_ne!(kind, layout::EVT_PG_FLIP);
            assert_eq!(kind, u64::from(unknown));
        }
    }
}

/// Checks the encoder on a request made of bytes.
pub fn check_encoder(data: &[u8], id: u16) {
    if let Ok(request) = AnyRequest::arbitrary(&mut Unstructured::new(data)) {
        let request = request.into();
        assert_eq!(Request::encode(&request, id), encode(&request, id));
    }
}

/// A request, to be made of bytes.
#[derive(Copy, Clone, Arbitrary, Debug)]
#[expect(missing_docs, reason = "as in `Request`")]
pub enum AnyRequest {
    DbufCreate([u32; 6], NonZeroU64, bool),
    DbufDestroy(NonZeroU64),
    FbAttach([u32; 3], NonZeroU64, NonZeroU64),
    FbDetach(NonZeroU64),
    SetConfig([u32; 5], NonZeroU64),
    SetConfigOff,
    PageFlip(NonZeroU64),
    GetEdid([u32; 2]),
}

impl From<AnyRequest> for Request {
    fn from(request: AnyRequest) -> Self {
        match request {
            AnyRequest::DbufCreate(
                [width, height, bpp, buffer_sz, gref_directory, data_ofs],
                dbuf,
                req_alloc,
            ) => Self::DbufCreate {
                dbuf: DbufCookie::new(dbuf),
                width,
                height,
                bpp,
                buffer_sz,
                req_alloc,
                gref_directory,
                data_ofs,
            },
            AnyRequest::DbufDestroy(dbuf) => Self::DbufDestroy {
                dbuf: DbufCookie::new(dbuf),
            },
            AnyRequest::FbAttach([width, height, pixel_format], dbuf, fb) => Self::FbAttach {
                dbuf: DbufCookie::new(dbuf),
                fb: FbCookie::new(fb),
                width,
                height,
                pixel_format,
            },
            AnyRequest::FbDetach(fb) => Self::FbDetach {
                fb: FbCookie::new(fb),
            },
            AnyRequest::SetConfig([x, y, width, height, bpp], fb) => {
                Self::SetConfig(Some(Config {
                    fb: FbCookie::new(fb),
                    x,
                    y,
                    width,
                    height,
                    bpp,
                }))
            }
            AnyRequest::SetConfigOff => Self::SetConfig(None),
            AnyRequest::PageFlip(fb) => Self::PageFlip {
                fb: FbCookie::new(fb),
            },
            AnyRequest::GetEdid([buffer_sz, gref_directory]) => Self::GetEdid {
                buffer_sz,
                gref_directory,
            },
        }
    }
}

/// The request on the wire, written with Xen's layout.
pub fn encode(request: &Request, id: u16) -> Slot {
    let (operation, fields) = fields(request);
    let mut slot = [0; SLOT_SIZE];
    layout::REQ_ID.put(&mut slot, id.into());
    layout::REQ_OPERATION.put(&mut slot, operation);
    for (field, value) in fields {
        field.put(&mut slot, value);
    }
    slot
}

/// The code and the fields of a request, in Xen's words.
fn fields(request: &Request) -> (u64, Vec<(Field, u64)>) {
    match *request {
        Request::DbufCreate {
            dbuf,
            width,
            height,
            bpp,
            buffer_sz,
            req_alloc,
            gref_directory,
            data_ofs,
        } => (
            layout::OP_DBUF_CREATE,
            vec![
                (layout::DBUF_CREATE_DBUF_COOKIE, dbuf.get()),
                (layout::DBUF_CREATE_WIDTH, width.into()),
                (layout::DBUF_CREATE_HEIGHT, height.into()),
                (layout::DBUF_CREATE_BPP, bpp.into()),
                (layout::DBUF_CREATE_BUFFER_SZ, buffer_sz.into()),
                (
                    layout::DBUF_CREATE_FLAGS,
                    if req_alloc {
                        layout::DBUF_FLG_REQ_ALLOC
                    } else {
                        0
                    },
                ),
                (layout::DBUF_CREATE_GREF_DIRECTORY, gref_directory.into()),
                (layout::DBUF_CREATE_DATA_OFS, data_ofs.into()),
            ],
        ),
        Request::DbufDestroy { dbuf } => (
            layout::OP_DBUF_DESTROY,
            vec![(layout::DBUF_DESTROY_DBUF_COOKIE, dbuf.get())],
        ),
        Request::FbAttach {
            dbuf,
            fb,
            width,
            height,
            pixel_format,
        } => (
            layout::OP_FB_ATTACH,
            vec![
                (layout::FB_ATTACH_DBUF_COOKIE, dbuf.get()),
                (layout::FB_ATTACH_FB_COOKIE, fb.get()),
                (layout::FB_ATTACH_WIDTH, width.into()),
                (layout::FB_ATTACH_HEIGHT, height.into()),
                (layout::FB_ATTACH_PIXEL_FORMAT, pixel_format.into()),
            ],
        ),
        Request::FbDetach { fb } => (
            layout::OP_FB_DETACH,
            vec![(layout::FB_DETACH_FB_COOKIE, fb.get())],
        ),
        Request::SetConfig(None) => (layout::OP_SET_CONFIG, vec![]),
        Request::SetConfig(Some(config)) => (
            layout::OP_SET_CONFIG,
            vec![
                (layout::SET_CONFIG_FB_COOKIE, config.fb.get()),
                (layout::SET_CONFIG_X, config.x.into()),
                (layout::SET_CONFIG_Y, config.y.into()),
                (layout::SET_CONFIG_WIDTH, config.width.into()),
                (layout::SET_CONFIG_HEIGHT, config.height.into()),
                (layout::SET_CONFIG_BPP, config.bpp.into()),
            ],
        ),
        Request::PageFlip { fb } => (
            layout::OP_PG_FLIP,
            vec![(layout::PG_FLIP_FB_COOKIE, fb.get())],
        ),
        Request::GetEdid {
            buffer_sz,
            gref_directory,
        } => (
            layout::OP_GET_EDID,
            vec![
                (layout::GET_EDID_BUFFER_SZ, buffer_sz.into()),
                (layout::GET_EDID_GREF_DIRECTORY, gref_directory.into()),
            ],
        ),
    }
}
