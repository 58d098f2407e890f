// SPDX-License-Identifier: GPL-2.0

//! Asks Xen's own headers for the layout of displif: compiles and runs `xen/layout.c`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "xen/layout.c";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    // Set when the same files are compiled into the driver.
    println!("cargo::rustc-check-cfg=cfg(MODULE)");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let program = out.join("layout");

    let compiled = cc::Build::new()
        .try_get_compiler()?
        .to_command()
        .args(["-Wall", "-Werror", SOURCE, "-o"])
        .arg(&program)
        .status()?;
    if !compiled.success() {
        return Err(
            format!("{SOURCE} does not compile: it needs Xen's headers (libxen-dev)").into(),
        );
    }

    let run = Command::new(&program).output()?;
    if !run.status.success() {
        return Err(format!("{} failed", program.display()).into());
    }
    fs::write(out.join("xen_layout.rs"), run.stdout)?;
    Ok(())
}
