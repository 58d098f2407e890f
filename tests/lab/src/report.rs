// SPDX-License-Identifier: GPL-2.0
//! What came of the tests.

use crate::scenarios::KINDS;
use anyhow::Error;
use comfy_table::Table;
use std::time::Duration;
use std::time::Instant;

/// Outcomes, told as they come and counted at the end.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: Vec<String>,
    rows: Vec<Row>,
}

/// Tests of one name, in guests of all kinds.
struct Row {
    name: String,
    /// By the place of the kind in [`KINDS`]; the first where it needs no guest.
    outcomes: [String; KINDS.len()],
}

/// A test's name without the kind of its guest, and that kind's place in [`KINDS`].
fn name_and_kind(name: &str) -> (&str, usize) {
    KINDS
        .iter()
        .enumerate()
        .find_map(|(place, kind)| {
            let stem = name.strip_suffix(&kind.to_string())?;
            Some((stem.strip_suffix('-')?, place))
        })
        .unwrap_or((name, 0))
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
        self.note(name, outcome.is_ok(), seconds);
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

    fn note(&mut self, name: &str, passed: bool, seconds: f32) {
        let (name, kind) = name_and_kind(name);
        let word = if passed { "ok" } else { "FAIL" };
        let at = self.rows.iter().position(|row| row.name == name);
        let row = match at.and_then(|at| self.rows.get_mut(at)) {
            Some(row) => row,
            None => {
                self.rows.push(Row {
                    name: name.to_owned(),
                    outcomes: Default::default(),
                });
                let Some(row) = self.rows.last_mut() else {
                    return;
                };
                row
            }
        };
        if let Some(outcome) = row.outcomes.get_mut(kind) {
            *outcome = format!("{word} {seconds:.0} s");
        }
    }

    /// All of them in one table.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        let kinds = KINDS.iter().map(ToString::to_string);
        table.set_header(std::iter::once("test".to_owned()).chain(kinds));
        for row in &self.rows {
            table.add_row(std::iter::once(&row.name).chain(&row.outcomes));
        }
        table
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn guests_of_all_kinds_are_in_one_row() {
        let mut report = Report::default();
        let second = Duration::from_secs(1);
        report.tell("host-tests", Ok(()), second);
        report.tell("card-pvh", Ok(()), second);
        report.tell("card-pv", Err(anyhow!("no")), second);
        report.tell("card-arm64", Ok(()), second);
        assert_eq!(report.rows.len(), 2);
        assert_eq!(report.rows[0].outcomes, ["ok 1 s", "", ""]);
        assert_eq!(report.rows[1].name, "card");
        assert_eq!(report.rows[1].outcomes, ["ok 1 s", "FAIL 1 s", "ok 1 s"]);
        assert!(!report.finish());
    }
}
