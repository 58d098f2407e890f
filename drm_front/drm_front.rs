// SPDX-License-Identifier: GPL-2.0

//! Frontend driver of Xen's PV displays.
//!
//! The lower rooms do not know the upper ones: `displif` (the protocol, pure), `xen` and `kms` (safe wrappers of the kernel's
//! interfaces), `session` (one connection), `remote`, `buffer`, `framebuffer` and `head` (what outlives connections), `display`, `keeper`
//! (what waits), `front` (the bus driver).

#![deny(unsafe_code)]

mod allocation;
mod buffer;
mod debugfs;
mod display;
mod displif;
mod formats;
mod framebuffer;
mod front;
mod head;
mod imported;
mod keeper;
#[allow(unsafe_code)]
mod kms;
mod log_limit;
mod module;
mod remote;
mod session;
#[allow(unsafe_code)]
mod xen;

use kernel::prelude::*;

use module::FrontModule;

module! {
    type: FrontModule,
    name: "xen_drm_front",
    authors: ["The xen_drm_front authors"],
    description: "Xen PV display frontend",
    license: "GPL",
    alias: ["xen:vdispl"],
    params: {
        grace: u32 {
            default: 10,
            description: "Seconds without a backend after which the monitors count as unplugged",
        },
        be_alloc_mib: u32 {
            default: 512,
            description: "The most memory of backends (be-alloc=1) that buffers may have, in MiB",
        },
    },
}
