// SPDX-License-Identifier: GPL-2.0
//! What a frame costs: CPU time of Dom0, of the backend in it and of the guest, for each way from the guest's pages to a display, at one
//! rate of flips.

mod chart;

use crate::backend::Backend;
use crate::backend::Output;
use crate::backend::Place;
use crate::backend::Sink;
use crate::bench::Bench;
use crate::bench::Connector;
use crate::bench::Driver;
use crate::bench::LONG;
use crate::bench::Setting;
use crate::bench::boot_guest;
use crate::check::ingredients;
use crate::cli;
use crate::counters::Counters;
use crate::counters::Growth;
use crate::counters::RESOLUTION;
use crate::guest::Kind;
use crate::health::Accounts;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::paths::cache;
use crate::paths::outside;
use crate::paths::repo;
use crate::progress::Step;
use crate::qemu::Resolution;
use crate::vkms;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use comfy_table::Table;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// A size, and how often a second pictures of it are flipped: what an emulated processor copies without falling behind.
struct Load {
    name: &'static str,
    connectors: &'static [Connector],
    rate: u32,
}

const LOADS: [Load; 2] = [
    Load {
        name: "1920x1080",
        connectors: &[Connector {
            unique_id: "Virtual-1",
            name: "Virtual-1",
            width: 1920,
            height: 1080,
        }],
        rate: 15,
    },
    Load {
        name: "3840x2160",
        connectors: &[Connector {
            unique_id: "Virtual-1",
            name: "Virtual-1",
            width: 3840,
            height: 2160,
        }],
        rate: 2,
    },
];

/// The larger of the two.
const DISPLAY: Resolution = Resolution(3840, 2160);

/// The displays of Dom0, by name.
const SINKS: [(&str, Sink); 3] = [
    ("virtio-gpu", Sink::VIRTIO),
    ("bochs", Sink::BOCHS),
    ("vkms", Sink::Vkms),
];

/// A way from the guest's pages to a display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Way {
    /// The backend copies each picture.
    Copy,
    /// The display's driver has the guest's own pages.
    FrontAllocated,
    /// The guest draws into the display's own buffer.
    BackendAllocated,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Copy, Self::FrontAllocated, Self::BackendAllocated];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::FrontAllocated => "zero copy",
            Self::BackendAllocated => "zero copy, be-alloc",
        }
    }

    /// Whether a display can have it.
    fn is_for(self, sink: Sink) -> bool {
        match self {
            Self::Copy => true,
            // virtio-gpu takes no memory but its own.
            Self::FrontAllocated => sink != Sink::VIRTIO,
            // The others map a buffer of their own for the kernel with each frame, which costs as much as a copy of it.
            Self::BackendAllocated => sink == Sink::VIRTIO,
        }
    }
}

/// How long costs are counted, and before that what Dom0 and the guest do by themselves: as long, since the counting costs something too.
const WINDOW: Duration = Duration::from_secs(30);

/// How long there are flips before and after those that are counted.
const MARGIN: Duration = Duration::from_secs(6);

/// By how much the rate of the flips may miss what was asked for.
const RATE_TOLERANCE: f64 = 0.05;

/// What was found of one way to one display.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Of the pictures.
    pub size: &'static str,
    /// The display.
    pub sink: &'static str,
    /// The way to it.
    pub way: Way,
    /// Flips that were counted.
    pub frames: u64,
    /// Flips a second.
    pub rate: f64,
    /// CPU time of Dom0 for a frame, beyond what it has without any, in ms.
    pub dom0: f64,
    /// Of the backend's process, in ms.
    pub backend: f64,
    /// Of the guest, beyond what it has without any, in ms.
    pub guest: f64,
    /// The least CPU time of a domain for a frame that can be told from none, in ms.
    pub resolution: f64,
}

impl Row {
    /// How much less Dom0's time is than `copy`'s. Where there is next to nothing left, it is at least this.
    pub fn factor(&self, copy: &Self) -> f64 {
        copy.dom0 / self.dom0.max(self.resolution)
    }

    /// Whether the factor is only the least that it can be.
    pub fn is_below_resolution(&self) -> bool {
        self.dom0 < self.resolution
    }
}

/// The row to which one is compared.
pub fn copy_of<'a>(rows: &'a [Row], row: &Row) -> Option<&'a Row> {
    rows.iter()
        .find(|other| (other.size, other.sink, other.way) == (row.size, row.sink, Way::Copy))
}

/// Measure all, print the table, and draw the chart; whether all was as it should be: the rate kept, the picture right, no copy where there
/// should be none.
///
/// # Errors
///
/// When what it needs cannot be made.
pub fn run(options: &cli::Bench) -> Result<bool> {
    let common = &options.common;
    let mut ingredients = ingredients(Kernel::prepare(&common.kver)?, common.front)?;
    ingredients.display = DISPLAY;
    let driver = Driver::new(&ingredients)?;
    let out = repo("out/bench-zcopy");
    std::fs::create_dir_all(&out)?;
    let mut rows = Vec::new();
    let mut failures = 0;
    for load in &LOADS {
        for (name, sink) in SINKS {
            // Of each display the first picture's.
            let mut expected: Option<String> = None;
            let mut machine = None;
            for way in Way::ALL.into_iter().filter(|way| way.is_for(sink)) {
                let what = format!("{} {name} {}", load.name, way.name());
                if options
                    .only
                    .as_ref()
                    .is_some_and(|only| !what.contains(only))
                {
                    continue;
                }
                let machine = match &mut machine {
                    Some(machine) => machine,
                    None => machine.insert(Machine::boot(&ingredients, &cache("run"))?),
                };
                let trial = Trial {
                    load,
                    sink: (name, sink),
                    way,
                };
                let step = Step::new(format!("measuring {what}"));
                let outcome = trial.run(machine, &driver, &out);
                drop(step);
                let outcome = outcome.and_then(|(row, checksum)| {
                    let expected = expected.get_or_insert_with(|| checksum.clone());
                    ensure!(
                        checksum == *expected,
                        "the picture's checksum is {checksum}, not {expected}"
                    );
                    Ok(row)
                });
                match outcome {
                    Ok(row) => rows.push(row),
                    Err(error) => {
                        println!("FAIL  {what}: {error:#}");
                        failures += 1;
                        // Another guest may be left on it.
                        break;
                    }
                }
            }
        }
    }
    println!("{}", table(&rows));
    let chart = out.join("zero-copy.svg");
    chart::draw(&rows, &chart)?;
    std::fs::write(out.join("figures.json"), serde_json::to_vec_pretty(&rows)?)?;
    println!(
        "CPU time is in ms for a frame; of Dom0 and the guest, beyond what they have while a picture stands."
    );
    println!("Chart: {}", outside(&chart));
    Ok(failures == 0)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.set_header([
        "size",
        "display",
        "way",
        "frames",
        "flips/s",
        "Dom0",
        "of it the backend",
        "guest",
        "Dom0: factor to copy",
    ]);
    for row in rows {
        let factor = match copy_of(rows, row) {
            Some(copy) if row.way != Way::Copy => {
                let at_least = if row.is_below_resolution() { "> " } else { "" };
                format!("{at_least}{:.1}", row.factor(copy))
            }
            _ => String::new(),
        };
        table.add_row([
            row.size.to_owned(),
            row.sink.to_owned(),
            row.way.name().to_owned(),
            row.frames.to_string(),
            format!("{:.2}", row.rate),
            format!("{:.1}", row.dom0),
            format!("{:.1}", row.backend),
            format!("{:.1}", row.guest),
            factor,
        ]);
    }
    table
}

/// One way to one display.
struct Trial {
    load: &'static Load,
    sink: (&'static str, Sink),
    way: Way,
}

impl Trial {
    /// Its row, and a checksum of the last picture.
    fn run(&self, machine: &mut Machine, driver: &Driver, out: &Path) -> Result<(Row, String)> {
        let sink = self.sink.1;
        let output = match self.way {
            Way::Copy => Output::Copied(sink),
            Way::FrontAllocated | Way::BackendAllocated => Output::InPlace(sink),
        };
        let setting = Setting {
            be_alloc: self.way == Way::BackendAllocated,
            ..Setting::new(output, self.load.connectors)
        };
        let place = Place::in_dom0(setting.output);
        let backend = Backend::start(machine, place)?;
        let guest = boot_guest(machine, driver, Kind::Pvh, "guest", setting, place.domain)?;
        let mut accounts = Accounts::count(machine, &guest, setting.frame())?;
        let mut backend = Some(backend);
        let mut bench = Bench {
            machine,
            guest: &guest,
            backend: &mut backend,
            setting,
            driver,
            accounts: &mut accounts,
            out,
        };
        let job = bench.show("card --hold")?;
        let idle = grown(&mut bench, WINDOW)?;
        bench.end(job)?;
        let (growth, checksum) = self.flips(&mut bench)?;
        guest.destroy(machine)?;
        if let Some(backend) = backend {
            backend.stop(machine)?;
        }
        Ok((self.row(&growth, &idle)?, checksum))
    }

    /// What flips cost, and a checksum of the last picture, which is right.
    fn flips(&self, bench: &mut Bench<'_>) -> Result<(Growth, String)> {
        let rate = self.load.rate;
        let seconds = u32::try_from((MARGIN + WINDOW + MARGIN).as_secs())?;
        // An even number: the last picture is the second card.
        let count = (seconds * rate).next_multiple_of(2);
        let command = format!(
            "exec xen-display-test flips --count {count} --rate {rate} --hold --via atomic --nonblock"
        );
        let job = bench.guest.spawn(bench.machine, &command)?;
        bench
            .machine
            .link
            .wait_output(job, "\"flipping\"", LONG)
            .context("the guest does not flip")?;
        std::thread::sleep(MARGIN / 2);
        let growth = grown(bench, WINDOW)?;
        bench.machine.link.wait_output(job, "\"shown\"", LONG)?;
        let checksum = match bench.setting.output.display() {
            Some(_) => {
                bench.expect_card(bench.connector(0)?, 1, "XRGB8888")?;
                String::new()
            }
            None => vkms::checksum(bench.machine)?,
        };
        bench.end(job)?;
        Ok((growth, checksum))
    }

    fn row(&self, growth: &Growth, idle: &Growth) -> Result<Row> {
        let Growth { time, by } = growth;
        let (seconds, idle_seconds) = (time.as_secs_f64(), idle.time.as_secs_f64());
        let asked = f64::from(self.load.rate);
        #[allow(clippy::cast_precision_loss, reason = "a few hundred")]
        let frames = by.flips as f64;
        let rate = frames / seconds;
        ensure!(
            (rate / asked - 1.0).abs() < RATE_TOLERANCE,
            "{rate:.2} flips were shown a second, not {asked}"
        );
        let (shown, other) = match self.way {
            Way::Copy => (by.copied, by.in_place),
            Way::FrontAllocated | Way::BackendAllocated => (by.in_place, by.copied),
        };
        // One may be shown as the figures are asked for.
        ensure!(
            other == 0 && shown.abs_diff(by.flips) <= 1,
            "of {} pictures {} were copied, {} shown in place",
            by.flips,
            by.copied,
            by.in_place
        );
        let of_frame = |used: f64, idle: f64| 1e3 * (used - idle / idle_seconds * seconds) / frames;
        Ok(Row {
            size: self.load.name,
            sink: self.sink.0,
            way: self.way,
            frames: by.flips,
            rate,
            dom0: of_frame(by.dom0, idle.by.dom0),
            backend: of_frame(by.backend, 0.0),
            guest: of_frame(by.guest, idle.by.guest),
            resolution: 1e3 * RESOLUTION / frames,
        })
    }
}

fn counters(bench: &mut Bench<'_>) -> Result<Counters> {
    let backend = bench.backend.as_ref().context("no backend runs")?;
    Counters::read(bench.machine, backend, bench.guest)
}

/// What is counted in a while.
fn grown(bench: &mut Bench<'_>, window: Duration) -> Result<Growth> {
    let before = counters(bench)?;
    std::thread::sleep(window);
    Ok(counters(bench)?.since(&before))
}
