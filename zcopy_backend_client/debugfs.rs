// SPDX-License-Identifier: GPL-2.0

//! What the module shows of itself in debugfs, in the directory `xen_zcopy`: for root, and for all who use the module together.

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*, //
};

use crate::{
    grant,
    ledger, //
};

/// The files, there until dropped.
pub(crate) struct Files {
    _buffers: Pin<KBox<File<()>>>,
    _outstanding: Pin<KBox<File<()>>>,
    _totals: Pin<KBox<File<()>>>,
    _dir: Dir,
}

impl Files {
    /// Makes them. A kernel that has no debugfs, or no room there, goes without.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let dir = Dir::new(c"xen_zcopy");
        Ok(Self {
            _buffers: KBox::pin_init(
                dir.read_callback_file(c"buffers", (), &|(), f| ledger::show_all(f)),
                GFP_KERNEL,
            )?,
            _outstanding: KBox::pin_init(
                dir.read_callback_file(c"outstanding", (), &|(), f| ledger::show_outstanding(f)),
                GFP_KERNEL,
            )?,
            _totals: KBox::pin_init(
                dir.read_callback_file(c"totals", (), &|(), f| totals(f)),
                GFP_KERNEL,
            )?,
            _dir: dir,
        })
    }
}

fn totals(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    ledger::show_totals(f)?;
    let (used, limit) = grant::usage();
    writeln!(f, "grants: used {used} limit {limit}")
}
