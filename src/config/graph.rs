//! Cycles among guests.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::Ctid;

/// What every guest needs.
pub(super) type Needs = BTreeMap<Ctid, BTreeSet<Ctid>>;

/// Cycles, each beginning with its smallest id, until none is left without one of its members.
/// No recursion: a chain may be as long as the file.
pub(super) fn cycles(needs: &Needs) -> Vec<Vec<Ctid>> {
    let mut left = needs.clone();
    let mut found = Vec::new();
    loop {
        trim(&mut left);
        let Some(start) = left.keys().next().copied() else {
            return found;
        };
        let Some(cycle) = walk(&left, start) else {
            return found;
        };
        for member in &cycle {
            left.remove(member);
        }
        found.push(cycle);
    }
}

/// Takes away, again and again, every guest that needs nothing that is left.
fn trim(left: &mut Needs) {
    let mut needed_by: BTreeMap<Ctid, Vec<Ctid>> = BTreeMap::new();
    for (guest, needs) in left.iter() {
        for need in needs.iter().filter(|need| left.contains_key(need)) {
            needed_by.entry(*need).or_default().push(*guest);
        }
    }
    let counts = left.iter().map(|(guest, needs)| {
        (
            *guest,
            needs.iter().filter(|need| left.contains_key(need)).count(),
        )
    });
    let mut counts: BTreeMap<Ctid, usize> = counts.collect();
    let free = counts
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(guest, _)| *guest);
    let mut free: Vec<Ctid> = free.collect();
    while let Some(guest) = free.pop() {
        left.remove(&guest);
        for dependent in needed_by.get(&guest).into_iter().flatten() {
            if let Some(count) = counts.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    free.push(*dependent);
                }
            }
        }
    }
}

/// Follows the first need that is left until a guest comes up again.
fn walk(left: &Needs, start: Ctid) -> Option<Vec<Ctid>> {
    let mut path = vec![start];
    let mut places = BTreeMap::from([(start, 0)]);
    loop {
        let last = path.last()?;
        let next = *left
            .get(last)?
            .iter()
            .find(|need| left.contains_key(need))?;
        if let Some(place) = places.get(&next) {
            let mut cycle = path.split_off(*place);
            let smallest = cycle.iter().enumerate().min_by_key(|(_, guest)| **guest)?.0;
            cycle.rotate_left(smallest);
            return Some(cycle);
        }
        places.insert(next, path.len());
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(edges: &[(u32, u32)]) -> Needs {
        let id = |number: u32| Ctid::try_from(number).expect("an id");
        let mut all = Needs::new();
        for (from, to) in edges {
            all.entry(id(*from)).or_default().insert(id(*to));
            all.entry(id(*to)).or_default();
        }
        all
    }

    fn shown(edges: &[(u32, u32)]) -> Vec<Vec<u32>> {
        let found = cycles(&needs(edges));
        found
            .iter()
            .map(|cycle| cycle.iter().map(|id| id.get()).collect())
            .collect()
    }

    #[test]
    fn every_cycle_is_found_once() {
        assert_eq!(shown(&[(102, 101), (103, 102)]), Vec::<Vec<u32>>::new());
        assert_eq!(shown(&[(101, 101)]), [[101]]);
        assert_eq!(
            shown(&[(103, 102), (102, 101), (101, 103), (104, 101)]),
            [[101, 103, 102]]
        );
        assert_eq!(
            shown(&[(101, 102), (102, 101), (201, 202), (202, 201)]),
            [[101, 102], [201, 202]]
        );
    }

    #[test]
    fn a_chain_of_any_length_is_followed() {
        let edges: Vec<(u32, u32)> = (100..50_100).map(|n| (n, n + 1)).collect();
        assert!(cycles(&needs(&edges)).is_empty());
        let ring: Vec<(u32, u32)> = edges.iter().copied().chain([(50_100, 100)]).collect();
        assert_eq!(cycles(&needs(&ring)).len(), 1);
    }
}
