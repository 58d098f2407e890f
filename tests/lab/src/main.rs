// SPDX-License-Identifier: GPL-2.0
//! Boots Xen, Dom0 and guests in QEMU and checks the PV display stack end to end. `Documentation/lab.md` tells how.

mod apt;
mod arch;
mod backend;
mod bare;
mod bench;
mod cache;
mod check;
mod cli;
mod cost;
mod counters;
mod demo;
mod gates;
mod guest;
mod health;
mod image;
mod initramfs;
mod kernel;
mod link;
mod machine;
mod mutants;
mod oracle;
mod paths;
mod process;
mod programs;
mod progress;
mod qemu;
mod report;
mod scenarios;
mod stage;
mod trial;
mod vkms;
mod watch;

use anyhow::Result;
use clap::Parser;
use cli::Cli;
use cli::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Carry out a command; whether all went well.
fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Demo(options) => demo::run(options).map(|()| true),
        Command::Check(options) => check::run(options),
        Command::CheckDebug(options) => check::run_watched(options),
        Command::CheckMutants(options) => mutants::run(options),
        Command::Prepare(options) => check::prepare(options).map(|()| true),
        Command::Module(options) => {
            for module in kernel::Kernel::prepare(&options.kver)?.build_modules(false)? {
                println!("{}", paths::outside(&module));
            }
            Ok(true)
        }
        Command::List => {
            let names = [check::names(), check::watched_names()].concat();
            names.iter().for_each(|name| println!("{name}"));
            Ok(true)
        }
        Command::BenchZcopy(options) => cost::run(options),
        Command::Try(options) => trial::run(options),
    }
}
