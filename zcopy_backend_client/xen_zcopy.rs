// SPDX-License-Identifier: GPL-2.0

//! Memory shared between domains, for drivers of PV devices.
//!
//! [`export`] gives pages of ours to another domain, with the page directory that tells it which; [`import`] maps pages that another
//! domain gives us. Below that: [`grant`] (entries of the grant table, within a budget), [`reclaim`] (what the other domain does not let
//! go), [`directory`] and its format, [`pgdir`] (pure), [`budget`], [`page`], [`domain`], [`work`]. [`dmabuf`] (with [`kernel_map`]) and [`attached`] do both for
//! dma-bufs, and [`device`] for user space; [`ledger`] has what is shared now, and [`debugfs`] shows it. Nothing here knows what is in the memory, nor
//! what is said about it.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod attached;
pub mod budget;
mod debugfs;
mod device;
#[allow(unsafe_code)]
pub mod directory;
#[allow(unsafe_code)]
mod dma;
#[allow(unsafe_code)]
pub mod dmabuf;
#[allow(unsafe_code)]
pub mod domain;
pub mod export;
#[allow(unsafe_code)]
pub mod grant;
#[allow(unsafe_code)]
pub mod import;
#[allow(unsafe_code)]
mod kernel_map;
#[allow(unsafe_code)]
mod ledger;
mod module;
#[allow(unsafe_code)]
pub mod page;
pub mod pgdir;
#[allow(unsafe_code)]
pub mod reclaim;
#[allow(unsafe_code)]
pub mod work;

use kernel::prelude::*;

use module::ZcopyModule;

module! {
    type: ZcopyModule,
    name: "xen_zcopy",
    authors: ["The xen_drm_front authors"],
    description: "Memory shared between Xen domains",
    license: "GPL",
    imports_ns: ["DMA_BUF"],
    params: {
        grant_share: u32 {
            default: 75,
            description: "Per cent of the domain's grant table that this module may use",
        },
    },
}
