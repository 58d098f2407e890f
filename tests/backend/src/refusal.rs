// SPDX-License-Identifier: GPL-2.0
//! Why a request is refused.

use crate::protocol::Errno;
use std::fmt;

/// What the guest is told (the errno) and what a person at the backend is told (the reason).
#[derive(Debug)]
pub struct Refusal {
    /// Goes into the response.
    pub errno: Errno,
    /// Goes into the log.
    pub reason: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(errno: Errno, reason: impl Into<String>) -> Self {
        Refusal {
            errno,
            reason: reason.into(),
        }
    }

    /// A refusal of values that make no sense (EINVAL).
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::new(Errno::EINVAL, reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.reason, self.errno)
    }
}
