//! Walking the chain: every record follows the one before, nothing is altered, nothing is lost.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::anchor::Head;
use super::error::{JournalError, SeqRange};
use super::record::{FORMAT, Flaw, Frame, Hash};
use super::store::{Records, Store};

/// Where a chain begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    /// What never changes of the journal, as a hash.
    pub(super) genesis: Hash,
    /// The end before the first record.
    pub(super) start: Head,
    /// Where what is carried ends and what was kept goes on.
    joint: Option<Joint>,
}

/// Compaction replaces the records up to somewhere by others that carry what they said. What
/// follows is kept byte by byte, and so is chained to the record that went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Joint {
    /// Sequence number of the last event that is carried.
    pub(super) seq: u64,
    /// Hash of the record that ends with it.
    pub(super) expected: Hash,
    /// Hash of the record that stood there before.
    pub(super) becomes: Hash,
}

impl Origin {
    /// Of a journal from its first event on.
    pub(super) fn first(genesis: Hash) -> Self {
        let start = Head {
            seq: 0,
            hash: genesis,
        };
        Self {
            genesis,
            start,
            joint: None,
        }
    }

    /// Of one that was compacted: its first record is chained to what it stands for.
    pub(super) fn joined(genesis: Hash, before: u64, joint: Joint) -> Self {
        let start = Head {
            seq: before,
            hash: Self::carrying(&genesis, before, joint.seq, &joint.becomes),
        };
        Self {
            genesis,
            start,
            joint: Some(joint),
        }
    }

    /// Where the chain goes on after a record that begins with event `first` and ends it at
    /// `head`; none: it is not what compaction left.
    pub(super) fn after(&self, first: u64, head: Head) -> Option<Head> {
        match self.joint {
            Some(joint) if (first..=head.seq).contains(&joint.seq) => {
                let expected = head.seq == joint.seq && head.hash == joint.expected;
                let hash = joint.becomes;
                expected.then_some(Head { hash, ..head })
            }
            _ => Some(head),
        }
    }

    /// The last event that is carried; where nothing is, the one before the first.
    pub(super) fn carried(&self) -> u64 {
        self.joint.map_or(self.start.seq, |joint| joint.seq)
    }

    /// What the first record that carries is chained to.
    pub(super) fn carrying(genesis: &Hash, before: u64, through: u64, hash: &Hash) -> Hash {
        let mut start = Sha256::new();
        start.update(b"phoenix journal, compacted\0");
        start.update(genesis);
        start.update(before.to_be_bytes());
        start.update(through.to_be_bytes());
        start.update(hash);
        start.finalize().into()
    }
}

/// How far a walk came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Totals {
    /// Where the chain ends.
    pub(super) head: Head,
    pub(super) records: u64,
    pub(super) batches: u64,
    /// First event of the last batch.
    pub(super) batch: u64,
}

impl Totals {
    /// Before the first record.
    pub(super) fn none(start: Head) -> Self {
        Self {
            head: start,
            records: 0,
            batches: 0,
            batch: 0,
        }
    }

    /// Adds a record that follows.
    pub(super) fn add(&mut self, last: u64, hash: Hash, batch: u64) {
        self.head = Head { seq: last, hash };
        self.records += 1;
        if batch != self.batch {
            self.batch = batch;
            self.batches += 1;
        }
    }
}

/// Where the chain is broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Break {
    pub(super) seqs: SeqRange,
    pub(super) what: String,
    /// Whether a crash can have done it: what is missing was never acknowledged.
    pub(super) torn: bool,
}

/// Why a walk ended early.
#[derive(Debug)]
pub(super) enum Stop {
    Broken(Break),
    Failed(JournalError),
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Failed(error)
    }
}

impl Stop {
    /// As an error.
    pub(super) fn into_error(self, dir: &Path) -> JournalError {
        match self {
            Self::Broken(Break { seqs, what, .. }) => JournalError::corrupt(dir, what, Some(seqs)),
            Self::Failed(error) => error,
        }
    }
}

fn broken(first: u64, last: u64, what: impl Into<String>) -> Stop {
    let seqs = SeqRange {
        first,
        last: last.max(first),
    };
    Stop::Broken(Break {
        seqs,
        what: what.into(),
        torn: false,
    })
}

/// How closely the records are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// Every byte is hashed.
    Bytes,
    /// Only that they follow each other: who decodes a record hashes it anyway.
    Links,
}

/// A walk over the records in order.
pub(super) struct Walk<'a> {
    dir: PathBuf,
    records: Records<'a>,
    care: Care,
    totals: Totals,
    origin: Origin,
}

impl<'a> Walk<'a> {
    pub(super) fn new(dir: &Path, store: &'a Store, origin: Origin, care: Care) -> Self {
        Self {
            dir: dir.to_owned(),
            records: store.records(0),
            care,
            totals: Totals::none(origin.start),
            origin,
        }
    }

    /// Over those that follow where another walk came to.
    pub(super) fn from(
        dir: &Path,
        store: &'a Store,
        origin: Origin,
        care: Care,
        totals: Totals,
    ) -> Self {
        if totals.records == 0 {
            return Self::new(dir, store, origin, care);
        }
        Self {
            dir: dir.to_owned(),
            records: store.records(totals.head.seq + 1),
            care,
            totals,
            origin,
        }
    }

    /// The next record, once it is known to be in its place.
    pub(super) fn step(&mut self) -> Result<Option<(u64, sled::IVec)>, Stop> {
        let next = self.totals.head.seq + 1;
        let Some(found) = self.records.next() else {
            return Ok(None);
        };
        let (seq, value) = found.map_err(|error| located(error, next))?;
        if seq > next {
            let mut torn = !acknowledged_after(next, seq, &value);
            for later in self.records.by_ref() {
                let (seq, value) = later?;
                torn &= !acknowledged_after(next, seq, &value);
            }
            let what = "missing, and later ones are there".to_owned();
            let seqs = SeqRange {
                first: next,
                last: seq - 1,
            };
            return Err(Stop::Broken(Break { seqs, what, torn }));
        }
        let frame = Frame::new(seq, &value);
        let frame = frame.map_err(|flaw| self.flawed(seq, seq, flaw))?;
        let last = seq + frame.events() - 1;
        if self.care == Care::Bytes {
            frame.check().map_err(|flaw| self.flawed(seq, last, flaw))?;
        }
        if seq < next || frame.prev() != self.totals.head.hash {
            return Err(broken(seq, last, "does not follow what stands before"));
        }
        self.totals.add(last, frame.hash(), frame.batch());
        let joined = self.origin.after(seq, self.totals.head);
        self.totals.head = joined.ok_or_else(|| broken(seq, last, "not what compaction left"))?;
        Ok(Some((seq, value)))
    }

    /// The error for a record that cannot be used.
    pub(super) fn flawed(&self, seq: u64, last: u64, flaw: Flaw) -> Stop {
        match flaw {
            Flaw::Altered => broken(seq, last, "altered"),
            Flaw::Senseless(what) => broken(seq, last, what),
            Flaw::Newer(found) => Stop::Failed(JournalError::NewerVersion {
                dir: self.dir.clone(),
                found: found.into(),
                known: FORMAT.into(),
            }),
        }
    }

    /// How far it came.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }
}

/// Whether a record says that what should be before it, at `missing`, was durable once. A batch
/// begins only after the one before it was synced; within one batch sled keeps no promises.
fn acknowledged_after(missing: u64, seq: u64, value: &[u8]) -> bool {
    Frame::new(seq, value).is_ok_and(|frame| frame.check().is_ok() && frame.batch() > missing)
}

/// Names the place where the store could not be read.
fn located(error: JournalError, next: u64) -> JournalError {
    match error {
        JournalError::Corrupt {
            dir,
            what,
            seqs: None,
        } => {
            let seqs = Some(SeqRange {
                first: next,
                last: next,
            });
            JournalError::Corrupt { dir, what, seqs }
        }
        error => error,
    }
}

/// Walks the whole chain and holds it against the witnesses, each an end that it once had.
/// Totals reach to where the walk came.
pub(super) fn scan(
    mut walk: Walk<'_>,
    witnesses: &[Head],
    each: &mut dyn FnMut(&Frame<'_>) -> Result<(), Flaw>,
) -> (Totals, Result<(), Stop>) {
    let result = scan_inner(&mut walk, witnesses, each);
    (walk.totals, result)
}

fn scan_inner(
    walk: &mut Walk<'_>,
    witnesses: &[Head],
    each: &mut dyn FnMut(&Frame<'_>) -> Result<(), Flaw>,
) -> Result<(), Stop> {
    let differs = "not what was recorded as durable";
    let start = walk.totals.head;
    for witness in witnesses {
        if witness.seq <= start.seq && *witness != start {
            let first = start.seq + 1;
            return Err(broken(first, first, "the anchor is not this journal's"));
        }
    }
    while let Some((seq, value)) = walk.step()? {
        let head = walk.totals.head;
        for witness in witnesses {
            if (seq..=head.seq).contains(&witness.seq) && *witness != head {
                return Err(broken(seq, head.seq, differs));
            }
        }
        Frame::new(seq, &value)
            .and_then(|frame| each(&frame))
            .map_err(|flaw| walk.flawed(seq, head.seq, flaw))?;
    }
    let (last, known) = (walk.totals.head.seq, durable(witnesses));
    if last < known {
        return Err(broken(last + 1, known, "lost from the end"));
    }
    Ok(())
}

/// Sequence number of the last event that is known to have been durable.
pub(super) fn durable(witnesses: &[Head]) -> u64 {
    witnesses
        .iter()
        .map(|witness| witness.seq)
        .max()
        .unwrap_or(0)
}

/// What an unfinished write left behind, and was removed at open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repaired {
    /// From where on.
    pub from_seq: u64,
    /// How many records were removed.
    pub records: u64,
}

/// Walks the chain at open, from where a checkpoint says how it stands: the witnesses up to there
/// were held against the store then. What a crash left of writes that were never acknowledged is
/// removed; everything else that is wrong is an error.
pub(super) fn recover(
    dir: &Path,
    store: &Store,
    origin: Origin,
    from: Totals,
    witnesses: &[Head],
) -> Result<(Totals, Option<Repaired>), JournalError> {
    let walk = Walk::from(dir, store, origin, Care::Bytes, from);
    let ahead = witnesses
        .iter()
        .filter(|witness| from.records == 0 || witness.seq > from.head.seq);
    let ahead: Vec<Head> = ahead.copied().collect();
    match scan(walk, &ahead, &mut |_| Ok(())) {
        (totals, Ok(())) => Ok((totals, None)),
        (totals, Err(Stop::Broken(torn))) if torn.torn && torn.seqs.first > durable(witnesses) => {
            let repaired = truncate(store, torn.seqs.first)?;
            tracing::warn!(
                from_seq = repaired.from_seq,
                records = repaired.records,
                "removed what an unfinished write left at the end of the journal"
            );
            Ok((totals, Some(repaired)))
        }
        (_, Err(stop)) => Err(stop.into_error(dir)),
    }
}

fn truncate(store: &Store, from_seq: u64) -> Result<Repaired, JournalError> {
    let keys: Result<Vec<u64>, _> = store
        .records(from_seq)
        .map(|record| record.map(|(seq, _)| seq))
        .collect();
    let keys = keys?;
    // From the end, so that a crash in between leaves a shorter tail, not another gap.
    for seq in keys.iter().rev() {
        store.remove(*seq)?;
    }
    store.flush()?;
    Ok(Repaired {
        from_seq,
        records: keys.len() as u64,
    })
}
