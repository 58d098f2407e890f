// SPDX-License-Identifier: GPL-2.0

//! The module's start and end.

use kernel::{
    prelude::*,
    ThisModule, //
};

use crate::{
    front::Front,
    xen::xenbus::{
        self,
        Registrar, //
    }, //
};

/// The bus driver's name in the kernel's own frontend, `drm_xen_front`.
const OTHER_DRIVER: &CStr = c"vdispl";

/// The loaded module.
pub(crate) struct FrontModule {
    _registrar: Registrar<Front>,
}

impl kernel::Module for FrontModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        if xenbus::driver_in_use(OTHER_DRIVER, module)? {
            pr_err!(
                "drm_xen_front has the display: blacklist it in /etc/modprobe.d, and start the guest anew\n"
            );
            return Err(EBUSY);
        }
        Ok(Self {
            _registrar: Registrar::start(module)?,
        })
    }
}
