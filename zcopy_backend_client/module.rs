// SPDX-License-Identifier: GPL-2.0

//! The module's start and end.

use kernel::{
    miscdevice::MiscDeviceRegistration,
    prelude::*,
    ThisModule, //
};

use crate::{
    attached::{
        Target,
        TargetOfModule, //
    },
    debugfs,
    device::{
        Opened,
        DEVICE, //
    },
    domain,
    grant,
    ledger,
    module_parameters,
    reclaim::Reclaim, //
};

/// The loaded module.
pub(crate) struct ZcopyModule {
    _target: TargetOfModule,
    _debugfs: debugfs::Files,
    _device: Pin<KBox<MiscDeviceRegistration<Opened>>>,
    _reclaim: Reclaim,
}

impl kernel::Module for ZcopyModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        if !domain::has_pv_devices() {
            pr_err!("not in a Xen domain with PV devices: nothing to do here\n");
            return Err(ENODEV);
        }
        if kernel::page::PAGE_SIZE != domain::XEN_PAGE_SIZE {
            pr_err!("kernels with pages other than 4 KiB are not supported\n");
            return Err(ENODEV);
        }
        grant::set_share(module_parameters::grant_share.value());
        ledger::start();
        let reclaim = Reclaim::start(module)?;
        let target = TargetOfModule::start();
        let device: Pin<KBox<MiscDeviceRegistration<Opened>>> =
            KBox::pin_init(MiscDeviceRegistration::register(DEVICE), GFP_KERNEL)?;
        target.set(Target::new(&device))?;
        Ok(Self {
            _target: target,
            _debugfs: debugfs::Files::new()?,
            _device: device,
            _reclaim: reclaim,
        })
    }
}
