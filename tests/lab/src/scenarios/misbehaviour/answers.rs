// SPDX-License-Identifier: GPL-2.0
//! Answers that are not what they should be: cases A and E2.

use super::super::faults::connections;
use super::NONE;
use super::buffers_fail;
use super::buffers_go_on;
use super::count;
use super::delivered;
use super::fails;
use super::flip;
use super::flips_go_on;
use super::flips_go_on_and;
use super::then_behaves;
use super::with_faults;
use super::with_script;
use crate::bench::Bench;
use crate::bench::SHORT;
use crate::bench::wait_until;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use std::time::Duration;

/// A response with an id that nobody waits for.
pub fn unknown_id(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let fault = "answer = { id = { number = 0x7777 } }";
        flips_go_on(bench, &[fault], NONE)?;
        buffers_go_on(bench, &[fault])
    })
}

/// A response that has been given already: again in another request's place, and once too often.
pub fn answered_id(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let faults = ["answer = { id = \"previous\" }", "answer = { copies = 2 }"];
        flips_go_on(bench, &faults, NONE)?;
        buffers_go_on(bench, &faults)
    })
}

/// A response to another operation than was asked for: of flips, and of buffers, where a program is told EIO.
pub fn other_operation(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let fault = "answer = { operation = 0x11 }";
        flips_go_on(bench, &[fault], NONE)?;
        let fault = format!("on = \"DBUF_CREATE\"\nfrom = 2\n{fault}");
        with_faults(bench, &[&fault], |bench| {
            buffers_fail(bench, "Input/output error")
        })
    })
}

/// Statuses that are no errno: of flips, and of buffers, where a program is told EIO.
pub fn status(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
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
            NONE,
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
    })
}

/// Response producers that cannot be. Each of them is the end of a session.
pub fn response_producer(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        for by in ["33", "-1", "0x80000000", "1"] {
            let fault = format!("ring = {{ rsp-prod = {by} }}");
            let goes_on = |bench: &mut Bench<'_>| {
                flips_go_on(bench, &[&fault], NONE)?;
                buffers_go_on(bench, &[&fault])
            };
            goes_on(bench).with_context(|| format!("the producer and {by}"))?;
        }
        Ok(())
    })
}

/// Responses that change while they are read.
pub fn double_fetch(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        flips_go_on(bench, &["times = 20\nscribble = 0.02"], NONE)
    })
}

/// Octets that mean nothing are not zero.
pub fn garbage(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        with_faults(
            bench,
            &["on = \"any\"\ntimes = 0\nanswer = { garbage = true }"],
            flip,
        )
    })
}

/// Indices that are the frontend's to write, or tell it whom to wake, are not what it left there.
pub fn overwritten_indices(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        flips_go_on(
            bench,
            &[
                "ring = { req-event = 1000 }",
                "ring = { rsp-event = 1000 }",
                "page = { in-cons = 7 }",
            ],
            NONE,
        )
    })
}

/// No answer at all, until the ring is full: nothing is asked then, and after a while the backend is taken for stuck and connected to anew.
pub fn no_answers(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let is_reference = bench.has_reference_driver()?;
        let script = "[[fault]]\non = \"PG_FLIP\"\nfrom = 15\ntimes = 0\nanswer = { copies = 0 }\n";
        let said = with_script(bench, script, &[delivered(0)], |bench| {
            flip(bench)?;
            wait_until("another connection", LATE, || {
                Ok(is_reference || connections(bench)? >= 2)
            })
        })?;
        // That is what it says of more requests than there are slots.
        ensure!(
            !said.contains("in flight"),
            "the frontend has sent more requests than the ring has slots"
        );
        Ok(())
    })
}

/// Time for what takes its time.
const LATE: Duration = Duration::from_secs(60);

/// An answer long after anybody waits for it: a program is told ETIMEDOUT, and what the backend has made is taken back.
pub fn late_answer(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let is_reference = bench.has_reference_driver()?;
        let fault = "on = \"DBUF_CREATE\"\nfrom = 2\nanswer = { late = 10 }";
        with_faults(bench, &[fault], |bench| {
            buffers_fail(bench, "Connection timed out")?;
            wait_until("the answer", LATE, || {
                Ok(is_reference || count(bench, "late")? > 0)
            })?;
            // The backend may have the buffer, and is asked to forget it.
            wait_until("the end of the buffer", LATE, || nothing_is_left(bench))
        })
    })
}

/// Answers one after the other, each of them soon enough after the one before it, but not after the request: a backend that has much to do is waited for.
pub fn slow_queue(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let fault = "on = \"DBUF_CREATE\"\nfrom = 2\ntimes = 3\nstall = 2";
        with_faults(bench, &[fault], |bench| {
            bench.sh("jobs=; for i in 1 2 3; do \
                 xen-display-test buffers --rounds 1 --max-bytes 65536 & jobs=\"$jobs $!\"; done; \
                 for job in $jobs; do wait $job || exit; done")?;
            let abandoned = count(bench, "abandoned")?;
            ensure!(abandoned == 0, "requests that were given up: {abandoned}");
            Ok(())
        })
    })
}

/// Whether nothing waits for the backend.
fn nothing_is_left(bench: &mut Bench<'_>) -> Result<bool> {
    let left = bench.sh(
        "grep -c retired /sys/kernel/debug/dri/0/buffers; grep -c waiting /sys/kernel/debug/xen_zcopy/outstanding; true",
    )?;
    Ok(left.split_whitespace().all(|count| count == "0"))
}

/// Answers to requests that were sent together, in another order than these.
pub fn answer_order(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let faults = [
            "on = \"DBUF_DESTROY\"\nanswer = { behind = 2 }",
            "on = \"FB_DETACH\"\nanswer = { behind = 1 }",
        ];
        with_faults(bench, &faults, |bench| {
            // The kernel frees all of them at once.
            bench.test("buffers --rounds 12 --max-bytes 65536 --leave")?;
            bench.test("rounds --rounds 6")?;
            wait_until("the end of the buffers", SHORT, || nothing_is_left(bench))?;
            for what in ["unknown ids", "wrong operations", "abandoned"] {
                let found = count(bench, what)?;
                ensure!(found == 0, "the driver has counted of {what}: {found}");
            }
            Ok(())
        })
    })
}

/// Refusals where there is nothing to refuse: what a program has dropped is gone for it.
pub fn refused_ends(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let faults = [
            "on = \"DBUF_DESTROY\"\ntimes = 3\nanswer = { status = -5 }",
            "on = \"FB_DETACH\"\ntimes = 2\nanswer = { status = -2 }",
        ];
        with_faults(bench, &faults, |bench| {
            bench.test("rounds --rounds 6")?;
            wait_until("the end of the buffers", SHORT, || nothing_is_left(bench))
        })
    })
}

/// A framebuffer that the backend has no memory for.
pub fn refused_framebuffer(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        // The console's come first.
        let fault =
            "on = \"FB_ATTACH\"\nfrom = 5\ntimes = 0\nexecute = false\nanswer = { status = -12 }";
        with_faults(bench, &[fault], |bench| {
            fails(bench, "rounds --rounds 6", "Cannot allocate memory")
        })
    })
}

/// Interrupts of the display that a guest lets through in a storm of five seconds and in 120 flips, each of which has two.
const MOST_INTERRUPTS: u64 = 3000;

/// How often the ports are hit in a storm that deserves the name.
const LEAST_HITS: u64 = 4 * MOST_INTERRUPTS;

/// Answers without a word, and words without an answer: these are let through less and less often.
pub fn notifications(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let faults = ["times = 5\nanswer = { notify = false }", "storm = 5"];
        let few_interrupts = |bench: &mut Bench<'_>| {
            let count = interrupts(bench)?;
            let mut hits = None;
            wait_until("the end of the storm", SHORT, || {
                hits = storm(&bench.said_by_backend()?);
                Ok(hits.is_some())
            })?;
            let hits = hits.context("no storm")?;
            ensure!(
                bench.has_reference_driver()? || count < MOST_INTERRUPTS,
                "there were {count} interrupts, of {hits} hits"
            );
            ensure!(
                hits > LEAST_HITS,
                "a storm of {hits} hits shows nothing, there were {count} interrupts"
            );
            Ok(())
        };
        flips_go_on_and(bench, &faults, NONE, few_interrupts)?;
        buffers_go_on(bench, &["answer = { notify = false }"])
    })
}

/// How often the backend has hit the ports, once it says so.
fn storm(said: &str) -> Option<u64> {
    let hits = said
        .lines()
        .find_map(|line| line.strip_prefix("storm over, ")?.strip_suffix(" hits"))?;
    hits.parse().ok()
}

/// Interrupts of the rings that there are now. Those of a connection go with it.
fn interrupts(bench: &mut Bench<'_>) -> Result<u64> {
    let said =
        bench.sh("awk '/xen-displ/ { count += $2 } END { print count + 0 }' /proc/interrupts")?;
    Ok(said.trim().parse()?)
}

/// Modes that are refused, or not answered: the commit is done, and a client is not held up. Of a refusal it is told by the connector's link status.
pub fn refused_modes(bench: &mut Bench<'_>) -> Result<()> {
    then_behaves(bench, |bench| {
        let is_reference = bench.has_reference_driver()?;
        for (answer, refused) in [
            ("{ status = -22 }", true),
            ("{ status = -16 }", true),
            ("{ copies = 0 }", false),
        ] {
            let fault =
                format!("on = \"SET_CONFIG\"\ntimes = 0\nexecute = false\nanswer = {answer}");
            with_faults(bench, &[&fault], |bench| {
                let job = bench.show("card --hold --variant 2")?;
                if refused && !is_reference {
                    wait_until("a bad link", SHORT, || {
                        let said = bench.sh("drm_info /dev/dri/card0 | grep 'link-status'")?;
                        Ok(said.lines().any(|line| line.trim().ends_with("= Bad")))
                    })?;
                }
                bench.end(job)?;
                Ok(())
            })
            .with_context(|| answer.to_owned())?;
        }
        Ok(())
    })
}
