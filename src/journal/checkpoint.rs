//! What the journal comes to up to some event, kept in a file beside it, so that whoever opens it
//! reads only what follows.
//!
//! It is a cache: it can be removed at any time, and is made again of the records. It is not
//! synced; a crash may leave an old one, half of one, or none. It is used only if its seal is
//! right, which also covers this phoenix's version and where the chain begins, and if the record
//! that it ends with stands in the store, whole, with the hash that it names; and a part of it
//! only if the hash of that is right. Everything else is as if there were none.

use std::cmp::Ordering;
use std::fs::File;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::anchor::Head;
use super::chain::{Origin, Totals};
use super::files::{self, Paths};
use super::index::{self, Index, RUNS};
use super::pieces::{self, Body};
use super::record::{Frame, HASH};
use super::store::Store;
use crate::domain::ids::Ctid;
use crate::domain::record::Record;

/// Goes up with the form of the file, and with whatever folding makes of an event.
const FORMAT: u8 = 2;

/// So many events must have followed before another is written,
const LEAST: u64 = 256;
/// and one for so many bytes of the last: what an event adds to the writing is bounded.
const BYTES_PER_EVENT: u64 = 256;

/// What the records up to an event come to.
pub(super) struct Checkpoint {
    /// How far it reaches.
    pub(super) totals: Totals,
    /// Lengths of its parts, and where they stand.
    sizes: Sizes,
    body: Option<Body>,
}

/// Bytes of what follows each other: the directory of the index, its lists, and what is known.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Sizes {
    directory: usize,
    lists: usize,
    /// As compressed JSON, and before.
    packed: usize,
    plain: usize,
}

impl Sizes {
    fn directory(self) -> Range<usize> {
        0..self.directory
    }

    fn lists(self) -> Range<usize> {
        self.directory..self.directory + self.lists
    }

    fn packed(self) -> Range<usize> {
        let start = self.directory + self.lists;
        start..start + self.packed
    }
}

/// How many numbers follow the hash.
const NUMBERS: usize = 8;
const HEAD: usize = HASH + 8 * NUMBERS;

impl Checkpoint {
    /// Of no record.
    pub(super) fn none(origin: Origin) -> Self {
        Self {
            totals: Totals::none(origin.start),
            sizes: Sizes::default(),
            body: None,
        }
    }

    /// The one that is kept, if it is ours and stands for what is in the store: for each of
    /// these ends, which the chain once had, too.
    pub(super) fn read(
        paths: &Paths,
        store: &Store,
        origin: Origin,
        witnesses: &[Head],
    ) -> Option<Self> {
        let found = Self::open(files::open_regular(&paths.checkpoint()).ok()?, origin)?;
        let end = found.totals.head;
        // Where the chain begins there is no record.
        let stands = |head: Head| head == origin.start || stands(store, origin, head);
        let agrees = |witness: &Head| match witness.seq.cmp(&end.seq) {
            Ordering::Less => stands(*witness),
            Ordering::Equal => *witness == end,
            // What follows is walked over.
            Ordering::Greater => true,
        };
        (stands(end) && witnesses.iter().all(agrees)).then_some(found)
    }

    fn open(file: File, origin: Origin) -> Option<Self> {
        let (head, body) = pieces::open::<HEAD>(&scope(origin), file)?;
        let (hash, mut rest) = head.split_first_chunk::<HASH>()?;
        let mut numbers = [0; NUMBERS];
        for number in &mut numbers {
            let (bytes, more) = rest.split_first_chunk::<8>()?;
            (*number, rest) = (u64::from_be_bytes(*bytes), more);
        }
        let [
            seq,
            records,
            batches,
            batch,
            directory,
            lists,
            packed,
            plain,
        ] = numbers;
        let size = |number| usize::try_from(number).ok();
        Some(Self {
            totals: Totals {
                head: Head { seq, hash: *hash },
                records,
                batches,
                batch,
            },
            sizes: Sizes {
                directory: size(directory)?,
                lists: size(lists)?,
                packed: size(packed)?,
                plain: size(plain)?,
            },
            body: Some(body),
        })
    }

    /// A part of it; none: it cannot be believed.
    fn part(&self, part: Range<usize>) -> Option<Vec<u8>> {
        match &self.body {
            Some(body) => body.read(part),
            None => Some(Vec::new()),
        }
    }

    /// What is known; none: something of the whole cannot be believed.
    pub(super) fn known(&self) -> Option<Record> {
        let end = self.sizes.packed().end;
        let packed = self.part(0..end)?.split_off(self.sizes.packed().start);
        if self.sizes.plain == 0 {
            return Some(Record::default());
        }
        let plain = lz4_flex::block::decompress(&packed, self.sizes.plain).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    /// The records that hold events of a container, or of the runs themselves, in order; none:
    /// what says so cannot be believed.
    pub(super) fn records_of(&self, ctid: Ctid) -> Option<Vec<u64>> {
        let directory = self.part(self.sizes.directory())?;
        let wanted = [RUNS, ctid.get()];
        let mut all = Vec::new();
        for (id, part) in index::parts(&directory) {
            if wanted.contains(&id) {
                let lists = self.sizes.lists().start;
                let list = self.part(lists + part.start..lists + part.end)?;
                all.extend(index::numbers(&list));
            }
        }
        all.sort_unstable();
        all.dedup();
        Some(all)
    }

    /// Whether so many events more are worth another.
    pub(super) fn is_due(&self, events: u64) -> bool {
        let bytes = self.sizes.directory + self.sizes.lists + self.sizes.plain;
        events >= LEAST.max(bytes as u64 / BYTES_PER_EVENT)
    }

    /// The content of the file for one that reaches further: what is known there, and where the
    /// records between are. None: where the others are cannot be believed.
    pub(super) fn followed_by(
        &self,
        origin: Origin,
        totals: Totals,
        between: &Index,
        known: &Record,
    ) -> serde_json::Result<Option<Vec<u8>>> {
        let own = self
            .part(self.sizes.directory())
            .zip(self.part(self.sizes.lists()));
        let own = own.and_then(|(directory, lists)| Index::decode(&directory, &lists));
        let Some(mut index) = own else {
            return Ok(None);
        };
        index.append(between);
        let index = index.encode();
        let plain = serde_json::to_vec(known)?;
        let packed = lz4_flex::block::compress(&plain);
        let mut head = totals.head.hash.to_vec();
        for number in [
            totals.head.seq,
            totals.records,
            totals.batches,
            totals.batch,
        ] {
            head.extend_from_slice(&number.to_be_bytes());
        }
        for size in [
            index.directory.len(),
            index.lists.len(),
            packed.len(),
            plain.len(),
        ] {
            head.extend_from_slice(&(size as u64).to_be_bytes());
        }
        let body = [index.directory, index.lists, packed].concat();
        Ok(Some(pieces::sealed(&scope(origin), &head, &body)))
    }
}

/// What a checkpoint is good for.
fn scope(origin: Origin) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(b"phoenix checkpoint\0");
    hash.update([FORMAT]);
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(origin.genesis);
    hash.update(origin.start.seq.to_be_bytes());
    hash.update(origin.start.hash);
    hash
}

/// Whether a record of the store, whole, ends there.
fn stands(store: &Store, origin: Origin, head: Head) -> bool {
    let Ok(Some((seq, value))) = store.last_until(head.seq) else {
        return false;
    };
    let Ok(frame) = Frame::new(seq, &value) else {
        return false;
    };
    let end = Head {
        seq: seq + frame.events() - 1,
        hash: frame.hash(),
    };
    frame.check().is_ok() && origin.after(seq, end) == Some(head)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn only_what_was_written_is_read() {
        let origin = Origin::first([1; 32]);
        let totals = Totals::none(Head {
            seq: 9,
            hash: [2; 32],
        });
        let directory = [100_u32.to_be_bytes().as_slice(), &1_u64.to_be_bytes()].concat();
        let index = Index::decode(&directory, &[7]).unwrap();
        let none = Checkpoint::none(origin);
        let bytes = none.followed_by(origin, totals, &index, &Record::default());
        let bytes = bytes.unwrap().unwrap();
        let read = |bytes: &[u8], origin| {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(bytes, 0).unwrap();
            Checkpoint::open(file, origin)
        };
        let ctid = |id: u32| Ctid::try_from(id).unwrap();
        let found = read(&bytes, origin).unwrap();
        assert_eq!(found.totals, totals);
        assert_eq!(found.records_of(ctid(100)), Some(vec![7]));
        assert_eq!(found.records_of(ctid(101)), Some(Vec::new()));
        assert_eq!(found.known(), Some(Record::default()));
        assert!(read(&bytes, Origin::first([3; 32])).is_none());
        let useless = |bytes: &[u8]| {
            read(bytes, origin).is_none_or(|found| {
                found.known().is_none() && found.records_of(ctid(100)).is_none()
            })
        };
        assert!(!useless(&bytes));
        for place in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place / 8] ^= 1 << (place % 8);
            assert!(useless(&damaged), "{place}");
        }
        for length in 0..bytes.len() {
            assert!(useless(&bytes[..length]));
        }
    }

    #[test]
    fn what_an_event_adds_to_the_writing_is_bounded() {
        let mut checkpoint = Checkpoint::none(Origin::first([0; 32]));
        assert!(!checkpoint.is_due(LEAST - 1) && checkpoint.is_due(LEAST));
        checkpoint.sizes.plain = 1 << 20;
        let events = (1 << 20) / BYTES_PER_EVENT;
        assert!(!checkpoint.is_due(events - 1) && checkpoint.is_due(events));
    }
}
