// SPDX-License-Identifier: GPL-2.0
//! Where things are, inside the toolchain root, and what to call them outside of it.

use anyhow::Context;
use anyhow::Result;
use std::path::Path;
use std::path::PathBuf;

/// The repository.
pub const REPO: &str = "/src";

/// The cache.
pub const CACHE: &str = "/cache";

/// A file of the repository.
pub fn repo(path: &str) -> PathBuf {
    Path::new(REPO).join(path)
}

/// A file of the cache.
pub fn cache(path: &str) -> PathBuf {
    Path::new(CACHE).join(path)
}

/// The path as the user knows it, for messages: the repository and the cache are mounted elsewhere in here.
pub fn outside(path: &Path) -> String {
    let places = [(REPO, "LAB_REPO_OUTSIDE"), (CACHE, "LAB_CACHE_OUTSIDE")];
    for (inside, variable) in places {
        if let (Ok(rest), Ok(outside)) = (path.strip_prefix(inside), std::env::var(variable)) {
            return Path::new(&outside).join(rest).display().to_string();
        }
    }
    path.display().to_string()
}

/// Removes a directory that an earlier run has left, if there is one.
///
/// # Errors
///
/// When something in it cannot be removed.
pub fn remove_old(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| outside(dir))?;
    }
    Ok(())
}
