// SPDX-License-Identifier: GPL-2.0

//! The DRM device: made, registered, unplugged.
//!
//! # Invariants
//!
//! - A [`Device<T>`] is the container of its `drm_device`, made by `__drm_dev_alloc` in [`Registration::new`] and nowhere else; DRM
//!   frees it with the last reference.
//! - `driver` and `pipes` are set before anything of the device can be reached, and dropped by the managed action
//!   [`drop_contents`]. That one was added first, so it runs last: mode objects are cleaned up while `pipes`, where they live, is
//!   still there.
//! - `pipes` does not change after [`Registration::new`] has filled it.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{
        offset_of,
        size_of,
        MaybeUninit, //
    },
    ptr::NonNull,
};

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_void,
    module::this_module,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        Arc, //
    },
    types::Opaque, //
};

use super::{
    commit,
    debugfs,
    driver::Driver,
    framebuffer,
    gem,
    import,
    pipe::Pipe, //
};

/// A device's heads, each at an address of its own.
type Pipes<T> = KVec<Pin<KBox<Pipe<T>>>>;

/// A DRM device, and the driver's and our part of it.
#[repr(C)]
pub(crate) struct Device<T: Driver> {
    raw: Opaque<xen_sys::drm_device>,
    driver: UnsafeCell<MaybeUninit<Arc<T>>>,
    pipes: UnsafeCell<MaybeUninit<Pipes<T>>>,
}

// SAFETY: DRM devices may be used from any thread, and so may the driver; `pipes` is not written while shared.
unsafe impl<T: Driver> Send for Device<T> {}
// SAFETY: As above.
unsafe impl<T: Driver> Sync for Device<T> {}

// SAFETY: DRM counts the references, and frees the container with the last.
unsafe impl<T: Driver> AlwaysRefCounted for Device<T> {
    fn inc_ref(&self) {
        // SAFETY: `self` shows that the count is not zero.
        unsafe { xen_sys::drm_dev_get(self.raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { xen_sys::drm_dev_put(obj.as_ref().raw()) };
    }
}

impl<T: Driver> Device<T> {
    /// The device around `raw`.
    ///
    /// # Safety
    ///
    /// `raw` is the `drm_device` of a `Device<T>`, filled in, to which a reference exists as long as the result lives.
    pub(super) unsafe fn from_raw<'a>(raw: *mut xen_sys::drm_device) -> &'a Self {
        // SAFETY: `raw` is the first field of a `repr(C)` struct; the rest is the caller's.
        unsafe { &*raw.cast::<Self>() }
    }

    pub(super) fn raw(&self) -> *mut xen_sys::drm_device {
        self.raw.get()
    }

    /// The driver.
    pub(super) fn driver(&self) -> &Arc<T> {
        // SAFETY: Set before the device can be reached, and dropped last (this file's invariants).
        unsafe { (*self.driver.get()).assume_init_ref() }
    }

    fn pipes(&self) -> &[Pin<KBox<Pipe<T>>>] {
        // SAFETY: As above.
        unsafe { (*self.pipes.get()).assume_init_ref() }
    }

    /// Tells user space that a head's monitor may have come or gone.
    pub(crate) fn hotplug(&self) {
        // SAFETY: A device with a reference.
        unsafe { xen_sys::drm_kms_helper_hotplug_event(self.raw()) };
    }

    /// Tells user space that what it set on `pipe` is not what is shown, and that it should set a mode again.
    pub(crate) fn link_bad(&self, pipe: usize) {
        if let Some(pipe) = self.pipes().get(pipe) {
            pipe.link_bad();
        }
        self.hotplug();
    }
}

struct Vtables<T>(PhantomData<T>);

impl<T: Driver> Vtables<T> {
    const FOPS: bindings::file_operations = {
        let mut fops: bindings::file_operations = pin_init::zeroed();
        // An open file keeps the module.
        fops.owner = this_module::<crate::LocalModule>().as_ptr();
        fops.open = Some(xen_sys::drm_open);
        fops.release = Some(xen_sys::drm_release);
        fops.unlocked_ioctl = Some(xen_sys::drm_ioctl);
        #[cfg(CONFIG_COMPAT)]
        {
            fops.compat_ioctl = Some(xen_sys::drm_compat_ioctl);
        }
        fops.poll = Some(xen_sys::drm_poll);
        fops.read = Some(xen_sys::drm_read);
        fops.llseek = Some(bindings::noop_llseek);
        fops.mmap = Some(xen_sys::drm_gem_mmap);
        fops.fop_flags = bindings::FOP_UNSIGNED_OFFSET;
        fops
    };

    // `as_char_ptr` is not const.
    #[allow(clippy::disallowed_methods)]
    const DRIVER: xen_sys::drm_driver = {
        let mut driver: xen_sys::drm_driver = pin_init::zeroed();
        driver.driver_features = xen_sys::drm_driver_feature_DRIVER_GEM
            | xen_sys::drm_driver_feature_DRIVER_MODESET
            | xen_sys::drm_driver_feature_DRIVER_ATOMIC;
        driver.name = T::NAME.as_ptr().cast_mut().cast();
        driver.desc = T::DESCRIPTION.as_ptr().cast_mut().cast();
        driver.major = T::VERSION.0;
        driver.minor = T::VERSION.1;
        driver.dumb_create = Some(gem::dumb_create::<T>);
        driver.gem_create_object = Some(import::create_object::<T>);
        driver.gem_prime_import = Some(import::prime_import::<T>);
        driver.fbdev_probe = Some(xen_sys::drm_fbdev_shmem_driver_fbdev_probe);
        driver.fops = const { &Self::FOPS };
        driver
    };

    const MODE_CONFIG: xen_sys::drm_mode_config_funcs = {
        let mut funcs: xen_sys::drm_mode_config_funcs = pin_init::zeroed();
        funcs.fb_create = Some(framebuffer::fb_create::<T>);
        funcs.atomic_check = Some(xen_sys::drm_atomic_helper_check);
        funcs.atomic_commit = Some(xen_sys::drm_atomic_helper_commit);
        funcs
    };
}

/// A registered device. The drop unplugs it: from then on every call of user space fails with `ENODEV`, and CPU mappings are gone;
/// the device goes with its last open file.
pub(crate) struct Registration<T: Driver>(ARef<Device<T>>);

impl<T: Driver> Registration<T> {
    /// Makes a device with `driver`, below `parent`, and shows it to user space, the console included.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; what DRM gives.
    pub(crate) fn new(parent: &kernel::device::Device, driver: Arc<T>) -> Result<Self> {
        let dev = Self::allocate(parent, driver)?;
        Self::init_modes(&dev)?;
        debugfs::add_files(&dev);
        // SAFETY: The device is complete.
        to_result(unsafe { xen_sys::drm_dev_register(dev.raw(), 0) })?;
        // SAFETY: Registered above.
        unsafe { xen_sys::drm_client_setup(dev.raw(), core::ptr::null()) };
        Ok(Self(dev))
    }

    /// The device, filled in but without mode objects.
    fn allocate(parent: &kernel::device::Device, driver: Arc<T>) -> Result<ARef<Device<T>>> {
        let pipes = KVec::with_capacity(driver.pipes(), GFP_KERNEL)?;
        let parent: *const kernel::device::Device = parent;
        // SAFETY: `parent` is a `struct device`, of which `Device` is a transparent wrapper; the vtable is static; size and offset
        // are the container's.
        let container = from_err_ptr(unsafe {
            xen_sys::__drm_dev_alloc(
                parent.cast_mut().cast(),
                const { &Vtables::<T>::DRIVER },
                size_of::<Device<T>>(),
                offset_of!(Device<T>, raw),
            )
        })?;
        let dev = NonNull::new(container.cast::<Device<T>>()).ok_or(ENOMEM)?;
        // SAFETY: The new container is ours alone; it has one reference, which the `ARef` takes over.
        let dev = unsafe {
            (*dev.as_ref().driver.get()).write(driver);
            (*dev.as_ref().pipes.get()).write(pipes);
            ARef::from_raw(dev)
        };
        // SAFETY: `drop_contents::<T>` gets the device it expects. If the action cannot be added it runs at once.
        to_result(unsafe {
            xen_sys::__drmm_add_action_or_reset(
                dev.raw(),
                Some(drop_contents::<T>),
                core::ptr::null_mut(),
                c"drop_contents".as_char_ptr(),
            )
        })?;
        Ok(dev)
    }

    fn init_modes(dev: &Device<T>) -> Result {
        let raw = dev.raw();
        let limit = T::MAX_SIZE;
        // SAFETY: A new device that nobody else knows.
        unsafe {
            to_result(xen_sys::drmm_mode_config_init(raw))?;
            let config = &mut (*raw).mode_config;
            config.min_width = 1;
            config.min_height = 1;
            config.max_width = limit;
            config.max_height = limit;
            config.preferred_depth = 24;
            config.prefer_shadow = 0;
            config.funcs = const { &Vtables::<T>::MODE_CONFIG };
            config.helper_private = &commit::HELPER_FUNCS;
        }
        let count = dev.driver().pipes();
        for index in 0..count {
            let pipe = Pipe::<T>::new(index)?;
            // SAFETY: Nobody else knows the device, so nobody reads `pipes` meanwhile.
            let pipes = unsafe { (*dev.pipes.get()).assume_init_mut() };
            pipes.push(pipe, GFP_KERNEL)?;
            if let Some(pipe) = dev.pipes().last() {
                pipe.init(dev)?;
            }
        }
        // SAFETY: A new device that nobody else knows, with `count` CRTCs.
        unsafe {
            to_result(xen_sys::drm_vblank_init(raw, count as u32))?;
            xen_sys::drm_mode_config_reset(raw);
            xen_sys::drmm_kms_helper_poll_init(raw);
        }
        Ok(())
    }

    /// The device.
    pub(crate) fn device(&self) -> &ARef<Device<T>> {
        &self.0
    }
}

impl<T: Driver> Drop for Registration<T> {
    fn drop(&mut self) {
        let raw = self.0.raw();
        // SAFETY: Registered by `new`.
        unsafe {
            xen_sys::drm_dev_unplug(raw);
            xen_sys::drm_atomic_helper_shutdown(raw);
        }
    }
}

/// The last managed action: nothing of DRM uses the driver or the mode objects any more.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn drop_contents<T: Driver>(dev: *mut xen_sys::drm_device, _: *mut c_void) {
    // SAFETY: Called once, with the device of `allocate`, where both were set; nobody uses them any more.
    unsafe {
        let dev = Device::<T>::from_raw(dev);
        (*dev.pipes.get()).assume_init_drop();
        (*dev.driver.get()).assume_init_drop();
    }
}
