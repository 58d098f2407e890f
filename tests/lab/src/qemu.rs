// SPDX-License-Identifier: GPL-2.0
//! The emulated machine: a QEMU process and its monitor.

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
    /// Xen's ELF image.
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
    /// All of them.
    const ALL: [Self; 2] = [Self::Virtio, Self::Bochs];

    /// Its name in QEMU.
    fn id(self) -> &'static str {
        match self {
            Self::Virtio => "video0",
            Self::Bochs => "video1",
        }
    }

    /// The device, of 1920x1080 at most.
    fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-vga,edid=on,xres=1920,yres=1080",
            Self::Bochs => "bochs-display,edid=on,xres=1920,yres=1080,vgamem=32M",
        }
    }

    /// The name of its driver in Dom0.
    pub fn driver(self) -> &'static str {
        match self {
            Self::Virtio => "virtio_gpu",
            Self::Bochs => "bochs-drm",
        }
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
        let mut qemu = Command::new("qemu-system-x86_64");
        // The processor "max" has SVM with nested paging, which Xen needs for PVH guests.
        qemu.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi,tb-size=512",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "5G",
        ]);
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        for display in Display::ALL {
            qemu.arg("-device")
                .arg(format!("{},id={}", display.device(), display.id()));
        }
        qemu.arg("-kernel")
            .arg(parts.xen)
            .arg("-append")
            .arg(parts.xen_options);
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
        qemu.arg("-fsdev").arg(format!(
            "local,id=lab,path={},security_model=none",
            parts.share.display()
        ));
        qemu.args([
            "-device",
            "virtio-9p-pci,fsdev=lab,mount_tag=lab",
            "-device",
            "virtio-serial-pci",
        ]);
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
            .context("qemu-system-x86_64 cannot be run")?;
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
