// SPDX-License-Identifier: GPL-2.0
//! One command in one guest, to look at something.

use crate::arch::Arch;
use crate::backend::Backend;
use crate::backend::Output;
use crate::backend::Place;
use crate::bench::Connector;
use crate::bench::Driver;
use crate::bench::LONG;
use crate::bench::Setting;
use crate::bench::boot_guest;
use crate::check::ingredients;
use crate::cli::Try;
use crate::guest::Kind;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::paths::cache;
use crate::paths::outside;
use crate::paths::repo;
use anyhow::Result;

/// The display of the guest.
const DISPLAY: Connector = Connector {
    unique_id: "Virtual-1",
    name: "Virtual-1",
    width: 1024,
    height: 768,
};

/// Boot, run the command line, and print what it says, the backend's words and the guest's kernel log.
///
/// # Errors
///
/// When something cannot be made or does not boot.
pub fn run(options: &Try) -> Result<bool> {
    let ingredients = ingredients(Kernel::prepare(&options.common.kver)?, options.common.front)?;
    let output = Output::from(options.output);
    let driver = Driver::new(&ingredients)?;
    let mut machine = Machine::boot(&ingredients, &cache("run"))?;
    let place = Place::in_dom0(output);
    let backend = Backend::start(&mut machine, place)?;
    let setting = Setting {
        be_alloc: options.be_alloc,
        ..Setting::new(output, &[DISPLAY])
    };
    let kind = match ingredients.kernel.arch {
        Arch::Arm64 => Kind::Arm64,
        Arch::Amd64 if options.pv => Kind::Pv,
        Arch::Amd64 => Kind::Pvh,
    };
    let guest = boot_guest(&mut machine, &driver, kind, "guest", setting, place.domain)?;
    let ended = guest.run(&mut machine, &options.command, LONG)?;
    println!("{}{}", ended.stdout, ended.stderr);
    println!(
        "--- the guest's kernel:\n{}",
        guest.run_ok(&mut machine, "dmesg | tail -n 30", LONG)?
    );
    println!("--- the backend:\n{}", backend.said(&mut machine)?);
    let out = repo("out/try");
    std::fs::create_dir_all(&out)?;
    if let Some(display) = output.display() {
        machine.screenshot(display, &out.join("screen.png"))?;
        println!("--- Dom0's screen: {}", outside(&out.join("screen.png")));
    }
    Ok(ended.status == 0)
}
