// SPDX-License-Identifier: GPL-2.0

//! Guest-side test client of a DRM/KMS display. See `Documentation/test-card.md` for what it draws.

mod atomic;
mod buffer;
mod card;
mod churn;
mod cli;
mod device;
mod dirty;
mod errors;
mod events;
mod flips;
mod forever;
mod format;
mod heads;
mod import;
mod info;
mod output;
mod power;
mod prime;
mod properties;
mod raw;
mod report;
mod rounds;
mod screen;
mod session;
mod show;
mod stop;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;

use cli::{Cli, Command};
use device::Device;
use session::Session;

/// Exit status when the device went away.
const DEVICE_GONE: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let device = match &cli.device {
        Some(path) => Device::at(path),
        None => Device::of_driver(&cli.driver),
    };
    let held = match &device {
        Ok(device) => run(&cli, device),
        Err(error) => Err(anyhow!("{error:#}")),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            match device {
                Ok(device) if device.is_gone() => ExitCode::from(DEVICE_GONE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Runs the subcommand. Returns whether every check held.
fn run(cli: &Cli, device: &Device) -> Result<bool> {
    let mut session = Session::new(device, cli)?;
    match &cli.command {
        Command::Info => info::run(&mut session),
        Command::Card {
            target,
            list_formats: true,
            ..
        } => show::list_formats(&mut session, target),
        Command::Card {
            target,
            variant,
            all_formats: true,
            ..
        } => show::all_formats(&mut session, target, *variant),
        Command::Card {
            target, variant, ..
        } => show::card(&mut session, target, *variant),
        Command::Flips {
            target,
            count,
            nonblock,
        } => flips::run(&mut session, target, *count, cli::pace(*nonblock)),
        Command::FlipForever { target, survive } => forever::run(&mut session, target, *survive),
        Command::Heads { target, flips } => heads::run(&mut session, target, *flips),
        Command::Modes { target, loops } => power::modes(&mut session, target, *loops),
        Command::Dpms { target, loops } => power::dpms(&mut session, target, *loops),
        Command::Dirtyfb {
            target,
            changes,
            step,
        } => dirty::run(&mut session, target, *changes, *step),
        Command::Vgem {
            target,
            direction,
            variant,
        } => prime::run(&mut session, target, *direction, *variant),
        Command::Import {
            target,
            from,
            variant,
        } => import::run(&mut session, target, *from, *variant),
        Command::Rounds {
            target,
            rounds,
            seed,
        } => rounds::run(&mut session, target, *rounds, *seed),
        Command::Errors { target } => errors::run(&mut session, target),
        Command::Buffers {
            rounds,
            max_bytes,
            seed,
            leave,
        } => churn::run(
            &mut session,
            churn::Plan {
                rounds: *rounds,
                max_bytes: *max_bytes,
                seed: *seed,
                leave: *leave,
            },
        ),
    }?;
    Ok(session.report.finish())
}
