// SPDX-License-Identifier: GPL-2.0

//! What a display shows of itself in debugfs, below `dri/<its address>/`.

use kernel::{
    seq_file::SeqFile,
    seq_print,
    sync::atomic::Relaxed, //
};

use xen_zcopy::{
    grant,
    reclaim, //
};

use crate::{
    display::Display,
    kms::{
        driver::DebugfsFile,
        foreign, //
    },
    remote::Object, //
};

/// The files.
pub(crate) const FILES: &[DebugfsFile<Display>] = &[
    DebugfsFile {
        // `state` is DRM's own, with the atomic state.
        name: c"xen_state",
        show: state,
    },
    DebugfsFile {
        name: c"rings",
        show: rings,
    },
    DebugfsFile {
        name: c"buffers",
        show: buffers,
    },
    DebugfsFile {
        name: c"grants",
        show: grants,
    },
    DebugfsFile {
        name: c"waits",
        show: waits,
    },
];

fn state(display: &Display, m: &SeqFile) {
    let (phase, sessions) = {
        let connection = display.connection.lock();
        (connection.phase, connection.sessions)
    };
    seq_print!(m, "phase: {phase:?}\nsessions: {sessions}\n");
    if let Some(session) = display.session.get() {
        seq_print!(
            m,
            "backend: domain {}\nversion: {}\n",
            session.peer,
            session.version.name()
        );
    }
    for head in &display.heads {
        let name = core::str::from_utf8(&head.unique_id).unwrap_or("");
        let size = head.mode();
        seq_print!(
            m,
            "connector {}: {}x{} \"{name}\"",
            head.index,
            size.width,
            size.height
        );
        match head.shown() {
            Some(fb) => seq_print!(m, ", shows fb {}\n", fb.cookie.get()),
            None => seq_print!(m, ", off\n"),
        }
    }
}

fn rings(display: &Display, m: &SeqFile) {
    if let Some(session) = display.session.get() {
        for (i, link) in session.links().enumerate() {
            let (req, evt) = (&link.requests, &link.events);
            seq_print!(
                m,
                "connector {i}: ports bound {} {} in flight {} dead {} requests {} responses {} late {} abandoned {} unknown ids {} \
                 wrong operations {} bad producers {} full {}; events {} unknown kinds {} bad producers {} resyncs {}\n",
                link.bound.0,
                link.bound.1,
                link.in_flight,
                link.dead,
                req.requests,
                req.responses,
                req.late,
                req.abandoned,
                req.unknown_ids,
                req.wrong_operations,
                req.bad_producers,
                req.full,
                evt.events,
                evt.unknown_kinds,
                evt.bad_producers,
                evt.resyncs
            );
        }
    }
    for head in &display.heads {
        let (flips, pending) = head.flips();
        seq_print!(
            m,
            "connector {}: flips done {} mismatches {} failed {} timeouts {} late {} strays {} pending {pending}\n",
            head.index,
            flips.done,
            flips.mismatches,
            flips.failed,
            flips.timeouts,
            flips.late,
            flips.strays
        );
    }
}

fn buffers(display: &Display, m: &SeqFile) {
    for dbuf in display.dbufs.iter() {
        let geometry = dbuf.geometry;
        seq_print!(
            m,
            "dbuf {}: {}x{} bpp {} bytes {} grants {} {}{}{}\n",
            dbuf.cookie.get(),
            geometry.width,
            geometry.height,
            geometry.bpp,
            dbuf.size(),
            dbuf.grants(),
            dbuf.remote().state(),
            if dbuf.is_there() {
                " backend's memory"
            } else {
                ""
            },
            retired(dbuf.remote().is_retired())
        );
    }
    for fb in display.fbs.iter() {
        let geometry = fb.geometry;
        seq_print!(
            m,
            "fb {}: dbuf {} {}x{} format {:#010x} {}{}\n",
            fb.cookie.get(),
            fb.dbuf_cookie().get(),
            geometry.width,
            geometry.height,
            geometry.format,
            fb.remote().state(),
            retired(fb.remote().is_retired())
        );
    }
}

fn retired(retired: bool) -> &'static str {
    if retired {
        " retired"
    } else {
        ""
    }
}

fn grants(_display: &Display, m: &SeqFile) {
    let (used, limit) = grant::usage();
    seq_print!(
        m,
        "used: {used}\nlimit: {limit}\nstill mapped by a backend: {}\npages of backends in buffers: {}\n",
        reclaim::waiting(),
        foreign::PAGES.used()
    );
}

fn waits(display: &Display, m: &SeqFile) {
    seq_print!(m, "{}\n", display.waits.load(Relaxed));
}
