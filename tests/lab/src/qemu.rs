// SPDX-License-Identifier: GPL-2.0
//! The emulated machine: a QEMU process and its monitor.

use crate::arch::Arch;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use lab::protocol::PORT_NAME;
use serde_json::Value;
use serde_json::json;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

/// What a machine is made of.
pub struct Parts<'a> {
    /// What it computes with.
    pub arch: Arch,
    /// Xen's image.
    pub xen: &'a Path,
    /// Xen's command line.
    pub xen_options: &'a str,
    /// Dom0's kernel.
    pub kernel: &'a Path,
    /// Dom0's command line.
    pub kernel_options: &'a str,
    /// Dom0's initramfs.
    pub initramfs: &'a Path,
    /// Read-only disks: `/dev/vda` and so on in Dom0.
    pub disks: &'a [&'a Path],
    /// Shared with Dom0 by 9p, under the tag "lab".
    pub share: &'a Path,
    /// Sockets and the serial log go here.
    pub dir: &'a Path,
    /// The largest picture that Dom0's displays show.
    pub display: Resolution,
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution(pub u32, pub u32);

impl Resolution {
    /// What Dom0's displays have unless something larger is looked at: the console has to fill it.
    pub const FULL_HD: Self = Self(1920, 1080);

    /// A power of two of MiB that has room for pictures of 32 bits a pixel.
    fn memory_mib(self) -> u32 {
        let octets = u64::from(self.0) * u64::from(self.1) * 4;
        let mib = octets.div_ceil(1 << 20).next_power_of_two();
        // What QEMU has at least.
        u32::try_from(mib).unwrap_or(u32::MAX).max(16)
    }
}

/// A display of Dom0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Display {
    /// The one that costs Dom0 least: virtio-gpu needs a third of what bochs does, so it does not hide what is measured. It shows Dom0's
    /// own memory only.
    Virtio,
    /// One whose driver takes any dma-buf, and copies it to the device by its exporter's mapping for the kernel.
    Bochs,
}

impl Display {
    /// Those of a machine.
    fn all(arch: Arch) -> &'static [Self] {
        match arch {
            Arch::Amd64 => &[Self::Virtio, Self::Bochs],
            Arch::Arm64 => &[Self::Virtio],
        }
    }

    /// Its name in QEMU.
    fn id(self) -> &'static str {
        match self {
            Self::Virtio => "video0",
            Self::Bochs => "video1",
        }
    }

    /// The device.
    fn device(self, arch: Arch, size: Resolution) -> String {
        let device = match (self, arch) {
            (Self::Virtio, Arch::Amd64) => "virtio-vga",
            (Self::Virtio, Arch::Arm64) => "virtio-gpu-device",
            (Self::Bochs, _) => "bochs-display",
        };
        let memory = match self {
            Self::Virtio => String::new(),
            Self::Bochs => format!(",vgamem={}M", size.memory_mib()),
        };
        let Resolution(width, height) = size;
        let id = self.id();
        format!("{device},id={id},edid=on,xres={width},yres={height}{memory}")
    }

    /// The name of its driver in Dom0.
    pub fn driver(self) -> &'static str {
        match self {
            Self::Virtio => "virtio_gpu",
            Self::Bochs => "bochs-drm",
        }
    }
}

/// Dom0's displays.
fn add_displays(qemu: &mut Command, arch: Arch, size: Resolution) {
    for display in Display::all(arch) {
        qemu.arg("-device").arg(display.device(arch, size));
    }
}

/// A PC: its processor, memory, display and disks, and how Xen finds Dom0.
fn pc(parts: &Parts<'_>) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    // The processor "max" has SVM with nested paging, which Xen needs for PVH guests. Its string instructions are emulated octet by octet:
    // without these two flags kernels and libraries copy and clear by words.
    qemu.args(["-machine", "q35", "-cpu", "max,-erms,-fsrm", "-m", "5G"]);
    add_displays(&mut qemu, parts.arch, parts.display);
    qemu.arg("-initrd").arg(format!(
        "{} {},{}",
        parts.kernel.display(),
        parts.kernel_options,
        parts.initramfs.display()
    ));
    for disk in parts.disks {
        qemu.arg("-drive").arg(format!(
            "file={},format=raw,if=virtio,readonly=on,cache=unsafe",
            disk.display()
        ));
    }
    qemu
}

/// Where Xen on Arm finds Dom0's kernel and its initramfs: well apart, and above Xen's own image.
const KERNEL_ADDRESS: &str = "0x49000000";
const INITRAMFS_ADDRESS: &str = "0x4e000000";

/// The same of an Arm machine that exists in QEMU only.
fn virt(parts: &Parts<'_>) -> Command {
    let mut qemu = Command::new("qemu-system-aarch64");
    qemu.args(["-machine", "virt,virtualization=on,gic-version=3"]);
    qemu.args(["-cpu", "cortex-a57", "-m", "4G"]);
    add_displays(&mut qemu, parts.arch, parts.display);
    qemu.arg("-device").arg(format!(
        "guest-loader,addr={KERNEL_ADDRESS},kernel={},bootargs={}",
        parts.kernel.display(),
        parts.kernel_options
    ));
    qemu.arg("-device").arg(format!(
        "guest-loader,addr={INITRAMFS_ADDRESS},initrd={}",
        parts.initramfs.display()
    ));
    // The kernel finds the last of them first.
    for (index, disk) in parts.disks.iter().enumerate().rev() {
        qemu.arg("-drive").arg(format!(
            "file={},format=raw,if=none,id=disk{index},readonly=on,cache=unsafe",
            disk.display()
        ));
        qemu.arg("-device")
            .arg(format!("virtio-blk-device,drive=disk{index}"));
    }
    qemu
}

/// The bus of virtio devices.
fn virtio_bus(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "pci",
        Arch::Arm64 => "device",
    }
}

/// A running machine. Dropping it ends it.
pub struct Qemu {
    process: Child,
    monitor: UnixStream,
    replies: BufReader<UnixStream>,
    agent_socket: PathBuf,
}

impl Qemu {
    /// Start a machine.
    ///
    /// # Errors
    ///
    /// When QEMU does not start; what it said is part of the error.
    pub fn start(parts: &Parts<'_>) -> Result<Self> {
        let monitor_socket = parts.dir.join("monitor");
        let agent_socket = parts.dir.join("agent");
        let errors = parts.dir.join("qemu.log");
        let serial = parts.dir.join("serial.log");
        for socket in [&monitor_socket, &agent_socket] {
            if socket.exists() {
                std::fs::remove_file(socket)?;
            }
        }
        let mut qemu = match parts.arch {
            Arch::Amd64 => pc(parts),
            Arch::Arm64 => virt(parts),
        };
        qemu.args(["-accel", "tcg,thread=multi,tb-size=512", "-smp", "2"]);
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        qemu.arg("-kernel")
            .arg(parts.xen)
            .arg("-append")
            .arg(parts.xen_options);
        qemu.arg("-fsdev").arg(format!(
            "local,id=lab,path={},security_model=none",
            parts.share.display()
        ));
        let bus = virtio_bus(parts.arch);
        qemu.arg("-device")
            .arg(format!("virtio-9p-{bus},fsdev=lab,mount_tag=lab"));
        qemu.arg("-device").arg(format!("virtio-serial-{bus}"));
        qemu.arg("-chardev").arg(format!(
            "socket,id=agent,path={},server=on,wait=off",
            agent_socket.display()
        ));
        qemu.arg("-device")
            .arg(format!("virtserialport,chardev=agent,name={PORT_NAME}"));
        qemu.arg("-serial")
            .arg(format!("file:{}", serial.display()));
        qemu.arg("-qmp").arg(format!(
            "unix:{},server=on,wait=off",
            monitor_socket.display()
        ));
        let mut process = qemu
            .stdin(Stdio::null())
            .stdout(File::create(&errors)?)
            .stderr(File::options().append(true).open(&errors)?)
            .spawn()
            .context("QEMU cannot be run")?;
        let end = Instant::now() + Duration::from_secs(30);
        let monitor = loop {
            if let Ok(monitor) = UnixStream::connect(&monitor_socket) {
                break monitor;
            }
            if let Some(status) = process.try_wait()? {
                bail!(
                    "QEMU did not start ({status}): {}",
                    std::fs::read_to_string(&errors)?.trim()
                );
            }
            if Instant::now() >= end {
                process.kill()?;
                bail!("QEMU's monitor does not answer");
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        monitor.set_read_timeout(Some(Duration::from_secs(60)))?;
        let replies = BufReader::new(monitor.try_clone()?);
        let mut machine = Self {
            process,
            monitor,
            replies,
            agent_socket,
        };
        machine.execute("qmp_capabilities", &json!({}))?;
        Ok(machine)
    }

    /// The socket of Dom0's agent's port.
    pub fn agent_socket(&self) -> &Path {
        &self.agent_socket
    }

    /// Whether the process runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        writeln!(
            self.monitor,
            "{}",
            json!({ "execute": command, "arguments": arguments })
        )
        .context("QEMU has gone")?;
        loop {
            let mut line = String::new();
            if self
                .replies
                .read_line(&mut line)
                .context("QEMU's monitor does not answer")?
                == 0
            {
                bail!("QEMU has gone");
            }
            let mut reply: Value = serde_json::from_str(&line)?;
            if let Some(result) = reply.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = reply.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
        }
    }

    /// Write what a display of Dom0 shows as a PNG.
    ///
    /// # Errors
    ///
    /// When QEMU cannot write it.
    pub fn screenshot(&mut self, display: Display, png: &Path) -> Result<()> {
        self.execute(
            "screendump",
            &json!({ "filename": png, "format": "png", "device": display.id() }),
        )?;
        Ok(())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Nothing on its disks can change, so it need not shut down.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
