// SPDX-License-Identifier: GPL-2.0
//! Documents carried through xenstore, between Dom0's agent and a guest's: the only channel that every guest has, that
//! needs no device of its own, and that outlives `xl save`.
//!
//! `data/lab/TO/N` holds the parts of a document and `data/lab/TO/ready` its number and how many parts there are, written
//! last. `data` is the directory of its home that a guest may write.

use anyhow::Context;
use anyhow::Result;
use xenstore::XsdClient;
use xenstore::XsdInterface;

/// Bytes of a part. xenstored's default limit for a value is 2048.
const PART: usize = 1800;

/// One direction of a mailbox.
pub struct Mailbox {
    client: XsdClient,
    dir: String,
}

impl Mailbox {
    /// The mailbox `to` ("guest" or "lab") under a domain's home: "" for the own one, else `/local/domain/ID/`.
    #[must_use]
    pub fn new(client: XsdClient, home: &str, to: &str) -> Self {
        Self {
            client,
            dir: format!("{home}data/lab/{to}"),
        }
    }

    /// The path whose change tells of a new document.
    #[must_use]
    pub fn ready(&self) -> String {
        format!("{}/ready", self.dir)
    }

    /// Put a document in, over the one before.
    ///
    /// # Errors
    ///
    /// When xenstored refuses a write.
    pub async fn put(&self, number: u64, document: &[u8]) -> Result<()> {
        let parts = document.chunks(PART);
        let count = parts.len();
        for (index, part) in parts.enumerate() {
            let path = format!("{}/{index}", self.dir);
            self.client
                .write(&path, part.to_vec())
                .await
                .with_context(|| format!("xenstore: writing {path}"))?;
        }
        let path = self.ready();
        let value = format!("{number} {count}");
        self.client
            .write_string(&path, &value)
            .await
            .with_context(|| format!("xenstore: writing {path}"))?;
        Ok(())
    }

    /// The document in the box with its number, if there is one.
    ///
    /// # Errors
    ///
    /// When xenstored refuses a read, or a part is missing.
    pub async fn get(&self) -> Result<Option<(u64, Vec<u8>)>> {
        let Some(ready) = self.client.read_string(self.ready()).await? else {
            return Ok(None);
        };
        let (number, count) = ready
            .split_once(' ')
            .context("a mailbox has an unreadable head")?;
        let (number, count) = (number.parse()?, count.parse::<usize>()?);
        let mut document = Vec::new();
        for index in 0..count {
            let path = format!("{}/{index}", self.dir);
            document.extend(
                self.client
                    .read(&path)
                    .await?
                    .with_context(|| format!("{path} is missing"))?,
            );
        }
        Ok(Some((number, document)))
    }
}
