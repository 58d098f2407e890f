// SPDX-License-Identifier: GPL-2.0
//! The lab's hand in Dom0 (`lab-agent dom0`) and in a guest (`lab-agent guest`): runs commands for it.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use lab::jobs::Jobs;
use lab::mailbox::Mailbox;
use lab::protocol::PORT_NAME;
use lab::protocol::Reply;
use lab::protocol::Request;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;
use xenstore::XsdClient;
use xenstore::XsdInterface;

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
    let client = XsdClient::open()
        .await
        .context("xenstored does not answer in Dom0")?;
    let mut number = u64::from(std::process::id()) << 32;
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
            }) => {
                number += 1;
                ask_guest(
                    &client,
                    domain,
                    number,
                    &request,
                    Duration::from_millis(at_most),
                )
                .await
                .unwrap_or_else(|error| Reply::Failed(format!("{error:#}")))
            }
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

/// Hand a request on to a guest and wait for its answer.
async fn ask_guest(
    client: &XsdClient,
    domain: u32,
    number: u64,
    request: &Request,
    at_most: Duration,
) -> Result<Reply> {
    let home = format!("/local/domain/{domain}/");
    let answers = Mailbox::new(client.clone(), &home, "lab");
    Mailbox::new(client.clone(), &home, "guest")
        .put(number, &serde_json::to_vec(request)?)
        .await?;
    let end = Instant::now() + at_most;
    loop {
        match answers.get().await? {
            Some((answered, document)) if answered == number => {
                return Ok(serde_json::from_slice(&document)?);
            }
            _ => {}
        }
        if client.read_string(format!("{home}name")).await?.is_none() {
            bail!("domain {domain} is gone");
        }
        if Instant::now() >= end {
            bail!(
                "the agent in domain {domain} did not answer in {} s",
                at_most.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
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
        // A watch event is a hint that can be lost, so look by oneself now and then.
        let _ = tokio::time::timeout(Duration::from_secs(1), watch.receiver.recv()).await;
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
