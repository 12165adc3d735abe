//! What the chain cannot know of itself: where it ended.
//!
//! Two witnesses stand outside of sled. `anchor.json` is synced, every [`ANCHOR_EVERY`] records
//! and when the journal is closed; it says which. `head` is overwritten in place after every batch, after the
//! batch is on the disk, and not synced: it costs a microsecond, it survives everything but a
//! power cut, and a power cut leaves an older one or a torn one, which its checksum tells.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::JournalError;
use super::files::{self, Paths};
use super::record::{FORMAT, Hash};

/// How many records may follow before the anchor is written again.
pub(super) const ANCHOR_EVERY: u64 = 1024;

/// An end of the chain that was durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// Sequence number of the last event; 0: there is none.
    pub(super) seq: u64,
    /// Hash of the last record, or what the chain starts from.
    pub(super) hash: Hash,
}

/// What `anchor.json` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Anchor {
    pub(super) head: Head,
    /// Whether the journal was closed there: then it ends there, too.
    pub(super) closed: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// Sequence number of the last event.
    seq: u64,
    /// Hash of the record that ends with it.
    head: String,
    #[serde(default)]
    closed: bool,
}

impl Anchor {
    /// None: there is no file.
    pub(super) fn read(paths: &Paths) -> Result<Option<Self>, JournalError> {
        let path = paths.anchor();
        let Some(content) = files::read(&path)? else {
            return Ok(None);
        };
        let anchor = serde_json::from_slice::<Stored>(&content)
            .ok()
            .and_then(|stored| {
                Some(Self {
                    head: Head {
                        seq: stored.seq,
                        hash: from_hex(&stored.head)?,
                    },
                    closed: stored.closed,
                })
            });
        let what = || format!("{} is not an anchor", path.display());
        anchor
            .map(Some)
            .ok_or_else(|| JournalError::corrupt(&paths.dir, what(), None))
    }

    pub(super) fn write(&self, paths: &Paths) -> Result<(), JournalError> {
        let stored = Stored {
            format: FORMAT.into(),
            seq: self.head.seq,
            head: to_hex(&self.head.hash),
            closed: self.closed,
        };
        let mut content =
            serde_json::to_vec(&stored).map_err(|source| JournalError::Unstorable {
                source: source.into(),
            })?;
        content.push(b'\n');
        files::replace(&paths.anchor(), &content)
    }
}

impl Head {
    /// Sequence number, hash, and the first eight bytes of the SHA-256 of both and of what the
    /// chain starts from, so that another journal's file is not taken for ours.
    fn to_bytes(self, genesis: &Hash) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..40].copy_from_slice(&self.hash);
        let mut hash = Sha256::new();
        hash.update(&bytes[..40]);
        hash.update(genesis);
        bytes[40..].copy_from_slice(&hash.finalize()[..8]);
        bytes
    }

    fn from_bytes(bytes: &[u8], genesis: &Hash) -> Option<Self> {
        let seq = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        let head = Self {
            seq,
            hash: bytes.get(8..40)?.try_into().ok()?,
        };
        (head.to_bytes(genesis) == bytes).then_some(head)
    }
}

/// The file that follows every batch.
pub(super) struct HeadFile {
    file: Option<File>,
    genesis: Hash,
}

impl HeadFile {
    /// What it says, if it is whole.
    pub(super) fn read(paths: &Paths, genesis: &Hash) -> Option<Head> {
        Head::from_bytes(&files::read(&paths.head()).ok()??, genesis)
    }

    /// Opens it for writing. Without it the journal works too: it sees less of what was lost.
    pub(super) fn open(paths: &Paths, genesis: Hash) -> Self {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(files::WITHOUT_WAITING)
                .mode(0o600)
                .open(path)
        };
        let path = paths.head();
        let file = open(&path)
            .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "not opened"));
        Self {
            file: file.ok(),
            genesis,
        }
    }

    pub(super) fn write(&self, head: Head) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(&head.to_bytes(&self.genesis), 0) {
            tracing::debug!(%error, "the head file was not written");
        }
    }
}

/// A hash as text.
pub(super) fn to_hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, place) in hash.iter_mut().zip(0..) {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_or_foreign_head_is_no_head() {
        let head = Head {
            seq: 77,
            hash: [5; 32],
        };
        let bytes = head.to_bytes(&[1; 32]);
        assert_eq!(Head::from_bytes(&bytes, &[1; 32]), Some(head));
        assert_eq!(Head::from_bytes(&bytes, &[2; 32]), None);
        assert_eq!(Head::from_bytes(&bytes[..47], &[1; 32]), None);
        for place in 0..bytes.len() {
            let mut torn = bytes;
            torn[place] ^= 1;
            assert_eq!(Head::from_bytes(&torn, &[1; 32]), None, "byte {place}");
        }
    }

    #[test]
    fn an_anchor_round_trips() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        files::make_dir(&paths.dir).unwrap();
        assert_eq!(Anchor::read(&paths).unwrap(), None);
        let head = Head {
            seq: 9,
            hash: [0xa7; 32],
        };
        let mut anchor = Anchor { head, closed: true };
        anchor.write(&paths).unwrap();
        assert_eq!(Anchor::read(&paths).unwrap(), Some(anchor));
        // As it was written before it said whether the journal was closed.
        let text = std::fs::read_to_string(paths.anchor()).unwrap();
        std::fs::write(paths.anchor(), text.replace(",\"closed\":true", "")).unwrap();
        anchor.closed = false;
        assert_eq!(Anchor::read(&paths).unwrap(), Some(anchor));
        std::fs::write(paths.anchor(), "{}").unwrap();
        assert!(matches!(
            Anchor::read(&paths),
            Err(JournalError::Corrupt { .. })
        ));
    }
}
