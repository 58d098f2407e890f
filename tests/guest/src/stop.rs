// SPDX-License-Identifier: GPL-2.0

//! Being told to stop or to go on: SIGTERM, SIGINT, and lines on standard input.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Becomes readable when the process is told to end. The signal handlers live as long as the process.
#[derive(Debug)]
pub struct Stop(UnixStream);

impl Stop {
    /// Takes over SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When the socket pair or the handlers cannot be made.
    pub fn install() -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair for signals")?;
        for signal in [SIGTERM, SIGINT] {
            let theirs = theirs.try_clone().context("cannot duplicate a socket")?;
            signal_hook::low_level::pipe::register(signal, theirs)
                .context("cannot install a signal handler")?;
        }
        Ok(Self(ours))
    }

    /// Waits for `fd` to be readable, for a signal or for the time to pass; `None` waits for ever.
    ///
    /// # Errors
    /// When waiting is not possible.
    pub fn wait(&self, fd: Option<&dyn AsFd>, limit: Option<Duration>) -> io::Result<Woken> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let mut fds = vec![PollFd::new(&self.0, PollFlags::IN)];
            if let Some(fd) = fd {
                fds.push(PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose();
            let left = left.map_err(|_| io::ErrorKind::InvalidInput)?;
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(Woken::TimeOut),
                Ok(_) if !fds[0].revents().is_empty() => return Ok(Woken::Stopped),
                Ok(_) => return Ok(Woken::Readable),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a line on standard input. `false` when the input ended or a signal came: then there is nothing to go
    /// on with.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub fn wait_for_line(&self) -> Result<bool> {
        loop {
            if self.wait(Some(&io::stdin()), None)? != Woken::Readable {
                return Ok(false);
            }
            let mut byte = [0];
            // Byte by byte and unbuffered: what a buffer holds, poll does not see.
            let read = rustix::io::read(rustix::stdio::stdin(), &mut byte)
                .context("cannot read standard input")?;
            match (read, byte) {
                (0, _) => return Ok(false),
                (_, [b'\n']) => return Ok(true),
                _ => {}
            }
        }
    }

    /// Waits until standard input ends or a signal comes.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub fn hold(&self) -> Result<()> {
        while self.wait_for_line()? {}
        Ok(())
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The descriptor can be read, or has an error to tell.
    Readable,
    /// SIGTERM or SIGINT came.
    Stopped,
    /// Nothing happened in time.
    TimeOut,
}
