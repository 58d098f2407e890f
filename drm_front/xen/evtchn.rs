// SPDX-License-Identifier: GPL-2.0

//! Event channels.
//!
//! # Invariants
//!
//! A [`Channel`] owns an interrupt that is bound to its handler, and through it the port: unbinding the interrupt closes the
//! port, so nothing else may.

use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
    sync::Arc, //
};

use xen_zcopy::domain::DomId;

/// What a handler found.
pub(crate) enum Eoi {
    /// There was something to do, or there may soon be.
    Work,
    /// There was nothing to do: a peer that goes on so is slowed down.
    Spurious,
    /// The peer has broken the rules: nothing is to come from it any more.
    Never,
}

/// What is done when the peer notifies.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Called in interrupt context, never twice at the same time.
    fn handle(&self) -> Eoi;
}

/// A port for one peer, bound to a handler.
pub(crate) struct Channel<H: Handler> {
    irq: c_uint,
    port: xen_sys::evtchn_port_t,
    handler: Arc<H>,
}

impl<H: Handler> Channel<H> {
    /// Makes a port that `peer` may bind to, and calls `handler` whenever it notifies.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: no free port. Others: the hypervisor's, the interrupt core's.
    pub(crate) fn new(peer: DomId, name: &'static CStr, handler: Arc<H>) -> Result<Self> {
        let mut port = 0;
        // SAFETY: `port` is ours to be written.
        to_result(unsafe { xen_sys::xen_sys_evtchn_alloc_unbound(peer, &mut port) })?;
        // SAFETY:
        // - `port` is ours, and bound to nothing yet.
        // - `trampoline::<H>` gets a pointer to `H` that stays valid: `handler` is dropped after the interrupt is unbound.
        // - `name` is static.
        let irq = unsafe {
            xen_sys::bind_evtchn_to_irqhandler_lateeoi(
                port,
                Some(trampoline::<H>),
                0,
                name.as_char_ptr(),
                Arc::as_ptr(&handler).cast_mut().cast(),
            )
        };
        if irq < 0 {
            // Some of the ways to fail have closed the port, and it may be somebody else's by now: rather one is lost than that one closed.
            return Err(Error::from_errno(irq));
        }
        // INVARIANT: Bound above.
        Ok(Self {
            irq: irq as c_uint,
            port,
            handler,
        })
    }

    /// The port's number, for the peer.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// What is called.
    pub(crate) fn handler(&self) -> &Arc<H> {
        &self.handler
    }

    /// Whether the peer has bound the port and not closed it since: a peer that dies lets go of it.
    pub(crate) fn is_bound(&self) -> bool {
        let mut status = 0;
        // SAFETY: The port is ours; `status` is ours to be written.
        let err = unsafe { xen_sys::xen_sys_evtchn_status(self.port, &mut status) };
        // What the hypervisor does not tell is no sign of a death.
        err != 0 || status == xen_sys::EVTCHNSTAT_interdomain
    }

    /// Notifies the peer. May be called in interrupts.
    pub(crate) fn notify(&self) {
        // SAFETY: By the invariant the interrupt is bound to an event channel.
        unsafe { xen_sys::notify_remote_via_irq(self.irq as c_int) }
    }
}

impl<H: Handler> Drop for Channel<H> {
    fn drop(&mut self) {
        // SAFETY: By the invariant the interrupt is ours, bound with this very pointer. The call waits for a running
        // handler and closes the port.
        unsafe {
            xen_sys::unbind_from_irqhandler(self.irq, Arc::as_ptr(&self.handler).cast_mut().cast())
        }
    }
}

/// Calls the handler, and ends the interrupt.
///
/// # Safety
///
/// The interrupt core's to call, for an interrupt that `Channel::<H>::new` has bound.
unsafe extern "C" fn trampoline<H: Handler>(
    irq: c_int,
    handler: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: `Channel::new` has passed a pointer to `H`, valid until the interrupt is unbound.
    let handler = unsafe { &*handler.cast::<H>() };
    match handler.handle() {
        // SAFETY: `irq` is the late-EOI event channel that this handler was called for.
        Eoi::Work => unsafe { xen_sys::xen_irq_lateeoi(irq as c_uint, 0) },
        // SAFETY: As above.
        Eoi::Spurious => unsafe {
            xen_sys::xen_irq_lateeoi(irq as c_uint, xen_sys::XEN_EOI_FLAG_SPURIOUS)
        },
        // Without an EOI the event stays masked.
        Eoi::Never => {}
    }
    bindings::irqreturn::IRQ_HANDLED
}
