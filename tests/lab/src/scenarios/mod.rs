// SPDX-License-Identifier: GPL-2.0
//! The scenarios: what a guest's display must do, end to end.

mod be_alloc;
mod cards;
mod clients;
mod driver_domain;
mod errors;
mod faults;
mod flips;
mod guests;
mod limits;
mod misbehaviour;
mod module;
mod power;
mod saving;
mod sharing;
mod store;
mod survival;
pub mod watched;
mod zcopy;
mod zcopy_use;
mod zero_copy;

use crate::backend::Output;
use crate::backend::Sink;
use crate::bench::Bench;
use crate::bench::Connector;
use crate::bench::Home;
use crate::bench::Setting;
use crate::guest::Kind;
use crate::guest::Limits;
use crate::watch::Watch;
use anyhow::Result;
use misbehaviour::answers;
use misbehaviour::ends;
use misbehaviour::events;
use misbehaviour::memory;

pub use clients::CLIENT;
pub use clients::KMSCUBE;
pub use clients::WESTON;

/// Every scenario in every guest that it is for.
pub fn in_guests() -> impl Iterator<Item = (Kind, &'static Scenario)> {
    SCENARIOS
        .iter()
        .flat_map(|scenario| KINDS.map(|kind| (kind, scenario)))
        .filter(|(kind, scenario)| scenario.tier(*kind).is_some())
}

/// When a scenario is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// At every landing.
    Check,
    /// Only by `make check-full`.
    Full,
}

/// What is left of the guest after a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is as it was, which is checked, and the next scenario goes on with it.
    AsBefore,
    /// It is gone, or not worth going on with.
    Gone,
    /// Its kernel has panicked, as it was told to; the log says so, and what it says is not judged.
    Panicked,
}

/// A scenario.
pub struct Scenario {
    /// Its name, to which the guest's kind is added.
    pub name: &'static str,
    /// When it is run in PVH guests.
    pub pvh: Tier,
    /// When it is run in PV guests, if they have what it is about.
    pub pv: Option<Tier>,
    /// Whether `make check-full` runs it on arm64 too.
    pub arm64: bool,
    /// Whether it is about what only our driver has, so that the reference is not tried.
    pub ours: bool,
    /// What the guest is given.
    pub setting: Setting,
    /// What it leaves.
    pub after: After,
    /// What is done.
    pub run: fn(&mut Bench<'_>) -> Result<()>,
}

impl Scenario {
    /// When it is run in guests of a kind, if it is.
    pub fn tier(&self, kind: Kind) -> Option<Tier> {
        match kind {
            Kind::Pvh => Some(self.pvh),
            Kind::Pv => self.pv,
            Kind::Arm64 => self.arm64.then_some(Tier::Full),
        }
    }

    /// The same, only by `make check-full`.
    const fn in_full(self) -> Self {
        Self {
            pvh: Tier::Full,
            pv: Some(Tier::Full),
            ..self
        }
    }

    /// The test's name in such guests.
    pub fn name_in(&self, kind: Kind) -> String {
        format!("{}-{kind}", self.name)
    }

    /// The test's name in such guests whose kernel watches itself.
    pub fn name_watched(&self, kind: Kind, watch: Watch) -> String {
        format!("{}-{watch}", self.name_in(kind))
    }

    /// The same, in PV guests only by `make check-full`.
    const fn pvh_first(self) -> Self {
        Self {
            pv: Some(Tier::Full),
            ..self
        }
    }

    /// The same, never in PV guests. What most such rows are about is the backend's memory, which user space cannot be given there.
    const fn pvh_only(self) -> Self {
        Self { pv: None, ..self }
    }

    /// The same, never with the reference driver.
    const fn ours(self) -> Self {
        Self { ours: true, ..self }
    }

    /// The same, on arm64 too.
    const fn arm64(self) -> Self {
        Self {
            arm64: true,
            ..self
        }
    }
}

/// The kinds of guests that scenarios are run in.
pub const KINDS: [Kind; 3] = [Kind::Pvh, Kind::Pv, Kind::Arm64];

const XGA: Connector = Connector {
    unique_id: "Virtual-1",
    name: "Virtual-1",
    width: 1024,
    height: 768,
};
/// Half of that each way: small enough that emulated processors keep pace with its refresh rate, and large enough that a frame which is lost
/// stands out of the noise in a guest's memory.
const HALF_XGA: Connector = Connector {
    unique_id: "Virtual-1",
    name: "Virtual-1",
    width: 512,
    height: 384,
};
/// Small enough that emulated processors draw and show a frame in the time that it has at 60 Hz, or not much more.
const SECOND_TINY: Connector = Connector {
    unique_id: "Second",
    name: "Virtual-2",
    width: 256,
    height: 192,
};
/// The least size of a buffer that is tried: a head of this size shows a part of every one.
const SECOND_STAMP: Connector = Connector {
    unique_id: "Second",
    name: "Virtual-2",
    width: 64,
    height: 64,
};
const FULL_HD: Connector = Connector {
    unique_id: "Virtual-1",
    name: "Virtual-1",
    width: 1920,
    height: 1080,
};
const SECOND_FULL_HD: Connector = Connector {
    unique_id: "Second",
    name: "Virtual-2",
    width: 1920,
    height: 1080,
};

/// Two heads, captured.
const TWO_HEADS: Setting = Setting::new(Output::Capture, &[XGA, SECOND_FULL_HD]);
/// A small head, captured, and a second one that is smaller yet: for whatever flips much.
const SMALL: Setting = Setting::new(Output::CaptureAtOnce, &[HALF_XGA, SECOND_TINY]);
/// The same, in memory of the backend's where the guest can map it.
const BE_ALLOC: Setting = Setting {
    be_alloc: true,
    ..SMALL
};
/// A head that can show a part of every buffer, next to one that does not: its size is what memory is counted in.
const STAMP: Setting = Setting {
    connectors: &[HALF_XGA, SECOND_STAMP],
    ..SMALL
};
const BE_ALLOC_STAMP: Setting = Setting {
    be_alloc: true,
    ..STAMP
};
/// A small head whose backend is in a driver domain.
const DRIVER_DOMAIN: Setting = Setting {
    connectors: &[HALF_XGA],
    home: Home::DriverDomain,
    ..SMALL
};
/// A grant table that a few buffers fill. The guest's disks have more than half of it.
const FEW_GRANTS: Setting = Setting {
    limits: Limits {
        grant_frames: Some(8),
        ..Limits::NONE
    },
    ..SMALL
};
/// Room to note that 256 pages are mapped, which a buffer of the backend's does not have.
const FEW_MAPPINGS: Setting = Setting {
    connectors: &[XGA],
    limits: Limits {
        maptrack_frames: Some(1),
        ..Limits::NONE
    },
    ..BE_ALLOC
};
/// Dom0's display.
const SCREEN: Setting = Setting::new(Output::Copied(Sink::VIRTIO), &[XGA]);
/// Dom0's other display, which shows the guest's own pages.
const ZERO_COPY: Setting = Setting::new(Output::InPlace(Sink::BOCHS), &[XGA]);
/// Dom0's display shows buffers that it has allocated itself.
const BE_ALLOC_ZERO_COPY: Setting = Setting {
    output: Output::InPlace(Sink::VIRTIO),
    be_alloc: true,
    ..SCREEN
};
/// Its other display does.
const BE_ALLOC_BOCHS: Setting = Setting {
    be_alloc: true,
    ..ZERO_COPY
};
/// A display that reads its pictures by itself and tells their checksums. Small, since it looks at every pixel of every frame.
const VKMS: Setting = Setting::new(Output::InPlace(Sink::Vkms), &[HALF_XGA]);
/// Dom0's other display at its largest.
const LARGE_ZERO_COPY: Setting = Setting::new(Output::InPlace(Sink::BOCHS), &[FULL_HD]);
/// Dom0's display at its largest.
const LARGE_SCREEN: Setting = Setting::new(Output::Copied(Sink::VIRTIO), &[FULL_HD]);

const fn check(
    name: &'static str,
    setting: Setting,
    run: fn(&mut Bench<'_>) -> Result<()>,
) -> Scenario {
    Scenario {
        name,
        pvh: Tier::Check,
        pv: Some(Tier::Check),
        arm64: false,
        ours: false,
        setting,
        after: After::AsBefore,
        run,
    }
}

const fn last(
    name: &'static str,
    setting: Setting,
    run: fn(&mut Bench<'_>) -> Result<()>,
) -> Scenario {
    Scenario {
        after: After::Gone,
        ..check(name, setting, run)
    }
}

const fn crash(
    name: &'static str,
    setting: Setting,
    run: fn(&mut Bench<'_>) -> Result<()>,
) -> Scenario {
    Scenario {
        after: After::Panicked,
        ..full(name, setting, run)
    }
}

const fn full(
    name: &'static str,
    setting: Setting,
    run: fn(&mut Bench<'_>) -> Result<()>,
) -> Scenario {
    check(name, setting, run).in_full()
}

/// All scenarios. Those of one setting follow each other and share a guest.
pub const SCENARIOS: &[Scenario] = &[
    check(
        "card-1024x768",
        TWO_HEADS,
        cards::every_format_on_the_first_head,
    )
    .arm64(),
    full(
        "card-1920x1080",
        TWO_HEADS,
        cards::every_format_on_the_second_head,
    ),
    check("two-heads", TWO_HEADS, cards::two_heads)
        .arm64()
        .pvh_first(),
    check("two-heads-console", TWO_HEADS, clients::console),
    last("module-other-driver", TWO_HEADS, module::other_driver)
        .in_full()
        .ours(),
    full("flips-legacy", SMALL, flips::legacy),
    full("flips-atomic-blocking", SMALL, flips::atomic_blocking),
    check("flips-atomic-nonblocking", SMALL, flips::atomic_nonblocking).arm64(),
    check("dirtyfb", SMALL, cards::dirtyfb).pvh_first(),
    check("modes-off-on", SMALL, power::modes).pvh_first(),
    full("dpms", SMALL, power::dpms),
    check("errors", SMALL, errors::table),
    check("buffers", SMALL, errors::buffers).pvh_first(),
    full("vgem", SMALL, sharing::vgem),
    check("import-vgem", SMALL, sharing::import_vgem)
        .ours()
        .pvh_only(),
    check("import-udmabuf", SMALL, sharing::import_udmabuf).ours(),
    full("import-dma-heap", SMALL, sharing::import_dma_heap).ours(),
    full("import-display", SMALL, sharing::import_display).ours(),
    check("kmscube", SMALL, clients::kmscube).pvh_first(),
    check("zcopy-from-refs", SMALL, zcopy::from_refs)
        .arm64()
        .ours(),
    check("zcopy-to-refs", SMALL, zcopy::to_refs)
        .arm64()
        .pvh_first()
        .ours(),
    check("zcopy-granter-killed", SMALL, zcopy::granter_killed)
        .arm64()
        .pvh_first()
        .ours(),
    check("zcopy-errors", SMALL, zcopy_use::errors).ours(),
    full("zcopy-descriptors", SMALL, zcopy_use::descriptors).ours(),
    full("zcopy-debugfs", SMALL, zcopy_use::debugfs).ours(),
    full("zcopy-command", SMALL, zcopy_use::command).ours(),
    full("zcopy-udev", SMALL, zcopy_use::udev).ours(),
    check("client-killed-while-flipping", SMALL, faults::client_killed).pvh_first(),
    full(
        "backend-restarted-while-flipping",
        SMALL,
        faults::backend_restarted,
    ),
    check(
        "backend-killed-while-flipping",
        SMALL,
        faults::backend_killed,
    ),
    full("backend-held-up", SMALL, faults::backend_held_up),
    check("backend-stuck", SMALL, faults::backend_stuck).pvh_first(),
    full("backend-flapping", SMALL, faults::backend_flapping),
    full(
        "closed-without-backend",
        SMALL,
        faults::closed_without_backend,
    )
    .ours(),
    check("fault-a1-unknown-id", SMALL, answers::unknown_id).pvh_first(),
    full("fault-a2-answered-id", SMALL, answers::answered_id),
    full("fault-a3-other-operation", SMALL, answers::other_operation),
    full("fault-a4-status", SMALL, answers::status),
    full(
        "fault-a5-response-producer",
        SMALL,
        answers::response_producer,
    ),
    check("fault-a6-double-fetch", SMALL, answers::double_fetch).pvh_first(),
    full("fault-a7-garbage", SMALL, answers::garbage),
    full(
        "fault-a8-overwritten-indices",
        SMALL,
        answers::overwritten_indices,
    ),
    full("fault-a9-no-answers", SMALL, answers::no_answers),
    full("fault-a10-late-answer", SMALL, answers::late_answer),
    full("fault-a10-slow-queue", SMALL, answers::slow_queue),
    full("fault-a11-answer-order", SMALL, answers::answer_order),
    full("fault-a12-refused-ends", SMALL, answers::refused_ends),
    full(
        "fault-a12-refused-framebuffer",
        SMALL,
        answers::refused_framebuffer,
    ),
    full("fault-a13-notifications", SMALL, answers::notifications),
    full("fault-v1-event-order", SMALL, events::event_order),
    full("fault-v2-event-cookies", SMALL, events::event_cookies),
    full("fault-v3-event-count", SMALL, events::event_count),
    full("fault-v4-v7-event-fields", SMALL, events::event_fields),
    check("fault-v5-event-producer", SMALL, events::event_producer).pvh_first(),
    full(
        "fault-v6-event-index-wraps",
        SMALL,
        events::event_index_wraps,
    ),
    full("fault-v8-event-flood", SMALL, events::event_flood),
    full(
        "fault-v9-unexpected-events",
        SMALL,
        events::unexpected_events,
    ),
    full("fault-c1-states", SMALL, faults::backend_states),
    full("fault-c1-states-at-100-hz", SMALL, ends::states_at_100_hz),
    full("fault-c2-closed-in-requests", SMALL, ends::closed),
    full("fault-c9-killed-in-requests", SMALL, ends::killed),
    full("fault-c3-backend-removed", SMALL, store::backend_removed),
    full("fault-c8-store-refuses", SMALL, store::refuses).ours(),
    full("fault-c10-unbound-and-bound", SMALL, faults::unbound_often),
    last(
        "fault-c3-directory-removed",
        SMALL,
        faults::directory_removed,
    )
    .in_full(),
    full("fault-e2-refused-modes", SMALL, answers::refused_modes),
    check("fault-d3-kept-buffers", SMALL, memory::kept_buffers).pvh_first(),
    full("fault-d3-kept-rings", SMALL, memory::kept_rings).ours(),
    full("fault-d10-leaks", SMALL, memory::leaks),
    full("fault-e5-flood", SMALL, faults::flood),
    full("weston-survives", SMALL, survival::weston),
    full("stress", SMALL, faults::stress),
    full("stress-100000", SMALL, faults::much_stress),
    full("fault-c4-resolutions", SMALL, store::resolutions),
    full("fault-c5-connectors", SMALL, store::connectors).ours(),
    full("fault-c6-versions", SMALL, store::versions).ours(),
    full("fault-c7-be-alloc", SMALL, store::be_alloc).ours(),
    full("flips-10000", SMALL, flips::many),
    full("modes-off-on-200", SMALL, power::many_modes),
    full("buffers-2000", SMALL, errors::many_buffers),
    full("two-guests", SMALL, guests::two_at_once),
    check("unbound-while-flipping", SMALL, faults::unbound),
    check("module-in-use", SMALL, module::in_use).pvh_first(),
    full("module-without-backend", SMALL, module::without_backend),
    full("detached-while-flipping", SMALL, faults::detached),
    last("destroyed-while-flipping", SMALL, guests::destroyed).pvh_first(),
    full("checkpointed-while-flipping", SMALL, saving::checkpointed),
    full("not-migrated-while-flipping", SMALL, saving::not_migrated),
    full("suspended-while-flipping", SMALL, saving::suspended),
    last("restored-while-flipping", SMALL, saving::restored).in_full(),
    last("migrated-while-flipping", SMALL, saving::migrated)
        .in_full()
        .pvh_only(),
    last("zcopy-granter-destroyed", SMALL, zcopy::granter_destroyed)
        .in_full()
        .ours(),
    crash("fault-e7-panic", SMALL, guests::panics),
    check("be-alloc-card", BE_ALLOC, be_alloc::card)
        .arm64()
        .pvh_first(),
    check("be-alloc-memory", BE_ALLOC, be_alloc::memory)
        .arm64()
        .pvh_first()
        .ours(),
    full("be-alloc-flips-atomic", BE_ALLOC, flips::atomic_nonblocking),
    full("be-alloc-errors", BE_ALLOC, errors::table),
    full("be-alloc-buffers", BE_ALLOC, errors::buffers),
    full("be-alloc-vgem", BE_ALLOC, sharing::vgem),
    full("be-alloc-import", BE_ALLOC, sharing::import_of_backend)
        .ours()
        .pvh_only(),
    check("be-alloc-contents", BE_ALLOC, be_alloc::contents)
        .pvh_first()
        .ours(),
    full("fault-d4-references", BE_ALLOC, memory::wrong_references)
        .ours()
        .pvh_only(),
    full("fault-d4-links", BE_ALLOC, memory::wrong_links)
        .ours()
        .pvh_only(),
    full("fault-d6-exported", BE_ALLOC, be_alloc::outlived).ours(),
    full("be-alloc-refused", BE_ALLOC, be_alloc::refused)
        .ours()
        .pvh_only(),
    check(
        "be-alloc-backend-killed-while-flipping",
        BE_ALLOC,
        faults::backend_killed,
    )
    .pvh_first(),
    full("be-alloc-unbound-while-flipping", BE_ALLOC, faults::unbound),
    full("be-alloc-checkpointed", BE_ALLOC, saving::checkpointed),
    full("be-alloc-not-migrated", BE_ALLOC, saving::not_migrated),
    full("be-alloc-suspended", BE_ALLOC, saving::suspended),
    last("be-alloc-restored", BE_ALLOC, saving::restored).in_full(),
    last("be-alloc-migrated", BE_ALLOC, saving::migrated)
        .in_full()
        .pvh_only(),
    last(
        "be-alloc-destroyed-while-flipping",
        BE_ALLOC,
        guests::destroyed,
    )
    .in_full(),
    last("be-alloc-limit", BE_ALLOC, be_alloc::limit)
        .in_full()
        .ours()
        .pvh_only(),
    full("grants-used-up", FEW_GRANTS, limits::grants).ours(),
    full("be-alloc-no-room", FEW_MAPPINGS, limits::mappings)
        .ours()
        .pvh_only(),
    check("rounds", STAMP, errors::rounds).pvh_first(),
    full("rounds-10000", STAMP, errors::many_rounds),
    check("be-alloc-rounds", BE_ALLOC_STAMP, errors::rounds).pvh_only(),
    full("be-alloc-rounds-10000", BE_ALLOC_STAMP, errors::many_rounds).pvh_only(),
    full("driver-domain", DRIVER_DOMAIN, driver_domain::shows),
    full(
        "driver-domain-backend-killed",
        DRIVER_DOMAIN,
        faults::backend_killed,
    ),
    last(
        "fault-c3-retargeted",
        DRIVER_DOMAIN,
        driver_domain::retargeted,
    )
    .in_full(),
    last(
        "driver-domain-destroyed",
        DRIVER_DOMAIN,
        driver_domain::destroyed,
    )
    .in_full(),
    check(
        "screen-card-1024x768",
        SCREEN,
        cards::every_format_on_the_first_head,
    )
    .pvh_first(),
    full("screen-console", SCREEN, clients::console),
    full("modetest", SCREEN, clients::modetest),
    full("drm-info", SCREEN, clients::drm_info),
    check("weston", SCREEN, clients::weston),
    last("shut-down-while-flipping", SCREEN, guests::shut_down).in_full(),
    full(
        "screen-card-1920x1080",
        LARGE_SCREEN,
        cards::xrgb_on_the_first_head,
    ),
    check("zero-copy-card-1024x768", ZERO_COPY, zero_copy::card),
    full("zero-copy-formats", ZERO_COPY, zero_copy::every_format),
    check("zero-copy-flips", ZERO_COPY, zero_copy::flips).pvh_first(),
    full("zero-copy-console", ZERO_COPY, zero_copy::console),
    full("zero-copy-weston", ZERO_COPY, zero_copy::weston),
    last("zero-copy-destroyed", ZERO_COPY, zero_copy::destroyed).in_full(),
    check(
        "be-alloc-zero-copy-card",
        BE_ALLOC_ZERO_COPY,
        zero_copy::card_of_backend,
    )
    .pvh_first(),
    check(
        "be-alloc-zero-copy-flips",
        BE_ALLOC_ZERO_COPY,
        zero_copy::flips,
    )
    .pvh_first(),
    last(
        "be-alloc-zero-copy-destroyed",
        BE_ALLOC_ZERO_COPY,
        zero_copy::destroyed,
    )
    .in_full(),
    last(
        "be-alloc-zero-copy-bochs",
        BE_ALLOC_BOCHS,
        zero_copy::card_of_backend,
    )
    .in_full(),
    full("zero-copy-card-1920x1080", LARGE_ZERO_COPY, zero_copy::card),
    last("zero-copy-checksum", VKMS, zero_copy::checksum).in_full(),
];
