// SPDX-License-Identifier: GPL-2.0

/// An initializer of a struct, field by field.
#[macro_export]
macro_rules! pin_init {
    (Self { $($fields:tt)* }) => {
        $crate::init::from_fn(move || $crate::pin_init!(@ (Self) [] $($fields)*))
    };
    ($name:ident { $($fields:tt)* }) => {
        $crate::init::from_fn(move || $crate::pin_init!(@ ($name) [] $($fields)*))
    };
    (@ ($name:ident) [$($done:tt)*]) => {
        $name { $($done)* }
    };
    (@ ($name:ident) [$($done:tt)*] $field:ident <- $init:expr $(, $($rest:tt)*)?) => {
        $crate::pin_init!(@ ($name) [$($done)* $field: $crate::init::PinInit::make($init),] $($($rest)*)?)
    };
    (@ ($name:ident) [$($done:tt)*] $field:ident : $value:expr $(, $($rest:tt)*)?) => {
        $crate::pin_init!(@ ($name) [$($done)* $field: $value,] $($($rest)*)?)
    };
    (@ ($name:ident) [$($done:tt)*] $field:ident $(, $($rest:tt)*)?) => {
        $crate::pin_init!(@ ($name) [$($done)* $field,] $($($rest)*)?)
    };
}

/// An initializer of a mutex.
#[macro_export]
macro_rules! new_mutex {
    ($value:expr) => {
        $crate::init::from_fn(move || $crate::sync::Mutex::new($value))
    };
}

/// An initializer of a spin lock.
#[macro_export]
macro_rules! new_spinlock_irq {
    ($value:expr) => {
        $crate::init::from_fn(move || $crate::sync::SpinLockIrq::new($value))
    };
}

/// What is to be formatted.
#[macro_export]
macro_rules! fmt {
    ($($arg:tt)*) => { format_args!($($arg)*) };
}

/// Logs nothing.
#[macro_export]
macro_rules! dev_warn {
    ($dev:expr, $($arg:tt)*) => {{
        let _ = &$dev;
        let _ = format_args!($($arg)*);
    }};
}
