// SPDX-License-Identifier: GPL-2.0

//! The module's parameters.

#![allow(non_upper_case_globals)]

pub(crate) struct Parameter(u32);

impl Parameter {
    pub(crate) fn value(&self) -> u32 {
        self.0
    }
}

pub(crate) static grace: Parameter = Parameter(10);
