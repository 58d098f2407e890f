// SPDX-License-Identifier: GPL-2.0
//! XenStore: reading and writing device nodes, and hints that something has changed.
//!
//! All methods are awaited one after the other, by one task: the client takes only ten requests at a time. Watch events are
//! hints: the client drops them when ten are waiting, so whoever waits for one reads everything again, and also now and then
//! without one.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;
use xenstore::sys::XSD_UNWATCH;
use xenstore::{XsdClient, XsdInterface, XsdMultiWatchHandle};

const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
const TRANSACTION_ATTEMPTS: u32 = 20;

/// The state of one end of a device, in its node `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum XenbusState {
    /// No node, or something that is not a state.
    Unknown,
    Initialising,
    InitWait,
    Initialised,
    Connected,
    Closing,
    Closed,
    Reconfiguring,
    Reconfigured,
}

impl XenbusState {
    const ALL: [XenbusState; 9] = [
        XenbusState::Unknown,
        XenbusState::Initialising,
        XenbusState::InitWait,
        XenbusState::Initialised,
        XenbusState::Connected,
        XenbusState::Closing,
        XenbusState::Closed,
        XenbusState::Reconfiguring,
        XenbusState::Reconfigured,
    ];

    /// The state that a node's text means.
    pub fn parse(text: &str) -> Self {
        let number = text.trim().parse::<usize>().ok();
        number
            .and_then(|number| Self::ALL.get(number))
            .copied()
            .unwrap_or(XenbusState::Unknown)
    }
}

impl fmt::Display for XenbusState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A connection to XenStore.
pub struct Store {
    client: XsdClient,
    hints: XsdMultiWatchHandle,
}

impl Store {
    /// Connects.
    ///
    /// # Errors
    ///
    /// There is no XenStore here.
    pub async fn open() -> Result<Self> {
        let client = XsdClient::open()
            .await
            .context("cannot connect to XenStore")?;
        let hints = client.create_multi_watch().await?;
        Ok(Store { client, hints })
    }

    /// Starts to watch a node and all below it.
    ///
    /// # Errors
    ///
    /// XenStore's.
    pub async fn watch(&self, path: &str) -> Result<()> {
        reply(path, self.client.bind_watch_id(self.hints.id, path)).await
    }

    /// Ends a watch.
    ///
    /// # Errors
    ///
    /// XenStore's.
    pub async fn unwatch(&self, path: &str) -> Result<()> {
        // The client's own call sends path and token in the wrong order.
        let token = self.hints.id.to_string();
        reply(
            path,
            self.client.socket.send(0, XSD_UNWATCH, &[path, &token]),
        )
        .await
        .map(drop)
    }

    /// Waits until something that is watched may have changed.
    ///
    /// # Errors
    ///
    /// XenStore is gone.
    pub async fn hint(&mut self) -> Result<()> {
        if self.hints.receiver.recv().await.is_none() {
            bail!("the connection to XenStore has ended");
        }
        // One look answers them all.
        while self.hints.receiver.try_recv().is_ok() {}
        Ok(())
    }

    /// The names below a node; none if it does not exist.
    ///
    /// # Errors
    ///
    /// XenStore's.
    pub async fn list(&self, path: &str) -> Result<Vec<String>> {
        reply(path, self.client.list(path)).await
    }

    /// The text of a node, if it exists. What is not UTF-8 becomes the replacement character.
    ///
    /// # Errors
    ///
    /// XenStore's.
    pub async fn read(&self, path: &str) -> Result<Option<String>> {
        let octets = reply(path, self.client.read(path)).await?;
        Ok(octets.map(|octets| String::from_utf8_lossy(&octets).into_owned()))
    }

    /// Writes nodes of a directory, or removes those without a value, all at once; false: the directory does not exist, and is
    /// not made either.
    ///
    /// # Errors
    ///
    /// XenStore's.
    pub async fn update(&self, directory: &str, nodes: &[(&str, Option<&str>)]) -> Result<bool> {
        for _ in 0..TRANSACTION_ATTEMPTS {
            let transaction = reply(directory, self.client.transaction()).await?;
            if reply(directory, transaction.read(directory))
                .await?
                .is_none()
            {
                reply(directory, transaction.abort()).await?;
                return Ok(false);
            }
            for (name, value) in nodes {
                let path = format!("{directory}/{name}");
                let written = match value {
                    Some(value) => reply(&path, transaction.write_string(&path, value)).await,
                    None => reply(&path, transaction.rm(&path)).await,
                };
                if let Err(error) = written {
                    reply(directory, transaction.abort()).await?;
                    return Err(error);
                }
            }
            if reply(directory, transaction.maybe_commit()).await? {
                return Ok(true);
            }
        }
        bail!("{directory} changes too often to be written")
    }
}

async fn reply<T>(
    path: &str,
    request: impl Future<Output = xenstore::error::Result<T>>,
) -> Result<T> {
    let mut request = pin!(request);
    // Twice: the process may have been stopped, and finds the time over when it goes on, while the reply is still on its way.
    let mut replied = timeout(REPLY_TIMEOUT, &mut request).await;
    if replied.is_err() {
        replied = timeout(REPLY_TIMEOUT, request).await;
    }
    replied
        .with_context(|| format!("XenStore does not answer about {path}"))?
        .with_context(|| format!("XenStore refuses {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_numbers() {
        assert_eq!(XenbusState::parse("4"), XenbusState::Connected);
        assert_eq!(XenbusState::parse("8"), XenbusState::Reconfigured);
        for text in ["", "0", "9", "-1", "x", "4x", "99999999999999999999"] {
            assert_eq!(XenbusState::parse(text), XenbusState::Unknown, "{text}");
        }
    }

    #[test]
    fn numbers_are_states() {
        for (number, state) in XenbusState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
            assert_eq!(XenbusState::parse(&number.to_string()), state);
        }
    }
}
