// SPDX-License-Identifier: GPL-2.0
//! ioctl requests whose argument is 32-bit words, some of which the kernel fills in.
#![allow(unsafe_code)]

use rustix::io;
use rustix::ioctl::Direction;
use rustix::ioctl::Ioctl;
use rustix::ioctl::IoctlOutput;
use rustix::ioctl::Opcode;
use rustix::ioctl::opcode::from_components;
use std::ffi::c_void;
use std::os::fd::AsFd;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    opcode: Opcode,
    /// Of the argument, in bytes, with one reference if it has any: this is what the request's code contains.
    size: usize,
}

impl Request {
    /// The request of this direction, type and number, and the size of its argument.
    pub const fn new(direction: Direction, kind: u8, number: u8, size: usize) -> Self {
        Self {
            opcode: from_components(direction, kind, number, size),
            size,
        }
    }

    /// Makes the request; returns what the call returns.
    ///
    /// # Errors
    ///
    /// The kernel's; `EINVAL`, too, when there are fewer words than the request has at least.
    pub fn send(self, device: impl AsFd, words: &mut [u32]) -> io::Result<IoctlOutput> {
        if words.len() * 4 < self.size {
            return Err(io::Errno::INVAL);
        }
        // SAFETY: The kernel reads and writes the words that the request has, and those beyond which a count in them names: callers in
        // this crate give as many as they count.
        unsafe {
            rustix::ioctl::ioctl(
                device,
                Words {
                    opcode: self.opcode,
                    words,
                },
            )
        }
    }
}

struct Words<'a> {
    opcode: Opcode,
    words: &'a mut [u32],
}

// SAFETY: The pointer is to the words, which stay borrowed; the kernel may write them.
unsafe impl Ioctl for Words<'_> {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.words.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> io::Result<IoctlOutput> {
        Ok(output)
    }
}
