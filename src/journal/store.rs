//! sled, held so that it keeps its promises: guarded against its panics, synced for real.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use super::error::JournalError;
use super::files;

const CACHE_BYTES: u64 = 64 << 20;

/// How long sled's own lock is waited for. We hold ours, so it can only be a store that this
/// process closed a moment ago: in a thread that is not done yet, or in a child process that was
/// just forked.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Makes what was flushed survive a power cut. sled's `flush` alone does not: on Linux it calls
/// `sync_file_range`, which leaves the data in the disk's cache.
pub(super) trait Syncer: Send {
    fn sync(&mut self) -> std::io::Result<()>;
}

/// `fdatasync` on sled's file.
pub(super) struct FileSyncer(File);

impl FileSyncer {
    pub(super) fn open(store: &Path) -> Result<Self, JournalError> {
        let path = store.join("db");
        File::open(&path)
            .map(Self)
            .map_err(|error| JournalError::io(&path, "opened", error))
    }
}

impl Syncer for FileSyncer {
    fn sync(&mut self) -> std::io::Result<()> {
        self.0.sync_data()
    }
}

/// Records by the sequence number of their first event.
#[derive(Clone)]
pub(super) struct Store {
    /// None only while it is being dropped.
    db: Option<sled::Db>,
    /// The journal's directory, for errors.
    dir: PathBuf,
    /// How many records were read.
    read: Arc<AtomicU64>,
}

impl Store {
    /// Opens sled's directory `store` of the journal in `dir` without sled's snapshots: they only
    /// save it the reading of its log. What it makes of that is to be checked, and where the log
    /// is damaged it is cut off there: what stands behind is lost.
    pub(super) fn open_by_its_log(dir: &Path, store: &Path) -> Result<Self, JournalError> {
        remove_snapshots(store, "")?;
        Self::open(dir, store)
    }

    /// Opens sled's directory `store` of the journal in `dir`, or makes it.
    pub(super) fn open(dir: &Path, store: &Path) -> Result<Self, JournalError> {
        // sled reads one that it had not finished writing as if it had.
        remove_snapshots(store, UNFINISHED)?;
        // No thread of sled's writes between our flush and our sync.
        let config = sled::Config::new()
            .path(store)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        for _ in 1..LOCK_TRIES {
            match guarded(dir, || config.open()) {
                Err(JournalError::Held { .. }) => std::thread::sleep(LOCK_PAUSE),
                opened => {
                    return opened.map(|db| Self {
                        db: Some(db),
                        dir: dir.to_owned(),
                        read: Arc::default(),
                    });
                }
            }
        }
        Err(JournalError::Held {
            dir: dir.to_owned(),
            pid: None,
        })
    }

    /// Makes a store and fills it; a power cut leaves it whole or not at all.
    pub(super) fn create(
        dir: &Path,
        temporary: &Path,
        store: &Path,
        fill: impl FnOnce(&Self) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        files::remove_dir(temporary)?;
        files::make_dir(temporary)?;
        drop(Self::open(dir, temporary)?);
        // The second opening fills up the first segment, and takes it for damaged when a power
        // cut tore that: it is better done before the store has its name.
        let new = Self::open(dir, temporary)?;
        fill(&new)?;
        new.flush()?;
        drop(new);
        // sled syncs none of these.
        files::sync_tree(temporary)?;
        std::fs::rename(temporary, store)
            .map_err(|error| JournalError::io(store, "created", error))?;
        files::sync_dir(dir)
    }

    fn with<T>(
        &self,
        f: impl FnOnce(&sled::Db) -> Result<T, sled::Error>,
    ) -> Result<T, JournalError> {
        let db = self.db.as_ref().ok_or(JournalError::Closed)?;
        guarded(&self.dir, || f(db))
    }

    pub(super) fn put(&self, seq: u64, record: &[u8]) -> Result<(), JournalError> {
        self.with(|db| db.insert(seq.to_be_bytes(), record))
            .map(drop)
    }

    pub(super) fn remove(&self, seq: u64) -> Result<(), JournalError> {
        self.with(|db| db.remove(seq.to_be_bytes())).map(drop)
    }

    /// Hands everything to the operating system. Nothing is durable before [`Syncer::sync`].
    pub(super) fn flush(&self) -> Result<(), JournalError> {
        self.with(|db| db.flush()).map(drop)
    }

    /// The records from a key on, in order.
    pub(super) fn records(&self, from: u64) -> Records<'_> {
        let iter = self.db.as_ref().map(|db| db.range(from.to_be_bytes()..));
        Records { store: self, iter }
    }

    /// The record with the greatest key.
    pub(super) fn last(&self) -> Result<Option<(u64, sled::IVec)>, JournalError> {
        self.with(|db| db.last())?
            .map(|pair| self.keyed(pair))
            .transpose()
    }

    /// The record with this key.
    pub(super) fn get(&self, seq: u64) -> Result<Option<sled::IVec>, JournalError> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.with(|db| db.get(seq.to_be_bytes()))
    }

    /// How many records were read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The record with the greatest key up to one.
    pub(super) fn last_until(&self, seq: u64) -> Result<Option<(u64, sled::IVec)>, JournalError> {
        self.with(|db| db.range(..=seq.to_be_bytes()).next_back().transpose())?
            .map(|pair| self.keyed(pair))
            .transpose()
    }

    fn keyed(
        &self,
        (key, value): (sled::IVec, sled::IVec),
    ) -> Result<(u64, sled::IVec), JournalError> {
        self.read.fetch_add(1, Ordering::Relaxed);
        let key: Result<[u8; 8], _> = key.as_ref().try_into();
        let seq = key.map_err(|_| JournalError::corrupt(&self.dir, "a foreign key", None))?;
        Ok((u64::from_be_bytes(seq), value))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The last one closes sled's file, and panics when that fails. What was acknowledged is
        // on the disk already.
        let db = self.db.take();
        if quietly(|| drop(db)).is_err() {
            tracing::warn!(dir = %self.dir.display(), "the store did not close well");
        }
    }
}

/// Records in order.
pub(super) struct Records<'a> {
    store: &'a Store,
    iter: Option<sled::Iter>,
}

impl Iterator for Records<'_> {
    type Item = Result<(u64, sled::IVec), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let iter = self.iter.as_mut()?;
        let next = guarded(&self.store.dir, || iter.next().transpose());
        if next.is_err() {
            // Its state is unknown after a panic.
            self.iter = None;
        }
        let next = next.transpose()?;
        Some(next.and_then(|pair| self.store.keyed(pair)))
    }
}

/// How sled's snapshots end that are being written.
const UNFINISHED: &str = ".generating";

/// Removes sled's snapshots whose names end so.
fn remove_snapshots(store: &Path, ending: &str) -> Result<(), JournalError> {
    let ends_so = |path: &PathBuf| path.to_string_lossy().ends_with(ending);
    for path in snapshots(store).into_iter().filter(ends_so) {
        std::fs::remove_file(&path).map_err(|error| JournalError::io(&path, "removed", error))?;
    }
    Ok(())
}

/// sled's snapshots in its directory, if there is one.
pub(super) fn snapshots(store: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(store).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("snap.")
    };
    entries.map(|entry| entry.path()).filter(is_one).collect()
}

/// sled panics on some kinds of damage.
fn guarded<T>(dir: &Path, f: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, JournalError> {
    match quietly(f) {
        Ok(result) => result.map_err(|error| JournalError::sled(dir, error)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no reason given");
            Err(JournalError::corrupt(
                dir,
                format!("the store gave up: {text}"),
                None,
            ))
        }
    }
}

thread_local! {
    /// Whether a panic on this thread is sled's, and caught.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic without a word on standard error: what it says becomes an error, and a person
/// who reads of a panic as well thinks of two failures.
fn quietly<T>(f: impl FnOnce() -> T) -> std::thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CAUGHT.get() {
                tracing::debug!(panic = %info, "the store gave up");
            } else {
                loud(info);
            }
        }));
    });
    let before = CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    CAUGHT.set(before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syncer_really_asks_for_a_sync() {
        // The kernel refuses fdatasync on a device without storage: an Ok would mean that it
        // was never asked.
        let mut syncer = FileSyncer(File::open("/dev/null").unwrap());
        assert!(syncer.sync().is_err());
    }

    #[test]
    fn a_panic_underneath_is_damage_with_its_reason() {
        let error = guarded::<()>(Path::new("/j"), || panic!("bad page {}", 7)).unwrap_err();
        let JournalError::Corrupt { what, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(what, "the store gave up: bad page 7");
    }

    #[test]
    fn creation_starts_over_after_an_interrupted_one() {
        let dir = tempfile::tempdir().unwrap();
        let (temporary, store) = (dir.path().join("new"), dir.path().join("store"));
        std::fs::create_dir(&temporary).unwrap();
        std::fs::write(temporary.join("conf"), "half").unwrap();
        Store::create(dir.path(), &temporary, &store, |_| Ok(())).unwrap();
        let opened = Store::open(dir.path(), &store).unwrap();
        opened.put(1, b"x").unwrap();
        assert_eq!(opened.last().unwrap().unwrap().0, 1);
        assert!(!temporary.exists());
    }
}
