//! The journal: what happened, in order, durable before it is acknowledged.
//!
//! Events are packed into records, chained by their hashes, kept in sled and written by one
//! thread. `docs/events.md` describes the stored form and the protocol.
//!
//! Invariants:
//! - nothing is acknowledged before `fdatasync` of sled's file returned;
//! - after the first failure nothing is acknowledged any more;
//! - sequence numbers start at 1 and have no gaps;
//! - no clock is read here and nothing of an event is interpreted.

mod anchor;
mod before;
mod chain;
mod checkpoint;
mod committer;
mod compact;
mod error;
mod files;
mod import;
mod index;
mod meta;
mod open;
mod pieces;
mod reader;
mod record;
mod repair;
mod salvage;
mod space;
mod store;
#[cfg(test)]
mod tests;
mod upcast;
mod verify;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use chrono::{DateTime, Utc};

pub use chain::Repaired;
pub use compact::{Compacted, compact};
pub use error::{JournalError, SeqRange};
pub use import::{Identity, import};
pub use open::OpenOptions;
pub use reader::Reader;
pub use repair::{Repair, Repairing, repair};
pub use verify::{Problem, VerifyReport, verify};

use crate::domain::event::{Draft, Entry};
use crate::domain::ids::{Ctid, JournalId};
use crate::domain::record::Record;
use chain::{Care, Origin, Totals, Walk};
use checkpoint::Checkpoint;
use committer::Shared;
use files::{Lock, Paths};
use index::Index;
use meta::Meta;
use record::{Flaw, Frame, Item};
use store::Store;

/// The events of one host, open for reading and writing by this process alone.
pub struct Journal {
    paths: Paths,
    meta: Meta,
    origin: Origin,
    repaired: Option<Repaired>,
    /// What the records up to somewhere come to.
    base: Mutex<Arc<Checkpoint>>,
    /// How far it reached at open.
    opened: Totals,
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
    store: Store,
    // Dropped last: nobody else may open sled before it is closed here.
    _lock: Lock,
}

/// The journal in numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stat {
    /// The journal.
    pub id: JournalId,
    /// The host it belongs to.
    pub host: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Its format.
    pub format: u32,
    /// Durable events that it holds.
    pub events: u64,
    /// Sequence number of the first; later than 1 after compaction.
    pub first: u64,
    /// The records that hold them.
    pub records: u64,
    /// How many times some of them were made durable together.
    pub batches: u64,
    /// What its directory takes on the disk.
    pub bytes: u64,
    /// Time of the first event.
    pub first_at: Option<DateTime<Utc>>,
    /// Time of the last event.
    pub last_at: Option<DateTime<Utc>>,
}

impl Journal {
    /// Opens the journal of a state directory for a host; makes it if there is none.
    ///
    /// # Errors
    /// When it is held, another host's, of a newer format or damaged, or the disk refuses.
    pub fn open(options: &OpenOptions<'_>) -> Result<Self, JournalError> {
        open::open(options, open::Tuning::default())
    }

    /// Opens the journal of a state directory for whichever host it belongs to; none: there is
    /// none.
    ///
    /// # Errors
    /// When it is held, of a newer format or damaged, or the disk refuses.
    pub fn open_existing(dir: &Path) -> Result<Option<Self>, JournalError> {
        open::open_existing(dir, open::Tuning::default())
    }

    /// What identifies it.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.meta.id
    }

    /// The host it belongs to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.meta.host
    }

    /// When it was created.
    #[must_use]
    pub fn created_at(&self) -> DateTime<Utc> {
        self.meta.created_at()
    }

    /// Reads beside this handle.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            dir: self.paths.dir.clone(),
            id: self.meta.id,
            host: self.meta.host.clone(),
            shared: Arc::clone(&self.shared),
            store: self.store.clone(),
            origin: self.origin,
            base: self.base(),
        }
    }

    /// What an unfinished write had left behind, and was removed at open.
    #[must_use]
    pub fn tail_repaired(&self) -> Option<Repaired> {
        self.repaired
    }

    /// Records events, next to each other and in order; they are durable on return. Returns the
    /// sequence number of the first.
    ///
    /// # Errors
    /// When they are not durable. What came before is.
    pub fn append(&self, drafts: &[Draft]) -> Result<u64, JournalError> {
        self.shared.append(encode(drafts)?)
    }

    /// Queues events, next to each other and in order; they are durable at the latest with the
    /// next `append`, `sync` or `close`. Returns the sequence number of the first.
    ///
    /// # Errors
    /// When an event cannot be stored, or writing has failed before.
    pub fn enqueue(&self, drafts: &[Draft]) -> Result<u64, JournalError> {
        self.shared.enqueue(encode(drafts)?)
    }

    /// Makes everything that was queued durable.
    ///
    /// # Errors
    /// When it is not.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.shared.sync()
    }

    /// Hands out every event in order, queued ones included: they are made durable first.
    ///
    /// # Errors
    /// When something cannot be read, or `f` returns an error.
    pub fn for_each(
        &self,
        f: &mut dyn FnMut(Entry) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let walk = Walk::new(&self.paths.dir, &self.store, self.origin, Care::Links);
        self.read(walk, &mut |_, frame| {
            let entries = frame.entries().map_err(Trouble::Flaw)?;
            let mut entries = entries.into_iter();
            entries.try_for_each(&mut *f).map_err(Trouble::Error)
        })
        .map(drop)
    }

    /// The events of one container and of the runs themselves, in order. Only the records that
    /// hold some of them are read, and those that no checkpoint knows of yet.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn entries_of(&self, ctid: Ctid) -> Result<Vec<Entry>, JournalError> {
        self.settle()?;
        let reader = self.reader();
        let mut entries = Vec::new();
        reader.read((0, reader.durable()), Some(ctid), &mut |entry| {
            entries.push(entry);
            Ok::<_, JournalError>(())
        })?;
        Ok(entries)
    }

    /// What all events come to. Only those are read that no checkpoint stands for; if they are
    /// many, another checkpoint is left for whoever asks next.
    ///
    /// # Errors
    /// When something cannot be read, or cannot have happened.
    pub fn known(&self) -> Result<Record, JournalError> {
        let mut base = self.base();
        let mut record = base.known().unwrap_or_else(|| {
            tracing::debug!("the checkpoint is of no use");
            base = Arc::new(Checkpoint::none(self.origin));
            Record::default()
        });
        let mut between = Index::default();
        let (dir, from) = (&self.paths.dir, base.totals);
        let walk = Walk::from(dir, &self.store, self.origin, Care::Links, from);
        let totals = self.read(walk, &mut |seq, frame| {
            between.add(seq, frame);
            for entry in frame.entries().map_err(Trouble::Flaw)? {
                let folded = record.fold(&entry);
                folded.map_err(|illegal| Trouble::Error(illegal.into()))?;
            }
            Ok(())
        })?;
        if base.is_due(totals.head.seq - from.head.seq) {
            match self.keep(&base, totals, &between, &record) {
                Ok(()) => {}
                // It is read without, as before.
                Err(error) => tracing::debug!(%error, "no checkpoint was left"),
            }
        }
        Ok(record)
    }

    fn keep(
        &self,
        base: &Checkpoint,
        totals: Totals,
        between: &Index,
        known: &Record,
    ) -> Result<(), JournalError> {
        let next = base.followed_by(self.origin, totals, between, known);
        let next = next.map_err(|source| JournalError::Unstorable {
            source: source.into(),
        })?;
        let Some(next) = next else {
            return Ok(());
        };
        let paths = &self.paths;
        files::replace_unsynced(&paths.checkpoint(), &paths.new_checkpoint(), &next)?;
        if let Some(kept) = Checkpoint::read(paths, &self.store, self.origin, &[]) {
            *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(kept);
        }
        Ok(())
    }

    fn base(&self) -> Arc<Checkpoint> {
        Arc::clone(&self.base.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many records were read from the store, its opening included.
    #[must_use]
    pub fn records_read(&self) -> u64 {
        self.store.read()
    }

    /// Makes what is queued durable. After a failure, what is durable can still be read.
    fn settle(&self) -> Result<(), JournalError> {
        match self.shared.failure() {
            None => self.sync(),
            Some(_) => Ok(()),
        }
    }

    /// Hands out the durable records that a walk has before it. Returns how far it came.
    fn read(
        &self,
        mut walk: Walk<'_>,
        f: &mut dyn FnMut(u64, &Frame<'_>) -> Result<(), Trouble>,
    ) -> Result<Totals, JournalError> {
        self.settle()?;
        let durable = self.shared.totals().head.seq;
        let dir = &self.paths.dir;
        while walk.totals().head.seq < durable {
            let step = walk.step().map_err(|stop| stop.into_error(dir))?;
            let Some((seq, value)) = step else {
                let first = walk.totals().head.seq + 1;
                let lost = Some(SeqRange {
                    first,
                    last: durable,
                });
                return Err(JournalError::corrupt(dir, "no longer there", lost));
            };
            Frame::new(seq, &value)
                .map_err(Trouble::Flaw)
                .and_then(|frame| f(seq, &frame))
                .map_err(|trouble| match trouble {
                    Trouble::Error(error) => error,
                    Trouble::Flaw(flaw) => walk
                        .flawed(seq, walk.totals().head.seq, flaw)
                        .into_error(dir),
                })?;
        }
        Ok(walk.totals())
    }

    /// Reads every event and holds the chain against the anchor.
    ///
    /// # Errors
    /// When it cannot be looked at. What is wrong with the content is in the report.
    pub fn verify(&self) -> Result<VerifyReport, JournalError> {
        self.settle()?;
        verify::examine(&self.paths, &self.meta, self.origin, &self.store)
    }

    /// The journal in numbers.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn stat(&self) -> Result<Stat, JournalError> {
        self.settle()?;
        let totals = self.shared.totals();
        let first = self.store.records(0).next().transpose()?;
        let last = self.store.last()?;
        let at = |record: Option<(u64, sled::IVec)>, end: fn(Vec<Entry>) -> Option<Entry>| {
            let (seq, value) = record?;
            end(Frame::new(seq, &value)
                .and_then(|frame| frame.entries())
                .ok()?)
            .map(|e| e.at)
        };
        Ok(Stat {
            id: self.meta.id,
            host: self.meta.host.clone(),
            created_at: self.meta.created_at(),
            format: self.meta.format,
            events: totals.head.seq - self.origin.start.seq,
            first: self.origin.start.seq + 1,
            records: totals.records,
            batches: totals.batches,
            bytes: files::disk_usage(&self.paths.dir)?,
            first_at: at(first, |entries| entries.into_iter().next()),
            last_at: at(last, |mut entries| entries.pop()),
        })
    }

    /// How many batches of events this handle has made durable.
    #[must_use]
    pub fn durable_batches(&self) -> u64 {
        self.shared.batches()
    }

    /// Makes everything durable, anchors the chain and lets go.
    ///
    /// # Errors
    /// When something is not durable, now or since an earlier failure.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.leave_checkpoint();
        self.shut_down()
    }

    /// Leaves a checkpoint behind much that was written, if there is to be one.
    fn leave_checkpoint(&self) {
        let end = self.shared.totals().head.seq;
        let written = end > self.opened.head.seq;
        let due = self.base().is_due(end - self.base().totals.head.seq);
        if written
            && due
            && self.shared.failure().is_none()
            && let Err(error) = self.known()
        {
            // Whoever needs it is told.
            tracing::debug!(%error, "no checkpoint was left");
        }
    }

    fn shut_down(&mut self) -> Result<(), JournalError> {
        let Some(committer) = self.committer.take() else {
            return Ok(());
        };
        self.shared.close();
        let joined = committer.join();
        self.shared
            .failure()
            .map_or_else(|| joined.map_err(|_| JournalError::Closed), Err)
    }
}

/// Why a record is not gone on from.
enum Trouble {
    Flaw(Flaw),
    Error(JournalError),
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::warn!(%error, "the journal did not close well");
        }
    }
}

fn encode(drafts: &[Draft]) -> Result<Vec<Item>, JournalError> {
    drafts.iter().map(Item::new).collect()
}

/// Reads any bytes as a record, as they are and with the hash that would make them ours; and
/// looks for records in them.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), record::sealed(7, bytes)] {
        if let Ok(frame) = Frame::new(7, &bytes) {
            let _ = frame.entries();
            let _ = (frame.events(), frame.batch(), frame.prev(), frame.hash());
        }
    }
    let origin = Origin::first([0; 32]);
    let _ = salvage::order(origin, salvage::scan(bytes));
}
