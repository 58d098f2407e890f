// SPDX-License-Identifier: GPL-2.0
//! `xen-zcopy`: shows what memory sharing this kernel and this domain can do, and does it.
//!
//! Ends with 0; 1 when something failed; 2 when it was called wrongly; 3 when this kernel or domain cannot do what was asked.

use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use anyhow::ensure;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use rustix::io::Errno;
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

/// Memory shared between Xen domains, as dma-bufs.
#[derive(Parser)]
#[command(name = "xen-zcopy", version)]
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
}

#[derive(Args)]
struct Device {
    /// The device.
    #[arg(long, default_value = DEVICE)]
    device: PathBuf,
}

impl Device {
    fn open(&self) -> Result<Zcopy> {
        Zcopy::open(&self.device).with_context(|| self.device.display().to_string())
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

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Probe(device) => probe(&device),
        Command::FromRefs(options) => from_refs(&options),
        Command::ToRefs(options) => to_refs(&options),
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

fn probe(device: &Device) -> Result<()> {
    let zcopy = device.open()?;
    println!("{}: can be opened", device.device.display());
    // Reference 0 is never one of a page for us: the answer tells whether the operation is known.
    match zcopy.from_refs(0, &[0]) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTTY) => {
            println!("dma-bufs of granted pages: not known to this kernel");
        }
        _ => println!("dma-bufs of granted pages: yes"),
    }
    // Nothing was ever granted under that number.
    match zcopy.release(RawFd::MAX) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTTY) => {
            println!("granting a dma-buf's pages: not known to this kernel");
        }
        _ => println!("granting a dma-buf's pages: yes"),
    }
    match Memory::new(PAGE_SIZE) {
        Ok(_) => println!("memory as a dma-buf: yes"),
        Err(error) => println!("memory as a dma-buf: no, /dev/udmabuf: {error}"),
    }
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
