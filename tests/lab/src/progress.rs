// SPDX-License-Identifier: GPL-2.0
//! What the user sees while something takes long: on a terminal a line that moves, elsewhere a line now and then.

use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;
use std::time::Instant;

/// How often a step that runs on is told of where nothing can move.
const REMINDER: Duration = Duration::from_secs(20);

/// One step that takes a while. Its end is told when it is dropped.
pub struct Step {
    what: String,
    start: Instant,
    bar: Option<ProgressBar>,
    reminded: Cell<Instant>,
}

impl Step {
    /// Begin a step: "making the guests' root".
    pub fn new(what: impl Into<String>) -> Self {
        let what = what.into();
        let start = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_message(what.clone());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            eprintln!("lab: {what} ...");
        }
        Self {
            what,
            start,
            bar,
            reminded: Cell::new(start),
        }
    }

    /// What the step is at, for instance the last line of a program's output.
    pub fn at(&self, detail: &str) {
        let detail: String = detail
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.what));
        } else if self.reminded.get().elapsed() > REMINDER {
            self.reminded.set(Instant::now());
            eprintln!(
                "lab: {} ... {} s: {detail}",
                self.what,
                self.start.elapsed().as_secs()
            );
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!(
            "lab: {}: {:.1} s",
            self.what,
            self.start.elapsed().as_secs_f32()
        );
    }
}
