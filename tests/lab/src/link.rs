// SPDX-License-Identifier: GPL-2.0
//! The lab's end of the line to the agents.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use lab::protocol::Reply;
use lab::protocol::Request;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

/// Longest time that one exchange with an agent may take, beyond what the request itself asks for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an agent is asked to wait at a time: short, since it serves nobody else meanwhile.
const WAIT_SLICE: Duration = Duration::from_millis(1500);

/// A domain with an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// Dom0.
    Zero,
    /// A guest, by its domain id.
    Guest(u32),
}

/// A command that was started in a domain.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    domain: Domain,
    number: u32,
}

impl Job {
    /// The same in a domain that has another number now.
    pub fn of(self, domain: Domain) -> Self {
        Self { domain, ..self }
    }
}

/// What a command left.
#[derive(Debug)]
pub struct Ended {
    /// Exit status, or 128 + the signal's number.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The connection to Dom0's agent, and through it to the guests'.
pub struct Link {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    /// How often all may take the time that is allowed for it.
    patience: u32,
}

impl Link {
    /// Connect to the socket of the port. Where all is slow, commands may take `patience` times as long as they are allowed to.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub fn connect(socket: &Path, patience: u32) -> Result<Self> {
        let writer = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Self {
            writer,
            reader,
            patience,
        })
    }

    /// Wait until Dom0's agent has said that it is there.
    ///
    /// # Errors
    ///
    /// When it does not in time.
    pub fn wait_ready(&mut self, at_most: Duration) -> Result<()> {
        match self.receive(at_most)? {
            Reply::Ready => Ok(()),
            other => bail!("Dom0's agent greeted with {other:?}"),
        }
    }

    fn receive(&mut self, at_most: Duration) -> Result<Reply> {
        self.writer.set_read_timeout(Some(at_most))?;
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        match read {
            Ok(0) => bail!("the machine has gone"),
            Ok(_) => serde_json::from_str(&line).context("an agent's answer is unreadable"),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                bail!("Dom0's agent did not answer in {} s", at_most.as_secs())
            }
            Err(error) => Err(error).context("the line to Dom0's agent"),
        }
    }

    fn ask(&mut self, domain: Domain, request: Request) -> Result<Reply> {
        let request = match domain {
            Domain::Zero => request,
            Domain::Guest(domain) => {
                let at_most = u64::try_from(PATIENCE.as_millis() / 2)?;
                Request::Guest {
                    domain,
                    request: Box::new(request),
                    at_most,
                }
            }
        };
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        self.writer
            .write_all(&line)
            .context("the machine has gone")?;
        match self.receive(PATIENCE)? {
            Reply::Failed(why) => bail!("{domain:?}: {why}"),
            reply => Ok(reply),
        }
    }

    /// Start a shell command line.
    ///
    /// # Errors
    ///
    /// When the agent does not answer or cannot.
    pub fn spawn(&mut self, domain: Domain, command: &str) -> Result<Job> {
        match self.ask(
            domain,
            Request::Spawn {
                command: command.to_owned(),
            },
        )? {
            Reply::Started(number) => Ok(Job { domain, number }),
            other => bail!("{domain:?} answered {other:?}"),
        }
    }

    /// Look whether a command has ended, waiting a moment for it.
    ///
    /// # Errors
    ///
    /// When the agent does not answer or cannot.
    pub fn poll(&mut self, job: Job) -> Result<Option<Ended>> {
        self.poll_for(job, WAIT_SLICE)
    }

    /// The same, waiting for so long at most.
    fn poll_for(&mut self, job: Job, at_most: Duration) -> Result<Option<Ended>> {
        let at_most = u64::try_from(at_most.as_millis())?;
        match self.ask(
            job.domain,
            Request::Wait {
                job: job.number,
                at_most,
            },
        )? {
            Reply::Running => Ok(None),
            Reply::Exited {
                status,
                stdout,
                stderr,
            } => Ok(Some(Ended {
                status,
                stdout,
                stderr,
            })),
            other => bail!("{:?} answered {other:?}", job.domain),
        }
    }

    /// Wait for a command's end; one that takes too long is killed.
    ///
    /// # Errors
    ///
    /// When it takes too long, or the agent does not answer.
    pub fn wait(&mut self, job: Job, at_most: Duration) -> Result<Ended> {
        let at_most = at_most * self.patience;
        let end = Instant::now() + at_most;
        loop {
            if let Some(ended) = self.poll(job)? {
                return Ok(ended);
            }
            if Instant::now() >= end {
                let said = self.output(job)?;
                self.signal(job, 9)?;
                bail!(
                    "a command did not end in {} s; it had said:\n{}",
                    at_most.as_secs(),
                    tail(&said, 12)
                );
            }
        }
    }

    /// Send a signal to a command's process group.
    ///
    /// # Errors
    ///
    /// When it is no longer there, or the agent does not answer.
    pub fn signal(&mut self, job: Job, signal: i32) -> Result<()> {
        match self.ask(
            job.domain,
            Request::Signal {
                job: job.number,
                signal,
            },
        )? {
            Reply::Done => Ok(()),
            other => bail!("{:?} answered {other:?}", job.domain),
        }
    }

    /// All that a command has said so far, errors last.
    ///
    /// # Errors
    ///
    /// When it is no longer there, or the agent does not answer.
    pub fn output(&mut self, job: Job) -> Result<String> {
        match self.ask(job.domain, Request::Output { job: job.number })? {
            Reply::Output { stdout, stderr } => Ok(stdout + &stderr),
            other => bail!("{:?} answered {other:?}", job.domain),
        }
    }

    /// Wait until a command has said something that contains `text`.
    ///
    /// # Errors
    ///
    /// When it ends or the time is up before.
    pub fn wait_output(&mut self, job: Job, text: &str, at_most: Duration) -> Result<String> {
        let at_most = at_most * self.patience;
        let end = Instant::now() + at_most;
        loop {
            let said = self.output(job)?;
            if said.contains(text) {
                return Ok(said);
            }
            if let Some(ended) = self.poll_for(job, Duration::ZERO)? {
                if ended.stdout.contains(text) {
                    return Ok(ended.stdout);
                }
                bail!(
                    "a command ended ({}) before it said \"{text}\":\n{}",
                    ended.status,
                    tail(&(ended.stdout + &ended.stderr), 12)
                );
            }
            ensure!(
                Instant::now() < end,
                "a command did not say \"{text}\" in {} s:\n{}",
                at_most.as_secs(),
                tail(&said, 12)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Wait until a command has written so many lines that contain `text`.
    ///
    /// # Errors
    ///
    /// What the command left if it ended before, or an error if neither came about.
    pub fn wait_lines(
        &mut self,
        job: Job,
        text: &str,
        count: usize,
        at_most: Duration,
    ) -> Result<(), Result<Ended>> {
        let at_most = at_most * self.patience;
        let end = Instant::now() + at_most;
        loop {
            let said = self.output(job).map_err(Err)?;
            if said.lines().filter(|line| line.contains(text)).count() >= count {
                return Ok(());
            }
            if let Some(ended) = self.poll_for(job, Duration::ZERO).map_err(Err)? {
                return Err(Ok(ended));
            }
            if Instant::now() >= end {
                return Err(Err(anyhow::anyhow!(
                    "a command did not write \"{text}\" {count} times in {} s",
                    at_most.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Write to a command's standard input.
    ///
    /// # Errors
    ///
    /// When it is no longer there, or the agent does not answer.
    pub fn input(&mut self, job: Job, text: &str) -> Result<()> {
        match self.ask(
            job.domain,
            Request::Input {
                job: job.number,
                text: text.to_owned(),
            },
        )? {
            Reply::Done => Ok(()),
            other => bail!("{:?} answered {other:?}", job.domain),
        }
    }

    /// Run a command to its end, without any input.
    ///
    /// # Errors
    ///
    /// When it takes too long, or the agent does not answer.
    pub fn run(&mut self, domain: Domain, command: &str, at_most: Duration) -> Result<Ended> {
        let job = self.spawn(domain, &format!("exec </dev/null; {command}"))?;
        self.wait(job, at_most)
            .with_context(|| format!("in {domain:?}: {command}"))
    }

    /// Run a command that must succeed, and return its standard output.
    ///
    /// # Errors
    ///
    /// When it fails (what it said is part of the error), takes too long, or the agent does not answer.
    pub fn run_ok(&mut self, domain: Domain, command: &str, at_most: Duration) -> Result<String> {
        let ended = self.run(domain, command, at_most)?;
        if ended.status != 0 {
            bail!(
                "in {domain:?}, `{command}` failed with {}:\n{}",
                ended.status,
                tail(&(ended.stdout + &ended.stderr), 15)
            );
        }
        Ok(ended.stdout)
    }
}

/// The last lines of a text.
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
