// SPDX-License-Identifier: GPL-2.0
//! Lines on standard output: what a person or a test waits for.

use std::fmt::{Arguments, Display};
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

/// Writes one line to standard output; whoever closed it does not want to know.
pub fn line(text: Arguments<'_>) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// [`line`], as `println!`.
macro_rules! say {
    ($($argument:tt)*) => { $crate::report::line(format_args!($($argument)*)) };
}
pub(crate) use say;

const LINES_AT_ONCE: u32 = 20;
const WINDOW: Duration = Duration::from_secs(5);

/// Lines about what a guest does wrong: a guest must not be able to fill this domain's disk with them.
pub struct Complaints {
    about: String,
    window: Instant,
    lines: u32,
    suppressed: u64,
}

impl Complaints {
    /// Lines that start with `about`.
    pub fn new(about: impl Into<String>) -> Self {
        Complaints {
            about: about.into(),
            window: Instant::now(),
            lines: 0,
            suppressed: 0,
        }
    }

    /// Writes the line, unless there were too many of them lately.
    pub fn line(&mut self, text: impl Display) {
        if self.window.elapsed() >= WINDOW {
            if self.suppressed > 0 {
                say!(
                    "{}: {} more lines like these suppressed",
                    self.about,
                    self.suppressed
                );
            }
            (self.window, self.lines, self.suppressed) = (Instant::now(), 0, 0);
        }
        if self.lines < LINES_AT_ONCE {
            self.lines += 1;
            say!("{}: {text}", self.about);
        } else {
            self.suppressed += 1;
        }
    }
}
