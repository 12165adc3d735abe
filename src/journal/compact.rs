//! `phoenix journal compact`: the events of old runs give way to what they come to.
//!
//! What is kept is kept byte by byte, with its numbers and its hashes, so that whoever knew an end
//! of the chain before finds it again. What goes is folded, and carried by events that take the
//! last of the numbers that it had.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::chain::{Joint, Origin};
use super::error::JournalError;
use super::files;
use super::record::{self, Frame};
use super::repair::install;
use super::space::{MIN_FREE, Space};
use super::{Journal, encode};
use crate::domain::event::Event;
use crate::domain::record::Record;

/// What compaction came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compacted {
    /// Events before, and after.
    pub events: (u64, u64),
    /// Bytes on the disk before, and after.
    pub bytes: (u64, u64),
    /// The last event that is now carried; none: there was nothing to gain.
    pub through: Option<u64>,
}

/// Compacts the journal of a state directory, and keeps the last runs as they are; none: there is
/// no journal.
///
/// # Errors
/// When it cannot be read whole, or the disk refuses. The journal is then as it was.
pub fn compact(
    dir: &Path,
    keep_runs: usize,
    now: DateTime<Utc>,
) -> Result<Option<Compacted>, JournalError> {
    let Some(mut journal) = Journal::open_existing(dir)? else {
        return Ok(None);
    };
    let before = journal.stat()?;
    let through = match journal.cut(keep_runs)? {
        Some(through) => journal.fold_away(through, now)?,
        None => None,
    };
    journal.close()?;
    // The next one takes it up, and removes what is not needed any more.
    let after = match Journal::open_existing(dir)? {
        Some(journal) => {
            let stat = journal.stat()?;
            journal.close()?;
            stat
        }
        None => before.clone(),
    };
    Ok(Some(Compacted {
        events: (before.events, after.events),
        bytes: (before.bytes, after.bytes),
        through,
    }))
}

impl Journal {
    /// The last event that may go: what ends before the record in which the oldest run begins
    /// that is kept.
    fn cut(&self, keep_runs: usize) -> Result<Option<u64>, JournalError> {
        let mut starts = Vec::new();
        self.for_each(&mut |entry| {
            if matches!(entry.event, Event::RunStarted(_)) {
                starts.push(entry.seq);
            }
            Ok(())
        })?;
        let Some(oldest) = starts.len().checked_sub(keep_runs.max(1)) else {
            return Ok(None);
        };
        let record = self.store.last_until(starts[oldest])?;
        let through = record.map(|(first, _)| first - 1);
        Ok(through.filter(|through| *through > self.origin.carried()))
    }

    /// Folds what stands up to an event, and puts that in its place; none: nothing is gained.
    fn fold_away(&mut self, through: u64, now: DateTime<Utc>) -> Result<Option<u64>, JournalError> {
        let record = self.known_until(through)?;
        let start = self.origin.start.seq;
        let drafts = record.carry(now, through - start);
        let carried = drafts.len() as u64;
        if carried >= through - start {
            return Ok(None);
        }
        Space::new(&self.paths.dir, MIN_FREE).check(2 * files::disk_usage(&self.paths.store())?)?;
        let items = encode(&drafts)?;
        self.shut_down()?;
        let head = self.shared.totals().head;
        let (before, genesis) = (through - carried, self.origin.genesis);
        let becomes = self.hash_after(through)?;
        let start = Origin::carrying(&genesis, before, through, &becomes);
        let records = record::pack(before + 1, start, &items)?;
        let Some(last) = records.last() else {
            return Ok(None);
        };
        let joint = Joint {
            seq: through,
            expected: last.hash,
            becomes,
        };
        let meta = self.meta.next(Some((before, joint)));
        install(
            &self.paths.at(meta.generation),
            &meta,
            Some(head),
            |store| {
                records
                    .iter()
                    .try_for_each(|record| store.put(record.seq, &record.bytes))?;
                self.store.records(through + 1).try_for_each(|kept| {
                    let (seq, value) = kept?;
                    store.put(seq, &value)
                })
            },
        )?;
        Ok(Some(through))
    }

    fn known_until(&self, through: u64) -> Result<Record, JournalError> {
        let mut record = Record::default();
        let mut illegal = None;
        self.for_each(&mut |entry| {
            if entry.seq <= through && illegal.is_none() {
                illegal = record.fold(&entry).err();
            }
            Ok(())
        })?;
        match illegal {
            None => Ok(record),
            Some(illegal) => {
                let what = illegal.to_string();
                Err(JournalError::corrupt(&self.paths.dir, what, None))
            }
        }
    }

    /// The hash that the record after an event is chained to.
    fn hash_after(&self, seq: u64) -> Result<record::Hash, JournalError> {
        let next = self.store.records(seq + 1).next().transpose()?;
        let prev = next.and_then(|(seq, value)| Some(Frame::new(seq, &value).ok()?.prev()));
        prev.ok_or_else(|| JournalError::corrupt(&self.paths.dir, "nothing is kept", None))
    }
}
