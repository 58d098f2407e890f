// SPDX-License-Identifier: GPL-2.0
//! Shell commands that an agent runs for the lab.

use crate::protocol::OUTPUT_LIMIT;
use crate::protocol::Reply;
use crate::protocol::Request;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use rustix::process::pidfd_open;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

/// Where the output of running jobs is kept.
const OUTPUT_DIR: &str = "/run/lab-jobs";

/// The jobs of one agent.
#[derive(Default)]
pub struct Jobs {
    next: u32,
    running: HashMap<u32, Child>,
}

impl Jobs {
    /// Carry out a request that is not [`Request::Guest`].
    pub fn handle(&mut self, request: Request) -> Reply {
        let result = match request {
            Request::Spawn { command } => self.spawn(&command),
            Request::Input { job, text } => self.input(job, &text),
            Request::Wait { job, at_most } => self.wait(job, Duration::from_millis(at_most)),
            Request::Signal { job, signal } => self.signal(job, signal),
            Request::Output { job } => self.output(job),
            Request::Guest { .. } => Err("only Dom0's agent knows guests".into()),
        };
        result.unwrap_or_else(Reply::Failed)
    }

    fn spawn(&mut self, command: &str) -> Result<Reply, String> {
        let job = self.next;
        self.next += 1;
        std::fs::create_dir_all(OUTPUT_DIR).map_err(|e| format!("{OUTPUT_DIR}: {e}"))?;
        let create = |stream| {
            File::create(path(job, stream)).map_err(|e| format!("the output of a job: {e}"))
        };
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(create("out")?)
            .stderr(create("err")?)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cannot run a shell: {e}"))?;
        self.running.insert(job, child);
        Ok(Reply::Started(job))
    }

    fn input(&mut self, job: u32, text: &str) -> Result<Reply, String> {
        let child = self.running.get_mut(&job).ok_or_else(|| unknown(job))?;
        let stdin = child
            .stdin
            .as_mut()
            .ok_or("the job has no standard input")?;
        stdin
            .write_all(text.as_bytes())
            .and_then(|()| stdin.flush())
            .map_err(|e| format!("the input of job {job}: {e}"))?;
        Ok(Reply::Done)
    }

    /// Not by `Child::wait`, which would close the standard input that a job may be waiting on.
    fn wait(&mut self, job: u32, at_most: Duration) -> Result<Reply, String> {
        let child = self.running.get_mut(&job).ok_or_else(|| unknown(job))?;
        let ended = pid(child)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map_err(|e| format!("job {job}: {e}"))?;
        let timeout = Timespec::try_from(at_most).map_err(|e| format!("job {job}: {e}"))?;
        // If a signal cuts this short, the job counts as running still.
        let _ = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&timeout));
        let Some(status) = child.try_wait().map_err(|e| format!("job {job}: {e}"))? else {
            return Ok(Reply::Running);
        };
        self.running.remove(&job);
        let reply = Reply::Exited {
            status: status
                .code()
                .or(status.signal().map(|s| 128 + s))
                .unwrap_or(-1),
            stdout: tail(job, "out")?,
            stderr: tail(job, "err")?,
        };
        for stream in ["out", "err"] {
            // A file that stays costs a little memory of the domain, no more.
            let _ = std::fs::remove_file(path(job, stream));
        }
        Ok(reply)
    }

    fn signal(&mut self, job: u32, signal: i32) -> Result<Reply, String> {
        let child = self.running.get(&job).ok_or_else(|| unknown(job))?;
        let signal =
            Signal::from_named_raw(signal).ok_or_else(|| format!("there is no signal {signal}"))?;
        pid(child)
            .and_then(|group| kill_process_group(group, signal))
            .map_err(|e| format!("job {job}: {e}"))?;
        Ok(Reply::Done)
    }

    fn output(&mut self, job: u32) -> Result<Reply, String> {
        if !self.running.contains_key(&job) {
            return Err(unknown(job));
        }
        Ok(Reply::Output {
            stdout: tail(job, "out")?,
            stderr: tail(job, "err")?,
        })
    }
}

fn pid(child: &Child) -> rustix::io::Result<Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)
}

fn unknown(job: u32) -> String {
    format!("there is no running job {job}")
}

fn path(job: u32, stream: &str) -> PathBuf {
    PathBuf::from(format!("{OUTPUT_DIR}/{job}.{stream}"))
}

/// The end of a job's output.
fn tail(job: u32, stream: &str) -> Result<String, String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path(job, stream))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_LIMIT)))?;
        let mut bytes = Vec::new();
        file.take(OUTPUT_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|e| format!("the output of job {job}: {e}"))
}
