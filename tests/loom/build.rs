// SPDX-License-Identifier: GPL-2.0

//! The shipped files are compiled under `cfg(loom)`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(MODULE, loom)");
    println!("cargo::rustc-cfg=loom");
}
