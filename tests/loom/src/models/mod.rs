// SPDX-License-Identifier: GPL-2.0

//! The models.

use kernel::{
    model::{self, locked},
    prelude::*,
    sync::{Arc, aref::ARef},
    workqueue,
};
use loom::sync::{Condvar, Mutex};

use crate::{
    allocation::Allocation,
    backend::{self, Connector},
    buffer::BufferHandle,
    display::{Display, DisplaySession},
    displif::{config::Resolution, state::Phase},
    framebuffer::FbHandle,
    head::Head,
    kms::driver::{Driver, DumbGeometry, FbGeometry},
    xen::{evtchn, shared_page, xenbus},
};

mod calls;
mod flips;
mod objects;
mod rings;

/// Runs a model in all ways, with so many preemptions at most.
fn check(preemptions: Option<usize>, run: impl Fn() + Send + Sync + 'static) {
    model::on_reset(shared_page::reset);
    model::on_reset(evtchn::reset);
    model::on_reset(xen_zcopy::export::reset);
    model::check(preemptions, run);
}

/// A notification.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *locked(&self.rung) = true;
        self.changed.notify_one();
    }

    /// Waits until it has been rung since the last time.
    fn wait(&self) {
        let mut rung = locked(&self.rung);
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

/// A display with one head, which is off, and no session.
fn display() -> Arc<Display> {
    let mut heads = KVec::new();
    let resolution = Resolution {
        width: WIDTH,
        height: HEIGHT,
    };
    let head = KBox::pin_init(Head::new(0, resolution, KVec::new()), GFP_KERNEL).unwrap();
    heads.push(head, GFP_KERNEL).unwrap();
    let dev = ARef::of(xenbus::Device::default());
    Display::new(dev, Phase::Unconnected, heads, Allocation).unwrap()
}

/// A dumb buffer of the head's size.
fn buffer(display: &Arc<Display>) -> Result<BufferHandle> {
    let geometry = DumbGeometry {
        width: WIDTH,
        height: HEIGHT,
        bpp: 32,
        pitch: WIDTH * 4,
        size: u64::from(WIDTH * HEIGHT * 4),
    };
    Display::create_buffer(display, geometry, KVec::new())
}

/// A framebuffer that is all of it.
fn framebuffer(buffer: &BufferHandle) -> Result<FbHandle> {
    let geometry = FbGeometry {
        width: WIDTH,
        height: HEIGHT,
        format: 0,
        cpp: 4,
        pitch: WIDTH * 4,
        offset: 0,
    };
    Display::create_framebuffer(buffer, geometry)
}

/// Its name on the wire.
fn cookie(fb: &FbHandle) -> u64 {
    let part = fb.shown_at(crate::kms::driver::ModeSize {
        width: WIDTH,
        height: HEIGHT,
    });
    part.unwrap().cookie.get()
}

/// What a backend's state of Connected makes the xenwatch thread do.
fn go_live(display: &Arc<Display>, session: Arc<DisplaySession>) {
    let mut connection = display.connection.lock();
    display.session.set(Some(session));
    Display::schedule(display);
    connection.phase = Phase::Connected;
}

/// What it does when the backend is gone.
fn drop_session(display: &Arc<Display>) {
    let mut connection = display.connection.lock();
    Display::drop_session(display, &mut connection);
    connection.phase = Phase::Closing;
}

/// A new session of the display.
fn session(
    display: &Arc<Display>,
    generation: u64,
) -> (Arc<DisplaySession>, std::sync::Arc<Connector>) {
    backend::session(generation, display)
}

/// Runs the display's work item until it has nothing to do now, and then once what it has to do later.
fn settle(display: &Arc<Display>) {
    for later in [false, true, false] {
        let mut runs = 0;
        while workqueue::run(display, later) {
            runs += 1;
            assert!(runs < 10, "the display never rests");
            if later {
                break;
            }
        }
    }
}

/// What an unbinding does. All that user space has it must have dropped, or it stays until then.
fn unbind(display: &Arc<Display>) {
    drop_session(display);
    Display::close_work(display);
    drop(display.drm.lock().take());
    display.collect();
}
