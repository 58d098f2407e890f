// SPDX-License-Identifier: GPL-2.0
//! The architectures of machines. All is built on amd64; what another one needs is here, and what its machines are like in `qemu` and `machine`.

use crate::cli::Front;

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86-64: page tables of Dom0 and of PV guests have frame numbers of the machine.
    Amd64,
    /// 64-bit Arm: all domains are translated, Dom0 too.
    Arm64,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The architecture of a Debian kernel, by the end of its release.
    pub fn of_release(release: &str) -> Self {
        match release.ends_with("-arm64") {
            true => Self::Arm64,
            false => Self::Amd64,
        }
    }

    /// The release that is the same as this one but for the architecture.
    pub fn release(self, release: &str) -> String {
        let other = Self::of_release(release).debian();
        match release.strip_suffix(other) {
            Some(stem) => format!("{stem}{}", self.debian()),
            None => release.to_owned(),
        }
    }

    /// Whether its stock kernels have a frontend. Debian builds no C driver for arm64.
    pub fn has(self, front: Front) -> bool {
        self == Self::Amd64 || front == Front::Rust
    }

    /// Debian's name for it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// A name for what is kept for each architecture.
    pub fn name_of(self, what: &str) -> String {
        match self {
            Self::Amd64 => what.to_owned(),
            Self::Arm64 => format!("{what}-arm64"),
        }
    }

    /// What the names of its compilers and binutils begin with.
    pub fn tools(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu-",
            Self::Arm64 => "aarch64-linux-gnu-",
        }
    }

    /// The C compiler of Debian's kernels.
    pub fn cc(self) -> String {
        format!("{}gcc-14", self.tools())
    }

    /// What rustc calls it, where that is not the machine that all is built on.
    pub fn rust_target(self) -> Option<&'static str> {
        match self {
            Self::Amd64 => None,
            Self::Arm64 => Some("aarch64-unknown-linux-gnu"),
        }
    }

    /// What `make` must be told to build a kernel for it.
    pub fn kernel_make(self) -> Vec<String> {
        let mut options = vec![format!("CC={}", self.cc())];
        if self == Self::Arm64 {
            options.push("ARCH=arm64".to_owned());
            options.push(format!("CROSS_COMPILE={}", self.tools()));
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_an_architecture_and_a_sibling() {
        assert_eq!(Arch::of_release("7.3.4+deb13-rt-amd64"), Arch::Amd64);
        assert_eq!(Arch::of_release("7.3.4+deb13-arm64"), Arch::Arm64);
        assert_eq!(Arch::Arm64.release("7.3.4-rt-amd64"), "7.3.4-rt-arm64");
        assert_eq!(Arch::Amd64.release("7.3.4-arm64"), "7.3.4-amd64");
        assert_eq!(Arch::Arm64.release("7.3.4-arm64"), "7.3.4-arm64");
        assert_eq!(Arch::Arm64.release("nonsense"), "nonsense");
    }
}
