// SPDX-License-Identifier: GPL-2.0
//! Backends that misbehave on order. What each case descends from is in `Documentation/faults.md`.

use super::be_alloc::theirs;
use super::faults::shows_a_card;
use super::faults::start_backend;
use super::faults::start_backend_with;
use crate::backend::LOAD_MODULE;
use crate::bench::Bench;
use crate::bench::LONG;
use crate::guest::Kind;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Lines that a driver may write to the kernel's log about a backend in one scenario.
const MOST_LINES: usize = 40;

/// What the guest's kernel has written about the display.
const LOG: &str = "dmesg | grep -c vdispl- || true";

/// A response with an id that nobody waits for.
pub fn unknown_id(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(bench, &["answer = { id = { number = 0x7777 } }"])
}

/// A response that has been given already: again in another request's place, and once too often.
pub fn answered_id(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(
        bench,
        &["answer = { id = \"previous\" }", "answer = { copies = 2 }"],
    )
}

/// A response to another operation than was asked for.
pub fn other_operation(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(bench, &["answer = { operation = 0x11 }"])
}

/// Statuses that are no errno: of flips, and of buffers, where a program is told EIO.
pub fn status(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(
        bench,
        &[
            "answer = { status = 1 }",
            "answer = { status = 0x7fffffff }",
            "answer = { status = -1 }",
            "answer = { status = -4095 }",
            "answer = { status = -4096 }",
            "answer = { status = -2147483648 }",
        ],
    )?;
    for status in [1, i32::MAX, -4096, i32::MIN] {
        let fault = format!(
            "on = \"DBUF_CREATE\"\nfrom = 2\nexecute = false\nanswer = {{ status = {status} }}"
        );
        with_faults(bench, &[&fault], |bench| {
            buffers_fail(bench, "Input/output error")
        })
        .with_context(|| format!("status {status}"))?;
    }
    Ok(())
}

/// Response producers that cannot be. Each of them is the end of a session.
pub fn response_producer(bench: &mut Bench<'_>) -> Result<()> {
    for by in ["33", "-1", "0x80000000", "1"] {
        flips_go_on(bench, &[&format!("ring = {{ rsp-prod = {by} }}")])
            .with_context(|| format!("the producer and {by}"))?;
    }
    Ok(())
}

/// Responses that change while they are read.
pub fn double_fetch(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(bench, &["times = 20\nscribble = 0.02"])
}

/// Octets that mean nothing are not zero.
pub fn garbage(bench: &mut Bench<'_>) -> Result<()> {
    with_faults(
        bench,
        &["on = \"any\"\ntimes = 0\nanswer = { garbage = true }"],
        flip,
    )
}

/// Indices that are the frontend's to write, or tell it whom to wake, are not what it left there.
pub fn overwritten_indices(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(
        bench,
        &[
            "ring = { req-event = 1000 }",
            "ring = { rsp-event = 1000 }",
            "page = { in-cons = 7 }",
        ],
    )
}

/// No answer at all, to more requests than the ring has slots.
pub fn no_answers(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(bench, &["times = 40\nanswer = { copies = 0 }"])
}

/// An answer long after anybody waits for it: a program is told ETIMEDOUT, and what the backend has made is taken back.
pub fn late_answer(bench: &mut Bench<'_>) -> Result<()> {
    let fault = "on = \"DBUF_CREATE\"\nfrom = 2\nanswer = { late = 10 }";
    with_faults(bench, &[fault], |bench| {
        buffers_fail(bench, "Connection timed out")?;
        std::thread::sleep(std::time::Duration::from_secs(10));
        Ok(())
    })
}

/// Refusals where there is nothing to refuse: what a program has dropped is gone for it.
pub fn refused_ends(bench: &mut Bench<'_>) -> Result<()> {
    let faults = [
        "on = \"DBUF_DESTROY\"\ntimes = 3\nanswer = { status = -5 }",
        "on = \"FB_DETACH\"\ntimes = 2\nanswer = { status = -2 }",
    ];
    with_faults(bench, &faults, |bench| {
        bench.test("rounds --rounds 6")?;
        Ok(())
    })
}

/// A framebuffer that the backend has no memory for.
pub fn refused_framebuffer(bench: &mut Bench<'_>) -> Result<()> {
    // The console's come first.
    let fault =
        "on = \"FB_ATTACH\"\nfrom = 5\ntimes = 0\nexecute = false\nanswer = { status = -12 }";
    with_faults(bench, &[fault], |bench| {
        fails(bench, "rounds --rounds 6", "Cannot allocate memory")
    })
}

/// Answers without a word, and words without an answer.
pub fn notifications(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(
        bench,
        &["times = 5\nanswer = { notify = false }", "storm = 5"],
    )
}

/// Ends of flips before they are answered, and none.
pub fn event_order(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(
        bench,
        &[
            "times = 10\nevent = { early = true }",
            "times = 2\nevent = { copies = 0 }",
            "times = 2\nanswer = { copies = 0 }\nevent = { copies = 0 }",
        ],
    )
}

/// Ends of flips that nobody asked for, by their cookies.
pub fn event_cookies(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(
        bench,
        &[
            "times = 3\nevent = { cookie = 0 }",
            "times = 3\nevent = { cookie = 0x7fffffffffffffff }",
            "times = 3\nevent = { cookie = 1 }",
        ],
    )
}

/// Ends of flips twice, and so late that another flip waits for its own.
pub fn event_count(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(
        bench,
        &["times = 10\nevent = { copies = 2 }", "event = { late = 6 }"],
    )
}

/// Ids and types of events that are not the next one's.
pub fn event_fields(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(
        bench,
        &[
            "times = 10\nevent = { id = 999 }",
            "times = 2\nevent = { kind = 77 }",
            "times = 2\nevent = { kind = 255 }",
        ],
    )
}

/// Event producers that cannot be.
pub fn event_producer(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(
        bench,
        &[
            "page = { in-prod = 64 }",
            "page = { in-prod = 0x80000000 }",
            "page = { in-prod = -1 }",
        ],
    )
}

/// As many events as there is room for, with every flip.
pub fn event_flood(bench: &mut Bench<'_>) -> Result<()> {
    flips_go_on(bench, &["times = 50\nevent = { copies = 63 }"])
}

/// Modes that are refused, or not answered: the commit is done, and a client is not held up.
pub fn refused_modes(bench: &mut Bench<'_>) -> Result<()> {
    for answer in ["{ status = -22 }", "{ status = -16 }", "{ copies = 0 }"] {
        let fault = format!("on = \"SET_CONFIG\"\ntimes = 0\nexecute = false\nanswer = {answer}");
        with_faults(bench, &[&fault], |bench| {
            let job = bench.show("card --hold --variant 2")?;
            bench.end(job)?;
            Ok(())
        })
        .with_context(|| answer.to_owned())?;
    }
    Ok(())
}

/// References of pages that are the backend's to give, and are not: the buffer is in the guest's memory then.
pub fn wrong_references(bench: &mut Bench<'_>) -> Result<()> {
    if bench.has_reference_driver()? || bench.guest.config.kind == Kind::Pv {
        // It is lost, or does not ask.
        return Ok(());
    }
    bench.machine.dom0(LOAD_MODULE)?;
    for at in ["first", "middle", "last"] {
        for value in ["", ", value = 0", ", value = 0xffffffff", ", value = 1"] {
            let fault = format!(
                "on = \"DBUF_CREATE\"\nfrom = 2\ntimes = 0\nreference = {{ at = \"{at}\"{value} }}"
            );
            let shows = |bench: &mut Bench<'_>| {
                let job = bench.show("card --hold --variant 2")?;
                bench.expect_card(bench.connector(0)?, 2, "XRGB8888")?;
                let theirs = theirs(bench)?;
                ensure!(theirs == 0, "{theirs} buffers are in the backend's memory");
                bench.end(job)?;
                Ok(())
            };
            with_faults(bench, &[&fault], shows).with_context(|| format!("{at}{value}"))?;
        }
    }
    Ok(())
}

/// Display buffers that are mapped for as long as the backend is there, whatever the frontend is told: their pages are used for nothing
/// else meanwhile.
pub fn kept_buffers(bench: &mut Bench<'_>) -> Result<()> {
    let fault = "on = \"DBUF_DESTROY\"\ntimes = 0\nexecute = false";
    let is_reference = bench.has_reference_driver()?;
    with_faults(bench, &[fault], |bench| {
        bench.test("buffers --rounds 12 --max-bytes 1048576")?;
        if is_reference {
            return Ok(());
        }
        let outstanding = bench.sh("grep -c waiting /sys/kernel/debug/xen_zcopy/outstanding")?;
        ensure!(
            outstanding.trim() == "12",
            "{} buffers wait for the backend, not 12",
            outstanding.trim()
        );
        Ok(())
    })
}

/// How many flips there are from the start of one fault to that of the next.
const EACH: usize = 15;

/// Whatever the backend does with some of a client's flips, all of them come to an end, each once and in their order.
fn flips_go_on(bench: &mut Bench<'_>, faults: &[&str]) -> Result<()> {
    let faults: Vec<String> = faults
        .iter()
        .enumerate()
        .map(|(index, fault)| format!("on = \"PG_FLIP\"\nfrom = {}\n{fault}", EACH * (index + 1)))
        .collect();
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    with_faults(bench, &faults, flip)
}

fn flip(bench: &mut Bench<'_>) -> Result<()> {
    let connector = bench.connector(0)?.name;
    let arguments =
        format!("flips --count 120 --timeout 60 --via atomic --nonblock --connector {connector}");
    bench.test_within(&arguments, 2 * LONG)?;
    Ok(())
}

/// A program cannot have all of its buffers, and is told why.
fn buffers_fail(bench: &mut Bench<'_>, why: &str) -> Result<()> {
    fails(bench, "buffers --rounds 6", why)
}

fn fails(bench: &mut Bench<'_>, arguments: &str, why: &str) -> Result<()> {
    let command = format!("xen-display-test {arguments}");
    let ended = bench.guest.run(bench.machine, &command, LONG)?;
    ensure!(
        ended.status != 0 && ended.stderr.contains(why),
        "{command} ended with {}, and not with \"{why}\": {}",
        ended.status,
        ended.stderr.trim()
    );
    Ok(())
}

/// Do something with a backend that does what a script says: every fault of it must have come about. With a backend that behaves there is
/// a picture after it, and the driver has not said much.
fn with_faults(
    bench: &mut Bench<'_>,
    faults: &[&str],
    during: impl FnOnce(&mut Bench<'_>) -> Result<()>,
) -> Result<()> {
    let lines: usize = bench.sh(LOG)?.trim().parse()?;
    let backend = bench.backend.take().context("no backend runs")?;
    let place = backend.place();
    backend.stop(bench.machine)?;
    let script = format!("[[fault]]\n{}\n", faults.join("\n[[fault]]\n"));
    std::fs::write(bench.machine.share().join("faults.toml"), &script)?;
    std::fs::write(bench.out.join("faults.toml"), &script)?;
    start_backend_with(bench, place, "--faults /lab/faults.toml")?;
    let outcome = during(bench);
    let backend = bench.backend.take().context("no backend runs")?;
    let said = backend.said(bench.machine)?;
    std::fs::write(bench.out.join("misbehaving-backend.log"), &said)?;
    outcome?;
    for index in 0..faults.len() {
        ensure!(
            said.contains(&format!("fault {index} delivered")),
            "fault {index} did not come about"
        );
    }
    backend.stop(bench.machine)?;
    start_backend(bench, place)?;
    shows_a_card(bench).context("with a backend that behaves")?;
    let now: usize = bench.sh(LOG)?.trim().parse()?;
    ensure!(
        now - lines <= MOST_LINES,
        "the guest's kernel has {} lines more",
        now - lines
    );
    Ok(())
}
