// SPDX-License-Identifier: GPL-2.0
//! Dma-bufs of other processes.

use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use rustix::process::pidfd_getfd;
use rustix::process::pidfd_open;
use std::io;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

/// A descriptor of our own for what the process `pid` has under `fd`.
///
/// # Errors
///
/// The kernel's: no such process, no such descriptor, or the process may not be traced by this one.
pub fn descriptor_of(pid: i32, fd: RawFd) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, fd, PidfdGetfdFlags::empty())?)
}
