// SPDX-License-Identifier: GPL-2.0

//! Errors.

/// An errno.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Error(i32);

/// A result.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

impl Error {
    /// The error of a negative number.
    pub const fn from_errno(errno: i32) -> Self {
        Self(errno)
    }

    /// Its number, negative.
    pub const fn to_errno(self) -> i32 {
        self.0
    }
}

/// No memory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AllocError;

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        ENOMEM
    }
}

impl From<core::num::TryFromIntError> for Error {
    fn from(_: core::num::TryFromIntError) -> Self {
        EINVAL
    }
}

macro_rules! errors {
    ($($name:ident = $number:literal),* $(,)?) => {
        $(
            #[doc = stringify!($name)]
            pub const $name: Error = Error(-$number);
        )*
    };
}

errors! {
    ENOENT = 2,
    EINTR = 4,
    EIO = 5,
    ENOMEM = 12,
    EBUSY = 16,
    ENODEV = 19,
    EINVAL = 22,
    ENOSPC = 28,
    ETIMEDOUT = 110,
}
