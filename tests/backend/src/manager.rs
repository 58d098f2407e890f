// SPDX-License-Identifier: GPL-2.0
//! All guest devices of this domain, and the signals of the process.

use crate::device::Device;
use crate::report::{Complaints, say};
use crate::session::Environment;
use crate::xenstore::Store;
use anyhow::Result;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

/// Relative to this domain's own directory.
const ROOT: &str = "backend/vdispl";
/// Everything is looked at so often even if no hint comes.
const IDLE: Duration = Duration::from_secs(1);
/// While a session is about to end.
const BUSY: Duration = Duration::from_millis(20);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks after all devices.
pub struct Manager {
    store: Store,
    environment: Arc<Environment>,
    stats_file: Option<PathBuf>,
    devices: Vec<Device>,
    complaints: Complaints,
    /// Since when there has been a device that serves a frontend.
    serving_since: Option<Instant>,
    /// How many of the fault script's texts for XenStore have been written.
    store_faults: usize,
}

enum Wake {
    Look,
    WriteFault,
    Snapshot,
    End,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
}

impl Manager {
    /// Watches for devices.
    ///
    /// # Errors
    ///
    /// XenStore's.
    pub async fn new(environment: Arc<Environment>, stats_file: Option<PathBuf>) -> Result<Self> {
        let store = Store::open().await?;
        store.watch(ROOT).await?;
        Ok(Manager {
            store,
            environment,
            stats_file,
            devices: Vec::new(),
            complaints: Complaints::new("XenStore"),
            serving_since: None,
            store_faults: 0,
        })
    }

    /// Serves all devices until the process is told to end (SIGTERM or SIGINT), then leaves them closed.
    ///
    /// # Errors
    ///
    /// XenStore is gone, or the figures cannot be written.
    pub async fn run(mut self) -> Result<()> {
        let mut signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user: signal(SignalKind::user_defined1())?,
        };
        self.look().await?;
        say!("ready");
        loop {
            match self.sleep(&mut signals).await? {
                Wake::Look => self.look().await?,
                Wake::WriteFault => self.write_fault().await?,
                Wake::Snapshot => {
                    self.devices.iter().for_each(Device::snapshot);
                    self.write_stats()?;
                    // Whoever asks all the time would put off the next look for ever.
                    self.look().await?;
                }
                Wake::End => break,
            }
        }
        self.shut_down().await?;
        self.environment.stats.print();
        self.write_stats()
    }

    async fn sleep(&mut self, signals: &mut Signals) -> Result<Wake> {
        let pause = if self.devices.iter().any(Device::is_stopping) {
            BUSY
        } else {
            IDLE
        };
        let fault = self.fault_due();
        let fault_due = async {
            match fault {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        // Only waiting is cut short here; requests to XenStore never are.
        tokio::select! {
            () = fault_due => Ok(Wake::WriteFault),
            hint = self.store.hint() => hint.map(|()| Wake::Look),
            () = self.environment.session_ended.notified() => Ok(Wake::Look),
            () = sleep(pause) => Ok(Wake::Look),
            _ = signals.user.recv() => Ok(Wake::Snapshot),
            _ = signals.terminate.recv() => Ok(Wake::End),
            _ = signals.interrupt.recv() => Ok(Wake::End),
        }
    }

    /// Looks for new devices, and at all that are known.
    async fn look(&mut self) -> Result<()> {
        for domid in self.numbers(ROOT).await? {
            let guest = format!("{ROOT}/{domid}");
            for number in self.numbers(&guest).await? {
                let directory = format!("{guest}/{number}");
                if !self.devices.iter().any(|device| device.is_at(&directory)) {
                    self.devices.push(Device::new(
                        domid,
                        number,
                        directory,
                        self.environment.clone(),
                    ));
                }
            }
        }
        for device in &mut self.devices {
            // One device's trouble is not the others'. A XenStore that is gone shows above.
            if let Err(error) = device.poll(&self.store).await {
                self.complaints
                    .line(format!("{device} cannot be looked after: {error:#}"));
            }
        }
        self.devices.retain(|device| !device.is_gone());
        if self.devices.iter().any(Device::is_serving) {
            self.serving_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// When the fault script has something written to XenStore.
    fn fault_due(&self) -> Option<Instant> {
        let fault = self.environment.faults.store().get(self.store_faults)?;
        Some(self.serving_since? + fault.at.0)
    }

    /// Writes what the fault script has for XenStore, and does nothing else meanwhile.
    async fn write_fault(&mut self) -> Result<()> {
        let environment = self.environment.clone();
        let Some(fault) = environment.faults.store().get(self.store_faults) else {
            return Ok(());
        };
        for _ in 0..fault.rounds {
            for value in &fault.values {
                for device in &self.devices {
                    device.write_fault(&fault.node, value, &self.store).await?;
                }
                sleep(fault.every.0).await;
            }
        }
        say!("store fault {} delivered", self.store_faults);
        self.store_faults += 1;
        Ok(())
    }

    async fn numbers(&self, path: &str) -> Result<Vec<u32>> {
        let names = self.store.list(path).await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    async fn shut_down(&mut self) -> Result<()> {
        let end = Instant::now() + SHUTDOWN_TIMEOUT;
        while Instant::now() < end {
            for device in &mut self.devices {
                if !device.is_down() {
                    device.shut_down(&self.store).await?;
                }
            }
            if self.devices.iter().all(Device::is_down) {
                return Ok(());
            }
            sleep(BUSY).await;
        }
        say!("some guests are still connected: their pages are unmapped by the kernel");
        Ok(())
    }

    fn write_stats(&self) -> Result<()> {
        self.stats_file
            .as_deref()
            .map_or(Ok(()), |file| self.environment.stats.write(file))
    }
}
