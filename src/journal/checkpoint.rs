//! What the journal comes to up to some event, kept in a file beside it, so that whoever opens it
//! reads only what follows.
//!
//! It is a cache: it can be removed at any time, and is made again of the records. It is not
//! synced; a crash may leave an old one, half of one, or none. It is used only if its own hash is
//! right, which also covers this phoenix's version and where the chain begins, and if the record
//! that it ends with stands in the store, whole, with the hash that it names. Everything else is
//! as if there were none.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::anchor::Head;
use super::chain::{Origin, Totals};
use super::error::JournalError;
use super::files::{self, Paths};
use super::record::{Frame, Hash};
use super::store::Store;
use crate::domain::ids::Ctid;
use crate::domain::record::Record;

/// Goes up with the form of the file, and with whatever folding makes of an event.
const FORMAT: u8 = 1;

/// So many events must have followed before another is written,
const LEAST: u64 = 256;
/// and one for so many bytes of the last: what an event adds to the writing is bounded.
const BYTES_PER_EVENT: u64 = 256;

/// What the records up to an event come to.
pub(super) struct Checkpoint {
    /// How far it reaches.
    pub(super) totals: Totals,
    index: Index,
    /// What is known, as compressed JSON, and its length before; nothing: of no event.
    packed: Vec<u8>,
    plain: usize,
}

impl Checkpoint {
    /// Of no record.
    pub(super) fn none(origin: Origin) -> Self {
        Self {
            totals: Totals::none(origin.start),
            index: Index::default(),
            packed: Vec::new(),
            plain: 0,
        }
    }

    /// The one that is kept, if it is whole and stands for what is in the store: for each of
    /// these ends, which the chain once had, too.
    pub(super) fn read(
        paths: &Paths,
        store: &Store,
        origin: Origin,
        witnesses: &[Head],
    ) -> Option<Self> {
        let content = files::read(&paths.checkpoint()).ok()??;
        let found = Self::decode(&content, origin)?;
        let behind = witnesses
            .iter()
            .filter(|witness| witness.seq < found.totals.head.seq);
        let stands = [&found.totals.head].into_iter().chain(behind).all(|head| {
            // Where the chain begins there is no record.
            *head == origin.start || stands(store, origin, *head)
        });
        stands.then_some(found)
    }

    /// What is known.
    pub(super) fn known(&self) -> Result<Record, serde_json::Error> {
        if self.plain == 0 {
            return Ok(Record::default());
        }
        let plain = lz4_flex::block::decompress(&self.packed, self.plain);
        serde_json::from_slice(&plain.unwrap_or_default())
    }

    /// The records that hold events of a container, or of the runs themselves, in order.
    pub(super) fn records_of(&self, ctid: Ctid) -> Vec<u64> {
        self.index.records_of(ctid)
    }

    /// Whether so many events more are worth another.
    pub(super) fn is_due(&self, events: u64) -> bool {
        let bytes = (self.plain + self.index.bytes()) as u64;
        events >= LEAST.max(bytes / BYTES_PER_EVENT)
    }

    /// A later one, of what is known there and of the index up to there.
    pub(super) fn after(totals: Totals, index: Index, known: &Record) -> serde_json::Result<Self> {
        let plain = serde_json::to_vec(known)?;
        Ok(Self {
            totals,
            index,
            packed: lz4_flex::block::compress(&plain),
            plain: plain.len(),
        })
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Keeps it.
    pub(super) fn write(&self, paths: &Paths, origin: Origin) -> Result<(), JournalError> {
        files::replace_unsynced(
            &paths.checkpoint(),
            &paths.new_checkpoint(),
            &self.encode(origin),
        )
    }

    fn encode(&self, origin: Origin) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.packed.len() + self.index.bytes() + 256);
        let totals = &self.totals;
        bytes.extend_from_slice(&totals.head.hash);
        let index = self.index.encode();
        for number in [
            totals.head.seq,
            totals.records,
            totals.batches,
            totals.batch,
            index.len() as u64,
            self.plain as u64,
        ] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&index);
        bytes.extend_from_slice(&self.packed);
        let seal = seal(origin, &bytes);
        bytes.extend_from_slice(&seal);
        bytes
    }

    fn decode(content: &[u8], origin: Origin) -> Option<Self> {
        let (content, found) = content.split_last_chunk::<32>()?;
        if seal(origin, content) != *found {
            return None;
        }
        let (hash, mut rest) = content.split_first_chunk::<32>()?;
        let mut numbers = [0; 6];
        for number in &mut numbers {
            let (bytes, more) = rest.split_first_chunk::<8>()?;
            (*number, rest) = (u64::from_be_bytes(*bytes), more);
        }
        let [seq, records, batches, batch, index, plain] = numbers;
        let (index, packed) = rest.split_at_checked(usize::try_from(index).ok()?)?;
        Some(Self {
            totals: Totals {
                head: Head { seq, hash: *hash },
                records,
                batches,
                batch,
            },
            index: Index::decode(index)?,
            packed: packed.to_vec(),
            plain: usize::try_from(plain).ok()?,
        })
    }
}

/// Over the content and everything that it is good for.
fn seal(origin: Origin, content: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"phoenix checkpoint\0");
    hash.update([FORMAT]);
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(origin.genesis);
    hash.update(origin.start.seq.to_be_bytes());
    hash.update(origin.start.hash);
    hash.update(content);
    hash.finalize().into()
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

/// Which records hold events of which container.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Index {
    /// By the container's number; 0: of the runs themselves.
    lists: BTreeMap<u32, List>,
}

impl Index {
    /// Takes in the next record.
    pub(super) fn add(&mut self, seq: u64, frame: &Frame<'_>) {
        for id in frame.ctids().chain(frame.holds_runs().then_some(RUNS)) {
            self.lists.entry(id).or_default().push(seq);
        }
    }

    fn records_of(&self, ctid: Ctid) -> Vec<u64> {
        let lists = [RUNS, ctid.get()].map(|id| self.lists.get(&id));
        let mut all: Vec<u64> = lists.into_iter().flatten().flat_map(List::all).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn bytes(&self) -> usize {
        let lists = self.lists.values();
        lists.map(|list| list.steps.len() + 8).sum()
    }

    /// Number and length of each list, and its steps.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes());
        for (id, list) in &self.lists {
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.extend_from_slice(&(list.steps.len() as u64).to_be_bytes());
            bytes.extend_from_slice(&list.steps);
        }
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut lists = BTreeMap::new();
        while !bytes.is_empty() {
            let (id, rest) = bytes.split_first_chunk::<4>()?;
            let (length, rest) = rest.split_first_chunk::<8>()?;
            let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
            let (steps, rest) = rest.split_at_checked(length)?;
            lists.insert(u32::from_be_bytes(*id), List::new(steps.to_vec()));
            bytes = rest;
        }
        Some(Self { lists })
    }
}

/// No container has it.
const RUNS: u32 = 0;

/// Rising numbers: each as what it adds to the one before, seven bits a byte, the last of them
/// without the eighth.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct List {
    last: u64,
    steps: Vec<u8>,
}

impl List {
    fn new(steps: Vec<u8>) -> Self {
        let mut list = Self { last: 0, steps };
        list.last = list.all().last().unwrap_or(0);
        list
    }

    fn push(&mut self, number: u64) {
        let mut step = number - self.last;
        self.last = number;
        while step >= 0x80 {
            self.steps.push(step as u8 | 0x80);
            step >>= 7;
        }
        self.steps.push(step as u8);
    }

    fn all(&self) -> impl Iterator<Item = u64> + '_ {
        let (mut number, mut step, mut shift) = (0_u64, 0_u64, 0_u32);
        self.steps.iter().filter_map(move |byte| {
            step |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte & 0x80 != 0 {
                return None;
            }
            number = number.wrapping_add(step);
            (step, shift) = (0, 0);
            Some(number)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(steps in proptest::collection::vec(1u64..1 << 40, 0..50)) {
            let mut list = List::default();
            let numbers: Vec<u64> = steps.iter().scan(0, |sum, step| {
                *sum += step;
                Some(*sum)
            }).collect();
            numbers.iter().for_each(|number| list.push(*number));
            prop_assert_eq!(list.all().collect::<Vec<_>>(), numbers);
            prop_assert_eq!(&List::new(list.steps.clone()), &list);
            let index = Index { lists: BTreeMap::from([(0, list.clone()), (100, list)]) };
            prop_assert_eq!(Index::decode(&index.encode()), Some(index));
        }
    }

    #[test]
    fn only_what_was_written_is_read() {
        let origin = Origin::first([1; 32]);
        let totals = Totals::none(Head {
            seq: 9,
            hash: [2; 32],
        });
        let mut index = Index::default();
        index.lists.entry(100).or_default().push(7);
        let written = Checkpoint::after(totals, index, &Record::default()).unwrap();
        let bytes = written.encode(origin);
        let read = Checkpoint::decode(&bytes, origin).unwrap();
        assert_eq!((read.totals, &read.index), (totals, &written.index));
        assert_eq!(read.known().unwrap(), Record::default());
        assert!(Checkpoint::decode(&bytes, Origin::first([3; 32])).is_none());
        for place in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place / 8] ^= 1 << (place % 8);
            assert!(Checkpoint::decode(&damaged, origin).is_none(), "{place}");
        }
        for length in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..length], origin).is_none());
        }
    }

    #[test]
    fn what_an_event_adds_to_the_writing_is_bounded() {
        let mut checkpoint = Checkpoint::none(Origin::first([0; 32]));
        assert!(!checkpoint.is_due(LEAST - 1) && checkpoint.is_due(LEAST));
        checkpoint.plain = 1 << 20;
        let events = (1 << 20) / BYTES_PER_EVENT;
        assert!(!checkpoint.is_due(events - 1) && checkpoint.is_due(events));
    }
}
