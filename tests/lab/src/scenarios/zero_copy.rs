// SPDX-License-Identifier: GPL-2.0
//! Pictures that Dom0's display shows out of the guest's own pages.

use super::be_alloc::theirs;
use super::cards;
use super::clients;
use super::guests;
use crate::backend::Backend;
use crate::backend::Output;
use crate::backend::Place;
use crate::backend::Sink;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::wait_until;
use crate::guest::Kind;
use crate::link::Job;
use crate::vkms;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Flips of each kind.
const FLIPS: u64 = 200;

/// The mappings of guests' pages that Dom0's kernel has.
const KERNEL_MAPS: &str = "grep -c 'xen_zcopy.* vmap' /proc/vmallocinfo || true";

/// The card is right, and was not copied.
pub fn card(bench: &mut Bench<'_>) -> Result<()> {
    in_place(bench, 1, cards::xrgb_on_the_first_head)
}

/// The same in memory that the display's driver has allocated.
pub fn card_of_backend(bench: &mut Bench<'_>) -> Result<()> {
    let job = bench.show("card --hold --variant 2")?;
    bench.end(job)?;
    bench.count_anew()?;
    let held = |bench: &mut Bench<'_>| -> Result<()> {
        let connector = bench.connector(0)?;
        let job = bench.show("card --hold --variant 1")?;
        bench.expect_card(connector, 1, "XRGB8888")?;
        let theirs = theirs(bench)?;
        bench.end(job)?;
        ensure!(
            theirs == usize::from(allocates(bench)),
            "{theirs} buffers are in the backend's memory"
        );
        Ok(())
    };
    in_place(bench, 1, held)
}

/// Whether the backend allocates the guest's buffers.
fn allocates(bench: &Bench<'_>) -> bool {
    bench.setting.be_alloc && bench.guest.config.kind != Kind::Pv
}

/// The card is right in every format: in those that the device has out of the guest's pages, in the others copied.
pub fn every_format(bench: &mut Bench<'_>) -> Result<()> {
    let before = Pictures::count(bench)?;
    cards::every_format_on_the_first_head(bench)?;
    let now = Pictures::count(bench)?;
    ensure!(
        now.in_place > before.in_place && now.copied > before.copied,
        "of the formats {} were shown in place, {} copied",
        now.in_place - before.in_place,
        now.copied - before.copied
    );
    Ok(())
}

/// Flips come in their order, each once, and none is copied.
pub fn flips(bench: &mut Bench<'_>) -> Result<()> {
    for how in ["--via legacy", "--via atomic --nonblock"] {
        in_place(bench, FLIPS, |bench| {
            let connector = bench.connector(0)?;
            bench.test(&format!(
                "flips --count {FLIPS} {how} --connector {}",
                connector.name
            ))?;
            Ok(())
        })?;
    }
    Ok(())
}

/// What the console draws into the framebuffer that is on the screen is seen.
pub fn console(bench: &mut Bench<'_>) -> Result<()> {
    in_place(bench, 1, clients::console)
}

pub fn weston(bench: &mut Bench<'_>) -> Result<()> {
    in_place(bench, 60, clients::weston)
}

/// A guest whose pages Dom0's display shows is destroyed: nothing of it stays in Dom0 (nor, else it would not go, in Xen).
pub fn destroyed(bench: &mut Bench<'_>) -> Result<()> {
    ensure!(
        bench.setting.be_alloc || kernel_maps(bench)? > 0,
        "Dom0's kernel has no mapping of what its display shows"
    );
    in_place(bench, 30, guests::destroyed)?;
    wait_until("the end of Dom0's mappings", SHORT, || {
        Ok(kernel_maps(bench)? == 0)
    })
}

/// A display that reads the guest's pages by itself finds in them what it finds in a copy: the same checksum, another than that of
/// another picture.
pub fn checksum(bench: &mut Bench<'_>) -> Result<()> {
    let show = |variant: u32| {
        move |bench: &mut Bench<'_>| -> Result<(Job, String)> {
            let job = bench.show(&format!("card --hold --variant {variant}"))?;
            Ok((job, vkms::checksum(bench.machine)?))
        }
    };
    let (job, other) = in_place(bench, 1, show(2))?;
    bench.end(job)?;
    let (job, expected) = in_place(bench, 1, show(1))?;
    ensure!(
        expected != other,
        "two pictures have the same checksum, {other}"
    );
    let backend = bench.backend.take().context("no backend runs")?;
    backend.stop(bench.machine)?;
    let place = Place::in_dom0(Output::Copied(Sink::Vkms));
    *bench.backend = Some(Backend::start(bench.machine, place)?);
    wait_until("a copy of the picture", SHORT, || {
        Ok(Pictures::count(bench)?.copied > 0)
    })?;
    let copied = vkms::checksum(bench.machine)?;
    ensure!(
        copied == expected,
        "the copy has the checksum {copied}, the guest's own pages {expected}"
    );
    bench.end(job)?;
    Ok(())
}

/// Run a scenario in which at least `least` pictures are shown, and none may be copied.
fn in_place<T>(
    bench: &mut Bench<'_>,
    least: u64,
    scenario: impl FnOnce(&mut Bench<'_>) -> Result<T>,
) -> Result<T> {
    let before = Pictures::count(bench)?;
    let outcome = scenario(bench)?;
    let now = Pictures::count(bench)?;
    let (copied, shown) = (now.copied - before.copied, now.in_place - before.in_place);
    if bench.setting.output == Output::InPlace(Sink::VIRTIO) {
        // It takes no other domain's memory: not the console's, whose pictures are among those that are copied, and none of a PV guest.
        let least = if allocates(bench) { least } else { 0 };
        ensure!(shown >= least, "only {shown} pictures were shown in place");
        return Ok(outcome);
    }
    ensure!(copied == 0, "{copied} pictures were copied");
    ensure!(shown >= least, "only {shown} pictures were shown in place");
    Ok(outcome)
}

fn kernel_maps(bench: &mut Bench<'_>) -> Result<usize> {
    Ok(bench.machine.dom0(KERNEL_MAPS)?.trim().parse()?)
}

/// How many pictures of the guest the backend has shown.
struct Pictures {
    copied: u64,
    in_place: u64,
}

impl Pictures {
    fn count(bench: &mut Bench<'_>) -> Result<Self> {
        let backend = bench.backend.as_ref().context("no backend runs")?;
        let figures = backend.figures(bench.machine)?;
        let name = &bench.guest.config.name;
        let heads = figures.heads.iter().filter(|head| head.guest == *name);
        Ok(heads.fold(
            Self {
                copied: 0,
                in_place: 0,
            },
            |sum, head| Self {
                copied: sum.copied + head.pictures_copied,
                in_place: sum.in_place + head.pictures_in_place,
            },
        ))
    }
}
