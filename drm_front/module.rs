// SPDX-License-Identifier: GPL-2.0

//! The module's start and end.

use kernel::{
    prelude::*,
    ThisModule, //
};

use crate::{
    front::Front,
    module_parameters,
    xen::{
        domain,
        grant,
        reclaim::Reclaim,
        xenbus::{
            self,
            Registrar, //
        }, //
    }, //
};

/// The bus driver's name in the kernel's own frontend, `drm_xen_front`.
const OTHER_DRIVER: &CStr = c"vdispl";

/// The loaded module. The driver goes before the reclaim worker.
pub(crate) struct FrontModule {
    _registrar: Registrar<Front>,
    _reclaim: Reclaim,
}

impl kernel::Module for FrontModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        if !domain::has_pv_devices() {
            pr_err!("not in a Xen domain with PV devices: nothing to do here\n");
            return Err(ENODEV);
        }
        if kernel::page::PAGE_SIZE != domain::XEN_PAGE_SIZE {
            pr_err!("kernels with pages other than 4 KiB are not supported\n");
            return Err(ENODEV);
        }
        if xenbus::driver_in_use(OTHER_DRIVER, module)? {
            pr_err!(
                "drm_xen_front has the display: blacklist it in /etc/modprobe.d, and start the guest anew\n"
            );
            return Err(EBUSY);
        }
        let reclaim = Reclaim::start(module)?;
        grant::set_share(module_parameters::grant_share.value());
        Ok(Self {
            _registrar: Registrar::start(module)?,
            _reclaim: reclaim,
        })
    }
}
