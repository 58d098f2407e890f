// SPDX-License-Identifier: GPL-2.0

//! What is on the wire, against Xen's own headers.

use std::num::NonZeroU64;

use displif_host_tests::displif::events::{EVENT_ENTRIES, EventRing};
use displif_host_tests::displif::message::{
    Config, DbufCookie, Event, FbCookie, Operation, Request, Response, SLOT_SIZE, Slot,
};
use displif_host_tests::displif::ring::{RING_ENTRIES, RequestRing};
use displif_host_tests::displif::state::BackendState;
use displif_host_tests::page::{Access, FIRST_SLOT, Page};
use displif_host_tests::xen::layout::*;
use displif_host_tests::xen::{self, Field};

const ID: u16 = 0xa1a2;

/// A cookie whose bytes all differ.
const fn cookie(last: u8) -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(0x0807_0605_0403_0200 | last as u64)
}

/// Checks that the request has these fields, its id and its operation, and that every other byte is zero.
#[track_caller]
fn expect(request: &Request, operation: u64, fields: &[(Field, u64)]) {
    let mut slot: Slot = request.encode(ID);
    let header = [(REQ_ID, u64::from(ID)), (REQ_OPERATION, operation)];
    for (field, value) in header.iter().chain(fields) {
        assert_eq!(field.get(&slot), *value, "{field:?}");
    }
    for (field, _) in header.iter().chain(fields) {
        field.put(&mut slot, 0);
    }
    assert_eq!(slot, [0; SLOT_SIZE], "reserved bytes");
}

#[test]
fn dbuf_create() {
    let mut request = Request::DbufCreate {
        dbuf: DbufCookie::new(cookie(1)),
        width: 0x1112_1314,
        height: 0x2122_2324,
        bpp: 0x3132_3334,
        buffer_sz: 0x4142_4344,
        req_alloc: true,
        gref_directory: 0x5152_5354,
        data_ofs: 0x6162_6364,
    };
    let mut fields = [
        (DBUF_CREATE_DBUF_COOKIE, cookie(1).get()),
        (DBUF_CREATE_WIDTH, 0x1112_1314),
        (DBUF_CREATE_HEIGHT, 0x2122_2324),
        (DBUF_CREATE_BPP, 0x3132_3334),
        (DBUF_CREATE_BUFFER_SZ, 0x4142_4344),
        (DBUF_CREATE_GREF_DIRECTORY, 0x5152_5354),
        (DBUF_CREATE_DATA_OFS, 0x6162_6364),
        (DBUF_CREATE_FLAGS, DBUF_FLG_REQ_ALLOC),
    ];
    expect(&request, OP_DBUF_CREATE, &fields);

    if let Request::DbufCreate { req_alloc, .. } = &mut request {
        *req_alloc = false;
    }
    fields[7].1 = 0;
    expect(&request, OP_DBUF_CREATE, &fields);
}

#[test]
fn dbuf_destroy() {
    let request = Request::DbufDestroy {
        dbuf: DbufCookie::new(cookie(2)),
    };
    let fields = [(DBUF_DESTROY_DBUF_COOKIE, cookie(2).get())];
    expect(&request, OP_DBUF_DESTROY, &fields);
}

#[test]
fn fb_attach() {
    let request = Request::FbAttach {
        dbuf: DbufCookie::new(cookie(3)),
        fb: FbCookie::new(cookie(4)),
        width: 0x1112_1314,
        height: 0x2122_2324,
        pixel_format: 0x3432_5258,
    };
    let fields = [
        (FB_ATTACH_DBUF_COOKIE, cookie(3).get()),
        (FB_ATTACH_FB_COOKIE, cookie(4).get()),
        (FB_ATTACH_WIDTH, 0x1112_1314),
        (FB_ATTACH_HEIGHT, 0x2122_2324),
        (FB_ATTACH_PIXEL_FORMAT, 0x3432_5258),
    ];
    expect(&request, OP_FB_ATTACH, &fields);
}

#[test]
fn fb_detach() {
    let request = Request::FbDetach {
        fb: FbCookie::new(cookie(5)),
    };
    let fields = [(FB_DETACH_FB_COOKIE, cookie(5).get())];
    expect(&request, OP_FB_DETACH, &fields);
}

#[test]
fn set_config() {
    let request = Request::SetConfig(Some(Config {
        fb: FbCookie::new(cookie(6)),
        x: 0x1112_1314,
        y: 0x2122_2324,
        width: 0x3132_3334,
        height: 0x4142_4344,
        bpp: 0x5152_5354,
    }));
    let fields = [
        (SET_CONFIG_FB_COOKIE, cookie(6).get()),
        (SET_CONFIG_X, 0x1112_1314),
        (SET_CONFIG_Y, 0x2122_2324),
        (SET_CONFIG_WIDTH, 0x3132_3334),
        (SET_CONFIG_HEIGHT, 0x4142_4344),
        (SET_CONFIG_BPP, 0x5152_5354),
    ];
    expect(&request, OP_SET_CONFIG, &fields);
    expect(&Request::SetConfig(None), OP_SET_CONFIG, &[]);
}

#[test]
fn page_flip() {
    let request = Request::PageFlip {
        fb: FbCookie::new(cookie(7)),
    };
    let fields = [(PG_FLIP_FB_COOKIE, cookie(7).get())];
    expect(&request, OP_PG_FLIP, &fields);
}

#[test]
fn get_edid() {
    let request = Request::GetEdid {
        buffer_sz: 0x1112_1314,
        gref_directory: 0x2122_2324,
    };
    let fields = [
        (GET_EDID_BUFFER_SZ, 0x1112_1314),
        (GET_EDID_GREF_DIRECTORY, 0x2122_2324),
    ];
    expect(&request, OP_GET_EDID, &fields);
}

#[test]
fn responses() {
    // Noise wherever there is no field.
    let mut slot = [0xee; SLOT_SIZE];
    RESP_ID.put(&mut slot, ID.into());
    RESP_OPERATION.put(&mut slot, OP_GET_EDID);
    RESP_STATUS.put(&mut slot, 0);
    RESP_EDID_SZ.put(&mut slot, 0x0102_0304);
    let expected = Response {
        id: ID,
        operation: Operation::GetEdid.raw(),
        status: Ok(()),
        edid_size: 0x0102_0304,
    };
    assert_eq!(Response::decode(&slot), expected);
}

#[test]
fn events() {
    let mut slot = [0xee; SLOT_SIZE];
    EVT_TYPE.put(&mut slot, EVT_PG_FLIP);
    EVT_PG_FLIP_FB_COOKIE.put(&mut slot, cookie(8).get());
    let expected = Event::PageFlip {
        fb_cookie: cookie(8).get(),
    };
    assert_eq!(Event::decode(&slot), expected);

    for kind in 1..=u8::MAX {
        assert_eq!(Event::decode(&xen::event(kind, 1)), Event::Unknown { kind });
    }
}

#[test]
fn operations() {
    let operations = [
        (OP_DBUF_CREATE, Operation::DbufCreate, "DBUF_CREATE"),
        (OP_DBUF_DESTROY, Operation::DbufDestroy, "DBUF_DESTROY"),
        (OP_FB_ATTACH, Operation::FbAttach, "FB_ATTACH"),
        (OP_FB_DETACH, Operation::FbDetach, "FB_DETACH"),
        (OP_SET_CONFIG, Operation::SetConfig, "SET_CONFIG"),
        (OP_PG_FLIP, Operation::PageFlip, "PG_FLIP"),
        (OP_GET_EDID, Operation::GetEdid, "GET_EDID"),
    ];
    for raw in 0..=u8::MAX {
        let known = operations
            .iter()
            .find(|(number, ..)| *number == u64::from(raw));
        let operation = Operation::from_raw(raw);
        assert_eq!(operation, known.map(|known| known.1));
        assert_eq!(operation.map(Operation::name), known.map(|known| known.2));
        assert_eq!(operation.map_or(raw, Operation::raw), raw);
    }
}

#[test]
fn sizes() {
    let slot = SLOT_SIZE as u64;
    assert_eq!([REQ_SIZE, RESP_SIZE, EVT_SIZE, SRING_SLOT_SIZE], [slot; 4]);
    assert_eq!(RING_ENTRIES as u64, SRING_ENTRIES);
    assert_eq!(u64::from(EVENT_ENTRIES), EVENT_PAGE_ENTRIES);
    let first = FIRST_SLOT as u64;
    assert_eq!([SRING_FIRST_SLOT, EVENT_PAGE_FIRST_SLOT], [first; 2]);
}

#[test]
fn headers_of_pages() {
    let page = Page::new();
    RequestRing::new().init(&page);
    assert_eq!(
        page.take_log(),
        [
            Access::Store(SRING_REQ_PROD.offset, 0),
            Access::Store(SRING_REQ_EVENT.offset, 1),
            Access::Store(SRING_RSP_PROD.offset, 0),
            Access::Store(SRING_RSP_EVENT.offset, 1),
        ]
    );
    EventRing::new().init(&page);
    assert_eq!(
        page.take_log(),
        [
            Access::Store(EVENT_PAGE_IN_CONS.offset, 0),
            Access::Store(EVENT_PAGE_IN_PROD.offset, 0),
        ]
    );
}

#[test]
fn states() {
    let states = [
        (STATE_UNKNOWN, BackendState::Unknown),
        (STATE_INITIALISING, BackendState::Initialising),
        (STATE_INIT_WAIT, BackendState::InitWait),
        (STATE_INITIALISED, BackendState::Initialised),
        (STATE_CONNECTED, BackendState::Connected),
        (STATE_CLOSING, BackendState::Closing),
        (STATE_CLOSED, BackendState::Closed),
        (STATE_RECONFIGURING, BackendState::Reconfiguring),
        (STATE_RECONFIGURED, BackendState::Reconfigured),
    ];
    for (raw, state) in states {
        assert_eq!(BackendState::from_raw(raw as u32), state);
        assert_eq!(state.name(), format!("{state:?}"));
    }
    for raw in [9, 99, u32::MAX] {
        assert_eq!(BackendState::from_raw(raw), BackendState::Unknown);
    }
}
