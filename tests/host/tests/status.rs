// SPDX-License-Identifier: GPL-2.0

//! Statuses of responses, and which of them a caller may see.

use displif_host_tests::displif::message::{Errno, Response};
use displif_host_tests::properties::messages::number;
use displif_host_tests::xen::{self, layout::ERRNOS};

const EIO: i32 = 5;

fn decode(status: i32) -> Result<(), i32> {
    number(Response::decode(&xen::response(0, 0, status)).status)
}

#[test]
fn boundaries() {
    let cases = [
        (0, Ok(())),
        (-1, Err(1)),
        (-22, Err(22)),
        (-4094, Err(4094)),
        (-4095, Err(4095)),
        (-4096, Err(EIO)),
        (-65537, Err(EIO)),
        (-65536 - 22, Err(EIO)),
        (i32::MIN, Err(EIO)),
        (i32::MIN + 1, Err(EIO)),
        (1, Err(EIO)),
        (22, Err(EIO)),
        (4095, Err(EIO)),
        (i32::MAX, Err(EIO)),
    ];
    for (status, expected) in cases {
        assert_eq!(decode(status), expected, "{status}");
    }
}

#[test]
fn callers_see_xens_errnos_but_for_those_that_steer_them() {
    let steering = ["EAGAIN", "EWOULDBLOCK", "EDEADLK", "EDEADLOCK"];
    for errno in 1..=4095 {
        let harmless = ERRNOS
            .iter()
            .any(|(name, value)| i32::from(*value) == errno && !steering.contains(name));
        let Err(decoded) = Response::decode(&xen::response(0, 0, -errno)).status else {
            panic!("{errno} is an error");
        };
        let expected = if harmless { errno } else { EIO };
        assert_eq!(decoded.for_caller().get(), expected, "{errno}");
    }
    assert_eq!(Errno::EIO.get(), EIO);
}
