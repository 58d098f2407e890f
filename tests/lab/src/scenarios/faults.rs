// SPDX-License-Identifier: GPL-2.0
//! What must not matter, or not for long: clients, backends and devices that go away in the middle of it.

use crate::backend::Backend;
use crate::backend::Place;
use crate::bench::Bench;
use crate::bench::LONG;
use crate::bench::SHORT;
use crate::bench::lines_of;
use crate::bench::wait_for_display;
use crate::bench::wait_until;
use crate::link::Job;
use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use std::time::Duration;
use std::time::Instant;

/// Exit status of the test program when its device has gone.
const DEVICE_GONE: i32 = 3;

/// A client is killed while it flips; the display is free for the next one.
pub fn client_killed(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    for via in ["legacy", "atomic"] {
        let job = bench.show(&format!(
            "flip-forever --via {via} --connector {}",
            connector.name
        ))?;
        wait_flips(bench, job, 30)?;
        bench.machine.link.signal(job, 9)?;
        bench.machine.link.wait(job, SHORT)?;
        shows_a_card(bench)?;
    }
    Ok(())
}

/// The backend ends and comes back under a client that flips on all the while.
pub fn backend_restarted(bench: &mut Bench<'_>) -> Result<()> {
    restart(bench, false)
}

/// The same with a backend that had no chance to say goodbye.
pub fn backend_killed(bench: &mut Bench<'_>) -> Result<()> {
    restart(bench, true)
}

/// A client that flips on whatever the backend does.
pub fn flip_and_survive(bench: &mut Bench<'_>) -> Result<Job> {
    let connector = bench.connector(0)?;
    bench.show(&format!(
        "flip-forever --survive --via atomic --connector {}",
        connector.name
    ))
}

fn restart(bench: &mut Bench<'_>, kill: bool) -> Result<()> {
    let job = flip_and_survive(bench)?;
    wait_flips(bench, job, 30)?;
    let backend = bench.backend.take().context("no backend runs")?;
    let place = backend.place();
    if kill {
        backend.kill(bench.machine)?;
    } else {
        backend.stop(bench.machine)?;
    }
    let without = flips(bench, job)? + 30;
    wait_flips(bench, job, without).context("without a backend")?;
    come_back(bench, job, place)
}

/// Start a backend again under a client that flips, and see that it goes on, and that the next one can show something.
fn come_back(bench: &mut Bench<'_>, job: Job, place: Place) -> Result<()> {
    start_backend(bench, place)?;
    let with = flips(bench, job)?;
    wait_flips(bench, job, with + 60).context("with the backend back")?;
    // Told what the guest has and shows, it has nothing to refuse.
    let said = bench.said_by_backend()?;
    let refused = said.lines().find(|line| line.contains("refused"));
    ensure!(
        refused.is_none(),
        "the backend that came back said: {refused:?}"
    );
    bench.end(job).context("the client that went on")?;
    shows_a_card(bench)
}

/// Start a backend, and wait until the guest is connected to it.
pub fn start_backend(bench: &mut Bench<'_>, place: Place) -> Result<()> {
    start_backend_with(bench, place, "")
}

/// The same with more options for it.
pub fn start_backend_with(bench: &mut Bench<'_>, place: Place, options: &str) -> Result<()> {
    *bench.backend = Some(Backend::start_with(bench.machine, place, options)?);
    wait_until("a new connection", LONG, || Ok(connections(bench)? > 0))
}

/// Prints the framebuffer on the plane, and then those of the test program in the order in which it made them; DRM lists the newest first.
const FRAMEBUFFERS: &str = "cd /sys/kernel/debug/dri/0 && sed -n 's/^[[:space:]]*fb=//p' state | head -n 1 && \
     awk -F '[][]' '/^framebuffer/ { id = $2 } /allocated by = xen-display/ { print id }' framebuffer | tac";

/// Waits until two flips are unanswered. The C driver does not say how many there are, and gives none up.
const TWO_FLIPS: &str = "rings=/sys/kernel/debug/dri/0/rings; for try in $(seq 100); do \
         sed -n 's/^connector 0: ports.* in flight \\([0-9]*\\) .*/\\1/p' $rings 2>/dev/null | grep -qx 2 && break; \
         sleep 0.1; \
     done";

/// Longer than a driver waits for a flip.
const FLIP_LIMIT: Duration = Duration::from_secs(4);

/// A backend is held up for longer than flips may take. When it goes on it finds two in its ring, if it is not at work on the first already, and refuses
/// the second, since the first is not done. The picture that comes last to the screen is still the last that the client has shown.
pub fn backend_held_up(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = flip_and_survive(bench)?;
    wait_flips(bench, job, 30)?;
    let before = refused_flips(bench)?;
    let backend = bench.backend.as_ref().context("no backend runs")?;
    backend.halt(bench.machine)?;
    let outcome = halt_with_two_flips(bench, job);
    let backend = bench.backend.as_ref().context("no backend runs")?;
    backend.go_on(bench.machine)?;
    outcome?;
    wait_until("a refused flip", SHORT, || {
        Ok(refused_flips(bench)? != before)
    })?;
    let ids = bench.sh(FRAMEBUFFERS)?;
    let mut ids = ids.split_whitespace();
    let shown = ids.next().context("nothing is on the plane")?;
    let variant = ids
        .position(|id| id == shown)
        .with_context(|| format!("framebuffer {shown} is not the test program's"))?;
    bench.expect_card(connector, u32::try_from(variant)?, "XRGB8888")?;
    bench.machine.link.signal(job, 18)?;
    bench.end(job)?;
    Ok(())
}

/// Halt a client that flips when two of its flips are unanswered, and wait until the second is given up too.
fn halt_with_two_flips(bench: &mut Bench<'_>, job: Job) -> Result<()> {
    bench.sh(TWO_FLIPS)?;
    bench.machine.link.signal(job, 19)?;
    std::thread::sleep(FLIP_LIMIT);
    Ok(())
}

/// How often the driver says that a flip was refused.
fn refused_flips(bench: &mut Bench<'_>) -> Result<String> {
    bench.sh("dmesg | grep -c 'the backend refused PG_FLIP' || true")
}

/// How often the backend says that it has been connected to.
pub fn connections(bench: &mut Bench<'_>) -> Result<usize> {
    Ok(bench.said_by_backend()?.matches("connected, ").count())
}

/// Flips that a client makes at a time when nobody keeps it waiting for seconds.
const FREE_FLIPS: u64 = 60;

/// A backend is stuck for good, as it seems: it is left, and the client flips on as fast as without one. When the backend goes on after all it is
/// connected to anew.
pub fn backend_stuck(bench: &mut Bench<'_>) -> Result<()> {
    let job = flip_and_survive(bench)?;
    wait_flips(bench, job, 30)?;
    let connected = connections(bench)?;
    stuck_until_left(bench, |bench| {
        let free = flips(bench, job)? + FREE_FLIPS;
        wait_flips(bench, job, free).context("without the backend")
    })?;
    wait_until("a new connection", LONG, || {
        Ok(connections(bench)? > connected)
    })?;
    let with = flips(bench, job)?;
    wait_flips(bench, job, with + FREE_FLIPS).context("with the backend back")?;
    bench.end(job)?;
    shows_a_card(bench)
}

/// The backend does nothing until the driver has left it, and `without` it has been done; then it goes on.
pub fn stuck_until_left(
    bench: &mut Bench<'_>,
    without: impl FnOnce(&mut Bench<'_>) -> Result<()>,
) -> Result<()> {
    const LEFT: &str = "dmesg | grep -c 'the backend answers nothing' || true";
    let before = bench.sh(LEFT)?;
    let backend = bench.backend.as_ref().context("no backend runs")?;
    backend.halt(bench.machine)?;
    let outcome = wait_until("the end of the session", LONG, || {
        Ok(bench.sh(LEFT)? != before)
    })
    .and_then(|()| without(bench));
    let backend = bench.backend.as_ref().context("no backend runs")?;
    backend.go_on(bench.machine)?;
    outcome
}

/// Buffers of a client whose end the backend is not there to see.
const ORPHANS: u32 = 16;

/// A client with many buffers ends while its backend is stuck, or dead: that waits for nobody.
pub fn closed_without_backend(bench: &mut Bench<'_>) -> Result<()> {
    const WAITS: &str = "cat /sys/kernel/debug/dri/0/waits";
    let connector = bench.connector(0)?.name;
    for kill in [false, true] {
        let job = bench.show(&format!(
            "hoard --buffers {ORPHANS} --hold --connector {connector}"
        ))?;
        let backend = bench.backend.as_ref().context("no backend runs")?;
        let place = backend.place();
        backend.halt(bench.machine)?;
        let before = bench.sh(WAITS)?;
        bench.end(job)?;
        let after = bench.sh(WAITS)?;
        let backend = bench.backend.take().context("no backend runs")?;
        if kill {
            backend.kill(bench.machine)?;
        } else {
            backend.go_on(bench.machine)?;
            backend.stop(bench.machine)?;
        }
        start_backend(bench, place)?;
        ensure!(
            before == after,
            "the client has waited for the backend: {} times before its end, {} after",
            before.trim(),
            after.trim()
        );
        shows_a_card(bench)?;
    }
    Ok(())
}

/// How often a frontend may connect to a backend that comes and goes, in a window of [`FLAPPING_WINDOW`] seconds.
const FLAPPING_CONNECTS: u64 = 4;
const FLAPPING_WINDOW: u64 = 10;

/// A backend that only pretends, twelve times: it waits for the frontend's rings, and goes as soon as they are there.
const FLAPPING: &str = "published=0; start=$(date +%s); \
     for cycle in $(seq 12); do \
         xenstore-write $back 2; \
         for try in $(seq 10); do \
             [ \"$(xenstore-read $front)\" = 3 ] && { published=$((published + 1)); break; }; \
             sleep 0.05; \
         done; \
         xenstore-write $back 5; \
         for try in $(seq 100); do [ \"$(xenstore-read $front)\" = 3 ] || break; sleep 0.05; done; \
     done; \
     echo \"$published $(($(date +%s) - start))\"";

/// A backend that comes and goes all the time keeps the guest from nothing; when it comes to stay it is used.
pub fn backend_flapping(bench: &mut Bench<'_>) -> Result<()> {
    let job = flip_and_survive(bench)?;
    let backend = bench.backend.take().context("no backend runs")?;
    let place = backend.place();
    backend.stop(bench.machine)?;
    let id = bench.guest.id;
    let said = bench.machine.dom0(&format!(
        "front=/local/domain/{id}/device/vdispl/0/state; back=/local/domain/0/backend/vdispl/{id}/0/state; {FLAPPING}"
    ))?;
    let mut figures = said.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(published)), Some(Ok(seconds))) = (figures.next(), figures.next()) else {
        bail!("the pretended backend said: {said}");
    };
    let most = FLAPPING_CONNECTS * ((seconds + 1) / FLAPPING_WINDOW + 1);
    ensure!(
        (1..=most).contains(&published),
        "the frontend connected {published} times in {seconds} s, at most {most} are expected, and 1 at least"
    );
    come_back(bench, job, place)
}

/// A backend's states, in an order that makes no sense: each after the frontend has had a moment for the one before.
const STATES: &str = "for round in 1 2; do for state in 2 4 3 1 7 8 99 0 6 2 4 2 5 4 6 4 1 2 3 4 5 6 '' x 2 2 4 4 5 5 6 6; do \
     xenstore-write $back \"$state\"; sleep 0.1; done; done";

/// A backend that is in all states, one after the other, keeps the guest from nothing.
pub fn backend_states(bench: &mut Bench<'_>) -> Result<()> {
    let job = flip_and_survive(bench)?;
    let backend = bench.backend.take().context("no backend runs")?;
    let place = backend.place();
    backend.stop(bench.machine)?;
    let id = bench.guest.id;
    bench.machine.dom0(&format!(
        "back=/local/domain/0/backend/vdispl/{id}/0/state; {STATES}"
    ))?;
    come_back(bench, job, place)
}

/// The frontend's directory goes from under a client that flips: the device is gone, as after a detachment, and nothing else is.
pub fn directory_removed(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = bench.show(&format!("flip-forever --connector {}", connector.name))?;
    wait_flips(bench, job, 30)?;
    let id = bench.guest.id;
    bench
        .machine
        .dom0(&format!("xenstore-rm /local/domain/{id}/device/vdispl/0"))?;
    expect_device_gone(bench, job)?;
    wait_until(
        "the end of the display",
        SHORT,
        || Ok(!bench.has_display()?),
    )
}

/// The driver is unbound while a client flips, and bound again.
pub fn unbound(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = bench.show(&format!("flip-forever --connector {}", connector.name))?;
    wait_flips(bench, job, 30)?;
    let driver = bench.bus_driver()?;
    bench.sh(&format!(
        "echo vdispl-0 >/sys/bus/xen/drivers/{driver}/unbind"
    ))?;
    expect_device_gone(bench, job)?;
    bench.sh(&format!(
        "echo vdispl-0 >/sys/bus/xen/drivers/{driver}/bind"
    ))?;
    wait_for_display(bench.machine, bench.guest).context("after the bind")?;
    shows_a_card(bench)
}

/// The driver is unbound and bound again, many times, each time under a client that flips.
pub fn unbound_often(bench: &mut Bench<'_>) -> Result<()> {
    for time in 0..10 {
        unbound(bench).with_context(|| format!("time {time}"))?;
    }
    Ok(())
}

/// A client asks for flips as fast as it can: one at a time is under way, and it is told of the others that they have to wait.
pub fn flood(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?.name;
    for via in ["legacy", "atomic"] {
        bench.test(&format!(
            "flood --flips 200 --via {via} --connector {connector}"
        ))?;
    }
    shows_a_card(bench)
}

/// Time for what many threads do, beyond which they are taken for stuck: emulated processors do some hundred operations a second.
const STRESS_LIMIT: Duration = Duration::from_secs(3600);

/// Threads do whatever they like with buffers while the backend is killed and stopped in turn, every few seconds.
pub fn stress(bench: &mut Bench<'_>) -> Result<()> {
    stress_of(bench, 5_000)
}

/// The same for long.
pub fn much_stress(bench: &mut Bench<'_>) -> Result<()> {
    stress_of(bench, 100_000)
}

fn stress_of(bench: &mut Bench<'_>, operations: u64) -> Result<()> {
    let connector = bench.connector(1)?.name;
    // Once before what is kept of it is counted.
    bench.test(&format!(
        "stress --operations 300 --seed 2 --connector {connector}"
    ))?;
    bench.count_anew()?;
    let job = bench.show(&format!(
        "stress --operations {operations} --connector {connector}"
    ))?;
    let end = Instant::now() + STRESS_LIMIT;
    let mut restarts = 0;
    while bench.finished(job)?.is_none() {
        ensure!(Instant::now() < end, "the threads do not come to an end");
        let backend = bench.backend.take().context("no backend runs")?;
        let place = backend.place();
        if restarts % 2 == 0 {
            backend.kill(bench.machine)?;
        } else {
            backend.stop(bench.machine)?;
        }
        start_backend(bench, place)?;
        restarts += 1;
        std::thread::sleep(Duration::from_secs(3));
    }
    ensure!(restarts >= 2, "the backend was restarted {restarts} times");
    shows_a_card(bench)
}

/// The toolstack takes the device from under a client that flips, and gives the guest a new one.
pub fn detached(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = bench.show(&format!("flip-forever --connector {}", connector.name))?;
    wait_flips(bench, job, 30)?;
    let id = bench.guest.id;
    bench.machine.dom0(&format!("xl vdispl-detach {id} 0"))?;
    expect_device_gone(bench, job)?;
    wait_until(
        "the end of the display",
        SHORT,
        || Ok(!bench.has_display()?),
    )?;
    let connector = connector.in_xl_cfg();
    bench.machine.dom0(&format!(
        "xl vdispl-attach {id} backend=0 be-alloc=0 connectors={connector}"
    ))?;
    wait_for_display(bench.machine, bench.guest).context("after vdispl-attach")?;
    shows_a_card(bench)
}

/// A client whose device has gone ends, and says so.
fn expect_device_gone(bench: &mut Bench<'_>, job: Job) -> Result<()> {
    let ended = bench
        .machine
        .link
        .wait(job, SHORT)
        .context("the client of a device that is gone")?;
    ensure!(
        ended.status == DEVICE_GONE,
        "the client ended with {}: {}",
        ended.status,
        ended.stderr.trim()
    );
    Ok(())
}

/// A new client can show a picture, and it is right.
pub fn shows_a_card(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?;
    let job = bench.show(&format!(
        "card --hold --variant 3 --connector {}",
        connector.name
    ))?;
    bench.expect_card(connector, 3, "XRGB8888")?;
    bench.end(job)?;
    Ok(())
}

/// How many flips a client has reported.
pub fn flips(bench: &mut Bench<'_>, job: Job) -> Result<u64> {
    let said = bench.machine.link.output(job)?;
    Ok(lines_of(&said, "flipping")
        .last()
        .and_then(|line| line["flips"].as_u64())
        .unwrap_or(0))
}

/// Wait until a client has reported so many flips.
pub fn wait_flips(bench: &mut Bench<'_>, job: Job, count: u64) -> Result<()> {
    wait_until(&format!("{count} flips"), LONG, || {
        Ok(flips(bench, job)? >= count)
    })
}

/// The client of [`flip_and_survive`] is ended, and has had no error.
pub fn end_untroubled(bench: &mut Bench<'_>, job: Job) -> Result<()> {
    let said = bench.end(job)?;
    let errors = lines_of(&said, "flipped")
        .last()
        .and_then(|line| line["errors"].as_u64());
    ensure!(
        errors == Some(0),
        "the client that flips had {errors:?} errors"
    );
    Ok(())
}
