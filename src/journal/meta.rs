//! What a journal is: a small file that the chain starts from. It is written when the journal is
//! made, and again when compaction or repair gives it another store: then its replacement is the
//! moment at which all of that happens.
//!
//! It is a file of its own and not a key in sled because it must be readable when sled is not:
//! whose journal it is, and that its format is too new, is said before sled is opened.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::anchor::{from_hex, to_hex};
use super::chain::{Joint, Origin};
use super::error::JournalError;
use super::files::{self, Paths};
use super::record::Hash;
use crate::domain::ids::JournalId;

/// The format of a journal as it is made: one store, from the first event on.
const PLAIN: u32 = 1;
/// The format of one that was compacted, imported or repaired, and the newest that is read.
pub(super) const KNOWN: u32 = 2;

/// Whose journal it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) format: u32,
    pub(super) id: JournalId,
    pub(super) host: String,
    /// Milliseconds since 1970.
    created: i64,
    /// Which store is the journal's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) generation: u32,
    /// Where it begins, if not with the first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<Base>,
}

fn is_default(generation: &u32) -> bool {
    *generation == 0
}

/// Where a journal begins that was compacted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Base {
    /// Sequence number before its first event.
    before: u64,
    /// Sequence number of the last event that was folded into what is carried.
    through: u64,
    /// Hash of the record that ended with it, to which the next one is chained.
    hash: String,
    /// Hash of the last record of what is carried.
    carried: String,
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
            format: PLAIN,
            id,
            host: host.to_owned(),
            created,
            generation: 0,
            base: None,
        }
    }

    /// With the next store; where the chain begins, if that changes.
    pub(super) fn next(&self, joined: Option<(u64, Joint)>) -> Self {
        let base = joined.map(|(before, joint)| Base {
            before,
            through: joint.seq,
            hash: to_hex(&joint.becomes),
            carried: to_hex(&joint.expected),
        });
        Self {
            format: KNOWN,
            generation: self.generation + 1,
            base: base.or_else(|| self.base.clone()),
            ..self.clone()
        }
    }

    /// Where the chain begins.
    pub(super) fn origin(&self, paths: &Paths) -> Result<Origin, JournalError> {
        let genesis = self.genesis();
        let Some(base) = &self.base else {
            return Ok(Origin::first(genesis));
        };
        let joint = || {
            Some(Joint {
                seq: base.through,
                expected: from_hex(&base.carried)?,
                becomes: from_hex(&base.hash)?,
            })
        };
        let joint = joint().filter(|joint| base.before < joint.seq);
        let what = "meta.json does not say where the journal begins";
        let joint = joint.ok_or_else(|| JournalError::corrupt(&paths.dir, what, None))?;
        Ok(Origin::joined(genesis, base.before, joint))
    }

    pub(super) fn created_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.created).unwrap_or_default()
    }

    /// What the first record of a new journal is chained to. It holds what never changes, so that no journal's
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
        if format > KNOWN {
            return Err(JournalError::NewerVersion {
                dir: paths.dir.clone(),
                found: format,
                known: KNOWN,
            });
        }
        serde_json::from_slice(&content).map(Some).map_err(broken)
    }

    /// The copy, if there is one that can be read.
    pub(super) fn read_copy(paths: &Paths) -> Option<Self> {
        serde_json::from_slice(&files::read(&paths.meta_copy()).ok()??).ok()
    }

    pub(super) fn write(&self, paths: &Paths) -> Result<(), JournalError> {
        let content = self.content()?;
        files::replace(&paths.meta(), &content)?;
        files::replace(&paths.meta_copy(), &content)
    }

    /// Writes the copy again where it is missing or another.
    pub(super) fn keep_copy(&self, paths: &Paths) -> Result<(), JournalError> {
        if Self::read_copy(paths).as_ref() == Some(self) {
            return Ok(());
        }
        files::replace(&paths.meta_copy(), &self.content()?)
    }

    fn content(&self) -> Result<Vec<u8>, JournalError> {
        let mut content =
            serde_json::to_vec_pretty(self).map_err(|source| JournalError::Unstorable {
                source: source.into(),
            })?;
        content.push(b'\n');
        Ok(content)
    }
}
