//! What is said over the socket: one line of JSON asks, lines of JSON answer.

use std::io::{self, BufRead, Read as _, Write};

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::event::Entry;
use crate::domain::ids::{Ctid, JournalId, RunId};
use crate::domain::record::Record;

/// The version of the protocol. Another one is refused by name.
pub(super) const VERSION: u32 = 1;

/// The longest request, its end included.
pub(super) const MAX_REQUEST: usize = 4096;

/// The longest line of an answer: what is known of a hundred thousand containers.
pub(super) const MAX_REPLY: usize = 512 << 20;

/// A request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// The version of the protocol.
    pub(super) phoenix: u32,
    /// What is wanted.
    pub(super) ask: Ask,
}

/// What can be asked. Every answer begins with [`Reply::About`] and ends with [`Reply::End`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Who has the journal: nothing more than the beginning of every answer.
    Who,
    /// Everything that is known, folded.
    Record,
    /// Events.
    Entries {
        /// Only of this container and of the runs themselves.
        ctid: Option<Ctid>,
        /// Only those after this one.
        after: u64,
        /// Those to come, too, for as long as the run lasts.
        follow: bool,
    },
}

/// A line of an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Who answers.
    About(Box<About>),
    /// What is known.
    Record(Box<Record>),
    /// An event.
    Entry(Box<Entry>),
    /// All that was wanted up to this event has been told.
    Upto(u64),
    /// The answer is complete.
    End(End),
    /// There is none.
    Refused(String),
}

/// How an answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All was said.
    Complete,
    /// The run is over, and with it what there is to follow.
    Over,
}

/// Who has the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// The version of phoenix.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// What it does: `apply`, `resume`, `destroy`.
    pub command: String,
    /// Who asked for it.
    pub operator: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The run, once it has begun.
    pub run: Option<RunId>,
    /// The journal.
    pub journal: JournalId,
    /// The host that the journal belongs to.
    pub host: String,
    /// The last event that is durable.
    pub durable: u64,
}

/// Writes one line.
pub(super) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, message)?;
    to.write_all(b"\n")
}

/// Reads one line of at most so many bytes; none: nothing more comes. A line that breaks off is
/// an error: its sender died over it.
pub(super) fn read<T: DeserializeOwned>(
    from: &mut impl BufRead,
    limit: usize,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    from.take(limit as u64).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(serde_json::from_slice(&line).map(Some)?),
        Some(_) if line.len() + 1 >= limit => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line of more than {limit} bytes"),
        )),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
