//! The stored form of events: one record holds a few of them, chained to the record before.
//!
//! All numbers are big-endian:
//!
//! ```text
//!  0  format        u8    1
//!  1  flags         u8    1: the body is compressed (LZ4 block)  2: holds events of the run itself
//!  2  events        u16   how many
//!  4  body length   u32   before compression
//!  8  containers    u16   how many ids follow the header
//! 10  batch         u64   sequence number of the first event that was made durable together
//! 18  previous      32    SHA-256 that ends the record before; of the journal itself, if first
//! 50  container ids u32 each
//!     body          JSON
//!     own hash      32    SHA-256 over the key and all of the above
//! ```
//!
//! The first byte is the format and the last 32 are the hash in every format there will be, so
//! that damage is told apart from a newer format.

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::error::JournalError;
use super::upcast;
use crate::domain::event::{Draft, Entry};
use crate::domain::ids::{Ctid, RunId};

/// The format that is written, and the newest that is read.
pub(super) const FORMAT: u8 = 1;

/// The largest event that is taken, as JSON. sled keeps values above 128 KiB in files of their
/// own, which it never syncs; this is safely below.
pub(super) const MAX_EVENT: usize = 64 * 1024;

/// What a record is meant to stay below: sled becomes slow with values above 7 KiB.
const GOAL: usize = 6 * 1024;
/// How much JSON is tried in one record: events of one batch resemble each other and shrink to
/// a third or less.
const MAX_BODY: usize = 16 * 1024;
/// How many events are tried in one record.
const MAX_EVENTS: usize = 64;

/// The largest body that is unpacked.
const MAX_PLAIN: usize = 2 * (MAX_EVENT + MAX_BODY);

const FLAG_LZ4: u8 = 1;
const FLAG_RUN: u8 = 2;
const HEADER: usize = 50;
pub(super) const HASH: usize = 32;

/// A SHA-256.
pub(super) type Hash = [u8; HASH];

/// An event on its way to the disk: encoded by who appends it, so that the committer need not.
pub(super) struct Item {
    at_ms: i64,
    run: RunId,
    ctid: Option<Ctid>,
    event: Box<RawValue>,
}

impl Item {
    pub(super) fn new(draft: &Draft) -> Result<Self, JournalError> {
        let event = serde_json::value::to_raw_value(&draft.event).map_err(|source| {
            JournalError::Unstorable {
                source: source.into(),
            }
        })?;
        let bytes = event.get().len();
        if bytes > MAX_EVENT {
            return Err(JournalError::TooLarge {
                bytes,
                limit: MAX_EVENT,
            });
        }
        Ok(Self {
            at_ms: draft.at.timestamp_millis(),
            run: draft.run,
            ctid: draft.ctid,
            event,
        })
    }

    /// Its size, about.
    pub(super) fn bytes(&self) -> usize {
        self.event.get().len() + 40
    }
}

/// The body. Times are counted from the first; runs and containers are numbers in lists.
#[derive(Serialize, Deserialize)]
struct Body<E> {
    /// Milliseconds since 1970 of the first event.
    t: i64,
    /// Runs.
    r: Vec<RunId>,
    /// Events: milliseconds since `t`; which run, from 0; which container of the header, from
    /// 1, or 0 for the run itself; the event.
    e: Vec<(i64, usize, usize, E)>,
}

/// A record that is ready to be written.
pub(super) struct Encoded {
    /// Sequence number of its first event.
    pub(super) seq: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) hash: Hash,
    /// Sequence number of its last event.
    pub(super) last: u64,
}

/// Packs a batch into records, the first of which is chained to `prev`.
pub(super) fn pack(
    first: u64,
    mut prev: Hash,
    items: &[Item],
) -> Result<Vec<Encoded>, JournalError> {
    let mut records = Vec::with_capacity(items.len().div_ceil(MAX_EVENTS));
    let mut rest = items;
    let mut seq = first;
    while !rest.is_empty() {
        let mut take = fitting(rest);
        let record = loop {
            let record = encode(seq, first, &prev, &rest[..take])?;
            if record.bytes.len() <= GOAL || take == 1 {
                break record;
            }
            take /= 2;
        };
        rest = &rest[take..];
        seq = record.last + 1;
        prev = record.hash;
        records.push(record);
    }
    Ok(records)
}

/// How many of the items, at least one, are tried in one record.
fn fitting(items: &[Item]) -> usize {
    let mut bytes = 0;
    let fitting = items.iter().take(MAX_EVENTS).take_while(|item| {
        bytes += item.bytes();
        bytes <= MAX_BODY
    });
    fitting.count().max(1)
}

fn position<T: PartialEq>(list: &mut Vec<T>, wanted: T) -> usize {
    list.iter()
        .position(|known| *known == wanted)
        .unwrap_or_else(|| {
            list.push(wanted);
            list.len() - 1
        })
}

fn encode(seq: u64, batch: u64, prev: &Hash, items: &[Item]) -> Result<Encoded, JournalError> {
    let base = items.first().map_or(0, |item| item.at_ms);
    let (mut runs, mut ctids) = (Vec::new(), Vec::new());
    let mut flags = 0;
    let mut events = Vec::with_capacity(items.len());
    for item in items {
        let place = match item.ctid {
            Some(ctid) => position(&mut ctids, ctid) + 1,
            None => {
                flags |= FLAG_RUN;
                0
            }
        };
        let run = position(&mut runs, item.run);
        events.push((item.at_ms.saturating_sub(base), run, place, &item.event));
    }
    let plain = serde_json::to_vec(&Body {
        t: base,
        r: runs,
        e: events,
    })
    .map_err(|source| JournalError::Unstorable {
        source: source.into(),
    })?;
    let packed = lz4_flex::block::compress(&plain);
    let small = packed.len() < plain.len();
    flags |= if small { FLAG_LZ4 } else { 0 };
    let body = if small { &packed } else { &plain };

    let mut bytes = Vec::with_capacity(HEADER + 4 * ctids.len() + body.len() + HASH);
    bytes.extend_from_slice(&[FORMAT, flags]);
    // MAX_EVENTS bounds both counts, MAX_BODY and MAX_EVENT the length.
    bytes.extend_from_slice(&(items.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&(plain.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&(ctids.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&batch.to_be_bytes());
    bytes.extend_from_slice(prev);
    for ctid in ctids {
        bytes.extend_from_slice(&ctid.get().to_be_bytes());
    }
    bytes.extend_from_slice(body);
    let hash = own_hash(seq, &bytes);
    bytes.extend_from_slice(&hash);
    Ok(Encoded {
        seq,
        bytes,
        hash,
        last: seq + items.len() as u64 - 1,
    })
}

/// The key is part of it, so that a record that was moved is found.
fn own_hash(seq: u64, bytes: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(seq.to_be_bytes());
    hash.update(bytes);
    hash.finalize().into()
}

/// With the hash that makes it a record of ours.
#[cfg(fuzzing)]
pub(super) fn sealed(seq: u64, content: &[u8]) -> Vec<u8> {
    [content, &own_hash(seq, content)].concat()
}

/// Why the bytes of a record cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    /// They are not what was written.
    Altered,
    /// A newer phoenix wrote them.
    Newer(u8),
    /// They are what was written, and make no sense.
    Senseless(String),
}

/// A record as it was found; its parts are looked up where they stand.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    seq: u64,
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Looks at the form only; [`Frame::check`] looks at the hash.
    pub(super) fn new(seq: u64, bytes: &'a [u8]) -> Result<Self, Flaw> {
        let frame = Self { seq, bytes };
        if bytes.len() < HEADER + HASH {
            return Err(Flaw::Altered);
        }
        if !(1..=FORMAT).contains(&frame.format()) {
            frame.check()?;
            return Err(match frame.format() {
                0 => Flaw::Senseless("there is no format 0".to_owned()),
                newer => Flaw::Newer(newer),
            });
        }
        if bytes.len() < frame.body_start() + HASH || frame.events() == 0 {
            return Err(Flaw::Altered);
        }
        Ok(frame)
    }

    /// Whether every byte is the one that was written.
    pub(super) fn check(&self) -> Result<(), Flaw> {
        let (content, hash) = self.bytes.split_at(self.bytes.len() - HASH);
        if own_hash(self.seq, content) == hash {
            Ok(())
        } else {
            Err(Flaw::Altered)
        }
    }

    /// Whether a record may begin here, by what its first bytes can be.
    pub(super) fn may_begin(bytes: &[u8]) -> bool {
        if bytes.len() < HEADER + HASH || !(1..=FORMAT).contains(&bytes[0]) {
            return false;
        }
        let frame = Frame { seq: 0, bytes };
        bytes[1] & !(FLAG_LZ4 | FLAG_RUN) == 0
            && (1..=MAX_EVENTS as u64).contains(&frame.events())
            && frame.body_start() <= HEADER + 4 * MAX_EVENTS
            && frame.plain_length() <= MAX_PLAIN
            && frame.batch() > 0
    }

    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.bytes[at..at + N]);
        bytes
    }

    fn format(&self) -> u8 {
        self.bytes[0]
    }

    /// How many events it holds.
    pub(super) fn events(&self) -> u64 {
        u16::from_be_bytes(self.number(2)).into()
    }

    fn plain_length(&self) -> usize {
        u32::from_be_bytes(self.number(4)) as usize
    }

    fn body_start(&self) -> usize {
        HEADER + 4 * usize::from(u16::from_be_bytes(self.number(8)))
    }

    /// Sequence number of the first event of its batch.
    pub(super) fn batch(&self) -> u64 {
        u64::from_be_bytes(self.number(10))
    }

    /// Hash of the record before, as noted in this one.
    pub(super) fn prev(&self) -> Hash {
        self.number(18)
    }

    /// Its own hash, as noted.
    pub(super) fn hash(&self) -> Hash {
        self.number(self.bytes.len() - HASH)
    }

    /// The numbers of the containers whose events it holds.
    pub(super) fn ctids(&self) -> impl Iterator<Item = u32> + use<'a> {
        let ids = &self.bytes[HEADER..self.body_start()];
        ids.chunks_exact(4)
            .map(|id| u32::from_be_bytes([id[0], id[1], id[2], id[3]]))
    }

    /// Whether it holds events of the run itself.
    pub(super) fn holds_runs(&self) -> bool {
        self.bytes[1] & FLAG_RUN != 0
    }

    /// Whether it holds events of a container, or of the run itself.
    pub(super) fn concerns(&self, ctid: Ctid) -> bool {
        self.holds_runs() || self.ctids().any(|id| id == ctid.get())
    }

    /// Its events.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, Flaw> {
        self.check()?;
        let stored = &self.bytes[self.body_start()..self.bytes.len() - HASH];
        let senseless = |what: String| Flaw::Senseless(what);
        let unpacked;
        let plain = if self.bytes[1] & FLAG_LZ4 == 0 {
            stored
        } else {
            // The hash says that the length is ours; it is bounded nevertheless.
            if self.plain_length() > MAX_PLAIN {
                return Err(senseless(format!(
                    "a body of {} bytes",
                    self.plain_length()
                )));
            }
            unpacked = lz4_flex::block::decompress(stored, self.plain_length())
                .map_err(|error| senseless(error.to_string()))?;
            &unpacked
        };
        let body: Body<&RawValue> =
            serde_json::from_slice(plain).map_err(|error| senseless(error.to_string()))?;
        if body.e.len() as u64 != self.events() {
            return Err(senseless(format!(
                "{} events, not {}",
                body.e.len(),
                self.events()
            )));
        }
        self.decode(&body)
    }

    fn decode(&self, body: &Body<&RawValue>) -> Result<Vec<Entry>, Flaw> {
        let ctids: Vec<u32> = self.ctids().collect();
        let decode =
            |(index, (after, run, place, event)): (u64, &(i64, usize, usize, &RawValue))| {
                let wrong =
                    |what: &str| Flaw::Senseless(format!("{what} in event {}", self.seq + index));
                let ctid = match place.checked_sub(1) {
                    None => None,
                    Some(index) => {
                        let id = ctids.get(index).and_then(|id| Ctid::try_from(*id).ok());
                        Some(id.ok_or_else(|| wrong("no such container"))?)
                    }
                };
                let millis = body.t.saturating_add(*after);
                Ok(Entry {
                    seq: self.seq + index,
                    at: DateTime::from_timestamp_millis(millis)
                        .ok_or_else(|| wrong("no such time"))?,
                    run: *body.r.get(*run).ok_or_else(|| wrong("no such run"))?,
                    ctid,
                    event: upcast::event(self.format(), event.get())
                        .map_err(|error| wrong(&error.to_string()))?,
                })
            };
        (0..).zip(&body.e).map(decode).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::event::Event;

    fn item(n: u64, ctid: Option<u32>, text: String) -> Item {
        let event = Event::RunInterrupted { reason: text };
        let at = DateTime::from_timestamp_millis(1_760_000_000_000 + n as i64).unwrap();
        let ctid = ctid.map(|id| Ctid::try_from(id).unwrap());
        Item::new(&Draft {
            at,
            run: RunId(Uuid::from_u128(1)),
            ctid,
            event,
        })
        .unwrap()
    }

    fn packed(items: &[Item]) -> Vec<Encoded> {
        pack(1, [9; 32], items).unwrap()
    }

    #[test]
    fn every_byte_is_guarded() {
        let items: Vec<Item> = (0..5).map(|n| item(n, Some(100), "x".repeat(40))).collect();
        let record = packed(&items).remove(0);
        Frame::new(1, &record.bytes).unwrap().check().unwrap();
        for place in 0..record.bytes.len() {
            let mut bytes = record.bytes.clone();
            bytes[place] ^= 0x10;
            let found = Frame::new(1, &bytes).and_then(|frame| frame.check());
            assert_eq!(found, Err(Flaw::Altered), "byte {place}");
        }
        for length in 0..record.bytes.len() {
            let found = Frame::new(1, &record.bytes[..length]).and_then(|frame| frame.check());
            assert_eq!(found, Err(Flaw::Altered), "cut to {length}");
        }
        let moved = Frame::new(2, &record.bytes).and_then(|frame| frame.check());
        assert_eq!(moved, Err(Flaw::Altered));
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let mut bytes = packed(&[item(1, None, String::new())]).remove(0).bytes;
        bytes.truncate(bytes.len() - HASH);
        for (format, flaw) in [
            (FORMAT + 1, Flaw::Newer(FORMAT + 1)),
            (0, Flaw::Senseless("there is no format 0".into())),
        ] {
            bytes[0] = format;
            let hash = own_hash(1, &bytes);
            let whole = [bytes.as_slice(), hash.as_slice()].concat();
            assert_eq!(Frame::new(1, &whole).err(), Some(flaw));
        }
    }

    proptest! {
        #[test]
        fn packing_is_tight_bounded_and_keeps_order(
            lengths in proptest::collection::vec((0usize..9000, any::<bool>()), 1..120),
        ) {
            let mut state = 1u64;
            let items: Vec<Item> = (0..).zip(&lengths).map(|(n, (length, noisy))| {
                let text = (0..*length).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if *noisy { char::from(b'!' + (state >> 58) as u8) } else { 'a' }
                });
                item(n, (n % 3 > 0).then_some(100 + n as u32 % 9), text.collect())
            }).collect();
            let (mut next, mut prev) = (1, [9; 32]);
            for record in packed(&items) {
                prop_assert_eq!(record.seq, next);
                let frame = Frame::new(record.seq, &record.bytes).unwrap();
                prop_assert_eq!((frame.prev(), frame.hash(), frame.batch()), (prev, record.hash, 1));
                prop_assert!(record.bytes.len() <= GOAL || frame.events() == 1);
                for entry in frame.entries().unwrap() {
                    let item = &items[next as usize - 1];
                    prop_assert_eq!(entry.seq, next);
                    prop_assert_eq!(entry.ctid, item.ctid);
                    prop_assert_eq!(entry.at.timestamp_millis(), item.at_ms);
                    let json = serde_json::to_string(&entry.event).unwrap();
                    prop_assert_eq!(json.as_str(), item.event.get());
                    prop_assert!(entry.ctid.is_none_or(|ctid| frame.concerns(ctid)));
                    next += 1;
                }
                prop_assert_eq!(record.last, next - 1);
                prev = record.hash;
            }
            prop_assert_eq!(next as usize, items.len() + 1);
        }
    }

    #[test]
    fn a_record_says_whom_it_concerns() {
        let of = |ids: &[Option<u32>]| {
            let items: Vec<Item> = ids.iter().map(|id| item(1, *id, String::new())).collect();
            packed(&items).remove(0).bytes
        };
        let concerns = |bytes: &[u8], id: u32| {
            Frame::new(1, bytes)
                .unwrap()
                .concerns(Ctid::try_from(id).unwrap())
        };
        let two = of(&[Some(100), Some(101), Some(100)]);
        assert!(concerns(&two, 100) && concerns(&two, 101) && !concerns(&two, 102));
        assert!(
            concerns(&of(&[Some(100), None]), 102),
            "the run itself concerns everybody"
        );
    }
}
