// SPDX-License-Identifier: GPL-2.0
//! The command line.

use crate::device::Versions;
use crate::faults::{Faults, Script};
use crate::resources::Limits;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;

const MEBIBYTE: u64 = 1 << 20;
const MAX_REFRESH: u32 = 1000;

/// Shows the displays of Xen guests (displif, versions 1 and 2), on a display of this domain or as captured pictures.
///
/// SIGTERM and SIGINT end it; the guests' devices are left closed, and a backend that is started later takes them up again.
/// SIGUSR1 writes, for every head that is on, what its guest's framebuffer holds to GUEST-CONNECTOR-now.png
/// (capture output), and the figures of --stats.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Where pictures go: capture:DIRECTORY, or kms:DEVICE such as kms:/dev/dri/card0
    #[arg(long, value_name = "OUTPUT")]
    pub output: OutputKind,

    /// Capture: the rate at which flips are done; 0: at once
    #[arg(long, value_name = "HZ", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_REFRESH)))]
    pub refresh: u32,

    /// Capture: write checksums, but no PNG files
    #[arg(long)]
    pub checksum_only: bool,

    /// KMS: show the guests' connector UNIQUE_ID on the device's connector NAME (by default the one that is called UNIQUE_ID)
    #[arg(long = "connector", value_name = "UNIQUE_ID=NAME", value_parser = pair)]
    connectors: Vec<(String, String)>,

    /// KMS: show guests' own pages, as dma-bufs (needs the module xen_zcopy), and copy only what the device does not take
    #[arg(long)]
    pub zero_copy: bool,

    /// The protocol versions to speak and to tell frontends of
    #[arg(long, value_name = "LIST", default_value = "1,2", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=2))]
    versions: Vec<u32>,

    /// Tell frontends of no versions, as some backends do
    #[arg(long)]
    no_versions: bool,

    /// Refuse requests that break rules which other backends overlook: reserved octets, the size of EDID buffers
    #[arg(long)]
    pub strict: bool,

    /// The most display buffers that a guest device may have
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_buffers: usize,

    /// The most memory that a guest device may have mapped for display buffers, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    max_memory: u32,

    /// Do wrong what this script says: a test of frontends (README.md has the words)
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,

    /// Write figures of all heads to this file at the end, as JSON
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,
}

impl Arguments {
    /// Looks for options that do not go together.
    ///
    /// # Errors
    ///
    /// Says which, and why.
    pub fn check(&self) -> Result<(), clap::Error> {
        if self.zero_copy && matches!(self.output, OutputKind::Capture(_)) {
            return Err(Self::command().error(
                ErrorKind::ArgumentConflict,
                "--zero-copy is for KMS output: a capture reads every pixel, which is a copy",
            ));
        }
        Ok(())
    }

    /// What guests may take.
    pub fn limits(&self) -> Limits {
        Limits {
            buffers: self.max_buffers,
            framebuffers: self.max_buffers.saturating_mul(4),
            octets: u64::from(self.max_memory) * MEBIBYTE,
        }
    }

    /// What to speak.
    pub fn versions(&self) -> Versions {
        let mut supported = self.versions.clone();
        supported.sort_unstable();
        supported.dedup();
        Versions {
            supported,
            advertised: !self.no_versions,
        }
    }

    /// What is to be done wrong.
    ///
    /// # Errors
    ///
    /// The script cannot be read, or is none.
    pub fn faults(&self) -> anyhow::Result<Faults> {
        let script = self.faults.as_deref().map(Script::read).transpose()?;
        Ok(Faults::new(script.unwrap_or_default()))
    }

    /// The device's names of connectors, by the guests' names.
    pub fn connector_names(&self) -> HashMap<String, String> {
        self.connectors.iter().cloned().collect()
    }
}

/// Where pictures go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// To files in this directory.
    Capture(PathBuf),
    /// To this display device.
    Kms(PathBuf),
}

impl FromStr for OutputKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("capture", path)) if !path.is_empty() => Ok(OutputKind::Capture(path.into())),
            Some(("kms", path)) if !path.is_empty() => Ok(OutputKind::Kms(path.into())),
            _ => Err("neither capture:DIRECTORY nor kms:DEVICE".into()),
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((ours, theirs)) if !ours.is_empty() && !theirs.is_empty() => {
            Ok((ours.into(), theirs.into()))
        }
        _ => Err("not UNIQUE_ID=NAME".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["xen-displ-backend"].iter().chain(arguments))
    }

    #[test]
    fn outputs() {
        assert_eq!(
            "capture:/tmp/x".parse(),
            Ok(OutputKind::Capture("/tmp/x".into()))
        );
        assert_eq!(
            "kms:/dev/dri/card0".parse(),
            Ok(OutputKind::Kms("/dev/dri/card0".into()))
        );
        for text in ["", "capture", "capture:", "wayland:x"] {
            assert!(text.parse::<OutputKind>().is_err(), "{text}");
        }
    }

    #[test]
    fn options_are_checked() {
        let arguments = parse(&[
            "--output",
            "capture:x",
            "--versions",
            "2,1,2",
            "--connector",
            "a=b",
        ])
        .expect("sound");
        assert_eq!(arguments.versions().supported, [1, 2]);
        assert_eq!(arguments.connector_names()["a"], "b");
        assert!(arguments.check().is_ok());
        let zero_copy = |output| {
            parse(&["--output", output, "--zero-copy"]).and_then(|arguments| arguments.check())
        };
        assert!(zero_copy("kms:/dev/dri/card1").is_ok());
        assert!(zero_copy("capture:x").is_err());
        for bad in [
            &["--versions", "3"][..],
            &["--connector", "a"],
            &["--refresh", "1001"],
            &[],
        ] {
            let output: &[&str] = if bad.is_empty() {
                &[]
            } else {
                &["--output", "capture:x"]
            };
            assert!(parse(&[output, bad].concat()).is_err(), "{bad:?}");
        }
    }
}
