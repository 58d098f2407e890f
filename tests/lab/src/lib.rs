// SPDX-License-Identifier: GPL-2.0
//! What the lab and its agents share: the protocol between them and its carriers.
//!
//! The lab itself is `main.rs`; the agent, which runs in Dom0 and in every guest, is `bin/agent.rs`.

pub mod jobs;
pub mod mailbox;
pub mod protocol;
