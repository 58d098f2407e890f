// SPDX-License-Identifier: GPL-2.0
//! The stock Debian kernel: its packages, a tree to build Rust modules against it, and its modules for the machines.

use crate::apt;
use crate::arch::Arch;
use crate::cache::Key;
use crate::cache::entry;
use crate::image::ext4;
use crate::paths::REPO;
use crate::paths::cache;
use crate::paths::outside;
use crate::process::output;
use crate::process::run_logged;
use crate::progress::Step;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// The kernel that is built for and booted unless told otherwise, and its package version. The archive moves on: when this
/// version is gone, both are set anew here, and nowhere else.
pub const DEFAULT_RELEASE: &str = "7.3.4+deb13-amd64";
const DEFAULT_VERSION: &str = "7.3.4-1~bpo13+1";

/// The series whose `kernel` crate the module is written for; older ones lack parts of it.
const OLDEST_SERIES: (u32, u32) = (7, 3);

/// Our modules, in the order in which they are loaded.
pub const MODULES: [&str; 2] = ["xen_zcopy", "xen_drm_front"];

/// The kernel's image, beside its modules.
pub const VMLINUX: &str = "vmlinux";

/// Where Dom0 has the kernel's image.
pub const VMLINUX_IN_DOM0: &str = "/usr/lib/modules/vmlinux";

/// A kernel ready for use.
pub struct Kernel {
    /// For example "7.3.4+deb13-amd64".
    pub release: String,
    /// What it runs on.
    pub arch: Arch,
    dir: PathBuf,
}

impl Kernel {
    /// The kernel of this release, from the cache or else from the archive.
    ///
    /// # Errors
    ///
    /// When it is too old, the archive does not have it, or its tree cannot be prepared.
    pub fn prepare(release: &str) -> Result<Self> {
        if let Some(series) = series(release) {
            let (major, minor) = OLDEST_SERIES;
            ensure!(
                series >= OLDEST_SERIES,
                "the module needs the Rust parts of Linux {major}.{minor}; {release} is older"
            );
        }
        let key = Key::new()
            .with("3")
            .with(release)
            .with(pinned_version(release).unwrap_or_default())
            .with(apt::sources()?)
            .with(output(Command::new("rustc").arg("-vV"))?);
        let arch = Arch::of_release(release);
        let dir = entry(&arch.name_of("kernel"), &key, |dir| {
            fetch_and_prepare(release, dir)
        })?;
        Ok(Self {
            release: release.to_owned(),
            arch,
            dir,
        })
    }

    /// The bootable image, not compressed: an emulated processor takes 8 s to unpack one, for each guest.
    pub fn image(&self) -> PathBuf {
        self.dir.join("modules").join(VMLINUX)
    }

    /// An ext4 image for `/usr/lib/modules`.
    pub fn modules_image(&self) -> PathBuf {
        self.dir.join("modules.img")
    }

    /// The tree that modules are built against.
    pub fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// Directory of the stock modules, with `modules.dep`.
    fn modules(&self) -> PathBuf {
        self.dir.join("modules").join(&self.release)
    }

    /// `make` for our modules out of `source`, with objects in `dir`.
    fn module_make(&self, source: &Path, dir: &Path) -> Command {
        let mut make = self.external_make(source);
        make.arg(format!("MO={}", dir.display()));
        make
    }

    /// `make` for modules of this kernel whose source is in `source`.
    pub fn external_make(&self, source: &Path) -> Command {
        let mut make = Command::new("make");
        make.arg("-C").arg(self.tree());
        make.args(self.arch.kernel_make());
        make.arg(format!("KERNELRELEASE={}", self.release));
        make.arg(format!("M={}", source.display()));
        make.arg(format!(
            "-j{}",
            std::thread::available_parallelism().map_or(1, usize::from)
        ));
        make
    }

    /// Where the modules are built; a build that is checked leaves the other as it is.
    fn build_dir(&self, clippy: bool) -> PathBuf {
        let kind = if clippy { "module-clippy" } else { "module" };
        cache(&format!("{kind}-{}", self.release))
    }

    /// Build [`MODULES`] and return their paths. `clippy` checks the kernel crates too.
    ///
    /// # Errors
    ///
    /// When the kernel's Rust symbols are not Debian's, or the build fails or warns.
    pub fn build_modules(&self, clippy: bool) -> Result<Vec<PathBuf>> {
        self.check_rust_symbols()?;
        let step = Step::new(format!("building the modules for {}", self.release));
        let dir = self.build_dir(clippy);
        if clippy && dir.exists() {
            // Clippy only speaks of what is compiled.
            std::fs::remove_dir_all(&dir)?;
        }
        let mut make = self.module_make(Path::new(REPO), &dir);
        if clippy {
            make.arg("CLIPPY=1");
        }
        make.arg("modules");
        let modules = compile(make, &dir, &step)?;
        for module in &modules {
            self.check_version_magic(module)?;
        }
        Ok(modules)
    }

    /// Build [`MODULES`] of a changed copy of their source, and return their paths.
    ///
    /// # Errors
    ///
    /// When the build fails or warns.
    pub fn build_modules_of(&self, source: &Path) -> Result<Vec<PathBuf>> {
        let step = Step::new(format!("building changed modules for {}", self.release));
        let dir = cache(&format!("module-mutant-{}", self.release));
        let mut make = self.module_make(source, &dir);
        make.arg("modules");
        compile(make, &dir, &step)
    }

    /// Compare the Rust symbols of the prepared tree with those of Debian's kernel. They have hashes in their names that
    /// cover the compiler and every signature, and with MODVERSIONS off nothing else would notice a difference before
    /// the module is loaded.
    ///
    /// # Errors
    ///
    /// When a symbol is in one set only; a module must not be built then.
    pub fn check_rust_symbols(&self) -> Result<usize> {
        let tree = self.tree();
        let mut ours = BTreeSet::new();
        for file in std::fs::read_dir(tree.join("rust"))? {
            let path = file?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with("exports_") && name.ends_with("_generated.h") {
                let text = std::fs::read_to_string(&path)?;
                ours.extend(text.lines().filter_map(|line| {
                    Some(
                        line.strip_prefix("EXPORT_SYMBOL_RUST_GPL(")?
                            .strip_suffix(");")?
                            .to_owned(),
                    )
                }));
            }
        }
        let symvers = std::fs::read_to_string(tree.join("Module.symvers"))?;
        let debian: BTreeSet<String> = symvers
            .lines()
            .filter_map(|line| {
                let mut columns = line.split('\t').skip(1);
                let (symbol, owner) = (columns.next()?, columns.next()?);
                let of_rust = symbol.starts_with("_R") || symbol.starts_with("rust_");
                (of_rust && owner == "vmlinux").then(|| symbol.to_owned())
            })
            .collect();
        ensure!(
            !debian.is_empty(),
            "the kernel {} was built without Rust",
            self.release
        );
        let only_ours: Vec<_> = ours.difference(&debian).collect();
        let only_debian: Vec<_> = debian.difference(&ours).collect();
        if let Some(example) = only_debian.first().or(only_ours.first()) {
            bail!(
                "the Rust symbols of the prepared tree are not those of Debian's {}: {} are only in Debian's, {} only in ours, \
                 for example {example}",
                self.release,
                only_debian.len(),
                only_ours.len()
            );
        }
        Ok(debian.len())
    }

    /// Compare a module's version magic with a stock module's.
    fn check_version_magic(&self, module: &Path) -> Result<()> {
        let magic =
            |path: &Path| output(Command::new("modinfo").args(["-F", "vermagic"]).arg(path));
        let stock = self.modules().join("kernel/drivers/gpu/drm/drm.ko.xz");
        let (ours, stock) = (magic(module)?, magic(&stock)?);
        ensure!(
            ours == stock,
            "the module's version magic is \"{}\", the kernel's is \"{}\"",
            ours.trim(),
            stock.trim()
        );
        Ok(())
    }

    /// The kernel's own modules that ours need loaded before them.
    ///
    /// # Errors
    ///
    /// When `modinfo` cannot read one.
    pub fn needs_of(&self, modules: &[PathBuf]) -> Result<Vec<String>> {
        let needs = output(
            Command::new("modinfo")
                .args(["-F", "depends"])
                .args(modules),
        )?;
        Ok(needs
            .split([',', '\n'])
            .filter(|name| !name.is_empty() && !MODULES.contains(name))
            .map(str::to_owned)
            .collect())
    }

    /// Put stock modules and all that they need into `dir`, uncompressed, and return the order in which they are to be loaded.
    ///
    /// # Errors
    ///
    /// When the kernel has no such module.
    pub fn copy_modules(&self, names: &[&str], dir: &Path) -> Result<Vec<String>> {
        std::fs::create_dir_all(dir)?;
        let modules = self.modules();
        let table = std::fs::read_to_string(modules.join("modules.dep"))?;
        let needs: HashMap<&str, &str> = table
            .lines()
            .filter_map(|line| {
                line.split_once(": ")
                    .or_else(|| Some((line.strip_suffix(':')?, "")))
            })
            .collect();
        let mut order: Vec<&str> = Vec::new();
        for name in names {
            let path = needs
                .keys()
                .find(|path| {
                    path.rsplit('/')
                        .next()
                        .is_some_and(|file| file.split('.').next() == Some(name))
                })
                .with_context(|| format!("the kernel {} has no module {name}", self.release))?;
            // modules.dep has all that a module needs, the last to be loaded first.
            let before = needs[path].split_whitespace().rev();
            for path in before.chain([*path]) {
                if !order.contains(&path) {
                    order.push(path);
                }
            }
        }
        let mut files = Vec::new();
        for path in order {
            let compressed = path.rsplit('/').next().unwrap_or(path);
            let file = compressed.trim_end_matches(".xz").to_owned();
            std::fs::copy(modules.join(path), dir.join(compressed))?;
            if compressed.ends_with(".xz") {
                output(Command::new("xz").arg("-df").arg(dir.join(compressed)))?;
            }
            files.push(file);
        }
        Ok(files)
    }
}

/// Have `make` build [`MODULES`] in a directory, and return their paths.
///
/// # Errors
///
/// When the build fails or warns.
pub fn compile(mut make: Command, dir: &Path, step: &Step) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir)?;
    let log = cache("logs/module.log");
    run_logged(&mut make, &log, step)?;
    let said = std::fs::read_to_string(&log)?;
    let warnings: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("warning:"))
        .collect();
    ensure!(
        warnings.is_empty(),
        "the modules build with warnings:\n{}",
        warnings.join("\n")
    );
    let modules = MODULES.map(|name| dir.join(format!("{name}.ko")));
    for module in &modules {
        ensure!(
            module.exists(),
            "the build made no {}: see Kbuild",
            outside(module)
        );
    }
    Ok(modules.into())
}

/// Fill a directory with `modules/`, `modules.img` and `tree/`.
fn fetch_and_prepare(release: &str, dir: &Path) -> Result<()> {
    let step = Step::new(format!("fetching the kernel {release}"));
    let arch = Arch::of_release(release);
    apt::update(arch, &step)?;
    let binary = format!("linux-binary-{release}");
    let newest = apt::versions(&binary, arch)?
        .into_iter()
        .next()
        .with_context(|| gone(release))?;
    let version = pinned_version(release).map_or(newest, str::to_owned);
    let series: Vec<&str> = release.split(['.', '+', '-']).take(2).collect();
    let source = format!("linux-source-{}", series.join("."));
    let packages = dir.join("packages");
    let names = [
        &binary,
        &format!("linux-modules-{release}"),
        &format!("linux-headers-{release}"),
        &source,
    ];
    apt::unpack(&names.map(String::as_str), &version, arch, &packages, &step)?;

    step.at("its modules");
    let modules = packages.join("usr/lib/modules").join(release);
    let packaged = packages.join("vmlinuz");
    std::fs::rename(modules.join("vmlinuz"), &packaged)
        .context("the kernel package has no vmlinuz")?;
    output(
        Command::new("depmod")
            .arg("-b")
            .arg(packages.join("usr"))
            .arg(release),
    )
    .or_else(|_| output(Command::new("depmod").arg("-b").arg(&packages).arg(release)))?;
    std::fs::create_dir(dir.join("modules"))?;
    std::fs::rename(&modules, dir.join("modules").join(release))?;
    drop(step);

    let step = Step::new(format!("preparing a tree for modules of {release}"));
    prepare_tree(release, &source, &packages, dir, &step)?;
    step.at("unpacking the image");
    // With the modules: Dom0, which makes the guests, reads it faster from a disk than from the share.
    let image = dir.join("modules").join(VMLINUX);
    match arch {
        Arch::Amd64 => unpack_image(&dir.join("tree"), &packaged, &image)
            .with_context(|| format!("the image of {release}"))?,
        // It is not compressed.
        Arch::Arm64 => std::fs::rename(packaged, image)?,
    }
    ext4(&dir.join("modules"), &dir.join("modules.img"))?;
    std::fs::remove_dir_all(packages)?;
    Ok(())
}

/// Unpack a compressed image with the kernel's own script.
fn unpack_image(tree: &Path, compressed: &Path, image: &Path) -> Result<()> {
    Command::new(tree.join("scripts/extract-vmlinux"))
        .arg(compressed)
        .stdout(File::create(image)?)
        .stderr(File::create(cache("logs/vmlinux.log"))?)
        .status()?;
    // The script's status says nothing.
    ensure!(
        image.metadata()?.len() > 0,
        "it could not be unpacked: see {}",
        outside(&cache("logs/vmlinux.log"))
    );
    Ok(())
}

/// Debian's headers have no `rust/` directory, so it is made again from the source package with the same compilers.
fn prepare_tree(
    release: &str,
    source: &str,
    packages: &Path,
    dir: &Path,
    step: &Step,
) -> Result<()> {
    let arch = Arch::of_release(release);
    let tree = dir.join("tree");
    std::fs::create_dir(&tree)?;
    step.at("unpacking the source");
    let archive = packages.join(format!("usr/src/{source}.tar.xz"));
    output(
        Command::new("tar")
            .arg("xf")
            .arg(archive)
            .arg("-C")
            .arg(&tree)
            .arg("--strip-components=1"),
    )?;
    let headers = packages.join(format!("usr/src/linux-headers-{release}"));
    let config = headers.join(".config");
    std::fs::copy(&config, tree.join(".config"))
        .with_context(|| format!("{source}: no .config in its headers"))?;
    let log = cache("logs/kernel-tree.log");
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(&tree)
            .args([&format!("KERNELRELEASE={release}"), target]);
        make.args(arch.kernel_make());
        make.arg(format!(
            "-j{}",
            std::thread::available_parallelism().map_or(1, usize::from)
        ));
        make
    };
    run_logged(&mut make("olddefconfig"), &log, step)?;
    let of_debian = without_options(&std::fs::read_to_string(&config)?, not_configured(arch));
    if of_debian != std::fs::read_to_string(tree.join(".config"))? {
        let change = Command::new("diff")
            .arg(&config)
            .arg(tree.join(".config"))
            .output()?;
        bail!(
            "the tools here configure {release} otherwise than Debian's did:\n{}",
            String::from_utf8_lossy(&change.stdout)
        );
    }
    run_logged(&mut make("modules_prepare"), &log, step)?;
    std::fs::copy(headers.join("Module.symvers"), tree.join("Module.symvers"))?;
    Ok(())
}

/// What Debian's configuration has set and ours need not: on arm64 the vDSO of 32-bit programs, which wants a compiler for those, and which no module
/// knows of.
fn not_configured(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Amd64 => &[],
        Arch::Arm64 => &["CONFIG_COMPAT_VDSO", "CONFIG_THUMB2_COMPAT_VDSO"],
    }
}

/// A configuration without the lines that set some options.
fn without_options(config: &str, options: &[&str]) -> String {
    config
        .split_inclusive('\n')
        .filter(|line| {
            line.split_once('=')
                .is_none_or(|(option, _)| !options.contains(&option))
        })
        .collect()
}

/// The package version that is meant by a release; the archive's newest if it is not the default one.
fn pinned_version(release: &str) -> Option<&'static str> {
    (Arch::Amd64.release(release) == DEFAULT_RELEASE).then_some(DEFAULT_VERSION)
}

/// The two numbers that a release begins with.
fn series(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '+', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The sentence for a kernel that the archive does not have.
fn gone(release: &str) -> String {
    let present: Vec<String> = apt::names("linux-binary-", Arch::of_release(release))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| Some(name.strip_prefix("linux-binary-")?.to_owned()))
        .collect();
    absent(release, &present)
}

/// What to say of a kernel that is not among those `present`: which is the newest, of the same flavour if there is one.
fn absent(release: &str, present: &[String]) -> String {
    let newest_of = |flavour: &str| {
        present
            .iter()
            .filter(|name| {
                name.split_once('-')
                    .is_some_and(|(_, rest)| rest == flavour)
            })
            .max_by_key(|name| {
                name.split(['.', '+', '-'])
                    .map(|part| part.parse::<u32>().unwrap_or(0))
                    .collect::<Vec<_>>()
            })
    };
    let flavour = release.split_once('-').map_or("", |(_, flavour)| flavour);
    let Some(newest) = newest_of(flavour).or_else(|| newest_of("amd64")) else {
        return format!(
            "the archive has no kernel {release}, nor any other: no package there is named linux-binary-*"
        );
    };
    if release == DEFAULT_RELEASE {
        format!(
            "the kernel {release} is not in the archive any more; the newest there is {newest}. Try KVER={newest}, and if it passes \
             set DEFAULT_RELEASE and DEFAULT_VERSION in tests/lab/src/kernel.rs"
        )
    } else {
        format!(
            "the archive has no kernel {release} (no package linux-binary-{release}); the newest there is {newest}: KVER={newest}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_series() {
        assert_eq!(series(DEFAULT_RELEASE), Some((7, 3)));
        assert_eq!(series("nonsense"), None);
    }

    #[test]
    fn an_absent_kernel_is_told_with_the_newest_of_its_flavour() {
        let present = [
            "7.2.12+deb13-amd64",
            "7.10.1+deb13-amd64",
            "7.11.0+deb13-cloud-amd64",
            "unsigned-7.99.0+deb13-amd64",
        ]
        .map(str::to_owned);
        let said = absent("7.1.0+deb13-amd64", &present);
        assert!(said.ends_with("KVER=7.10.1+deb13-amd64"), "{said}");
        let said = absent("7.1.0+deb13-cloud-amd64", &present);
        assert!(said.ends_with("KVER=7.11.0+deb13-cloud-amd64"), "{said}");
        let said = absent("nonsense", &present);
        assert!(said.ends_with("KVER=7.10.1+deb13-amd64"), "{said}");
        let said = absent(DEFAULT_RELEASE, &present);
        assert!(said.contains("DEFAULT_VERSION"), "{said}");
        assert!(absent("x", &[]).contains("nor any other"));
    }
}
