// SPDX-License-Identifier: GPL-2.0
//! The text of a fault script.
//!
//! ```toml
//! [[fault]]
//! on = "PG_FLIP"          # requests of this name; "any": all
//! from = 3                # the third of them since the script was read; 1 if left out
//! times = 2               # the third and the fourth; 1 if left out, 0: without end
//! answer = { status = 1 } # see `Answer`
//! event = { copies = 2 }  # see `Event`: of the flip that this request asks for
//! ring = { rsp-prod = 33 }# see `RingIndices`
//!
//! [[fault]]
//! at = 2.5                # not upon a request, but so long after a frontend has connected
//! storm = 1
//!
//! [[store]]
//! at = 2.5
//! node = "state"          # of the device's directory in XenStore
//! values = ["5", "4"]     # see `StoreFault`
//! ```

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// All faults of a script.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The first of those that are for a request is what happens to it.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// What is written to XenStore.
    #[serde(default)]
    pub store: Vec<StoreFault>,
}

/// Texts for a node of a device's directory in XenStore, one after the other, of whatever the device is doing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreFault {
    /// How long after a frontend has connected the first is written.
    pub at: Seconds,
    /// The node, "state" for instance.
    pub node: String,
    /// The texts.
    pub values: Vec<String>,
    /// The time from one to the next.
    #[serde(default)]
    pub every: Seconds,
    /// How often all of them are written.
    #[serde(default = "one")]
    pub rounds: u32,
}

/// What is done wrong, and when.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fault {
    /// The protocol's name of the requests that it waits for, or "any".
    #[serde(default)]
    pub on: Option<String>,
    /// It waits for no request, but so long after a frontend has connected.
    #[serde(default)]
    pub at: Option<Seconds>,
    /// Which of those is the first.
    #[serde(default = "one")]
    pub from: u32,
    /// For how many of them in a row; 0: for all that follow.
    #[serde(default = "one")]
    pub times: u32,
    /// Whether what was asked for is done at all.
    #[serde(default = "yes")]
    pub execute: bool,
    /// How it is answered.
    #[serde(default)]
    pub answer: Answer,
    /// What is in the directory of a display buffer that the backend has allocated.
    #[serde(default)]
    pub reference: Option<WrongReference>,
    /// What the first page of that directory says which page is the next, after it was filled in.
    #[serde(default)]
    pub link: Option<u32>,
    /// Whether all that a DBUF_CREATE shares is looked at: whatever is not 0 and not the protocol's is told on standard output.
    #[serde(default)]
    pub inspect: bool,
    /// How the flip's end is told. Of another request: ends of flips that are told after its answer.
    #[serde(default)]
    pub event: Option<Event>,
    /// An EDID that is not what it should be.
    #[serde(default)]
    pub edid: Option<WrongEdid>,
    /// Indices of the ring of requests, as they are after the answer.
    #[serde(default)]
    pub ring: RingIndices,
    /// Indices of the page of events, as they are after the flip's end was told.
    #[serde(default)]
    pub page: PageIndices,
    /// Hits without a reason, on both ports.
    #[serde(default)]
    pub storm: Option<Seconds>,
    /// The backend does nothing at all for so long before it does what was asked for.
    #[serde(default)]
    pub stall: Option<Seconds>,
    /// The answer's slot is written again and again for so long, right and wrong in turn, before anything else is done.
    #[serde(default)]
    pub scribble: Option<Seconds>,
    /// What becomes of the connection afterwards.
    #[serde(default)]
    pub then: Then,
}

/// An answer that is not what it should be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Answer {
    /// Instead of 0 or an errno's negative.
    pub status: Option<i32>,
    /// Instead of the request's.
    pub id: Option<Id>,
    /// Instead of the request's.
    pub operation: Option<u8>,
    /// Octets that are reserved, or not this operation's, are not 0.
    pub garbage: bool,
    /// How often it is given; 0: never.
    pub copies: u32,
    /// How late it is given.
    pub late: Seconds,
    /// It is kept until this many more requests are to be answered, and given after these.
    pub behind: u32,
    /// Whether the frontend is told.
    pub notify: bool,
}

/// An id that is not the request's.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Id {
    /// This one.
    Number(u16),
    /// That of the answer before.
    Previous,
}

/// An EDID that is not what it should be.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WrongEdid {
    /// The size that is told, in octets.
    pub size: Option<u32>,
    /// Whether the checksum is wrong.
    #[serde(default)]
    pub bad_checksum: bool,
}

/// A reference that is not what it should be.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WrongReference {
    /// Which of them.
    pub at: Place,
    /// What it is; if left out, what the one before it is, or, of the first, the last.
    pub value: Option<u32>,
}

/// A place among many.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "what they say")]
pub enum Place {
    First,
    Middle,
    Last,
}

impl WrongReference {
    /// Puts it among `references`.
    pub fn spoil(self, references: &mut [u32]) {
        let at = match self.at {
            Place::First => 0,
            Place::Middle => references.len() / 2,
            Place::Last => references.len().saturating_sub(1),
        };
        let before = match at {
            0 => references.last(),
            at => references.get(at - 1),
        };
        let value = self.value.or(before.copied());
        if let (Some(place), Some(value)) = (references.get_mut(at), value) {
            *place = value;
        }
    }
}

/// An event that is not what it should be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Event {
    /// How often it comes; 0: never.
    pub copies: u32,
    /// Instead of the framebuffer's.
    pub cookie: Option<u64>,
    /// Instead of the next.
    pub id: Option<u16>,
    /// The event's type, instead of that of a flip.
    pub kind: Option<u8>,
    /// How late it is given.
    pub late: Seconds,
    /// It comes before the answer.
    pub early: bool,
}

/// What is added to the indices in the page of requests. They are right again with the next answer.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RingIndices {
    /// The frontend's.
    pub req_prod: Option<i64>,
    /// This side's.
    pub req_event: Option<i64>,
    /// This side's.
    pub rsp_prod: Option<i64>,
    /// The frontend's.
    pub rsp_event: Option<i64>,
}

/// What is added to the indices in the page of events.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PageIndices {
    /// The frontend's.
    pub in_cons: Option<i64>,
    /// This side's.
    pub in_prod: Option<i64>,
    /// This side's, instead of the next: events go on from there.
    pub jump: Option<u32>,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It goes on.
    #[default]
    GoesOn,
    /// The process is killed.
    Killed,
    /// It is closed, and may be made anew after a while.
    Closed,
}

/// A time in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(pub Duration);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        Duration::try_from_secs_f64(seconds)
            .map(Seconds)
            .map_err(|error| error.to_string())
    }
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            status: None,
            id: None,
            operation: None,
            garbage: false,
            copies: 1,
            late: Seconds::default(),
            behind: 0,
            notify: true,
        }
    }
}

impl Default for Event {
    fn default() -> Self {
        Event {
            copies: 1,
            cookie: None,
            id: None,
            kind: None,
            late: Seconds::default(),
            early: false,
        }
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is not a script: says where.
    pub fn read(file: &Path) -> Result<Self> {
        let place = || file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(place)?;
        Self::parse(&text).with_context(place)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let script: Script = toml::from_str(text)?;
        for (index, fault) in script.fault.iter().enumerate() {
            ensure!(fault.from > 0, "fault {index}: requests are counted from 1");
            ensure!(
                fault.on.is_some() != fault.at.is_some(),
                "fault {index}: it is either on a request or at a time"
            );
        }
        Ok(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_it_should_be() {
        let script = Script::parse("[[fault]]\non = \"PG_FLIP\"").expect("a script");
        let fault = &script.fault[0];
        assert_eq!((fault.from, fault.times, fault.execute), (1, 1, true));
        assert_eq!((fault.answer.copies, fault.answer.notify), (1, true));
        assert_eq!((Event::default().copies, fault.then), (1, Then::GoesOn));
    }

    #[test]
    fn every_word_is_understood() {
        let text = r#"
            [[fault]]
            on = "any"
            from = 2
            times = 0
            execute = false
            answer = { status = -5, id = "previous", operation = 0x11, garbage = true, copies = 2, late = 0.5, behind = 1, notify = false }
            event = { copies = 0, cookie = 7, id = 9, kind = 255, late = 10, early = true }
            ring = { req-prod = 1, req-event = -1, rsp-prod = 4294967295, rsp-event = 5 }
            page = { in-cons = 1, in-prod = 64, jump = 4294967226 }
            reference = { at = "last", value = 0 }
            link = 7
            inspect = true
            edid = { size = 0, bad-checksum = true }
            storm = 3
            stall = 2
            scribble = 0.1
            then = "killed"

            [[fault]]
            on = "PG_FLIP"
            answer = { id = { number = 3 } }

            [[fault]]
            at = 1.5
            then = "closed"

            [[store]]
            at = 1
            node = "state"
            values = ["5", "x", ""]
            every = 0.01
            rounds = 3
        "#;
        let script = Script::parse(text).expect("a script");
        assert_eq!(script.fault[0].then, Then::Killed);
        assert!(matches!(script.fault[1].answer.id, Some(Id::Number(3))));
        assert_eq!(script.fault[2].then, Then::Closed);
        assert_eq!(script.store[0].values.len(), 3);
    }

    #[test]
    fn references_are_spoilt_where_they_should_be() {
        for (at, value, expected) in [
            (Place::First, None, [4, 2, 3, 4]),
            (Place::Middle, None, [1, 2, 2, 4]),
            (Place::Last, Some(0), [1, 2, 3, 0]),
        ] {
            let mut references = [1, 2, 3, 4];
            WrongReference { at, value }.spoil(&mut references);
            assert_eq!(references, expected);
        }
        WrongReference {
            at: Place::Last,
            value: Some(1),
        }
        .spoil(&mut []);
    }

    #[test]
    fn mistakes_are_told() {
        for text in [
            "[[fault]]",
            "[[fault]]\non = \"any\"\nat = 3",
            "[[store]]\nat = 3",
            "[[fault]]\non = \"any\"\nform = 3",
            "[[fault]]\non = \"any\"\nfrom = 0",
            "[[fault]]\non = \"any\"\nanswer = { late = -1 }",
            "[[fault]]\non = \"any\"\nthen = \"dies\"",
        ] {
            Script::parse(text).expect_err(text);
        }
    }
}
