//! The log of a simulated host: one line of JSON for each effect, in order. It is the truth;
//! everything else can be made from it again.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{SimError, SimFacts};
use crate::domain::action::Action;
use crate::domain::ids::{Ctid, RunId};
use crate::domain::model::Operation;
use crate::domain::step::Step;

/// One effect on a simulated host, as `phoenix sim log` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its number, from 1.
    pub n: u64,
    /// The run that did it; none: a person, by hand.
    pub run: Option<RunId>,
    /// The container; none: the host itself.
    pub ctid: Option<Ctid>,
    /// The state that it was done for.
    pub step: Option<Step>,
    /// The attempt at it.
    pub attempt: Option<u32>,
    /// Sequence number of its intent in the journal.
    pub intent: Option<u64>,
    /// What kind of action or operation it was.
    pub kind: String,
    /// The action of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The operation by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Its process was killed in the middle of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// The kind of the entry for a reboot of the host.
const REBOOT: &str = "reboot";

impl LogEntry {
    /// An entry for something done by hand.
    pub(super) fn by_hand(n: u64, ctid: Ctid, operation: Operation) -> Self {
        let kind = operation.kind().to_owned();
        Self {
            ctid: Some(ctid),
            kind,
            operation: Some(operation),
            ..Self::reboot(n)
        }
    }

    /// An entry for a reboot of the host.
    pub(super) fn reboot(n: u64) -> Self {
        Self {
            n,
            run: None,
            ctid: None,
            step: None,
            attempt: None,
            intent: None,
            kind: REBOOT.to_owned(),
            action: None,
            operation: None,
            partial: false,
        }
    }

    pub(super) fn is_reboot(&self) -> bool {
        self.ctid.is_none() && self.kind == REBOOT
    }
}

/// A line: an entry, or the facts in force from here on.
#[derive(Debug)]
pub(super) enum Line {
    Entry(Box<LogEntry>),
    Facts(SimFacts),
}

#[derive(Serialize, Deserialize)]
struct FactsLine<F> {
    facts: F,
}

impl Line {
    fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        if text.starts_with(br#"{"facts""#) {
            serde_json::from_slice(text).map(|line: FactsLine<SimFacts>| Self::Facts(line.facts))
        } else {
            serde_json::from_slice(text).map(|entry| Self::Entry(Box::new(entry)))
        }
    }
}

pub(super) fn facts_line(facts: &SimFacts) -> Result<Vec<u8>, serde_json::Error> {
    line(&FactsLine { facts })
}

pub(super) fn line(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// The file. Whoever calls holds the lock of the directory.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    inode: u64,
}

impl Log {
    pub(super) fn open(path: PathBuf) -> Result<Self, SimError> {
        let opened = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&path);
        let file = opened.map_err(SimError::io("open", &path))?;
        let inode = file
            .metadata()
            .map_err(SimError::io("look at", &path))?
            .ino();
        Ok(Self { path, file, inode })
    }

    /// The length, or none when another file has taken this one's place.
    pub(super) fn length(&self) -> Result<Option<u64>, SimError> {
        match std::fs::metadata(&self.path) {
            Ok(found) if found.ino() == self.inode => Ok(Some(found.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SimError::io("look at", &self.path)(error)),
        }
    }

    /// The lines from `offset` on, with the offset behind the last of them. An unfinished line
    /// at the end, of a process that was killed while it wrote, is cut off: its effect was never
    /// told to anybody.
    pub(super) fn read(&mut self, offset: u64) -> Result<(Vec<Line>, u64), SimError> {
        let io = |what| SimError::io(what, &self.path);
        self.file
            .seek(SeekFrom::Start(offset))
            .map_err(io("read"))?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(io("read"))?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        let end = offset + whole as u64;
        if whole < bytes.len() {
            self.file.set_len(end).map_err(io("cut the torn line of"))?;
        }
        let texts = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
        let lines = texts.map(Line::parse).enumerate().map(|(index, line)| {
            line.map_err(|error| SimError::Invalid {
                what: "log of the simulated host",
                path: self.path.clone(),
                problem: format!("line {} behind byte {offset}: {error}", index + 1),
            })
        });
        Ok((lines.collect::<Result<_, _>>()?, end))
    }

    /// Appends lines behind `offset`, where the file ends: all of them or none.
    pub(super) fn append(&mut self, offset: u64, bytes: &[u8]) -> Result<u64, SimError> {
        if let Err(error) = self.file.write_all(bytes) {
            // A full disk may have taken a part of it; what is left is no line of anybody.
            let _ = self.file.set_len(offset);
            return Err(SimError::io("write", &self.path)(error));
        }
        Ok(offset + bytes.len() as u64)
    }

    /// Puts an empty log in this one's place; others notice by the file's identity.
    pub(super) fn replace(&mut self) -> Result<(), SimError> {
        let new = sibling(&self.path, "new");
        File::create(&new).map_err(SimError::io("create", &new))?;
        std::fs::rename(&new, &self.path).map_err(SimError::io("replace", &self.path))?;
        *self = Self::open(self.path.clone())?;
        Ok(())
    }
}

/// `PATH.SUFFIX`, in the same directory.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
