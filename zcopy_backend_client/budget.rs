// SPDX-License-Identifier: GPL-2.0

//! How much of something is used, and may be.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Counts what is used.
pub struct Budget(Atomic<u64>);

impl Budget {
    /// Nothing is used yet.
    pub const fn unused() -> Self {
        Self(Atomic::new(0))
    }

    /// What is used now.
    pub fn used(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Takes `amount`, if with it at most `limit` is used.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: it would be more.
    pub fn take(&'static self, amount: usize, limit: u64) -> Result<Share> {
        let amount = u64::try_from(amount).map_err(|_| ENOSPC)?;
        let before = self.0.fetch_add(amount, Relaxed);
        let share = Share { of: self, amount };
        match before.saturating_add(amount) <= limit {
            true => Ok(share),
            false => Err(ENOSPC),
        }
    }
}

/// A part of a budget, given back when dropped.
pub struct Share {
    of: &'static Budget,
    amount: u64,
}

impl Share {
    /// Gives one back.
    pub fn give_back_one(&mut self) {
        if let Some(left) = self.amount.checked_sub(1) {
            self.amount = left;
            self.of.0.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.amount, Relaxed);
    }
}
