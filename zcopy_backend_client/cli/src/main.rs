// SPDX-License-Identifier: GPL-2.0
//! `xen-zcopy`: shows what memory sharing this kernel and this domain can do, and does it.
//!
//! [`EXIT_STATUS`] tells how it ends.

mod bench;
mod others;
mod probe;

use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use anyhow::ensure;
use bench::Bench;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;
use xen_zcopy::DEVICE;
use xen_zcopy::Mapping;
use xen_zcopy::Memory;
use xen_zcopy::PAGE_SIZE;
use xen_zcopy::Zcopy;

/// For people, in `--help`.
const EXIT_STATUS: &str = "\
Exit status:
  0  it was done
  1  something failed: a reference that is not granted, no permission, pages that stay mapped
  2  wrong command line
  3  this kernel or this domain cannot do it: no device with the operations, no /dev/udmabuf, no mapping for programs";

/// This kernel or this domain cannot do what was asked, whoever asks.
#[derive(Debug)]
struct Impossible(String);

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Impossible {}

/// Memory shared between Xen domains, as dma-bufs.
#[derive(Parser)]
#[command(name = "xen-zcopy", version, after_help = EXIT_STATUS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what this kernel and this domain can do.
    Probe(Device),
    /// Make a dma-buf of pages that another domain has granted to this one, look at it, and let it go.
    FromRefs(FromRefs),
    /// Grant a dma-buf with a file's contents to another domain, until standard input ends.
    ToRefs(ToRefs),
    /// Wait until a dma-buf that another process has, and its pages, are let go by all.
    ///
    /// /sys/kernel/debug/xen_zcopy/buffers names the processes, and their numbers are in /proc/PID/fd. This needs the right to trace them.
    Wait(Wait),
    /// Measure what sharing costs.
    Bench(Measure),
}

#[derive(Args)]
struct Device {
    /// The device. If none is given, /dev/xen/zcopy, or else /dev/xen/gntdev where the kernel's own has the operations.
    #[arg(long)]
    device: Option<PathBuf>,
}

impl Device {
    fn open(&self) -> Result<Zcopy> {
        match &self.device {
            Some(device) => Zcopy::open(device).with_context(|| device.display().to_string()),
            None => Zcopy::find().context(DEVICE),
        }
    }
}

#[derive(Args)]
struct FromRefs {
    #[command(flatten)]
    device: Device,
    /// The domain that has granted the pages.
    #[arg(long, value_name = "DOMID")]
    from: u16,
    /// Write the contents to a file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Then copy a file's contents in.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Keep it until standard input ends.
    #[arg(long)]
    hold: bool,
    /// At the end wait so long for the pages to be unmapped.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5000)]
    wait: u64,
    /// The references, separated by commas.
    #[arg(value_delimiter = ',', required = true)]
    refs: Vec<u32>,
}

#[derive(Args)]
struct ToRefs {
    #[command(flatten)]
    device: Device,
    /// The domain.
    #[arg(long, value_name = "DOMID")]
    to: u16,
    /// At the end write to a file what is there then.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The file.
    file: PathBuf,
}

#[derive(Args)]
struct Wait {
    #[command(flatten)]
    device: Device,
    /// The process.
    #[arg(long)]
    pid: i32,
    /// Its descriptor.
    #[arg(long)]
    fd: RawFd,
    /// Longest time to wait.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5000)]
    wait: u64,
}

#[derive(Args)]
struct Measure {
    #[command(flatten)]
    device: Device,
    /// Measure granting memory to this domain, and revoking that.
    #[arg(long, value_name = "DOMID", required_unless_present = "from")]
    to: Option<u16>,
    /// Measure dma-bufs of pages that this domain has granted, and their end.
    #[arg(long, value_name = "DOMID", requires = "refs")]
    from: Option<u16>,
    /// The references, separated by commas.
    #[arg(value_delimiter = ',')]
    refs: Vec<u32>,
    /// Sizes of buffers, in pages, separated by commas. Those with more pages than references are left out.
    #[arg(long, value_delimiter = ',', default_value = "1,16,240,768,2025")]
    pages: Vec<usize>,
    /// How often each is shared; the median is told.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// One JSON object a line, instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Probe(device) => probe::run(device.device.as_deref()),
        Command::FromRefs(options) => from_refs(&options),
        Command::ToRefs(options) => to_refs(&options),
        Command::Wait(options) => wait(&options),
        Command::Bench(options) => measure(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xen-zcopy: {error:#}");
            ExitCode::from(if is_impossible(&error) { 3 } else { 1 })
        }
    }
}

/// Whether the kernel or the domain cannot do what was asked, whoever asks.
fn is_impossible(error: &Error) -> bool {
    if error.downcast_ref::<Impossible>().is_some() {
        return true;
    }
    let errno = error
        .downcast_ref::<io::Error>()
        .and_then(Errno::from_io_error);
    matches!(
        errno,
        Some(Errno::NOENT | Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS)
    )
}

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    // Not as an error of `read` itself: a file that is not there does not mean that the kernel can do nothing.
    std::fs::read(path).map_err(|error| Error::msg(format!("{}: {error}", path.display())))
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|error| Error::msg(format!("{}: {error}", path.display())))
}

/// Waits until standard input ends.
fn wait_for_end() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

fn from_refs(options: &FromRefs) -> Result<()> {
    let input = options.input.as_ref().map(read).transpose()?;
    let zcopy = options.device.open()?;
    let dmabuf = zcopy
        .from_refs(options.from, &options.refs)
        .with_context(|| {
            format!(
                "a dma-buf of {} pages of domain {}",
                options.refs.len(),
                options.from
            )
        })?;
    let fd = dmabuf.as_raw_fd();
    println!("dma-buf {fd}: {} pages", options.refs.len());
    if options.output.is_some() || input.is_some() {
        let memory = Mapping::new(&dmabuf, options.refs.len() * PAGE_SIZE)
            .context("the dma-buf cannot be mapped")?;
        if let Some(output) = &options.output {
            write(output, &memory.read())?;
        }
        if let Some(input) = &input {
            memory.write(input);
        }
    }
    if options.hold {
        wait_for_end()?;
    }
    drop(dmabuf);
    let start = Instant::now();
    zcopy
        .wait_released(fd, Duration::from_millis(options.wait))
        .context("the pages stay mapped")?;
    println!("unmapped after {} ms", start.elapsed().as_millis());
    Ok(())
}

fn wait(options: &Wait) -> Result<()> {
    let zcopy = options.device.open()?;
    // As text: a process that is not there says nothing about the kernel.
    let dmabuf = others::descriptor_of(options.pid, options.fd).map_err(|error| {
        Error::msg(format!(
            "descriptor {} of process {}: {error}",
            options.fd, options.pid
        ))
    })?;
    println!("waiting");
    let start = Instant::now();
    match zcopy.close_and_wait(dmabuf, Duration::from_millis(options.wait)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ensure!(false, "it is no dma-buf of this device's");
        }
        result => result.context("the dma-buf is still in use")?,
    }
    println!("unmapped after {} ms", start.elapsed().as_millis());
    Ok(())
}

fn measure(options: &Measure) -> Result<()> {
    let bench = Bench {
        zcopy: &options.device.open()?,
        sizes: &options.pages,
        rounds: options.rounds,
        json: options.json,
    };
    if let Some(to) = options.to {
        bench.granting(to)?;
    }
    if let Some(from) = options.from {
        bench.mapping(from, &options.refs)?;
    }
    Ok(())
}

fn to_refs(options: &ToRefs) -> Result<()> {
    let contents = read(&options.file)?;
    ensure!(!contents.is_empty(), "{} is empty", options.file.display());
    let zcopy = options.device.open()?;
    let pages = contents.len().div_ceil(PAGE_SIZE);
    let memory = Memory::new(pages * PAGE_SIZE).context("/dev/udmabuf")?;
    memory.mapping.write(&contents);
    let refs = zcopy
        .to_refs(&memory.dmabuf, options.to, pages)
        .with_context(|| format!("granting {pages} pages to domain {}", options.to))?;
    let refs: Vec<String> = refs.iter().map(u32::to_string).collect();
    println!("{}", refs.join(","));
    wait_for_end()?;
    zcopy.release(memory.dmabuf.as_raw_fd())?;
    if let Some(output) = &options.output {
        write(output, &memory.mapping.read())?;
    }
    Ok(())
}
