// SPDX-License-Identifier: GPL-2.0

//! The xenbus: frontend drivers, device states and the device's own nodes in XenStore.
//!
//! C header: `include/xen/xenbus.h`.
//!
//! # Invariants
//!
//! - xenbus calls `probe`, then watches the other end, and calls `otherend_changed` from the one xenwatch thread only; before
//!   `remove` it takes that watch down and waits for a running callback. So `otherend_changed` sees a bound device
//!   whose driver data is set, and never runs beside `probe` or `remove`.
//! - A device's driver data is a [`Kept`], from `probe`'s success until after `remove` ([`kernel::driver::Registration`] drops it).
//! - A [`Prompt`] is registered after the driver data is set, and unregistered first thing in `remove`, which waits for a
//!   running callback: it too sees a bound device only.

use core::{
    marker::PhantomData,
    mem::offset_of,
    pin::Pin,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    bindings,
    device,
    driver,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    types::Opaque,
    workqueue::{
        self,
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork,
        WorkItem, //
    },
    ThisModule, //
};

use xen_zcopy::{
    domain::DomId,
    work, //
};

/// A state as XenStore has it, `XenbusState*` of `include/xen/interface/io/xenbus.h`. Untrusted when it is the other end's.
pub(crate) type RawState = u32;

/// `XenbusStateInitialising`.
pub(crate) const INITIALISING: RawState = xen_sys::xenbus_state_XenbusStateInitialising;
/// `XenbusStateInitialised`.
pub(crate) const INITIALISED: RawState = xen_sys::xenbus_state_XenbusStateInitialised;
/// `XenbusStateConnected`.
pub(crate) const CONNECTED: RawState = xen_sys::xenbus_state_XenbusStateConnected;
/// `XenbusStateClosing`.
pub(crate) const CLOSING: RawState = xen_sys::xenbus_state_XenbusStateClosing;
/// `XenbusStateClosed`.
pub(crate) const CLOSED: RawState = xen_sys::xenbus_state_XenbusStateClosed;

/// A frontend driver.
pub(crate) trait Driver: 'static {
    /// What the driver keeps for each bound device. Borrowed by the xenwatch thread.
    type Data: Send + Sync + 'static;

    /// The driver's name on the bus.
    const NAME: &'static CStr;

    /// The devices it serves: the type's name, `vif` for instance.
    const DEVICES: &'static IdTable;

    /// A device has appeared, or the driver has been bound to it.
    ///
    /// # Errors
    ///
    /// Leave the device without a driver.
    fn probe(dev: &Device<device::Core<'_>>) -> Result<Self::Data>;

    /// The other end's state has changed, or may have.
    fn otherend_changed(dev: &Device<device::Bound>, data: &Self::Data, state: RawState);

    /// The domain is about to be saved, with tasks frozen and the other end as it was. If nothing comes of it, nobody tells.
    ///
    /// # Errors
    ///
    /// It is not saved then.
    fn suspend(dev: &Device<device::Bound>, data: &Self::Data) -> Result;

    /// The domain has been restored: the other end, its rings and our grants to it are gone. Runs in the xenwatch thread,
    /// with tasks frozen and no watch on the other end.
    fn resume(dev: &Device<device::Bound>, data: &Self::Data) -> Result;

    /// The driver is being unbound.
    fn unbind(dev: &Device<device::Bound>, data: &Self::Data);
}

/// A driver's table of device types: one type and the terminator.
#[repr(transparent)]
pub(crate) struct IdTable([xen_sys::xenbus_device_id; 2]);

// SAFETY: Plain data that is never written.
unsafe impl Sync for IdTable {}

impl IdTable {
    /// A table of one device type, whose name is shorter than 32 bytes.
    pub(crate) const fn new(device_type: &'static CStr) -> Self {
        let mut id: xen_sys::xenbus_device_id = pin_init::zeroed();
        let name = device_type.to_bytes();
        let mut i = 0;
        while i < name.len() {
            id.devicetype[i] = name[i];
            i += 1;
        }
        Self([id, pin_init::zeroed()])
    }

    /// No device at all.
    const fn empty() -> Self {
        Self([pin_init::zeroed(), pin_init::zeroed()])
    }
}

/// The glue between a [`Driver`] and [`driver::Registration`].
pub(crate) struct Adapter<T: Driver>(PhantomData<T>);

// SAFETY:
// - `xenbus_driver` is `repr(C)`, and a `device_driver` is embedded at this offset.
// - `Kept<T::Data>` is the type that `probe_callback` stores.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = xen_sys::xenbus_driver;
    type DriverData<'bound> = Kept<T::Data>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(xen_sys::xenbus_driver, driver);
}

// SAFETY: `unregister` undoes a successful `register` of the same `xenbus_driver`.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        drv: &Opaque<Self::DriverType>,
        _name: &'static CStr,
        _module: &'static ThisModule,
    ) -> Result {
        // SAFETY: Nobody else knows `drv` before it is registered.
        let raw = unsafe { &mut *drv.get() };
        raw.name = T::NAME.as_char_ptr();
        raw.ids = T::DEVICES.0.as_ptr();
        // A display is no reason to hold up the boot.
        raw.not_essential = true;
        raw.probe = Some(Self::probe_callback);
        raw.otherend_changed = Some(Self::otherend_changed_callback);
        raw.suspend = Some(Self::suspend_callback);
        raw.resume = Some(Self::resume_callback);
        raw.remove = Some(Self::remove_callback);

        // Without an owner: xenbus would keep the module in use by every bound device, and it could never be unloaded. It need not be:
        // `unregister` unbinds the devices, and who has one of them open keeps the module by other means.
        // SAFETY: `drv` is filled in, and pinned until `unregister`, before which no code of the driver goes away.
        to_result(unsafe {
            xen_sys::__xenbus_register_frontend(drv.get(), ptr::null_mut(), ptr::null())
        })
    }

    unsafe fn unregister(drv: &Opaque<Self::DriverType>) {
        // SAFETY: `drv` is registered, by this function's contract.
        unsafe { xen_sys::xenbus_unregister_driver(drv.get()) }
    }
}

impl<T: Driver> Adapter<T> {
    extern "C" fn probe_callback(
        dev: *mut xen_sys::xenbus_device,
        _id: *const xen_sys::xenbus_device_id,
    ) -> c_int {
        from_result(|| {
            {
                // SAFETY: xenbus passes a live device, and the driver core is in the middle of binding it.
                let dev = unsafe { &*dev.cast::<Device<device::CoreInternal<'_>>>() };
                let prompt = Prompt::new(dev, Self::prompt_callback)?;
                let data = T::probe(dev)?;
                dev.as_ref().set_drvdata(Ok(Kept { data, prompt }))?;
            }
            // SAFETY: As above; the driver data has just been set.
            let (dev, kept) = unsafe { Self::bound(dev) };
            if let Err(e) = kept.prompt.register() {
                dev_warn!(dev, "no watch on {LOOK_AGAIN:?}: {e:?}\n");
            }
            Ok(0)
        })
    }

    /// A bound device and what was kept for it.
    ///
    /// # Safety
    ///
    /// `dev` is a device of this driver whose driver data is set, and stays bound as long as the results are used.
    unsafe fn bound<'a>(
        dev: *mut xen_sys::xenbus_device,
    ) -> (&'a Device<device::Bound>, Pin<&'a Kept<T::Data>>) {
        // SAFETY: By the caller.
        let dev = unsafe { &*dev.cast::<Device<device::BoundInternal>>() };
        // SAFETY: By the caller and this file's invariants there is such a value.
        let kept = unsafe { dev.as_ref().drvdata_borrow::<Kept<T::Data>>() };
        (dev, kept)
    }

    /// Has the driver look at the other end's state.
    ///
    /// # Safety
    ///
    /// The xenwatch thread's to call, with a registered [`Prompt`].
    unsafe extern "C" fn prompt_callback(
        watch: *mut xen_sys::xenbus_watch,
        _path: *const kernel::ffi::c_char,
        _token: *const kernel::ffi::c_char,
    ) {
        // SAFETY: By this file's invariants the device is bound until this call has returned.
        let (dev, kept) = unsafe { Self::bound(Prompt::device(watch)) };
        T::otherend_changed(dev, &kept.data, dev.otherend_state());
    }

    extern "C" fn otherend_changed_callback(
        dev: *mut xen_sys::xenbus_device,
        state: xen_sys::xenbus_state,
    ) {
        // SAFETY: By this file's invariants the device is bound until this call has returned.
        let (dev, kept) = unsafe { Self::bound(dev) };
        T::otherend_changed(dev, &kept.data, state);
    }

    extern "C" fn suspend_callback(dev: *mut xen_sys::xenbus_device) -> c_int {
        // SAFETY: xenbus suspends bound devices only, with user space frozen and the device locked, so nobody unbinds it.
        let (dev, kept) = unsafe { Self::bound(dev) };
        from_result(|| T::suspend(dev, &kept.data).map(|()| 0))
    }

    extern "C" fn resume_callback(dev: *mut xen_sys::xenbus_device) -> c_int {
        // SAFETY: xenbus resumes bound devices only, in the xenwatch thread with user space frozen, so nobody unbinds it.
        let (dev, kept) = unsafe { Self::bound(dev) };
        from_result(|| T::resume(dev, &kept.data).map(|()| 0))
    }

    extern "C" fn remove_callback(dev: *mut xen_sys::xenbus_device) {
        // SAFETY: xenbus calls `remove` for a device that `probe` has accepted, while it is still bound.
        let (dev, kept) = unsafe { Self::bound(dev) };
        kept.prompt.unregister();
        T::unbind(dev, &kept.data);
    }
}

/// What the driver core keeps for a bound device.
pub(crate) struct Kept<D> {
    data: D,
    prompt: Prompt,
}

/// A node below a device's directory. Whoever writes it has the driver look at the other end's state again, in the xenwatch thread.
const LOOK_AGAIN: &CStr = c"look-again";

/// What the xenwatch thread calls.
type WatchCallback = unsafe extern "C" fn(
    *mut xen_sys::xenbus_watch,
    *const kernel::ffi::c_char,
    *const kernel::ffi::c_char,
);

/// A watch on the node [`LOOK_AGAIN`].
///
/// # Invariants
///
/// `watch` is on xenbus's list from a successful [`Self::register`] to [`Self::unregister`], and is not dropped in between.
struct Prompt {
    watch: Pin<KBox<Watch>>,
    registered: Atomic<bool>,
}

#[repr(C)]
struct Watch {
    raw: Opaque<xen_sys::xenbus_watch>,
    /// What `raw.node` points to.
    node: CString,
    dev: *mut xen_sys::xenbus_device,
}

// SAFETY: The device may be used from any thread; the watch is xenbus's, which locks it.
unsafe impl Send for Watch {}
// SAFETY: As above.
unsafe impl Sync for Watch {}

impl Prompt {
    /// A watch that is not registered.
    fn new<Ctx: device::DeviceContext>(dev: &Device<Ctx>, callback: WatchCallback) -> Result<Self> {
        // SAFETY: The path is a string that does not change.
        let dir = unsafe { CStr::from_char_ptr(dev.nodename()) };
        let node = CString::try_from_fmt(fmt!(
            "{}/{}",
            dir.to_str().map_err(|_| EINVAL)?,
            LOOK_AGAIN.to_str().map_err(|_| EINVAL)?
        ))?;
        let raw = xen_sys::xenbus_watch {
            node: node.as_char_ptr(),
            callback: Some(callback),
            ..Default::default()
        };
        Ok(Self {
            watch: KBox::pin(
                Watch {
                    raw: Opaque::new(raw),
                    node,
                    dev: dev.raw(),
                },
                GFP_KERNEL,
            )?,
            registered: Atomic::new(false),
        })
    }

    /// Calls the callback from now on, and once at the beginning.
    fn register(&self) -> Result {
        // SAFETY: The watch is filled in, pinned, and not on the list; `unregister` takes it off again.
        to_result(unsafe { xen_sys::register_xenbus_watch(self.watch.raw.get()) })?;
        self.registered.store(true, Relaxed);
        Ok(())
    }

    /// The callback does not run any more once this has returned, unless it is the caller.
    fn unregister(&self) {
        if self.registered.xchg(false, Relaxed) {
            // SAFETY: The watch is on the list.
            unsafe { xen_sys::unregister_xenbus_watch(self.watch.raw.get()) };
        }
    }

    /// The device of a callback's watch.
    ///
    /// # Safety
    ///
    /// `watch` is that of a `Prompt`.
    unsafe fn device(watch: *mut xen_sys::xenbus_watch) -> *mut xen_sys::xenbus_device {
        // SAFETY: By the caller it is the first field of a `Watch`.
        unsafe { (*watch.cast::<Watch>()).dev }
    }
}

/// Registers a driver from a work item: the bus waits up to 30 seconds for the devices of a driver that a module registers, and
/// loading a module must not.
pub(crate) struct Registrar<T: Driver>(Arc<Registering<T>>);

type Registered<T> = Pin<KBox<driver::Registration<Adapter<T>>>>;

#[pin_data]
struct Registering<T: Driver> {
    #[pin]
    work: DelayedWork<Self>,
    #[pin]
    driver: Mutex<Option<Registered<T>>>,
    module: &'static ThisModule,
}

impl_has_delayed_work! {
    impl{T: Driver} HasDelayedWork<Self> for Registering<T> { self.work }
}

impl<T: Driver> WorkItem for Registering<T> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let registration = driver::Registration::new(
            <crate::LocalModule as kernel::ModuleMetadata>::NAME,
            this.module,
        );
        match KBox::pin_init(registration, GFP_KERNEL) {
            Ok(registration) => *this.driver.lock() = Some(registration),
            Err(e) => pr_err!("the bus driver cannot be registered: {e:?}\n"),
        }
    }
}

impl<T: Driver> Registrar<T> {
    /// Registers the driver soon.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn start(module: &'static ThisModule) -> Result<Self> {
        let registering = Arc::pin_init(
            pin_init!(Registering {
                work <- new_delayed_work!("xenbus_registrar"),
                driver <- new_mutex!(None),
                module,
            }),
            GFP_KERNEL,
        )?;
        // Not a queue that tasks' freezing waits for.
        let _ = workqueue::system_long().enqueue_delayed(registering.clone(), 0);
        Ok(Self(registering))
    }
}

impl<T: Driver> Drop for Registrar<T> {
    fn drop(&mut self) {
        work::cancel(&self.0);
        let driver = self.0.driver.lock().take();
        drop(driver);
    }
}

/// Whether some driver named `name` is bound to a device on the frontend bus.
///
/// # Errors
///
/// What registering a driver gives, `ENODEV` outside Xen.
pub(crate) fn driver_in_use(name: &CStr, module: &'static ThisModule) -> Result<bool> {
    static NO_DEVICE: IdTable = IdTable::empty();

    struct Search<'a> {
        name: &'a CStr,
        found: bool,
    }

    /// Looks at one device.
    ///
    /// # Safety
    ///
    /// `bus_for_each_dev`'s to call, with the `Search` that it was given.
    unsafe extern "C" fn examine(dev: *mut bindings::device, search: *mut c_void) -> c_int {
        // SAFETY: The caller below passes a `Search` that nobody else uses until the walk ends.
        let search = unsafe { &mut *search.cast::<Search<'_>>() };
        // SAFETY: The walk holds a reference to `dev`.
        let lock = unsafe { &raw mut (*dev).mutex };
        // SAFETY: The device's lock is a mutex that the driver core has initialised.
        unsafe { bindings::mutex_lock(lock) };
        // SAFETY: Under the device's lock a driver is neither bound nor unbound, so `driver` is null or a registered driver,
        // whose name is a NUL-terminated string.
        unsafe {
            let driver = (*dev).driver;
            if !driver.is_null() && CStr::from_char_ptr((*driver).name) == search.name {
                search.found = true;
            }
        }
        // SAFETY: Locked above.
        unsafe { bindings::mutex_unlock(lock) };
        0
    }

    // The bus itself is not exported; a registered driver points to it. This one serves no device.
    let mut probe = KBox::new(xen_sys::xenbus_driver::default(), GFP_KERNEL)?;
    probe.name = c"xen_drm_front_search".as_char_ptr();
    probe.ids = NO_DEVICE.0.as_ptr();
    // SAFETY: `probe` is filled in and stays where it is until it is unregistered below.
    to_result(unsafe {
        xen_sys::__xenbus_register_frontend(
            &mut *probe,
            module.as_ptr(),
            c"xen_drm_front".as_char_ptr(),
        )
    })?;
    let mut search = Search { name, found: false };
    // SAFETY: A registered driver's bus is valid; `examine` gets the `Search` that it expects.
    unsafe {
        bindings::bus_for_each_dev(
            probe.driver.bus,
            ptr::null_mut(),
            (&raw mut search).cast(),
            Some(examine),
        )
    };
    // SAFETY: Registered above.
    unsafe { xen_sys::xenbus_unregister_driver(&mut *probe) };
    Ok(search.found)
}

/// A device on the frontend bus.
///
/// # Invariants
///
/// The value is a live `struct xenbus_device`.
#[repr(transparent)]
pub(crate) struct Device<Ctx: device::DeviceContext = device::Normal>(
    Opaque<xen_sys::xenbus_device>,
    PhantomData<Ctx>,
);

// SAFETY: `Device` is a transparent wrapper that does not depend on its context.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: A `struct xenbus_device` may be used from any thread.
unsafe impl Send for Device {}
// SAFETY: As above; the methods below use it as the C drivers do.
unsafe impl Sync for Device {}

// SAFETY: The embedded `struct device` counts the references; the bus frees the whole with the last.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: `self` shows that the count is not zero.
        unsafe { bindings::get_device(self.raw_device()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::put_device(obj.as_ref().raw_device()) }
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: The embedded `struct device` lives as long as `self`, which is in the context `Ctx`.
        unsafe { device::Device::from_raw(self.raw_device()) }
    }
}

impl<Ctx: device::DeviceContext> Device<Ctx> {
    fn raw(&self) -> *mut xen_sys::xenbus_device {
        self.0.get()
    }

    /// The embedded `struct device`, for other wrappers.
    pub(crate) fn raw_device(&self) -> *mut bindings::device {
        // SAFETY: By the invariant `raw()` is valid; only a field's address is taken.
        unsafe { &raw mut (*self.raw()).dev }
    }

    /// The domain at the other end.
    pub(crate) fn otherend_id(&self) -> DomId {
        // SAFETY: By the invariant `raw()` is valid; xenbus sets the field before `probe` and in a resume, with no driver
        // code running.
        let id = unsafe { (*self.raw()).otherend_id };
        DomId::try_from(id).unwrap_or(0)
    }

    /// The other end's state, or 0 if there is none.
    pub(crate) fn otherend_state(&self) -> RawState
    where
        Ctx: InCallback,
    {
        // SAFETY: By the invariant `raw()` is valid; for `otherend` see `read_otherend`.
        unsafe {
            let path = (*self.raw()).otherend;
            if path.is_null() {
                return xen_sys::xenbus_state_XenbusStateUnknown;
            }
            xen_sys::xenbus_read_driver_state(self.raw(), path)
        }
    }

    /// This end's state as xenbus last wrote it.
    pub(crate) fn state(&self) -> RawState {
        // SAFETY: By the invariant `raw()` is valid. The field is a plain word that xenbus may be writing: one volatile read.
        unsafe { ptr::read_volatile(&raw const (*self.raw()).state) }
    }

    /// Writes this end's state. Returns at once, does nothing if the state is that already.
    ///
    /// To or from `INITIALISING` only inside `otherend_changed` or `resume`: xenbus takes any other such write for
    /// a device that has vanished and come back.
    pub(crate) fn switch_state(&self, state: RawState) {
        // SAFETY: By the invariant `raw()` is valid. The function always returns 0.
        unsafe { xen_sys::xenbus_switch_state(self.raw(), state) };
    }

    /// Says Closed, and lets a shutdown that waits for this go on.
    pub(crate) fn closed(&self) {
        // SAFETY: By the invariant `raw()` is valid.
        unsafe { xen_sys::xenbus_frontend_closed(self.raw()) };
    }

    fn nodename(&self) -> *const kernel::ffi::c_char {
        // SAFETY: By the invariant `raw()` is valid; the path is set when the device is made and never changes.
        unsafe { (*self.raw()).nodename }
    }

    /// Reads a node below this end's directory.
    ///
    /// # Errors
    ///
    /// `ENOENT`: no such node. Others: XenStore's.
    pub(crate) fn read(&self, node: &CStr) -> Result<Text> {
        Text::read(self.nodename(), node)
    }

    /// Reads a node below the other end's directory. The text is the other end's: not to be trusted.
    ///
    /// # Errors
    ///
    /// `ENOENT`: no such node. Others: XenStore's.
    pub(crate) fn read_otherend(&self, node: &CStr) -> Result<Text>
    where
        Ctx: InCallback,
    {
        // SAFETY: By the invariant `raw()` is valid; `otherend` is a string from before `probe` until after `remove`, and
        // xenbus changes it in a resume only, when no other callback runs.
        let path = unsafe { (*self.raw()).otherend };
        if path.is_null() {
            return Err(ENOENT);
        }
        Text::read(path, node)
    }

    /// Writes nodes below this end's directory, all or none.
    ///
    /// # Errors
    ///
    /// XenStore's: `ENOSPC` for a quota, `EACCES`; `EAGAIN` if others kept interfering.
    pub(crate) fn write_all(&self, nodes: &[(CString, CString)]) -> Result {
        const TRIES: usize = 16;

        for _ in 0..TRIES {
            let transaction = Transaction::start()?;
            for (node, value) in nodes {
                // SAFETY: All are NUL-terminated strings; the transaction is open.
                to_result(unsafe {
                    xen_sys::xenbus_write(
                        transaction.raw(),
                        self.nodename(),
                        node.as_char_ptr(),
                        value.as_char_ptr(),
                    )
                })?;
            }
            match transaction.commit() {
                Err(e) if e == EAGAIN => continue,
                result => return result,
            }
        }
        Err(EAGAIN)
    }
}

impl<Ctx: device::DeviceContext> Device<Ctx> {
    /// Has `otherend_changed` called soon, in the xenwatch thread. May be called from anywhere that may sleep.
    ///
    /// # Errors
    ///
    /// As [`Self::write_all`].
    pub(crate) fn look_again(&self) -> Result {
        let value = CString::try_from_fmt(fmt!("1"))?;
        let node = CString::try_from(LOOK_AGAIN)?;
        self.write_all(&[(node, value)])
    }
}

/// Contexts in which xenbus keeps the other end's path where it is.
pub(crate) trait InCallback: device::DeviceContext {}
impl InCallback for device::Bound {}
impl InCallback for device::Core<'_> {}

/// An open XenStore transaction, given up when dropped.
struct Transaction {
    id: u32,
}

impl Transaction {
    fn start() -> Result<Self> {
        let mut raw = xen_sys::xenbus_transaction::default();
        // SAFETY: `raw` is ours to be written.
        to_result(unsafe { xen_sys::xenbus_transaction_start(&mut raw) })?;
        Ok(Self { id: raw.id })
    }

    fn raw(&self) -> xen_sys::xenbus_transaction {
        xen_sys::xenbus_transaction { id: self.id }
    }

    fn commit(self) -> Result {
        let raw = self.raw();
        core::mem::forget(self);
        // SAFETY: `raw` is open, and not used after this.
        to_result(unsafe { xen_sys::xenbus_transaction_end(raw, false) })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // SAFETY: The transaction is open, and not used after this.
        unsafe { xen_sys::xenbus_transaction_end(self.raw(), true) };
    }
}

/// What a XenStore node holds.
///
/// # Invariants
///
/// `text` points to `len` initialised bytes of a `kmalloc` allocation that the value owns.
pub(crate) struct Text {
    text: NonNull<u8>,
    len: usize,
}

impl Text {
    fn read(dir: *const kernel::ffi::c_char, node: &CStr) -> Result<Self> {
        let mut len: c_uint = 0;
        // SAFETY: `dir` is a string, by the callers; the result is an error pointer, or a `kmalloc`ed string of `len` bytes.
        let text = from_err_ptr(unsafe {
            xen_sys::xenbus_read(
                xen_sys::xen_sys_xbt_nil(),
                dir,
                node.as_char_ptr(),
                &mut len,
            )
        })?;
        let text = NonNull::new(text.cast::<u8>()).ok_or(ENOENT)?;
        // INVARIANT: As said above; `xenbus_read` gives the ownership.
        Ok(Self {
            text,
            len: len as usize,
        })
    }

    /// The bytes, without the terminator.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        // SAFETY: By the invariant.
        unsafe { core::slice::from_raw_parts(self.text.as_ptr(), self.len) }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: By the invariant the value owns this `kmalloc` allocation.
        unsafe { bindings::kfree(self.text.as_ptr().cast()) }
    }
}

/// A reference to a device that outlives its binding.
pub(crate) type DeviceRef = ARef<Device>;
