// SPDX-License-Identifier: GPL-2.0
//! Things that take long to make, kept under a hash of all that they are made from.

use crate::paths::cache;
use anyhow::Context;
use anyhow::Result;
use sha2::Digest;
use sha2::Sha256;
use std::path::Path;
use std::path::PathBuf;

/// A hash of what a thing is made from.
#[derive(Clone, Default)]
pub struct Key(Sha256);

impl Key {
    /// An empty key.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more ingredient.
    #[must_use]
    pub fn with(mut self, ingredient: impl AsRef<[u8]>) -> Self {
        let ingredient = ingredient.as_ref();
        // The length keeps "ab" + "c" apart from "a" + "bc".
        self.0.update((ingredient.len() as u64).to_le_bytes());
        self.0.update(ingredient);
        self
    }

    /// The first 16 hexadecimal digits.
    fn digits(&self) -> String {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        format!("{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// The directory `NAME-KEY` of the cache. If it is not there, `make` fills a directory that takes its place when
/// `make` has succeeded, so what an interrupted run leaves is never taken for the thing.
///
/// # Errors
///
/// When `make` fails, or the cache cannot be written.
pub fn entry(name: &str, key: &Key, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = cache(&format!("{name}-{}", key.digits()));
    if path.is_dir() {
        return Ok(path);
    }
    let unfinished = cache(&format!("{name}.tmp"));
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).with_context(|| unfinished.display().to_string())?;
    }
    std::fs::create_dir_all(&unfinished).with_context(|| unfinished.display().to_string())?;
    make(&unfinished)?;
    remove_older(name)?;
    std::fs::rename(&unfinished, &path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Older versions of a thing will hardly be wanted again, and are large.
fn remove_older(name: &str) -> Result<()> {
    for file in std::fs::read_dir(cache(""))? {
        let file = file?;
        let other = file.file_name().to_string_lossy().into_owned();
        let is_older = other
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|rest| {
                rest.len() == 16 && rest.bytes().all(|digit| digit.is_ascii_hexdigit())
            });
        if is_older {
            std::fs::remove_dir_all(file.path())?;
        }
    }
    Ok(())
}
