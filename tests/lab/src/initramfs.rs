// SPDX-License-Identifier: GPL-2.0
//! What a kernel starts from, before it has a disk.

use crate::kernel::Kernel;
use crate::paths::cache;
use crate::paths::repo;
use crate::process::output;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

/// The parts of an initramfs, beside busybox.
pub struct Initramfs<'a> {
    /// The script of `tests/lab/boot` that is the first process.
    pub init: &'a str,
    /// Its shell, which needs no libraries.
    pub busybox: &'a Path,
    /// Modules that it loads, with what they need, in the order in `/order`.
    pub modules: &'a [&'a str],
    /// Scripts of `tests/lab/boot` for `/payload`.
    pub scripts: &'a [&'a str],
    /// Programs and modules for `/payload`.
    pub files: &'a [&'a Path],
}

impl Initramfs<'_> {
    /// Write it.
    ///
    /// # Errors
    ///
    /// When a part is not there, or cannot be packed.
    pub fn make(&self, kernel: &Kernel, image: &Path) -> Result<()> {
        let tree = cache("initramfs.tmp");
        if tree.exists() {
            std::fs::remove_dir_all(&tree)?;
        }
        for dir in ["bin", "dev", "proc", "sys", "payload"] {
            std::fs::create_dir_all(tree.join(dir))?;
        }
        let boot = repo("tests/lab/boot");
        std::fs::copy(self.busybox, tree.join("bin/busybox"))?;
        std::fs::copy(boot.join(self.init), tree.join("init"))?;
        for script in self.scripts {
            std::fs::copy(boot.join(script), tree.join("payload").join(script))?;
        }
        for file in self.files {
            let name = file.file_name().context("a file without a name")?;
            // What is not there need not be loaded: debug information is most of a module.
            output(
                Command::new(format!("{}strip", kernel.arch.tools()))
                    .arg("--strip-debug")
                    .arg("-o")
                    .arg(tree.join("payload").join(name))
                    .arg(file),
            )?;
        }
        let order = kernel.copy_modules(self.modules, &tree.join("modules"))?;
        let order: String = order.iter().flat_map(|file| [file, "\n"]).collect();
        std::fs::write(tree.join("order"), order)?;
        pack(&tree, image)?;
        std::fs::remove_dir_all(tree)?;
        Ok(())
    }
}

/// Make an archive of a directory tree.
fn pack(tree: &Path, image: &Path) -> Result<()> {
    let mut find = Command::new("find")
        .arg(".")
        .current_dir(tree)
        .stdout(Stdio::piped())
        .spawn()?;
    let names = find.stdout.take().context("find has no output")?;
    let status = Command::new("cpio")
        .args(["--quiet", "-o", "-H", "newc"])
        .current_dir(tree)
        .stdin(names)
        .stdout(File::create(image)?)
        .status()
        .context("cpio cannot be run")?;
    ensure!(
        find.wait()?.success() && status.success(),
        "the initramfs could not be made ({status})"
    );
    Ok(())
}
