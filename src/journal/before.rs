//! What a store was before it was opened. sled fills the rest of the segment that it wrote last
//! with zeros, from where it takes the log's end to be: where a record of that segment is damaged,
//! all that stands behind it would be gone, and `repair` could not have it back.

use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::files;
use super::store::snapshots;

/// A larger store is not kept: every command would pay for it. That is tens of thousands of events.
const LIMIT: u64 = 8 << 20;

/// The content of a store's files.
pub(super) struct Before {
    store: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Before {
    /// Of a store, if it is small enough.
    pub(super) fn of(store: &Path) -> Result<Self, JournalError> {
        let lengths = parts(store).filter_map(|path| path.metadata().ok());
        let bytes: u64 = lengths.map(|facts| facts.len()).sum();
        let mut files = Vec::new();
        if bytes <= LIMIT {
            for path in parts(store) {
                let content = files::read(&path)?;
                files.extend(content.map(|content| (path, content)));
            }
        }
        Ok(Self {
            store: store.to_owned(),
            files,
        })
    }

    /// Makes the store, which nobody has open any more, what it was.
    pub(super) fn restore(&self) -> Result<(), JournalError> {
        if self.files.is_empty() {
            return Ok(());
        }
        for path in snapshots(&self.store) {
            let known = self.files.iter().any(|(other, _)| *other == path);
            if !known {
                std::fs::remove_file(&path)
                    .map_err(|error| JournalError::io(&path, "removed", error))?;
            }
        }
        let mut files = self.files.iter();
        files.try_for_each(|(path, content)| files::replace(path, content))
    }
}

/// The files of a store that sled changes when it opens it: its log and its snapshots.
fn parts(store: &Path) -> impl Iterator<Item = PathBuf> {
    std::iter::once(store.join("db")).chain(snapshots(store))
}
