//! What can go wrong with the journal, and what a person can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::record::IllegalTransition;

/// A range of sequence numbers, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeqRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl fmt::Display for SeqRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "event {}", self.first)
        } else {
            write!(f, "events {} to {}", self.first, self.last)
        }
    }
}

/// Why the journal could not be opened, read or written.
///
/// It can be cloned because one failed sync is the answer to everybody who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("the journal in {} is in use by {}", dir.display(), holder(*pid))]
    Held {
        /// The journal's directory.
        dir: PathBuf,
        /// The process, as far as it is known.
        pid: Option<u32>,
    },
    /// It was begun on another host.
    #[error("the journal in {} belongs to host '{journal}', this is host '{host}'", dir.display())]
    OtherHost {
        /// The journal's directory.
        dir: PathBuf,
        /// The host it belongs to.
        journal: String,
        /// The host that asked.
        host: String,
    },
    /// It was written by a newer phoenix.
    #[error("the journal in {} has format {found}; this phoenix knows formats up to {known}", dir.display())]
    NewerVersion {
        /// The journal's directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// Something in it was altered or lost.
    #[error("the journal in {} is damaged{}: {what}", dir.display(), place(*seqs))]
    Corrupt {
        /// The journal's directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
        /// The events it is about, where that is known.
        seqs: Option<SeqRange>,
    },
    /// A file could not be read or written.
    #[error("{} could not be {doing}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done, as a participle.
        doing: &'static str,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The directory cannot be written to.
    #[error("the state directory is not writable: {}", path.display())]
    NotWritable {
        /// The file or directory that was refused.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// There is too little room on the disk.
    #[error("too little space for the journal in {}: {}", dir.display(), room(*free, *need))]
    NoSpace {
        /// The journal's directory.
        dir: PathBuf,
        /// Bytes that are free, where that is known.
        free: Option<u64>,
        /// Bytes that must be free.
        need: u64,
    },
    /// An event is too large to be stored.
    #[error("an event of {bytes} bytes is too large for the journal (at most {limit})")]
    TooLarge {
        /// Its size as JSON.
        bytes: usize,
        /// The largest that is taken.
        limit: usize,
    },
    /// An event has no JSON form.
    #[error("an event could not be encoded for the journal")]
    Unstorable {
        /// Why.
        source: Arc<serde_json::Error>,
    },
    /// The store underneath failed.
    #[error("the store of the journal in {} failed", dir.display())]
    Sled {
        /// The journal's directory.
        dir: PathBuf,
        /// Why.
        source: sled::Error,
    },
    /// There is a journal already.
    #[error("there is a journal in {} already", dir.display())]
    Exists {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// Events to be imported do not follow each other.
    #[error("event {seq} is missing: the events are no whole journal")]
    Gap {
        /// The first that is missing.
        seq: u64,
    },
    /// The events contradict each other.
    #[error("the journal's events do not fit together")]
    Illegal(#[from] IllegalTransition),
    /// The thread that writes the journal has ended.
    #[error("the journal is closed")]
    Closed,
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

fn place(seqs: Option<SeqRange>) -> String {
    seqs.map_or_else(String::new, |seqs| format!(" at {seqs}"))
}

fn room(free: Option<u64>, need: u64) -> String {
    let need = need.div_ceil(1 << 20);
    match free {
        Some(free) => format!("{} MiB are free, {need} MiB are needed", free >> 20),
        None => format!("the disk is full, {need} MiB are needed"),
    }
}

impl JournalError {
    /// An error of a file operation, sorted by what a person has to do about it.
    pub(super) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace {
                dir: path.to_owned(),
                free: None,
                need: super::space::MIN_FREE,
            },
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory => Self::NotWritable {
                path: path.to_owned(),
                source: Arc::new(source),
            },
            _ => Self::Io {
                path: path.to_owned(),
                doing,
                source: Arc::new(source),
            },
        }
    }

    /// An error of sled, sorted likewise.
    pub(super) fn sled(dir: &Path, source: sled::Error) -> Self {
        match source {
            sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
                Self::Held {
                    dir: dir.to_owned(),
                    pid: None,
                }
            }
            sled::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull
                        | io::ErrorKind::QuotaExceeded
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                Self::io(dir, "written", error)
            }
            sled::Error::Corruption { .. } => Self::corrupt(dir, "the store says so itself", None),
            source => Self::Sled {
                dir: dir.to_owned(),
                source,
            },
        }
    }

    /// Damage.
    pub(super) fn corrupt(dir: &Path, what: impl Into<String>, seqs: Option<SeqRange>) -> Self {
        Self::Corrupt {
            dir: dir.to_owned(),
            what: what.into(),
            seqs,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Held { pid: Some(pid), .. } => format!(
                "wait until that phoenix has ended, or look at it with `ps -p {pid}`; \
                 never delete the lock file"
            ),
            Self::Held { pid: None, .. } => {
                "wait until the other phoenix has ended; never delete the lock file".to_owned()
            }
            Self::OtherHost { .. } => "give this host a state directory of its own (--state), \
                 or go to the host that the journal belongs to"
                .to_owned(),
            Self::NewerVersion { .. } => "use the newer phoenix that wrote it".to_owned(),
            Self::Corrupt { dir, .. } => format!(
                "run `phoenix journal verify` for the extent; restore {dir} from a backup, or \
                 run `phoenix journal repair`, which makes a new one of all that is whole, keeps \
                 the damaged one aside and says what was lost",
                dir = dir.display()
            ),
            Self::Exists { .. } => "name another state directory with --state, or move that \
                 journal aside"
                .to_owned(),
            Self::Gap { .. } => "export the journal again, the whole of it".to_owned(),
            Self::Io { path, .. } => {
                format!(
                    "look at {} and at the system's log for disk errors",
                    path.display()
                )
            }
            Self::NotWritable { path, .. } => format!(
                "run phoenix as a user who may write to {}, or name another directory with --state",
                path.display()
            ),
            Self::NoSpace { dir, .. } => format!(
                "free some space on the file system of {}, then run the command again, or \
                 `phoenix resume` where a run was stopped; nothing that was recorded is lost",
                dir.display()
            ),
            Self::TooLarge { .. } => "shorten what the event carries (a very long value in the \
                 configuration, most likely)"
                .to_owned(),
            Self::Illegal(_) => {
                "run `phoenix journal verify`; if it finds nothing wrong, this is a defect of \
                 phoenix: please report it with the output of `phoenix journal export`"
                    .to_owned()
            }
            Self::Unstorable { .. } | Self::Closed => {
                "this is a defect of phoenix; please report it".to_owned()
            }
            Self::Sled { dir, .. } => format!(
                "look at the system's log for disk errors of {}, then run phoenix again: \
                 it continues from what is on the disk",
                dir.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_and_where() {
        let dir = Path::new("/s/journal");
        let corrupt =
            JournalError::corrupt(dir, "altered", Some(SeqRange { first: 3, last: 9 })).to_string();
        assert_eq!(
            corrupt,
            "the journal in /s/journal is damaged at events 3 to 9: altered"
        );
        let held = JournalError::Held {
            dir: dir.to_owned(),
            pid: Some(7),
        };
        assert_eq!(
            held.to_string(),
            "the journal in /s/journal is in use by process 7"
        );
        assert!(held.help().contains("ps -p 7"));
        let full = JournalError::NoSpace {
            dir: dir.to_owned(),
            free: Some(5 << 20),
            need: 8 << 20,
        };
        assert!(
            full.to_string()
                .ends_with("5 MiB are free, 8 MiB are needed"),
            "{full}"
        );
    }

    #[test]
    fn io_errors_are_sorted_by_what_to_do() {
        let path = Path::new("/s");
        let sort = |kind: io::ErrorKind| JournalError::io(path, "read", kind.into());
        assert!(matches!(
            sort(io::ErrorKind::StorageFull),
            JournalError::NoSpace { .. }
        ));
        assert!(matches!(
            sort(io::ErrorKind::ReadOnlyFilesystem),
            JournalError::NotWritable { .. }
        ));
        assert!(matches!(
            sort(io::ErrorKind::UnexpectedEof),
            JournalError::Io { .. }
        ));
    }
}
