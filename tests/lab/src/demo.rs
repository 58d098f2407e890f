// SPDX-License-Identifier: GPL-2.0
//! A short show: what the stack is for.

use crate::backend::Backend;
use crate::backend::Output;
use crate::backend::Place;
use crate::backend::Sink;
use crate::bench::Connector;
use crate::bench::Driver;
use crate::bench::LONG;
use crate::bench::SHORT;
use crate::bench::Setting;
use crate::bench::boot_guest;
use crate::bench::wait_until;
use crate::check::ingredients;
use crate::cli::Common;
use crate::counters::Counters;
use crate::counters::Growth;
use crate::guest::Guest;
use crate::guest::Kind;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::paths::cache;
use crate::paths::outside;
use crate::paths::repo;
use crate::progress::Step;
use crate::qemu::Display;
use crate::scenarios::CLIENT;
use crate::scenarios::KMSCUBE;
use crate::scenarios::WESTON;
use anyhow::Context;
use anyhow::Result;
use comfy_table::Table;
use std::path::Path;
use std::time::Duration;

/// The display of the demo's guest.
const DISPLAY: Connector = Connector {
    unique_id: "Virtual-1",
    name: "Virtual-1",
    width: 1024,
    height: 768,
};

/// How long a program is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// Run the demo.
///
/// # Errors
///
/// When something cannot be made or does not run.
pub fn run(options: &Common) -> Result<()> {
    let ingredients = ingredients(Kernel::prepare(&options.kver)?, options.front)?;
    let driver = Driver::new(&ingredients)?;
    let out = repo("out/demo");
    std::fs::create_dir_all(&out)?;
    let mut machine = Machine::boot(&ingredients, &cache("run"))?;
    let place = Place::in_dom0(Output::Copied(Sink::VIRTIO));
    let backend = Backend::start(&mut machine, place)?;
    let kind = Kind::Pvh;
    let setting = Setting::new(place.output, &[DISPLAY]);
    let step = Step::new("booting a guest");
    let guest = boot_guest(&mut machine, &driver, kind, "guest", setting, place.domain)?;
    drop(step);

    let mut table = Table::new();
    table.set_header([
        "guest",
        "program",
        "mode",
        "frames",
        "flips/s",
        "CPU time of Dom0",
        "of it the backend",
        "of the guest",
    ]);
    let mut show = Show {
        machine: &mut machine,
        backend: &backend,
        guest: &guest,
        out: &out,
    };
    for (program, command, also) in [("kmscube", KMSCUBE, None), ("weston", WESTON, Some(CLIENT))] {
        let figures = show.program(program, command, also)?;
        let [frames, rate, dom0, backend, of_guest] = figures;
        table.add_row([
            kind.to_string(),
            program.into(),
            format!("{}x{}", DISPLAY.width, DISPLAY.height),
            frames,
            rate,
            dom0,
            backend,
            of_guest,
        ]);
    }
    guest.destroy(&mut machine)?;
    backend.stop(&mut machine)?;
    println!("{table}");
    println!("Pictures of Dom0's screen: {}/*.png", outside(&out));
    Ok(())
}

struct Show<'a> {
    machine: &'a mut Machine,
    backend: &'a Backend,
    guest: &'a Guest,
    out: &'a Path,
}

impl Show<'_> {
    /// Run a program for a while, take its picture, and return its row of the table.
    fn program(&mut self, name: &str, command: &str, also: Option<&str>) -> Result<[String; 5]> {
        let step = Step::new(format!("running {name}"));
        let job = self.guest.spawn(self.machine, command)?;
        let client = match also {
            None => None,
            Some(client) => {
                self.machine
                    .link
                    .wait_output(job, "launching", SHORT)
                    .with_context(|| format!("{name} did not start"))?;
                Some(self.guest.spawn(self.machine, client)?)
            }
        };
        // The console's cursor flips too until then.
        let shown = format!("grep -q 'allocated by = {name}$' /sys/kernel/debug/dri/0/state");
        let drawn = wait_until("the program's picture", LONG, || {
            Ok(self.guest.run(self.machine, &shown, SHORT)?.status == 0)
        })
        .and_then(|()| {
            let start = self.counters()?.flips;
            wait_until("its flips", LONG, || {
                Ok(self.counters()?.flips >= start + 20)
            })
        });
        if let Err(error) = drawn {
            let said = self.machine.link.output(job)?;
            return Err(error.context(format!("{name} does not draw:\n{said}")));
        }
        let before = self.counters()?;
        std::thread::sleep(WATCHED);
        let after = self.counters()?;
        self.machine
            .screenshot(Display::Virtio, &self.out.join(format!("{name}.png")))?;
        for job in client.into_iter().chain([job]) {
            self.machine.link.signal(job, 15)?;
            self.machine.link.wait(job, SHORT)?;
        }
        drop(step);
        let Growth { time, by } = after.since(&before);
        let seconds = time.as_secs_f64();
        let share = |used: f64| format!("{used:.1} s of {seconds:.1} s");
        #[allow(clippy::cast_precision_loss, reason = "a few hundred")]
        let rate = by.flips as f64 / seconds;
        Ok([
            by.flips.to_string(),
            format!("{rate:.1}"),
            share(by.dom0),
            share(by.backend),
            share(by.guest),
        ])
    }

    fn counters(&mut self) -> Result<Counters> {
        Counters::read(self.machine, self.backend, self.guest)
    }
}
