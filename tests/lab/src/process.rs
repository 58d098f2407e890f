// SPDX-License-Identifier: GPL-2.0
//! Programs run for the lab: logged, watched, and quoted when they fail.

use crate::paths::outside;
use crate::progress::Step;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

/// Lines of a log that are quoted after a failure.
const QUOTED: usize = 20;

/// The program's name, for messages.
fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Run a program to its end, its output in `log`, the last line of that shown by `step`.
///
/// # Errors
///
/// When it cannot be started or fails; the end of its log is part of the error.
pub fn run_logged(command: &mut Command, log: &Path, step: &Step) -> Result<()> {
    if let Some(dir) = log.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let file = File::create(log).with_context(|| outside(log))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("{} cannot be run", name(command)))?;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(200)),
        }
        if let Some(line) = last_lines(log, 1).pop() {
            step.at(&line);
        }
    };
    if !status.success() {
        bail!(
            "{} failed ({status}). The end of {}:\n{}",
            name(command),
            outside(log),
            last_lines(log, QUOTED).join("\n")
        );
    }
    Ok(())
}

/// Run a program to its end and return what it printed.
///
/// # Errors
///
/// When it cannot be started or fails; what it said is part of the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} cannot be run", name(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}",
            name(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last lines of a file that may be growing; none if there is no such file.
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(16 * 1024);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}
