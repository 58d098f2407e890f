// SPDX-License-Identifier: GPL-2.0

//! Guest-side test client of a DRM/KMS display. See `Documentation/test-card.md` for what it draws.

mod allocations;
mod atomic;
mod buffer;
mod card;
mod churn;
mod cli;
mod device;
mod dirty;
mod errors;
mod events;
mod exhaust;
mod flips;
mod flood;
mod forever;
mod format;
mod heads;
mod import;
mod info;
mod injection;
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
mod stress;
mod zcopy;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;

use cli::{Cli, Command};
use device::Device;
use report::Report;
use session::Session;

/// Exit status when the device went away.
const DEVICE_GONE: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(held) = without_display(&cli) {
        return match held {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
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

/// Runs the subcommand if it is one that needs no display, or has it come and go.
fn without_display(cli: &Cli) -> Option<Result<bool>> {
    let mut report = Report::default();
    let held = match &cli.command {
        Command::ZcopyErrors(peers) => zcopy::errors(&mut report, peers),
        Command::ZcopyDescriptors(peers) => zcopy::descriptors(&mut report, peers),
        Command::ZcopyAllocations(peers) => zcopy::allocations(&mut report, peers),
        Command::Bind { whose, least } => {
            allocations::bind(&mut report, &cli.driver, *whose, *least)
        }
        _ => return None,
    };
    Some(held.map(|()| report.finish()))
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
            rate,
        } => {
            let plan = flips::Plan {
                count: *count,
                pace: cli::pace(*nonblock),
                interval: rate.unwrap_or_default(),
            };
            flips::run(&mut session, target, &plan)
        }
        Command::Flood { target, flips } => flood::run(&mut session, target, *flips),
        Command::FlipForever { target, survive } => forever::run(&mut session, target, *survive),
        Command::Heads { target, flips } => heads::run(&mut session, target, *flips),
        Command::Modes { target, loops } => power::modes(&mut session, target, *loops),
        Command::Dpms { target, loops } => power::dpms(&mut session, target, *loops),
        Command::Dirtyfb {
            target,
            changes,
            step,
        } => dirty::run(&mut session, target, *changes, *step),
        Command::Prime {
            target,
            with,
            direction,
            variant,
        } => prime::run(&mut session, target, with.as_deref(), *direction, *variant),
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
        Command::Exhaust { target } => exhaust::run(&mut session, target),
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
        Command::Hoard { target, buffers } => show::hoard(&mut session, target, *buffers),
        Command::Stress {
            target,
            threads,
            operations,
            seed,
        } => stress::run(
            &mut session,
            target,
            stress::Plan {
                threads: *threads,
                operations: *operations,
                seed: *seed,
            },
        ),
        Command::Allocations { target, of } => allocations::run(&mut session, target, *of),
        // Run without a display.
        Command::Bind { .. }
        | Command::ZcopyErrors(_)
        | Command::ZcopyDescriptors(_)
        | Command::ZcopyAllocations(_) => Ok(()),
    }?;
    Ok(session.report.finish())
}
