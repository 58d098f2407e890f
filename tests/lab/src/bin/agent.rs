// SPDX-License-Identifier: GPL-2.0
//! The lab's hand in Dom0 (`lab-agent dom0`) and in a guest (`lab-agent guest`): runs commands for it.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use lab::jobs::Jobs;
use lab::mailbox::Mailbox;
use lab::protocol::PORT_NAME;
use lab::protocol::Reply;
use lab::protocol::Request;
use std::collections::HashSet;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;
use xenstore::XsdClient;
use xenstore::XsdInterface;
use xenstore::XsdMultiWatchHandle;

fn main() -> Result<()> {
    let side = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match side.as_str() {
        "dom0" => runtime.block_on(dom0()),
        "guest" => runtime.block_on(guest()),
        _ => bail!("usage: lab-agent dom0|guest"),
    }
}

/// Serve the virtio-serial port: requests for Dom0, and for guests, which are handed on.
async fn dom0() -> Result<()> {
    let port = port()?;
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .open(&port)
            .with_context(|| port.display().to_string())
    };
    let mut writer = open()?;
    let mut reader = BufReader::new(writer.try_clone()?);
    let mut jobs = Jobs::default();
    let mut guests = Guests::open().await?;
    send(&mut writer, &Reply::Ready)?;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            // Nobody is connected at the other end.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        let reply = match serde_json::from_str(&line) {
            Ok(Request::Guest {
                domain,
                request,
                at_most,
            }) => guests
                .ask(domain, &request, Duration::from_millis(at_most))
                .await
                .unwrap_or_else(|error| Reply::Failed(format!("{error:#}"))),
            Ok(request) => jobs.handle(request),
            Err(error) => Reply::Failed(format!("an unreadable request: {error}")),
        };
        send(&mut writer, &reply)?;
    }
}

fn send(writer: &mut File, reply: &Reply) -> Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer
        .write_all(&line)
        .context("the port to the lab is gone")
}

/// The port's device node. There is no udev here that would make the link by name.
fn port() -> Result<PathBuf> {
    for entry in std::fs::read_dir("/sys/class/virtio-ports").context("no virtio-serial port")? {
        let entry = entry?;
        if std::fs::read_to_string(entry.path().join("name"))
            .unwrap_or_default()
            .trim()
            == PORT_NAME
        {
            return Ok(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    bail!("no virtio-serial port is named {PORT_NAME}")
}

/// A watch event is a hint that can be lost, so one looks by oneself now and then.
const LOOK: Duration = Duration::from_secs(1);

/// The guests' mailboxes.
struct Guests {
    client: XsdClient,
    answers: XsdMultiWatchHandle,
    /// Domains whose answers are watched. Their ids come once.
    watched: HashSet<u32>,
    /// The last request's number.
    number: u64,
}

impl Guests {
    async fn open() -> Result<Self> {
        let client = XsdClient::open()
            .await
            .context("xenstored does not answer in Dom0")?;
        let answers = client.create_multi_watch().await?;
        Ok(Self {
            client,
            answers,
            watched: HashSet::new(),
            number: u64::from(std::process::id()) << 32,
        })
    }

    /// Hand a request on to a guest and wait for its answer.
    async fn ask(&mut self, domain: u32, request: &Request, at_most: Duration) -> Result<Reply> {
        let home = format!("/local/domain/{domain}/");
        let answers = Mailbox::new(self.client.clone(), &home, "lab");
        if self.watched.insert(domain) {
            self.client
                .bind_watch_id(self.answers.id, answers.ready())
                .await
                .context("xenstore: watching a guest's answers")?;
        }
        self.number += 1;
        Mailbox::new(self.client.clone(), &home, "guest")
            .put(self.number, &serde_json::to_vec(request)?)
            .await?;
        let end = Instant::now() + at_most;
        loop {
            match answers.get().await? {
                Some((answered, document)) if answered == self.number => {
                    return Ok(serde_json::from_slice(&document)?);
                }
                _ => {}
            }
            let name = self.client.read_string(format!("{home}name")).await?;
            ensure!(name.is_some(), "domain {domain} is gone");
            ensure!(
                Instant::now() < end,
                "the agent in domain {domain} did not answer in {} s",
                at_most.as_secs()
            );
            let _ = tokio::time::timeout(LOOK, self.answers.receiver.recv()).await;
        }
    }
}

/// Serve the own mailbox.
async fn guest() -> Result<()> {
    let client = XsdClient::open()
        .await
        .context("xenstore does not answer in this guest")?;
    let requests = Mailbox::new(client.clone(), "", "guest");
    let answers = Mailbox::new(client.clone(), "", "lab");
    let mut watch = client
        .create_watch(requests.ready())
        .await
        .context("xenstore: watching the mailbox")?;
    client
        .bind_watch(&watch)
        .await
        .context("xenstore: watching the mailbox")?;
    let mut jobs = Jobs::default();
    // What was asked before this agent started was meant for another.
    let mut last = requests
        .get()
        .await
        .ok()
        .flatten()
        .map_or(0, |(number, _)| number);
    client
        .write_string("data/lab/agent", "ready")
        .await
        .context("xenstore: saying that the agent is ready")?;
    loop {
        let _ = tokio::time::timeout(LOOK, watch.receiver.recv()).await;
        let Some((number, document)) = requests.get().await? else {
            continue;
        };
        if number == last {
            continue;
        }
        last = number;
        let reply = match serde_json::from_slice(&document) {
            Ok(request) => jobs.handle(request),
            Err(error) => Reply::Failed(format!("an unreadable request: {error}")),
        };
        answers.put(number, &serde_json::to_vec(&reply)?).await?;
    }
}
