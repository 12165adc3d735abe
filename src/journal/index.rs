//! Which records hold events of which container.

use std::collections::BTreeMap;

use super::record::Frame;

/// What stands for the runs themselves: no container has this number.
pub(super) const RUNS: u32 = 0;

/// By the container's number, where its records begin.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Index {
    lists: BTreeMap<u32, List>,
}

/// An index as bytes.
pub(super) struct Encoded {
    /// Number and length of each list.
    pub(super) directory: Vec<u8>,
    /// The lists, one after another.
    pub(super) lists: Vec<u8>,
}

impl Index {
    /// Takes in the next record.
    pub(super) fn add(&mut self, seq: u64, frame: &Frame<'_>) {
        for id in frame.ctids().chain(frame.holds_runs().then_some(RUNS)) {
            self.lists.entry(id).or_default().push(seq);
        }
    }

    /// Takes in those that follow.
    pub(super) fn append(&mut self, later: &Self) {
        for (id, list) in &later.lists {
            let own = self.lists.entry(*id).or_default();
            numbers(&list.steps).for_each(|seq| own.push(seq));
        }
    }

    pub(super) fn encode(&self) -> Encoded {
        let (mut directory, mut lists) = (Vec::new(), Vec::new());
        for (id, list) in &self.lists {
            directory.extend_from_slice(&id.to_be_bytes());
            directory.extend_from_slice(&(list.steps.len() as u64).to_be_bytes());
            lists.extend_from_slice(&list.steps);
        }
        Encoded { directory, lists }
    }

    /// What was encoded; none: this is no index.
    pub(super) fn decode(directory: &[u8], lists: &[u8]) -> Option<Self> {
        let list = |(id, part): (u32, Part)| Some((id, List::new(lists.get(part)?.to_vec())));
        Some(Self {
            lists: parts(directory).map(list).collect::<Option<_>>()?,
        })
    }
}

/// From where to where among the lists a list stands.
pub(super) type Part = std::ops::Range<usize>;

/// The lists that a directory names.
pub(super) fn parts(directory: &[u8]) -> impl Iterator<Item = (u32, Part)> {
    let mut end = 0_usize;
    directory.chunks_exact(12).filter_map(move |entry| {
        let (id, length) = entry.split_first_chunk::<4>()?;
        let length = u64::from_be_bytes(*length.first_chunk()?);
        let start = end;
        end = end.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        Some((u32::from_be_bytes(*id), start..end))
    })
}

/// Rising numbers: each as what it adds to the one before, seven bits a byte, the last of them
/// without the eighth.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct List {
    last: u64,
    steps: Vec<u8>,
}

impl List {
    fn new(steps: Vec<u8>) -> Self {
        let last = numbers(&steps).last().unwrap_or(0);
        Self { last, steps }
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
}

/// The numbers of a list.
pub(super) fn numbers(steps: &[u8]) -> impl Iterator<Item = u64> {
    let (mut number, mut step, mut shift) = (0_u64, 0_u64, 0_u32);
    steps.iter().filter_map(move |byte| {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(numbers: &[u64]) -> List {
        let mut list = List::default();
        numbers.iter().for_each(|number| list.push(*number));
        list
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            steps in proptest::collection::vec(1u64..1 << 40, 0..50),
            cut in any::<prop::sample::Index>(),
        ) {
            let wanted: Vec<u64> = steps.iter().scan(0, |sum, step| {
                *sum += step;
                Some(*sum)
            }).collect();
            let whole = list(&wanted);
            prop_assert_eq!(numbers(&whole.steps).collect::<Vec<_>>(), wanted.clone());
            prop_assert_eq!(&List::new(whole.steps.clone()), &whole);

            let index = Index { lists: BTreeMap::from([(RUNS, whole.clone()), (100, whole)]) };
            let bytes = index.encode();
            let found = Index::decode(&bytes.directory, &bytes.lists);
            prop_assert_eq!(found.as_ref(), Some(&index));
            for (id, part) in parts(&bytes.directory) {
                prop_assert_eq!(&bytes.lists[part], &index.lists[&id].steps);
            }
            if !wanted.is_empty() {
                let short = &bytes.lists[1..];
                prop_assert_eq!(Index::decode(&bytes.directory, short), None);
            }

            let (before, after) = wanted.split_at(cut.index(wanted.len() + 1));
            let mut joined = Index { lists: BTreeMap::from([(RUNS, list(before))]) };
            let later = [(RUNS, list(after)), (100, list(&wanted))];
            joined.append(&Index { lists: BTreeMap::from(later) });
            prop_assert_eq!(joined, index);
        }
    }
}
