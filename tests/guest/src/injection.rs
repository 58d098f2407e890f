// SPDX-License-Identifier: GPL-2.0

//! The kernel's fault injection: the allocation with a chosen number fails, once, in chosen threads.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const DEBUGFS: &str = "/sys/kernel/debug";

/// Of both kinds of allocation: those that may sleep fail too; the kernel is not to say so, with a trace, each time; and what is looked at to
/// tell whose allocation it is.
const OF_BOTH: &[(&str, &str)] = &[
    ("ignore-gfp-wait", "N"),
    ("verbose", "0"),
    ("stacktrace-depth", "32"),
];

/// Of pages: single ones fail too, and those that have no address of the kernel's.
const OF_PAGES: &[(&str, &str)] = &[("min-order", "0"), ("ignore-gfp-highmem", "N")];

/// Where kmemleak allocates what it notes of each allocation: it does without, and nothing is learnt of the others.
const BOOKS: &str = "__alloc_object";

/// Failures of allocations, as the kernel has been told of them.
#[derive(Debug)]
pub struct Injection(());

impl Injection {
    /// All allocations count.
    ///
    /// # Errors
    /// When the kernel injects no faults.
    pub fn into_all() -> Result<Self> {
        Self::into(None)
    }

    /// Only allocations of a module's code, and of what that calls, count.
    ///
    /// # Errors
    /// When the kernel injects no faults, or has no such module.
    pub fn into_module(name: &str) -> Result<Self> {
        Self::into(Some(code_of(name)?))
    }

    fn into(code: Option<Range<u64>>) -> Result<Self> {
        let code = code.unwrap_or(0..u64::MAX);
        let books = function(BOOKS)?.unwrap_or_default();
        let ends = [
            ("require-start", format!("{:#x}", code.start)),
            ("require-end", format!("{:#x}", code.end)),
            ("reject-start", format!("{:#x}", books.start)),
            ("reject-end", format!("{:#x}", books.end)),
        ];
        for (kind, options) in [("failslab", &[] as &[_]), ("fail_page_alloc", OF_PAGES)] {
            let dir = Path::new(DEBUGFS).join(kind);
            ensure!(
                dir.is_dir(),
                "this kernel injects no faults: there is no {}",
                dir.display()
            );
            let ends = ends.iter().map(|(name, value)| (*name, value.as_str()));
            for (name, value) in OF_BOTH.iter().chain(options).copied().chain(ends) {
                let file = dir.join(name);
                fs::write(&file, value).with_context(|| file.display().to_string())?;
            }
        }
        Ok(Self(()))
    }

    /// This thread.
    ///
    /// # Errors
    /// When it has no such file.
    pub fn of_this_thread(&self) -> Result<Victims> {
        Victims::new([PathBuf::from("/proc/thread-self")])
    }

    /// The kernel's threads whose name begins so.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_threads(&self, name: &str) -> Result<Victims> {
        let mut threads = Vec::new();
        for process in fs::read_dir("/proc")? {
            let dir = process?.path();
            // Others may end at any time.
            let comm = fs::read_to_string(dir.join("comm")).unwrap_or_default();
            if comm.starts_with(name) {
                threads.push(dir);
            }
        }
        ensure!(!threads.is_empty(), "no thread is called {name}");
        Victims::new(threads)
    }
}

/// Threads whose allocations are to fail. None does any more when this is dropped.
#[derive(Debug)]
pub struct Victims(Vec<File>);

impl Victims {
    fn new(threads: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        let open = |dir: PathBuf| {
            let file = dir.join("fail-nth");
            let open = File::options().read(true).write(true).open(&file);
            open.with_context(|| file.display().to_string())
        };
        Ok(Self(threads.into_iter().map(open).collect::<Result<_>>()?))
    }

    /// The `nth` allocation from now on fails, in each thread.
    ///
    /// # Errors
    /// When the kernel refuses to be told.
    pub fn arm(&self, nth: u32) -> io::Result<()> {
        let nth = nth.to_string();
        self.0
            .iter()
            .try_for_each(|file| write_to(file, nth.as_bytes()))
    }

    /// Whether one has failed. None fails any more.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn disarm(&self) -> io::Result<bool> {
        let mut hit = false;
        for file in &self.0 {
            let mut text = [0; 16];
            match file.read_at(&mut text, 0) {
                // It tells how many are left until one fails.
                Ok(len) => {
                    hit |= text
                        .get(..len)
                        .is_some_and(|text| text.trim_ascii() == b"0")
                }
                Err(error) => ended(error)?,
            }
            write_to(file, b"0")?;
        }
        Ok(hit)
    }
}

impl Drop for Victims {
    fn drop(&mut self) {
        if let Err(error) = self.disarm() {
            eprintln!("a thread is left whose allocations fail: {error}");
        }
    }
}

fn write_to(file: &File, text: &[u8]) -> io::Result<()> {
    match file.write_at(text, 0) {
        Ok(_) => Ok(()),
        Err(error) => ended(error),
    }
}

/// A thread of the kernel's that has ended needs no more memory.
fn ended(error: io::Error) -> io::Result<()> {
    match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::SRCH) => Ok(()),
        _ => Err(error),
    }
}

/// What the kernel lists of its functions and data.
const SYMBOLS: &str = "/proc/kallsyms";

/// A line of it.
struct Symbol<'a> {
    address: u64,
    kind: &'a str,
    name: &'a str,
    /// In brackets; none: the kernel itself.
    module: Option<&'a str>,
}

fn symbols(text: &str) -> impl Iterator<Item = Symbol<'_>> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(Symbol {
            address: u64::from_str_radix(words.next()?, 16).ok()?,
            kind: words.next()?,
            name: words.next()?,
            module: words.next(),
        })
    })
}

/// Where a function of the kernel's own is, if it has it.
fn function(name: &str) -> Result<Option<Range<u64>>> {
    let text = fs::read_to_string(SYMBOLS).context(SYMBOLS)?;
    // Modules come last.
    let Some(Symbol { address: start, .. }) = symbols(&text).find(|symbol| symbol.name == name)
    else {
        return Ok(None);
    };
    let later = symbols(&text).map(|symbol| symbol.address);
    let end = later.filter(|address| *address > start).min();
    Ok(end.map(|end| start..end))
}

/// Where a module's functions are.
fn code_of(module: &str) -> Result<Range<u64>> {
    const PAGE: u64 = 4096;
    let text = fs::read_to_string(SYMBOLS).context(SYMBOLS)?;
    let owner = format!("[{module}]");
    let (mut start, mut end) = (u64::MAX, 0);
    for symbol in symbols(&text) {
        let is_ours = symbol.module == Some(&owner) && symbol.kind.eq_ignore_ascii_case("t");
        if is_ours && symbol.address != 0 {
            start = start.min(symbol.address);
            end = end.max(symbol.address);
        }
    }
    ensure!(start < end, "the kernel tells of no function of {module}");
    // The last one ends somewhere in its page, or in the next.
    Ok(start..end.next_multiple_of(PAGE) + PAGE)
}
