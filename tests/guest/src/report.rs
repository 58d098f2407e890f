// SPDX-License-Identifier: GPL-2.0

//! What the program says: JSON lines on standard output for programs, sentences on standard error for people.

use std::io::{self, Write};

use rustix::io::Errno;
use serde_json::{Value, json};

/// Collects the outcome of the checks of one run.
#[derive(Debug, Default)]
pub struct Report {
    checks: usize,
    failures: usize,
}

impl Report {
    /// Prints `{"KIND": VALUE}` as one line.
    pub fn say(&self, kind: &str, value: Value) {
        let line = Value::Object([(kind.to_owned(), value)].into_iter().collect());
        let mut out = io::stdout().lock();
        // Flushed at once: the lab compares pictures between two lines. A reader that went away must not turn a good run
        // into a panic; the exit status still tells.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    /// Prints a check with what was expected and what came, and counts it.
    pub fn check(&mut self, name: &str, expected: impl Into<Value>, got: impl Into<Value>) -> bool {
        let (expected, got) = (expected.into(), got.into());
        let ok = expected == got;
        self.verdict(name, ok, expected, got);
        ok
    }

    /// Prints a check that was judged by the caller, and counts it.
    pub fn verdict(&mut self, name: &str, ok: bool, expected: Value, got: Value) {
        self.checks += 1;
        if !ok {
            self.failures += 1;
            eprintln!("{name}: expected {expected}, got {got}");
        }
        self.say(
            "check",
            json!({"name": name, "ok": ok, "expected": expected, "got": got}),
        );
    }

    /// Prints whether a bad call was refused with one of the errnos that it must give, and counts it. Standard error has where the
    /// errno comes from if not.
    pub fn refusal(&mut self, name: &str, expected: &[Errno], why: &str, got: &io::Result<()>) {
        let errno = got.as_ref().err().and_then(Errno::from_io_error);
        let ok = errno.is_some_and(|errno| expected.contains(&errno));
        let expected = expected.iter().map(|errno| errno_name(*errno).into());
        self.verdict(
            name,
            ok,
            Value::Array(expected.collect()),
            outcome(got).into(),
        );
        if !ok {
            eprintln!("  because of {why}");
        }
    }

    /// Prints that a check was left out, and why.
    pub fn skip(&self, name: &str, why: &str) {
        self.say("skipped", json!({"name": name, "why": why}));
    }

    /// Prints the closing line and returns whether every check held.
    pub fn finish(self) -> bool {
        self.say(
            "result",
            json!({"ok": self.failures == 0, "checks": self.checks, "failures": self.failures}),
        );
        self.failures == 0
    }
}

/// The outcome of a call: "success", or the errno's name.
pub fn outcome<T>(result: &io::Result<T>) -> String {
    match result {
        Ok(_) => "success".to_owned(),
        Err(error) => match Errno::from_io_error(error) {
            Some(errno) => errno_name(errno),
            None => error.to_string(),
        },
    }
}

/// The name of an errno that a device may give, or its number.
pub fn errno_name(errno: Errno) -> String {
    let name = match errno {
        Errno::PERM => "EPERM",
        Errno::NOENT => "ENOENT",
        Errno::INTR => "EINTR",
        Errno::IO => "EIO",
        Errno::NXIO => "ENXIO",
        Errno::BADF => "EBADF",
        Errno::AGAIN => "EAGAIN",
        Errno::NOMEM => "ENOMEM",
        Errno::ACCESS => "EACCES",
        Errno::FAULT => "EFAULT",
        Errno::BUSY => "EBUSY",
        Errno::MFILE => "EMFILE",
        Errno::NODEV => "ENODEV",
        Errno::INVAL => "EINVAL",
        Errno::NOTTY => "ENOTTY",
        Errno::NOSPC => "ENOSPC",
        Errno::RANGE => "ERANGE",
        Errno::NOSYS => "ENOSYS",
        Errno::OVERFLOW => "EOVERFLOW",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::TIMEDOUT => "ETIMEDOUT",
        other => return format!("errno {}", other.raw_os_error()),
    };
    name.to_owned()
}
