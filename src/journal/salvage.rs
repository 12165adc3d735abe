//! Finding the records in a store that sled does not read any more. Each record says by its own
//! hash that it is whole, and by the hash of the one before where it belongs.

use std::collections::{HashMap, HashSet};

use super::anchor::Head;
use super::chain::Origin;
use super::record::{Frame, Hash};

/// Bytes that may be a record.
pub(super) struct Candidate {
    /// The key, where it is known.
    pub(super) seq: Option<u64>,
    pub(super) bytes: Vec<u8>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Salvage {
    /// The records from the beginning, without a gap, by the number of their first event.
    pub(super) chain: Vec<(u64, Vec<u8>)>,
    /// Records that are whole, behind a gap.
    pub(super) strays: Vec<(u64, Vec<u8>)>,
}

/// Every place in the bytes of sled's file where a record may stand. sled writes its length
/// before it.
pub(super) fn scan(content: &[u8]) -> Vec<Candidate> {
    let mut found = Vec::new();
    // Most of the last part is empty.
    let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    for start in 1..used {
        if content[start] == 0 || !Frame::may_begin(&content[start..]) {
            continue;
        }
        for length in lengths_before(&content[..start]).into_iter().flatten() {
            if let Some(bytes) = content.get(start..start + length) {
                let bytes = bytes.to_vec();
                found.push(Candidate { seq: None, bytes });
            }
        }
    }
    found
}

/// What sled's number that ends here can be, by how many bytes it has.
fn lengths_before(bytes: &[u8]) -> [Option<usize>; 4] {
    let byte = |back: usize| {
        let place = bytes.len().checked_sub(back)?;
        Some(usize::from(bytes[place]))
    };
    let one = || byte(1).filter(|length| *length <= 240);
    let two = || {
        let first = byte(2).filter(|first| (241..=248).contains(first))?;
        Some(240 + 256 * (first - 241) + byte(1)?)
    };
    let three = || {
        byte(3).filter(|first| *first == 249)?;
        Some(2288 + 256 * byte(2)? + byte(1)?)
    };
    let four = || {
        byte(4).filter(|first| *first == 250)?;
        Some(byte(3)? + 256 * byte(2)? + 65_536 * byte(1)?)
    };
    [one(), two(), three(), four()]
}

/// A record whose own hash is right.
struct Whole {
    seq: u64,
    last: u64,
    prev: Hash,
    hash: Hash,
    bytes: Vec<u8>,
}

impl Whole {
    fn new(seq: u64, bytes: &[u8]) -> Option<Self> {
        let frame = Frame::new(seq, bytes).ok()?;
        frame.check().ok()?;
        Some(Self {
            seq,
            last: seq + frame.events() - 1,
            prev: frame.prev(),
            hash: frame.hash(),
            bytes: bytes.to_vec(),
        })
    }

    fn is_sensible(&self) -> bool {
        Frame::new(self.seq, &self.bytes).is_ok_and(|frame| frame.entries().is_ok())
    }

    fn head(&self) -> Head {
        Head {
            seq: self.last,
            hash: self.hash,
        }
    }
}

/// Puts the candidates in order.
pub(super) fn order(origin: Origin, candidates: Vec<Candidate>) -> Salvage {
    let mut by_prev: HashMap<Hash, Vec<Whole>> = HashMap::new();
    // Their number is known only once the one before them is.
    let mut waiting: HashMap<Hash, Vec<Vec<u8>>> = HashMap::new();
    let mut fresh = Vec::new();
    for Candidate { seq, bytes } in candidates {
        let Ok(frame) = Frame::new(seq.unwrap_or(1), &bytes) else {
            continue;
        };
        match Whole::new(seq.unwrap_or_else(|| frame.batch()), &bytes) {
            Some(whole) => fresh.push(whole),
            None => waiting.entry(frame.prev()).or_default().push(bytes),
        }
    }
    if let Some(first) = waiting.remove(&origin.start.hash) {
        fresh.extend(
            first
                .iter()
                .filter_map(|bytes| Whole::new(origin.start.seq + 1, bytes)),
        );
    }
    let mut known = HashSet::new();
    while let Some(whole) = fresh.pop() {
        // sled writes a page again and again.
        if !known.insert(whole.hash) || !whole.is_sensible() {
            continue;
        }
        let next = waiting.remove(&whole.hash).unwrap_or_default();
        fresh.extend(
            next.iter()
                .filter_map(|bytes| Whole::new(whole.last + 1, bytes)),
        );
        by_prev.entry(whole.prev).or_default().push(whole);
    }
    let chain = longest(origin, &mut by_prev);
    let mut strays: Vec<_> = by_prev.into_values().flatten().collect();
    let end = chain.last().map_or(origin.start.seq, |whole| whole.last);
    strays.retain(|whole| whole.seq > end);
    strays.sort_by_key(|whole| whole.seq);
    strays.dedup_by_key(|whole| whole.seq);
    let bytes = |all: Vec<Whole>| {
        all.into_iter()
            .map(|whole| (whole.seq, whole.bytes))
            .collect()
    };
    Salvage {
        chain: bytes(chain),
        strays: bytes(strays),
    }
}

/// The chain from the beginning. Where two records follow one, a crash cut the end off once and
/// another was written: the one with more behind it is the later.
fn longest(origin: Origin, by_prev: &mut HashMap<Hash, Vec<Whole>>) -> Vec<Whole> {
    let mut chain = Vec::new();
    let mut head = origin.start;
    while let Some(mut all) = by_prev.remove(&head.hash) {
        all.retain(|whole| whole.seq == head.seq + 1);
        let best = all
            .into_iter()
            .max_by_key(|whole| reach(origin, whole, by_prev));
        let Some(best) = best else { break };
        let Some(next) = origin.after(best.seq, best.head()) else {
            break;
        };
        head = next;
        chain.push(best);
    }
    chain
}

/// How far one gets from a record, by the first way.
fn reach(origin: Origin, whole: &Whole, by_prev: &HashMap<Hash, Vec<Whole>>) -> u64 {
    let mut at = whole;
    let mut last = at.last;
    while let Some(head) = origin.after(at.seq, at.head()) {
        last = at.last;
        match by_prev.get(&head.hash).and_then(|all| all.first()) {
            Some(next) if next.seq == head.seq + 1 => at = next,
            _ => break,
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleds_numbers_are_read_backwards() {
        for (bytes, length) in [
            (&[7][..], 7),
            (&[240], 240),
            (&[241, 0], 240),
            (&[243, 9], 761),
            (&[249, 1, 2], 2546),
            (&[250, 1, 2, 1], 66_049),
        ] {
            assert!(lengths_before(bytes).contains(&Some(length)), "{bytes:?}");
        }
        assert_eq!(lengths_before(&[]), [None; 4]);
    }
}
