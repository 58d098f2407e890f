// SPDX-License-Identifier: GPL-2.0
//! Compares this crate's idea of the protocol with Xen's `displif.h`: a C program that includes the header prints what it
//! makes of known values. Needs a C compiler and `libxen-dev`.

use super::*;
use crate::ring;
use std::collections::HashMap;
use std::process::Command as Process;
use std::sync::LazyLock;

/// What the C program prints, by name. It is made once, for all tests.
fn facts() -> &'static HashMap<String, String> {
    static FACTS: LazyLock<HashMap<String, String>> = LazyLock::new(ask_the_compiler);
    &FACTS
}

fn ask_the_compiler() -> HashMap<String, String> {
    let program = std::env::temp_dir().join(format!("displif-header-{}", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/protocol/header_test.c");
    let compiled = Process::new("cc")
        .args(["-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(
        compiled.expect("a C compiler is needed").success(),
        "Xen's headers are needed (libxen-dev)"
    );
    let output = Process::new(&program)
        .output()
        .expect("the compiled program runs");
    std::fs::remove_file(&program).expect("the compiled program can be removed");
    String::from_utf8(output.stdout)
        .expect("plain text")
        .lines()
        .map(|line| line.rsplit_once(' ').expect("a name and a value"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn slot(facts: &HashMap<String, String>, name: &str) -> Slot {
    let text = &facts[name];
    std::array::from_fn(|i| {
        u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hexadecimal octets")
    })
}

#[test]
fn messages_agree_with_xens_header() {
    let facts = facts();
    let (first, second) = (0x1112_1314_1516_1718, 0x2122_2324_2526_2728);
    let requests = [
        (
            "dbuf_create",
            op::DBUF_CREATE,
            Command::DbufCreate(DbufCreate {
                dbuf: first,
                width: 0x2122_2324,
                height: 0x3132_3334,
                bpp: 0x4142_4344,
                buffer_size: 0x5152_5354,
                flags: 0x6162_6364,
                directory: 0x7172_7374,
                data_offset: 0x8182_8384,
            }),
        ),
        (
            "dbuf_destroy",
            op::DBUF_DESTROY,
            Command::DbufDestroy { dbuf: first },
        ),
        (
            "fb_attach",
            op::FB_ATTACH,
            Command::FbAttach(FbAttach {
                dbuf: first,
                fb: second,
                width: 0x3132_3334,
                height: 0x4142_4344,
                pixel_format: 0x5152_5354,
            }),
        ),
        ("fb_detach", op::FB_DETACH, Command::FbDetach { fb: first }),
        (
            "set_config",
            op::SET_CONFIG,
            Command::SetConfig(SetConfig {
                fb: first,
                x: 0x2122_2324,
                y: 0x3132_3334,
                width: 0x4142_4344,
                height: 0x5152_5354,
                bpp: 0x6162_6364,
            }),
        ),
        ("pg_flip", op::PG_FLIP, Command::PageFlip { fb: first }),
        (
            "get_edid",
            op::GET_EDID,
            Command::GetEdid(GetEdid {
                buffer_size: 0x1112_1314,
                directory: 0x2122_2324,
            }),
        ),
    ];
    for (name, operation, command) in requests {
        let expected = Request {
            id: 0xa1b2,
            operation,
            command,
            reserved_clear: true,
        };
        assert_eq!(Request::decode(&slot(facts, name)), expected, "{name}");
    }
    let refused = Response {
        id: 0xa1b2,
        operation: op::SET_CONFIG,
        outcome: Err(Errno::EOPNOTSUPP),
    };
    assert_eq!(refused.encode(), slot(facts, "response"));
    let edid = Response {
        id: 0xa1b2,
        operation: op::GET_EDID,
        outcome: Ok(0x1112_1314),
    };
    assert_eq!(edid.encode(), slot(facts, "edid_response"));
    assert_eq!(encode_flip_event(0xa1b2, first), slot(facts, "flip_event"));
}

#[test]
fn constants_agree_with_xens_header() {
    let facts = facts();
    let expected: [(&str, i64); 28] = [
        ("sizeof(struct xendispl_req)", SLOT_SIZE as i64),
        ("sizeof(struct xendispl_resp)", SLOT_SIZE as i64),
        ("sizeof(struct xendispl_evt)", SLOT_SIZE as i64),
        ("sizeof(union xen_displif_sring_entry)", SLOT_SIZE as i64),
        (
            "offsetof(struct xen_displif_sring, req_prod)",
            4 * ring::REQ_PROD as i64,
        ),
        (
            "offsetof(struct xen_displif_sring, req_event)",
            4 * ring::REQ_EVENT as i64,
        ),
        (
            "offsetof(struct xen_displif_sring, rsp_prod)",
            4 * ring::RSP_PROD as i64,
        ),
        (
            "offsetof(struct xen_displif_sring, rsp_event)",
            4 * ring::RSP_EVENT as i64,
        ),
        (
            "offsetof(struct xen_displif_sring, ring)",
            4 * ring::FIRST_SLOT as i64,
        ),
        (
            "__CONST_RING_SIZE(xen_displif, 4096)",
            i64::from(ring::REQUEST_SLOTS),
        ),
        (
            "offsetof(struct xendispl_event_page, in_cons)",
            4 * ring::IN_CONS as i64,
        ),
        (
            "offsetof(struct xendispl_event_page, in_prod)",
            4 * ring::IN_PROD as i64,
        ),
        ("XENDISPL_IN_RING_OFFS", 4 * ring::FIRST_SLOT as i64),
        ("XENDISPL_IN_RING_LEN", i64::from(ring::EVENT_SLOTS)),
        (
            "offsetof(struct xendispl_page_directory, gref_dir_next_page)",
            0,
        ),
        ("offsetof(struct xendispl_page_directory, gref)", 4),
        (
            "XENDISPL_DBUF_FLG_REQ_ALLOC",
            i64::from(FLAG_BACKEND_ALLOCATES),
        ),
        ("XENDISPL_EDID_BLOCK_SIZE", EDID_BLOCK_SIZE as i64),
        ("XENDISPL_EDID_MAX_SIZE", i64::from(EDID_MAX_SIZE)),
        ("XENDISPL_PROTOCOL_VERSION_INT", 2),
        ("XEN_ENOENT", Errno::ENOENT as i64),
        ("XEN_EIO", Errno::EIO as i64),
        ("XEN_ENOMEM", Errno::ENOMEM as i64),
        ("XEN_EBUSY", Errno::EBUSY as i64),
        ("XEN_EEXIST", Errno::EEXIST as i64),
        ("XEN_EINVAL", Errno::EINVAL as i64),
        ("XEN_ENOSPC", Errno::ENOSPC as i64),
        ("XEN_EOPNOTSUPP", Errno::EOPNOTSUPP as i64),
    ];
    for (name, value) in expected {
        assert_eq!(facts[name], value.to_string(), "{name}");
    }
}

#[test]
fn stray_octets_in_reserved_places_are_noticed() {
    for at in (3..8).chain(16..SLOT_SIZE) {
        let mut octets = [0; SLOT_SIZE];
        octets[2] = op::PG_FLIP;
        octets[at] = 1;
        assert!(!Request::decode(&octets).reserved_clear, "octet {at}");
    }
}

#[test]
fn unknown_operations_keep_their_id_and_code() {
    let mut octets = [0xff; SLOT_SIZE];
    octets[2] = 0x17;
    let request = Request::decode(&octets);
    assert_eq!(
        (request.id, request.operation, request.command),
        (0xffff, 0x17, Command::Unknown)
    );
}
