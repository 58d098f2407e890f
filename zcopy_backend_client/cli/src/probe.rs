// SPDX-License-Identifier: GPL-2.0
//! `probe`: what this kernel and this domain can do, and why not.

use anyhow::Result;
use anyhow::bail;
use rustix::io::Errno;
use std::io;
use std::path::Path;
use xen_zcopy::DEVICES;
use xen_zcopy::Memory;
use xen_zcopy::PAGE_SIZE;
use xen_zcopy::Zcopy;

use crate::Impossible;

/// Says it; `device` is the only one that is asked, if there is one.
///
/// # Errors
///
/// [`Impossible`] when no device has the operations; the kernel's when the first one cannot be opened.
pub fn run(device: Option<&Path>) -> Result<()> {
    println!("domain: {}", domain());
    match Memory::new(PAGE_SIZE) {
        Ok(_) => println!("memory as a dma-buf: yes"),
        Err(error) => println!("memory as a dma-buf: no, /dev/udmabuf: {error}"),
    }
    let devices = match device {
        Some(device) => vec![device],
        None => DEVICES.map(Path::new).to_vec(),
    };
    let mut refused = None;
    for device in devices {
        match Zcopy::open(device) {
            Ok(zcopy) if say(device, &zcopy)? => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                println!("{}: no, {error}{}", device.display(), advice(&error));
                if error.kind() == io::ErrorKind::PermissionDenied {
                    refused = refused.or(Some(error));
                }
            }
        }
    }
    match refused {
        Some(error) => Err(error.into()),
        None => bail!(Impossible("no device has the operations".to_owned())),
    }
}

/// Says what an opened device has; tells whether that is all.
fn say(device: &Path, zcopy: &Zcopy) -> Result<bool> {
    let known = zcopy.known()?;
    let device = device.display();
    let yes = |has| match has {
        true => "yes",
        false => "no, not known to this kernel",
    };
    println!(
        "{device}: dma-bufs of granted pages: {}",
        yes(known.from_refs)
    );
    println!(
        "{device}: granting a dma-buf's pages: {}",
        yes(known.to_refs)
    );
    Ok(known.from_refs && known.to_refs)
}

fn advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "; is the module loaded?",
        Some(Errno::ACCESS) => "; it is root's, unless a rule of udev gives it to a group",
        _ => "",
    }
}

/// What kind of domain this is, as the kernel tells.
fn domain() -> String {
    let told = |name: &str| std::fs::read_to_string(Path::new("/sys/hypervisor").join(name));
    match (told("type"), told("guest_type")) {
        (Ok(hypervisor), Ok(kind)) => format!("{}, {}", hypervisor.trim(), kind.trim()),
        (Ok(hypervisor), Err(_)) => hypervisor.trim().to_owned(),
        (Err(_), _) => "none: no hypervisor is known here".to_owned(),
    }
}
