// SPDX-License-Identifier: GPL-2.0
//! The command line.

use crate::backend::Output;
use crate::backend::Sink;
use crate::kernel::DEFAULT_RELEASE;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

/// Boots Xen, Dom0 and guests in QEMU and checks the PV display stack end to end.
#[derive(Debug, Parser)]
#[command(name = "lab")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the stack at work: kmscube and weston in a guest, pictures of Dom0's screen, a table.
    Demo(Common),
    /// Run the tests: host, gates, and scenarios in PV and PVH guests.
    Check(Check),
    /// Run scenarios in guests whose kernel watches itself.
    CheckDebug(CheckBuilt),
    /// Break the modules in known ways, and see that the tests turn red.
    CheckMutants(CheckBuilt),
    /// Fetch and make all that the other commands need.
    Prepare(Common),
    /// Build the modules only, and say where they are.
    Module(Common),
    /// List the tests.
    List,
    /// Measure what a frame costs Dom0 and the guest, copied and not, and draw it.
    BenchZcopy(Bench),
    /// Boot a machine and one guest, run a command line in the guest, show what it says.
    Try(Try),
}

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The frontend in the guests.
    #[arg(long, value_enum, default_value_t = Front::Rust)]
    pub front: Front,
    /// The Debian kernel to build for and to boot.
    #[arg(long, value_name = "RELEASE", default_value = DEFAULT_RELEASE)]
    pub kver: String,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// Run only the tests whose name is or contains this, or one of these with commas in between.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Run what takes too long for every landing too.
    #[arg(long)]
    pub full: bool,
}

/// Options of `check-debug` and `check-mutants`.
#[derive(Debug, Args)]
pub struct CheckBuilt {
    /// The Debian kernel to build for, or to build anew from its source; Dom0 boots it.
    #[arg(long, value_name = "RELEASE", default_value = DEFAULT_RELEASE)]
    pub kver: String,
    /// Take only those tests, or patches, whose name is or contains this, or one of these with commas in between.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
}

/// Options of `bench-zcopy`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// Measure only the rows whose name is or contains this.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
}

/// Options of `try`.
#[derive(Debug, Args)]
pub struct Try {
    /// Options of all commands.
    #[command(flatten)]
    pub common: Common,
    /// Take a PV guest, not a PVH guest.
    #[arg(long)]
    pub pv: bool,
    /// Have the backend allocate the guest's display buffers.
    #[arg(long)]
    pub be_alloc: bool,
    /// Where the backend shows pictures.
    #[arg(long, value_enum, default_value_t = Shown::Screen)]
    pub output: Shown,
    /// The shell command line.
    pub command: String,
}

/// A frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Front {
    /// Ours.
    Rust,
    /// The kernel's own, as a reference.
    C,
}

/// Where the backend shows pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shown {
    /// On Dom0's display.
    Screen,
    /// On Dom0's other display, out of the guest's own pages.
    ZeroCopy,
    /// In files.
    Capture,
}

impl From<Shown> for Output {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Screen => Self::Copied(Sink::VIRTIO),
            Shown::ZeroCopy => Self::InPlace(Sink::BOCHS),
            Shown::Capture => Self::Capture,
        }
    }
}
