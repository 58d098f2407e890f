// SPDX-License-Identifier: GPL-2.0
//! A backend for Xen's para-virtual display protocol (displif), for Dom0 or a driver domain.
//!
//! [`manager`] watches XenStore and keeps one [`device`] for each frontend; a connected device has a [`session`], a thread that
//! serves its [`head`]s' [`ring`]s; [`output`] shows the pictures. [`protocol`] is the wire format, [`memory`] all that is unsafe.

mod buffer;
mod cli;
mod connector;
mod device;
mod directory;
mod dmabuf;
mod domain;
mod edid;
mod evtchn;
mod faults;
mod head;
mod manager;
mod memory;
mod output;
mod pages;
mod pixels;
mod protocol;
mod refusal;
mod report;
mod resources;
mod ring;
mod session;
mod stats;
mod timing;
mod xenstore;

use anyhow::{Context, Result};
use clap::Parser;
use cli::{Arguments, OutputKind};
use evtchn::EventChannels;
use manager::Manager;
use output::Output;
use output::capture::Capture;
use output::kms::Kms;
use rustix::process::{Resource, getrlimit, setrlimit};
use session::Environment;
use stats::Stats;
use std::sync::Arc;
use tokio::runtime;
use tokio::sync::Notify;
use xen_zcopy::{DEVICE, Zcopy};

fn main() -> Result<()> {
    env_logger::init();
    let arguments = Arguments::parse();
    arguments.check().unwrap_or_else(|error| error.exit());
    raise_file_limit();
    let output: Box<dyn Output> = match &arguments.output {
        OutputKind::Capture(directory) => Box::new(Capture::new(
            directory.clone(),
            arguments.refresh,
            !arguments.checksum_only,
        )?),
        OutputKind::Kms(device) => Box::new(Kms::open(device, arguments.connector_names())?),
    };
    let environment = Arc::new(Environment {
        output,
        channels: EventChannels::open()?,
        versions: arguments.versions(),
        stats: Stats::new(),
        limits: arguments.limits(),
        zcopy: arguments.zero_copy.then(open_zcopy).transpose()?,
        strict: arguments.strict,
        faults: Arc::new(arguments.faults()?),
        session_ended: Notify::new(),
    });
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        Manager::new(environment, arguments.stats.clone())
            .await?
            .run()
            .await
    })
}

fn open_zcopy() -> Result<Arc<Zcopy>> {
    let zcopy = Zcopy::open(DEVICE);
    zcopy
        .map(Arc::new)
        .with_context(|| format!("cannot open {DEVICE}, which the module xen_zcopy makes"))
}

/// Every mapping of guest memory takes a file descriptor.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!("the limit of open files stays as it is: {error}");
    }
}
