// SPDX-License-Identifier: GPL-2.0
//! Xen and Dom0, booted and ready for guests.

use crate::arch::Arch;
use crate::image::Roots;
use crate::initramfs::Initramfs;
use crate::kernel::Kernel;
use crate::kernel::VMLINUX;
use crate::kernel::VMLINUX_IN_DOM0;
use crate::link::Domain;
use crate::link::Link;
use crate::paths::outside;
use crate::paths::repo;
use crate::process::last_lines;
use crate::programs::program;
use crate::progress::Step;
use crate::qemu::Display;
use crate::qemu::Parts;
use crate::qemu::Qemu;
use crate::qemu::Resolution;
use crate::watch::Watch;
use crate::watch::WatchedKernel;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// Enough for a slow and busy computer; a boot takes about 10 s.
const BOOT_TIME: Duration = Duration::from_secs(240);

/// Xen's command line.
fn xen_options(arch: Arch) -> String {
    let of_arch = match arch {
        // QEMU's emulation of SVM loses vector registers of a PVH guest where Xen switches them lazily: one program in thirty crashes or hangs
        // there. Switched eagerly, none has. And each exit of a guest costs a flush of QEMU's TLB: timers may be 10 ms late, so that a busy
        // guest has 100 ticks a second, of four exits each, and not 250.
        Arch::Amd64 => "console=com1 com1=115200,8n1 spec-ctrl=eager-fpu timer_slop=10000000",
        Arch::Arm64 => "console=dtuart",
    };
    format!("{of_arch} dom0_mem=1536M,max:1536M dom0_max_vcpus=1 loglvl=info guest_loglvl=warning")
}

/// Drivers that Dom0's initramfs loads.
fn dom0_modules(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Amd64 => &["virtio_blk", "ext4", "overlay"],
        Arch::Arm64 => &["virtio_mmio", "virtio_blk", "ext4", "overlay"],
    }
}

/// Drivers that a guest's initramfs loads. A kernel that watches itself has them built in.
const GUEST_MODULES: &[&str] = &["xen-blkfront", "ext4", "overlay"];

/// All that machines and guests are booted from.
pub struct Ingredients {
    /// The kernel of Dom0, and of guests unless they have another.
    pub kernel: Kernel,
    /// The kernel of guests, if they have another.
    pub watched: Option<WatchedKernel>,
    /// Dom0's and the guests' file systems.
    pub roots: Roots,
    /// Our modules, if guests are to use them, in the order in which they are loaded.
    pub modules: Vec<PathBuf>,
    /// Modules for Dom0 that its kernel has not.
    pub dom0_modules: Vec<PathBuf>,
    /// The largest picture that Dom0's displays show.
    pub display: Resolution,
}

/// Where Dom0 has the image of a kernel that watches itself: on a disk of its own, as the other is.
const WATCHED_DIR: &str = "/opt/watched";

/// How much longer than usual all may take in a guest whose kernel watches itself.
const PATIENCE: u32 = 4;

/// What Dom0 boots guests from.
#[derive(Clone, Debug)]
pub struct GuestKernel {
    /// The kernel's image.
    pub image: String,
    /// The disk with its modules.
    pub modules: &'static str,
    /// What it watches.
    pub watch: Option<Watch>,
}

impl GuestKernel {
    fn new(watch: Option<Watch>) -> Self {
        match watch {
            None => Self {
                image: VMLINUX_IN_DOM0.to_owned(),
                modules: "/dev/vdb",
                watch,
            },
            Some(_) => Self {
                image: format!("{WATCHED_DIR}/{VMLINUX}"),
                modules: "/dev/vdd",
                watch,
            },
        }
    }

    /// How often it may take the time that is allowed for something.
    pub fn patience(&self) -> u32 {
        self.watch.map_or(1, |_| PATIENCE)
    }
}

/// A machine on which Dom0's agent answers.
pub struct Machine {
    qemu: Qemu,
    arch: Arch,
    guest_kernel: GuestKernel,
    /// The line to the agents.
    pub link: Link,
    share: PathBuf,
    serial: PathBuf,
}

/// A safety net for a command in Dom0: on a slow machine it takes a minute and more to free a guest's memory.
const COMMAND_LIMIT: Duration = Duration::from_secs(240);

impl Machine {
    /// Boot a machine; what it writes goes below `dir`, which is emptied.
    ///
    /// # Errors
    ///
    /// When it does not boot; the end of its console is part of the error.
    pub fn boot(ingredients: &Ingredients, dir: &Path) -> Result<Self> {
        let step = Step::new("booting Xen and Dom0");
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        let share = dir.join("share");
        for part in ["console", "capture", "guest", "bin"] {
            std::fs::create_dir_all(share.join(part))?;
        }
        let kernel = &ingredients.kernel;
        let roots = &ingredients.roots;
        let program = |name| program(kernel.arch, name);
        let dom0_initramfs = dir.join("dom0-initramfs");
        Initramfs {
            init: "init",
            busybox: &roots.busybox,
            modules: dom0_modules(kernel.arch),
            scripts: &["dom0", "block"],
            files: &[&program("lab-agent")],
        }
        .make(kernel, &dom0_initramfs)?;
        let mut payload = [
            "lab-agent",
            "xen-display-test",
            "xen-displ-backend",
            "xen-zcopy",
        ]
        .map(program)
        .to_vec();
        payload.extend(ingredients.modules.iter().cloned());
        let payload: Vec<&Path> = payload.iter().map(PathBuf::as_path).collect();
        Initramfs {
            init: "init",
            busybox: &roots.busybox,
            modules: match ingredients.watched {
                None => GUEST_MODULES,
                Some(_) => &[],
            },
            scripts: &["guest"],
            files: &payload,
        }
        .make(kernel, &share.join("guest/initramfs"))?;
        let programs = ["xen-displ-backend", "xen-display-test", "xen-zcopy"].map(program);
        for file in programs.iter().chain(&ingredients.dom0_modules) {
            let name = file.file_name().context("a file without a name")?;
            std::fs::copy(file, share.join("bin").join(name))?;
        }
        let rule = "70-xen-zcopy.rules";
        std::fs::copy(
            repo("zcopy_backend_client/cli").join(rule),
            share.join("bin").join(rule),
        )?;

        let guest_kernel = GuestKernel::new(ingredients.watched.as_ref().map(|of| of.watch));
        let mut disks = vec![
            roots.dom0.join("root.img"),
            kernel.modules_image(),
            roots.guest.join("root.img"),
        ];
        disks.extend(
            ingredients
                .watched
                .as_ref()
                .map(WatchedKernel::modules_image),
        );
        let qemu = Qemu::start(&Parts {
            arch: kernel.arch,
            xen: &roots.dom0.join("xen"),
            xen_options: &xen_options(kernel.arch),
            kernel: &kernel.image(),
            kernel_options: "console=hvc0 loglevel=5 panic=-1 lab.root=/dev/vda lab.modules=/dev/vdb lab.init=dom0",
            initramfs: &dom0_initramfs,
            disks: &disks.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
            share: &share,
            dir,
            display: ingredients.display,
        })?;
        let link = Link::connect(qemu.agent_socket(), guest_kernel.patience())?;
        let mut machine = Self {
            qemu,
            arch: kernel.arch,
            guest_kernel,
            link,
            share,
            serial: dir.join("serial.log"),
        };
        let end = Instant::now() + BOOT_TIME;
        while machine.link.wait_ready(Duration::from_secs(1)).is_err() {
            let console = last_lines(&machine.serial, 20);
            step.at(console.last().map_or("", String::as_str));
            if !machine.qemu.runs() || Instant::now() >= end {
                bail!(
                    "Dom0 did not boot. The end of its console, {}:\n{}",
                    outside(&machine.serial),
                    console.join("\n")
                );
            }
        }
        if machine.guest_kernel.watch.is_some() {
            machine.dom0(&format!(
                "mkdir -p {WATCHED_DIR} && mount -t ext4 -o ro,noload {} {WATCHED_DIR}",
                machine.guest_kernel.modules
            ))?;
        }
        Ok(machine)
    }

    /// What its guests are booted from.
    pub fn guest_kernel(&self) -> &GuestKernel {
        &self.guest_kernel
    }

    /// What it computes with.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The directory that Dom0 has at `/lab`.
    pub fn share(&self) -> &Path {
        &self.share
    }

    /// What Xen and Dom0's kernel have written to the serial port.
    pub fn serial(&self) -> &Path {
        &self.serial
    }

    /// Run a command in Dom0 that must succeed.
    ///
    /// # Errors
    ///
    /// When it fails or takes more than four minutes.
    pub fn dom0(&mut self, command: &str) -> Result<String> {
        self.link.run_ok(Domain::Zero, command, COMMAND_LIMIT)
    }

    /// The number of the DRM device of Dom0 that a driver has; they are given in the order in which drivers come up.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn card(&mut self, driver: &str) -> Result<String> {
        let card = self.dom0(&format!(
            "basename $(dirname $(grep -l '^{driver} ' /sys/kernel/debug/dri/[0-9]/name))"
        ))?;
        Ok(card.trim().to_owned())
    }

    /// The domains there are, dying ones included, and the CPU time that each has used, in seconds.
    ///
    /// # Errors
    ///
    /// When `xl` fails, or lists something that it should not.
    pub fn domains(&mut self) -> Result<HashMap<u32, f64>> {
        let list = self.dom0("xl list")?;
        list.lines()
            .skip(1)
            .map(|line| {
                // A name may have no spaces, and a dying domain's is "(null)".
                let mut words = line.split_whitespace();
                let id = words.nth(1).and_then(|id| id.parse().ok());
                let time = words.last().and_then(|time| time.parse().ok());
                id.zip(time)
                    .with_context(|| format!("xl list has the line: {line}"))
            })
            .collect()
    }

    /// Write what a display of Dom0 shows as a PNG.
    ///
    /// # Errors
    ///
    /// When QEMU cannot write it.
    pub fn screenshot(&mut self, display: Display, png: &Path) -> Result<()> {
        // QEMU has the same paths: it runs in the same root.
        self.qemu
            .screenshot(display, png)
            .with_context(|| outside(png))
    }
}
