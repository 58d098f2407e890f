// SPDX-License-Identifier: GPL-2.0
//! Rules for the source of the kernel modules that no compiler checks.

use crate::paths::repo;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use std::path::Path;
use std::path::PathBuf;

/// Folders of kernel code.
const KERNEL_CODE: &[&str] = &["drm_front", "zcopy_backend_client", "include"];

/// Where `unsafe` may be.
const UNSAFE_ROOMS: &[&str] = &[
    "include/xen_sys",
    "drm_front/xen",
    "drm_front/kms",
    "zcopy_backend_client",
];

/// Where nobody may know of displif: they are for any driver.
const GENERIC_ROOMS: &[&str] = &["drm_front/xen", "drm_front/kms", "zcopy_backend_client"];

/// Words of displif that nothing else has.
const DISPLIF_WORDS: &[&str] = &[
    "displif",
    "xendispl",
    "vdispl",
    "dbuf",
    "fb_attach",
    "fb_detach",
    "pg_flip",
    "gref_directory",
    "be_alloc",
];

/// All Rust files of the kernel modules.
///
/// # Errors
///
/// When a folder cannot be read.
pub fn kernel_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in KERNEL_CODE {
        let folder = repo(folder);
        if folder.is_dir() {
            collect(&folder, &mut files)?;
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "there is no kernel code");
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        // Programs beside a module are not kernel code.
        if path.join("Cargo.toml").exists() {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// `unsafe` occurs only in the rooms that wrap what is.
///
/// # Errors
///
/// Names each line that breaks the rule.
pub fn unsafe_rooms() -> Result<()> {
    report("unsafe outside of the rooms for it", |path, line| {
        !within(path, UNSAFE_ROOMS) && words(code(line)).any(|word| word == "unsafe")
    })
}

/// The wrappers of Xen and KMS know nothing of displif.
///
/// # Errors
///
/// Names each line that breaks the rule.
pub fn generic_rooms() -> Result<()> {
    report(
        "a word of displif in a wrapper that is for any driver",
        |path, line| {
            within(path, GENERIC_ROOMS) && DISPLIF_WORDS.iter().any(|word| has_word(line, word))
        },
    )
}

/// Whether `word`, in lower case, is in `line` as a word, or as a part of a name in either style: "dbuf" is in "DbufCookie" and in
/// "new_dbuf", but not in "GrantedBuffer".
fn has_word(line: &str, word: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.match_indices(word).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let starts = !before.ends_with(|c: char| c.is_ascii_alphabetic())
            || rest.starts_with(|c: char| c.is_ascii_uppercase());
        let ends = !rest[word.len()..].starts_with(|c: char| c.is_ascii_lowercase());
        starts && ends
    })
}

fn within(path: &Path, rooms: &[&str]) -> bool {
    rooms.iter().any(|room| path.starts_with(repo(room)))
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn report(rule: &str, breaks: impl Fn(&Path, &str) -> bool) -> Result<()> {
    let mut found = Vec::new();
    for path in kernel_files()? {
        let text = std::fs::read_to_string(&path)?;
        let name = path.strip_prefix(repo("")).unwrap_or(&path).display();
        found.extend(
            text.lines()
                .enumerate()
                .filter(|(_, line)| breaks(&path, line))
                .map(|(index, line)| format!("{name}:{}: {}", index + 1, line.trim())),
        );
    }
    ensure!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_comments_are_told_apart() {
        let is_unsafe = |line| words(code(line)).any(|word| word == "unsafe");
        assert!(is_unsafe("let x = unsafe { y };"));
        assert!(!is_unsafe("#![deny(unsafe_code)]"));
        assert!(!is_unsafe("// unsafe is elsewhere"));
    }

    #[test]
    fn words_of_the_protocol_are_found_in_names() {
        for line in [
            "let dbuf = 1;",
            "struct DbufCookie;",
            "fn new_dbuf()",
            "// a dbuf",
            "Dbuf",
        ] {
            assert!(has_word(line, "dbuf"), "{line}");
        }
        for line in ["GrantedBuffer", "granted_buffer", "dbuffer"] {
            assert!(!has_word(line, "dbuf"), "{line}");
        }
        assert!(!has_word("mode.vdisplay", "vdispl"));
        assert!(has_word("c\"vdispl\"", "vdispl"));
    }
}
