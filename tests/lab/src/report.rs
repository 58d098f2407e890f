// SPDX-License-Identifier: GPL-2.0
//! What came of the tests.

use anyhow::Error;
use std::time::Duration;
use std::time::Instant;

/// Outcomes, told as they come and counted at the end.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    /// Run a test and tell what came of it.
    pub fn test(&mut self, name: &str, test: impl FnOnce() -> Result<(), Error>) {
        let start = Instant::now();
        let outcome = test();
        self.tell(name, outcome, start.elapsed());
    }

    /// Tell of a test that was run.
    pub fn tell(&mut self, name: &str, outcome: Result<(), Error>, took: Duration) {
        let seconds = took.as_secs_f32();
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok    {name} ({seconds:.1} s)");
            }
            Err(error) => {
                println!(
                    "FAIL  {name} ({seconds:.1} s): {}",
                    indented(&format!("{error:#}"))
                );
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Print the closing lines and return whether all passed.
    pub fn finish(self) -> bool {
        if !self.failed.is_empty() {
            println!("failed: {}", self.failed.join(", "));
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
        self.failed.is_empty() && self.passed > 0
    }
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n      ")
}
