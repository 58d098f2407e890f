// SPDX-License-Identifier: GPL-2.0

//! Files of text.

/// A file that nobody opens.
pub struct SeqFile;
