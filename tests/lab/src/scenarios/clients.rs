// SPDX-License-Identifier: GPL-2.0
//! Programs that people use, on Dom0's display.

use crate::bench::Bench;
use crate::bench::Connector;
use crate::bench::LONG;
use crate::bench::SHORT;
use crate::bench::wait_until;
use crate::link::Domain;
use crate::link::Job;
use crate::link::tail;
use crate::oracle::card::Card;
use crate::oracle::picture::Picture;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use std::collections::HashSet;
use std::time::Duration;

/// Size of a character of the console's font.
const CHARACTER: (u32, u32) = (8, 16);

/// What the console's colour 1, red, looks like.
const CONSOLE_RED: [u8; 3] = [170, 0, 0];

/// Tells all that the guest's kernel knows of its console: the screen's text, what draws it and where to, and what that holds.
const CONSOLE: &str = "cat /sys/class/tty/tty0/active; grep . /sys/class/vtconsole/*/name /sys/class/vtconsole/*/bind /sys/class/graphics/fb0/* 2>/dev/null; \
     od -A d -t x1 /dev/vcsa1 | head -n 12; od -A d -t x4 /dev/fb0 | head -n 12; \
     cat /sys/kernel/debug/dri/0/xen_state /sys/kernel/debug/dri/0/buffers /sys/kernel/debug/dri/0/state /sys/kernel/debug/dri/0/framebuffer; dmesg | tail -n 30";

/// Text of the kernel's console is seen on every head, cell by cell: a pattern of red and black cells that can be computed.
pub fn console(bench: &mut Bench<'_>) -> Result<()> {
    let connectors = bench.setting.connectors;
    // What all heads have room for.
    let width = connectors.iter().map(|connector| connector.width).min();
    let height = connectors.iter().map(|connector| connector.height).min();
    let (width, height) = width.zip(height).context("no connector")?;
    let (columns, rows) = (width / CHARACTER.0, height / CHARACTER.1);
    let red = |column: u32, row: u32| (column + 3 * row) % 7 == 0;
    // No cursor, no wrapping at the last column, nothing of the kernel's on top of it.
    let mut text = String::from("\\033[?25l\\033[?7l\\033[2J");
    for row in 0..rows {
        text += &format!("\\033[{};1H", row + 1);
        for column in 0..columns {
            text += if red(column, row) {
                "\\033[41m \\033[0m"
            } else {
                " "
            };
        }
    }
    bench.sh("dmesg -n 1")?;
    bench.sh(&format!("printf '{text}' >/dev/tty1"))?;
    let name = bench.guest.config.name.clone();
    for connector in connectors {
        let picture = Picture::from_fn(connector.width, connector.height, |x, y| {
            let (column, row) = (x / CHARACTER.0, y / CHARACTER.1);
            if column < columns && row < rows && red(column, row) {
                CONSOLE_RED
            } else {
                [0; 3]
            }
        });
        let expected = Card {
            picture,
            tolerance: 0,
        };
        let stem = format!("console-{}", connector.unique_id);
        let at_most = Duration::from_secs(20);
        let shown = bench.expect_picture(&name, *connector, &expected, &stem, at_most);
        if shown.is_err() {
            let known = bench.sh(CONSOLE)?;
            std::fs::write(bench.out.join("console.txt"), known)?;
        }
        shown.with_context(|| format!("the console on {}", connector.unique_id))?;
    }
    bench.sh("printf '\\033[?25h\\033[?7h\\033[2J' >/dev/tty1; dmesg -n 7")?;
    Ok(())
}

/// libdrm's own test program finds the device and sets a mode.
pub fn modetest(bench: &mut Bench<'_>) -> Result<()> {
    let Connector {
        width,
        height,
        name,
        ..
    } = bench.connector(0)?;
    let listed = bench.sh("modetest -M xendrm-du -c")?;
    let line = listed
        .lines()
        .find(|line| line.contains(name))
        .with_context(|| format!("modetest lists no {name}:\n{listed}"))?;
    ensure!(
        line.contains("connected") && !line.contains("disconnected"),
        "modetest says: {line}"
    );
    let id = line
        .split_whitespace()
        .next()
        .context("a connector without a number")?;
    let set = bench.sh(&format!(
        "modetest -M xendrm-du -s {id}:{width}x{height} 2>&1"
    ))?;
    ensure!(
        set.contains("setting mode") && !set.contains("failed"),
        "modetest says: {set}"
    );
    Ok(())
}

/// drm_info reads every object and property.
pub fn drm_info(bench: &mut Bench<'_>) -> Result<()> {
    let said = bench.sh("drm_info /dev/dri/card0")?;
    ensure!(said.contains("Driver: xendrm-du"), "drm_info says:\n{said}");
    ensure!(
        said.contains("Connectors") && said.contains("Planes"),
        "drm_info says:\n{said}"
    );
    Ok(())
}

/// kmscube. It ends when its standard input can be read, the end of a file included: so that is a pipe that nobody writes to.
/// Mesa is not to keep compiled shaders in files, which are memory here.
pub const KMSCUBE: &str = "export MESA_SHADER_CACHE_DISABLE=true; [ -p /tmp/silence ] || mkfifo /tmp/silence; \
     exec kmscube -D /dev/dri/card0 <>/tmp/silence";

/// What kmscube fills the picture with before it draws the cube: half of each colour, rounded either way.
const KMSCUBE_GREY: std::ops::RangeInclusive<u8> = 127..=128;

/// Frames that kmscube draws.
const KMSCUBE_FRAMES: usize = 200;

/// kmscube draws 200 frames: a cube of many colours in the middle of grey.
pub fn kmscube(bench: &mut Bench<'_>) -> Result<()> {
    let name = bench.guest.config.name.clone();
    let connector = bench.connector(1)?;
    // It takes the first connector that has a display.
    let status = format!("/sys/class/drm/card0-{}/status", bench.connector(0)?.name);
    bench.sh(&format!("echo off >{status}"))?;
    // The console's, and those of clients before.
    let others: HashSet<String> = frames(bench, connector)?.collect();
    let drawn = |bench: &mut Bench<'_>| -> Result<usize> {
        Ok(frames(bench, connector)?
            .filter(|cookie| !others.contains(cookie))
            .count())
    };
    let job = bench.guest.spawn(
        bench.machine,
        &format!("{KMSCUBE} -c {KMSCUBE_FRAMES} 2>&1"),
    )?;
    wait_until("half of kmscube's frames", LONG, || {
        Ok(drawn(bench)? >= KMSCUBE_FRAMES / 2)
    })?;
    let picture = bench.picture(&name, connector)?;
    picture.write(&bench.out.join("kmscube.png"))?;
    let ended = bench.machine.link.wait(job, LONG)?;
    std::fs::write(bench.out.join("kmscube.log"), ended.stdout + &ended.stderr)?;
    ensure!(ended.status == 0, "kmscube ended with {}", ended.status);
    let shown = drawn(bench)?;
    ensure!(
        shown >= KMSCUBE_FRAMES,
        "kmscube ended well but the backend saw {shown} frames"
    );
    bench.sh(&format!("echo detect >{status}"))?;
    let is_grey = |pixel: [u8; 3]| pixel.iter().all(|value| KMSCUBE_GREY.contains(value));
    let (right, bottom) = (picture.width - 1, picture.height - 1);
    for (x, y) in [(0, 0), (right, 0), (0, bottom), (right, bottom)] {
        let pixel = picture.pixel(x, y);
        ensure!(
            is_grey(pixel),
            "the corner at {x}, {y} of kmscube's picture has the colour {pixel:?}"
        );
    }
    let middle = picture.pixel(picture.width / 2, picture.height / 2);
    ensure!(!is_grey(middle), "there is no cube in kmscube's picture");
    let colours = picture.colours();
    ensure!(
        colours > 100,
        "kmscube's picture has only {colours} colours"
    );
    Ok(())
}

/// weston comes up with a client that draws, and ends when told.
pub fn weston(bench: &mut Bench<'_>) -> Result<()> {
    let desktop = Desktop::start(bench)?;
    let name = bench.guest.config.name.clone();
    let before = flips(bench, &name)?;
    wait_until("60 flips of weston", LONG, || {
        Ok(flips(bench, &name)? >= before + 60)
    })?;
    desktop.expect(bench)?;
    desktop.end(bench)?;
    Ok(())
}

/// weston, with a client that draws all the time.
pub struct Desktop {
    weston: Job,
    client: Job,
}

impl Desktop {
    /// Start them.
    ///
    /// # Errors
    ///
    /// When weston does not come up.
    pub fn start(bench: &mut Bench<'_>) -> Result<Self> {
        let weston = bench.guest.spawn(bench.machine, WESTON)?;
        bench
            .machine
            .link
            .wait_output(weston, "launching", SHORT)
            .context("weston did not start")?;
        let client = bench.guest.spawn(bench.machine, CLIENT)?;
        Ok(Self { weston, client })
    }

    /// The same in a guest that has another number now.
    pub fn of(self, domain: Domain) -> Self {
        Self {
            weston: self.weston.of(domain),
            client: self.client.of(domain),
        }
    }

    /// Check that it is in the picture of the first connector.
    ///
    /// # Errors
    ///
    /// When it is not, after a while.
    pub fn expect(&self, bench: &mut Bench<'_>) -> Result<()> {
        let name = bench.guest.config.name.clone();
        let connector = bench.connector(0)?;
        let picture = bench.picture(&name, connector)?;
        picture.write(&bench.out.join("weston.png"))?;
        // The client draws a white frame with a green ball in it.
        let (white, green) = (picture.pixels_of([255; 3]), picture.pixels_of([0, 255, 0]));
        ensure!(
            white > 5_000 && green > 100,
            "weston's client is not in the picture: {white} white pixels, {green} green ones"
        );
        // The panel and the desktop, which is an image.
        let colours = picture.colours();
        ensure!(
            colours > 20,
            "weston's desktop is not in the picture, which has only {colours} colours"
        );
        Ok(())
    }

    /// Tell both to end: what weston has said.
    ///
    /// # Errors
    ///
    /// When one has ended already, or does not.
    pub fn end(self, bench: &mut Bench<'_>) -> Result<String> {
        for (who, job) in [("weston's client", self.client), ("weston", self.weston)] {
            let ended = bench.machine.link.poll(job)?;
            ensure!(
                ended.is_none(),
                "{who} has ended by itself: {}",
                ended.map_or(String::new(), |ended| tail(
                    &(ended.stdout + &ended.stderr),
                    12
                ))
            );
        }
        bench.machine.link.signal(self.client, 15)?;
        bench.machine.link.wait(self.client, SHORT)?;
        bench.machine.link.signal(self.weston, 15)?;
        let ended = bench.machine.link.wait(self.weston, SHORT)?;
        let said = ended.stdout + &ended.stderr;
        std::fs::write(bench.out.join("weston.log"), &said)?;
        Ok(said)
    }
}

/// How weston is started: on our device, without input devices, as root.
pub const WESTON: &str = "export XDG_RUNTIME_DIR=/run/user LIBSEAT_BACKEND=seatd; seatd & sleep 1; \
     weston --backend=drm --renderer=pixman --continue-without-input --idle-time=0 --socket=lab 2>&1";

/// A client that draws all the time.
pub const CLIENT: &str =
    "export XDG_RUNTIME_DIR=/run/user WAYLAND_DISPLAY=lab; exec weston-simple-damage";

/// Flips of a guest that the backend has seen.
pub fn flips(bench: &mut Bench<'_>, guest: &str) -> Result<u64> {
    let backend = bench.backend.as_ref().context("no backend runs")?;
    let figures = backend.figures(bench.machine)?;
    Ok(figures
        .heads
        .iter()
        .filter(|head| head.guest == guest)
        .map(|head| head.flips)
        .sum())
}

/// The framebuffers that a connector has shown, in their order, by their cookies.
fn frames(bench: &mut Bench<'_>, connector: Connector) -> Result<impl Iterator<Item = String>> {
    let name = bench.guest.config.name.clone();
    let records = bench.records(&name, connector)?;
    Ok(records
        .into_iter()
        .filter_map(|record| Some(record.picture?.cookie)))
}
