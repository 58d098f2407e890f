// SPDX-License-Identifier: GPL-2.0
//! What the lab says to an agent, and what it answers: one JSON document a line, one answer to each request, in order.

use serde::Deserialize;
use serde::Serialize;

/// Name of the virtio-serial port that joins the lab and Dom0's agent.
pub const PORT_NAME: &str = "lab.agent";

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start a shell command line in a process group of its own. Its standard input stays open.
    Spawn {
        /// For `sh -c`.
        command: String,
    },
    /// Write to a job's standard input.
    Input {
        /// From [`Reply::Started`].
        job: u32,
        /// What to write.
        text: String,
    },
    /// Wait for a job's end, at most so long; its output comes with its end.
    Wait {
        /// From [`Reply::Started`].
        job: u32,
        /// Milliseconds.
        at_most: u64,
    },
    /// Send a signal to a job's process group.
    Signal {
        /// From [`Reply::Started`].
        job: u32,
        /// Number, as in `kill(1)`.
        signal: i32,
    },
    /// What a job has written so far.
    Output {
        /// From [`Reply::Started`].
        job: u32,
    },
    /// Hand a request on to a guest's agent (Dom0's agent only).
    Guest {
        /// The guest's domain id.
        domain: u32,
        /// The request for its agent.
        request: Box<Request>,
        /// How long to wait for its answer, in milliseconds.
        at_most: u64,
    },
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The agent listens. Sent once, unasked, by Dom0's agent.
    Ready,
    /// The job's number.
    Started(u32),
    /// The job has not ended.
    Running,
    /// The job has ended.
    Exited {
        /// Exit status, or 128 + the number of the signal that ended it.
        status: i32,
        /// Its last output, at most [`OUTPUT_LIMIT`] bytes.
        stdout: String,
        /// Its last error output, likewise.
        stderr: String,
    },
    /// The job's output so far.
    Output {
        /// Standard output.
        stdout: String,
        /// Standard error.
        stderr: String,
    },
    /// Done; nothing to tell.
    Done,
    /// Not done; a sentence that says why.
    Failed(String),
}

/// Output that is sent of one stream: the end of it, since the reason for a failure is at the end.
pub const OUTPUT_LIMIT: u64 = 192 * 1024;
