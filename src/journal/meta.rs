//! What a journal is: a small file, written once, that the chain starts from.
//!
//! It is a file of its own and not a key in sled because it must be readable when sled is not:
//! whose journal it is, and that its format is too new, is said before sled is opened.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::JournalError;
use super::files::{self, Paths};
use super::record::{FORMAT, Hash};
use crate::domain::ids::JournalId;

/// Whose journal it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    /// The newest format of any record.
    pub(super) format: u32,
    pub(super) id: JournalId,
    pub(super) host: String,
    /// Milliseconds since 1970.
    created: i64,
}

/// Read first, so that a newer format may change everything else.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Meta {
    pub(super) fn new(id: JournalId, host: &str, now: DateTime<Utc>) -> Self {
        let created = now.timestamp_millis();
        Self {
            format: FORMAT.into(),
            id,
            host: host.to_owned(),
            created,
        }
    }

    pub(super) fn created_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.created).unwrap_or_default()
    }

    /// What the first record is chained to. It holds all but the format, so that no journal's
    /// records pass for another's, and a changed host or id is found.
    pub(super) fn genesis(&self) -> Hash {
        let mut hash = Sha256::new();
        hash.update(b"phoenix journal\0");
        hash.update(self.id.0.as_bytes());
        hash.update(self.created.to_be_bytes());
        hash.update(self.host.as_bytes());
        hash.finalize().into()
    }

    /// None: there is no journal.
    pub(super) fn read(paths: &Paths) -> Result<Option<Self>, JournalError> {
        let path = paths.meta();
        let Some(content) = files::read(&path)? else {
            return Ok(None);
        };
        let broken = |error: serde_json::Error| {
            JournalError::corrupt(&paths.dir, format!("{}: {error}", path.display()), None)
        };
        let Version { format } = serde_json::from_slice(&content).map_err(broken)?;
        let known = u32::from(FORMAT);
        if format > known {
            return Err(JournalError::NewerVersion {
                dir: paths.dir.clone(),
                found: format,
                known,
            });
        }
        serde_json::from_slice(&content).map(Some).map_err(broken)
    }

    pub(super) fn write(&self, paths: &Paths) -> Result<(), JournalError> {
        let mut content =
            serde_json::to_vec_pretty(self).map_err(|source| JournalError::Unstorable {
                source: source.into(),
            })?;
        content.push(b'\n');
        files::replace(&paths.meta(), &content)
    }
}
