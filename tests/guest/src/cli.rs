// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::format::Format;
use crate::screen::{Pace, Via};

/// Draws, flips and misuses a DRM display, and judges what the kernel answers.
///
/// Standard output has JSON lines, one object with one key each; standard error has the reason of each failure.
/// Exit status: 0 all held, 1 something did not, 2 wrong command line, 3 the device went away (ENODEV).
#[derive(Debug, Parser)]
#[command(name = "xen-display-test", version, color = clap::ColorChoice::Never)]
pub struct Cli {
    /// Driver whose first device is used
    #[arg(long, default_value = "xendrm-du", global = true)]
    pub driver: String,
    /// Device node, instead of the driver's first device
    #[arg(long, global = true)]
    pub device: Option<PathBuf>,
    /// Leave out what only the PV display driver promises (pitch, formats, sizes), to run on any other driver
    #[arg(long, global = true)]
    pub generic: bool,
    /// Longest time to wait for a flip's event, in seconds
    #[arg(long, default_value = "12", value_parser = seconds, global = true)]
    pub timeout: Duration,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// From so many times a second.
fn interval(text: &str) -> Result<Duration, String> {
    let rate: f64 = text
        .parse()
        .map_err(|_| "not a number of times a second".to_owned())?;
    if !(0.01..=1000.0).contains(&rate) {
        return Err("not within 0.01 and 1000".to_owned());
    }
    Duration::try_from_secs_f64(1.0 / rate).map_err(|error| error.to_string())
}

/// Where and how a picture is shown.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Connector by name, or "first"
    #[arg(long, default_value = "first")]
    pub connector: String,
    /// Mode as WIDTHxHEIGHT, or "first"
    #[arg(long, default_value = "first")]
    pub mode: String,
    /// Pixel format: a name or a format code
    #[arg(long, default_value_t = Format::XRGB8888)]
    pub format: Format,
    /// Interface to show it by
    #[arg(long, value_enum, default_value = "legacy")]
    pub via: Via,
    /// Keep the last picture until standard input ends or SIGTERM comes
    #[arg(long)]
    pub hold: bool,
}

/// Where a picture comes from in a PRIME test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// The display's buffer is read through the other device.
    Export,
    /// The other device's buffer is shown on the display.
    Import,
    /// The display's buffer is read through the other device after all of the display has been let go.
    Outlive,
}

/// Where memory comes from that is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// A program's.
    Udmabuf,
    /// The kernel's for this purpose.
    DmaHeap,
}

/// A call whose allocations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Call {
    /// A dumb buffer is made.
    Create,
    /// A dma-buf is imported.
    Import,
    /// A framebuffer is made, of a dumb buffer and of an imported one.
    Attach,
    /// A dumb buffer is exported.
    Export,
    /// A dumb buffer is mapped.
    Map,
    /// A picture is shown.
    Commit,
}

/// In which threads allocations fail while a device is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Whose {
    /// That which binds it.
    Caller,
    /// That which follows the backend's states.
    Xenwatch,
    /// Those that do the kernel's work items.
    Workers,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Describe the device
    Info,
    /// Show a test card
    Card {
        #[command(flatten)]
        target: Target,
        /// Which of the cards
        #[arg(long, default_value_t = 0)]
        variant: u32,
        /// Only list the formats that the plane takes
        #[arg(long, conflicts_with = "all_formats")]
        list_formats: bool,
        /// Show the card in every format, waiting for a line on standard input after each
        #[arg(long)]
        all_formats: bool,
    },
    /// Flip between two cards and judge every event
    Flips {
        #[command(flatten)]
        target: Target,
        /// Flips
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
        /// Do not let atomic commits wait (PAGE_FLIP never waits)
        #[arg(long)]
        nonblock: bool,
        /// Flips a second at most, evenly spread [default: as many as the display takes]
        #[arg(long, value_name = "HZ", value_parser = interval)]
        rate: Option<Duration>,
    },
    /// Flip until SIGTERM, with a line a second
    FlipForever {
        #[command(flatten)]
        target: Target,
        /// Go on after errors other than ENODEV
        #[arg(long)]
        survive: bool,
    },
    /// Ask for flips without pause: one at a time is under way
    Flood {
        #[command(flatten)]
        target: Target,
        /// Flips that are to be accepted
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
        flips: u64,
    },
    /// Show different cards on every connected connector: head i has the variants 2i and 2i+1
    Heads {
        #[command(flatten)]
        target: Target,
        /// Flips on each head
        #[arg(long, default_value_t = 0)]
        flips: u64,
    },
    /// Switch the output off and on, through every mode unless one is named
    Modes {
        #[command(flatten)]
        target: Target,
        /// Times
        #[arg(long, default_value_t = 10)]
        loops: u32,
    },
    /// Put the output to sleep and wake it, by the DPMS and the ACTIVE property
    Dpms {
        #[command(flatten)]
        target: Target,
        /// Times for each property
        #[arg(long, default_value_t = 10)]
        loops: u32,
    },
    /// Change the shown buffer in place and announce it by DIRTYFB
    Dirtyfb {
        #[command(flatten)]
        target: Target,
        /// Cards to draw after the first, variants 1, 2, ...
        #[arg(long, default_value_t = 1)]
        changes: u32,
        /// Wait for a line on standard input before each change
        #[arg(long)]
        step: bool,
    },
    /// Share a buffer with another device by PRIME and check the picture
    Prime {
        #[command(flatten)]
        target: Target,
        /// The other device's node (by default vgem's, which must be loaded)
        #[arg(long)]
        with: Option<PathBuf>,
        /// Whose buffer it is
        #[arg(long, value_enum, default_value = "export")]
        direction: Direction,
        /// Which of the cards
        #[arg(long, default_value_t = 0)]
        variant: u32,
    },
    /// Import memory that is no device's, and show a card that is drawn into it
    Import {
        #[command(flatten)]
        target: Target,
        /// What memory
        #[arg(long, value_enum)]
        from: Source,
        /// The card that is drawn first; the one after it stays
        #[arg(long, default_value_t = 0)]
        variant: u32,
    },
    /// Give every ioctl bad arguments and compare the errno
    Errors {
        #[command(flatten)]
        target: Target,
    },
    /// Create buffers until there is no room for another, free half of them, and do it again
    Exhaust {
        #[command(flatten)]
        target: Target,
    },
    /// Create, map, flip to and destroy buffers of sizes from the mode's to 3840x2160
    Rounds {
        #[command(flatten)]
        target: Target,
        /// Buffers
        #[arg(long, default_value_t = 500)]
        rounds: u32,
        /// Seed of the sizes; each run with one seed does the same
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Create, map, write and destroy buffers of random sizes
    Buffers {
        /// Buffers
        #[arg(long, default_value_t = 100)]
        rounds: u32,
        /// Largest buffer in bytes
        #[arg(long, default_value_t = 8 << 20)]
        max_bytes: u64,
        /// Seed of the sizes; each run with one seed does the same
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// End without freeing any of the buffers: the kernel must
        #[arg(long)]
        leave: bool,
    },
    /// Show a card, and have more framebuffers of the same size that are not shown
    Hoard {
        #[command(flatten)]
        target: Target,
        /// Framebuffers in all
        #[arg(long, default_value_t = 16)]
        buffers: u32,
    },
    /// Make, show, share and free buffers in any order, in many threads at once
    Stress {
        #[command(flatten)]
        target: Target,
        /// Threads
        #[arg(long, default_value_t = 8)]
        threads: u32,
        /// Operations of all threads together
        #[arg(long, default_value_t = 10_000)]
        operations: u64,
        /// Seed of the operations
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Have each allocation of a call fail, one after the other (with a kernel that injects faults)
    Allocations {
        #[command(flatten)]
        target: Target,
        /// Which call
        #[arg(long, value_enum)]
        of: Call,
    },
    /// Have each allocation of the driver fail while its device is bound, one after the other
    Bind {
        /// In which threads
        #[arg(long, value_enum)]
        whose: Whose,
        /// The first to fail
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        least: u32,
    },
    /// Give every ioctl of /dev/xen/zcopy bad arguments and compare the errno
    ZcopyErrors(Peers),
    /// Close, duplicate and wait for dma-bufs of /dev/xen/zcopy in any order
    ZcopyDescriptors(Peers),
    /// Have each allocation of a request to /dev/xen/zcopy fail, one after the other (with a kernel that injects faults)
    ZcopyAllocations(Peers),
}

/// Domains that share memory.
#[derive(Args, Clone, Debug)]
pub struct Peers {
    /// This domain
    #[arg(long)]
    pub domid: u16,
    /// The other one
    #[arg(long)]
    pub peer: u16,
    /// References that the other one has granted to this one, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    pub refs: Vec<u32>,
}

/// The pace of `--nonblock`.
pub fn pace(nonblock: bool) -> Pace {
    if nonblock {
        Pace::Nonblocking
    } else {
        Pace::Blocking
    }
}
