// SPDX-License-Identifier: GPL-2.0

//! `zcopy-allocations`: FROM_REFS and TO_REFS, in which one allocation after the other fails.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::Result;

use super::{Ground, PAGES, memory};
use crate::allocations::steps;
use crate::cli::Peers;
use crate::injection::Injection;
use crate::report::Report;

/// Makes both, again and again, until none of their allocations is left that has not failed.
///
/// # Errors
/// When the kernel injects no faults, or refuses what it should not.
pub fn run(report: &mut Report, peers: &Peers) -> Result<()> {
    let ground = Ground::new(peers)?;
    let victims = Injection::into_all()?.of_this_thread()?;
    steps(report, &victims, "FROM_REFS", || {
        ground.device.from_refs(ground.peer, &ground.refs)
    })?;
    let memory = memory()?;
    let dma_buf = memory.dmabuf.as_fd();
    steps(report, &victims, "TO_REFS", || {
        ground.device.to_refs(dma_buf, ground.peer, PAGES)?;
        Ok(Granted(&ground, dma_buf.as_raw_fd()))
    })
}

/// What is granted until this is dropped.
struct Granted<'a>(&'a Ground, i32);

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.device.release(self.1) {
            eprintln!("what was granted cannot be revoked: {error}");
        }
    }
}
