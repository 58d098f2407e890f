// SPDX-License-Identifier: GPL-2.0

//! Files in the device's debugfs directory. DRM removes them with the device.
//!
//! # Invariants
//!
//! A file's `data` is the [`DebugfsFile<T>`] it was added with, which is static.

use core::ptr;

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    seq_file::SeqFile, //
};

use super::{
    device::Device,
    driver::{
        DebugfsFile,
        Driver, //
    }, //
};

/// Adds the driver's files. To be called before the device is registered.
pub(super) fn add_files<T: Driver>(dev: &Device<T>) {
    for file in T::DEBUGFS {
        // SAFETY: The device is not registered yet; name and data are static.
        unsafe {
            xen_sys::drm_debugfs_add_file(
                dev.raw(),
                file.name.as_char_ptr(),
                Some(show::<T>),
                ptr::from_ref(file).cast_mut().cast(),
            )
        };
    }
}

/// Shows one file.
///
/// # Safety
///
/// DRM's to call, as this file's invariants say.
unsafe extern "C" fn show<T: Driver>(m: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    // SAFETY: DRM calls this with the entry of the file that is read, of a registered device.
    let (dev, file) = unsafe {
        let entry = &*(*m).private.cast::<xen_sys::drm_debugfs_entry>();
        (
            Device::<T>::from_raw(entry.dev),
            &*entry.file.data.cast::<DebugfsFile<T>>(),
        )
    };
    // SAFETY: `m` is valid, and this thread's until the return.
    let m = unsafe { SeqFile::from_raw(m) };
    (file.show)(dev.driver(), m);
    0
}
