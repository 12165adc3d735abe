//! Who waits for whom.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::domain::desired::DesiredState;
use crate::domain::ids::Ctid;

/// The selected containers and what each needs first.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    needs: BTreeMap<Ctid, BTreeSet<Ctid>>,
    dependents: BTreeMap<Ctid, Vec<Ctid>>,
    priority: BTreeMap<Ctid, Priority>,
}

/// Who goes first among those that can: the longest chain of work, its own and that of its
/// dependents, then the declared boot order, then the smaller id.
pub type Priority = (u32, Reverse<u32>, Reverse<Ctid>);

/// Checking and growing a disk image takes about as long as so many other states.
const GROWTH: u32 = 6;

/// About how long it takes to make a container, in states that something is to be done for: it is
/// made, configured, started, and what is declared beyond that.
fn effort(desired: &DesiredState, ctid: Ctid) -> u32 {
    let Some(container) = desired.containers.get(&ctid) else {
        return 0;
    };
    let source = container.clone_source();
    let source = source.and_then(|source| desired.containers.get(&source));
    let more = [
        container.application.is_some(),
        container.health.is_some(),
        container.snapshot.is_some(),
    ];
    let more = more.into_iter().filter(|declared| *declared).count() + container.features.len();
    let growth = source.is_some_and(|source| source.disk < container.disk);
    let more = u32::try_from(more).unwrap_or(u32::MAX);
    more.saturating_add(if growth { 3 + GROWTH } else { 3 })
}

/// A container that was asked for and is not declared.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("container {0} is not declared in the configuration")]
pub struct UnknownTarget(pub Ctid);

impl Graph {
    /// The graph of the named containers and of everything that they need; of all, if none is
    /// named.
    ///
    /// # Errors
    /// A named container that is not declared.
    pub fn of(desired: &DesiredState, targets: &[Ctid]) -> Result<Self, UnknownTarget> {
        let mut graph = Self::default();
        let mut open: Vec<Ctid> = if targets.is_empty() {
            desired.containers.keys().copied().collect()
        } else {
            targets.to_vec()
        };
        while let Some(ctid) = open.pop() {
            if graph.needs.contains_key(&ctid) {
                continue;
            }
            let container = desired.containers.get(&ctid).ok_or(UnknownTarget(ctid))?;
            let needs: BTreeSet<Ctid> = container
                .needs()
                .filter(|need| desired.containers.contains_key(need))
                .collect();
            for need in &needs {
                graph.dependents.entry(*need).or_default().push(ctid);
                open.push(*need);
            }
            graph.needs.insert(ctid, needs);
        }
        graph.prioritise(desired);
        Ok(graph)
    }

    fn prioritise(&mut self, desired: &DesiredState) {
        let mut chains: BTreeMap<Ctid, u32> = BTreeMap::new();
        for ctid in self.topological().into_iter().rev() {
            let above = self
                .dependents(ctid)
                .iter()
                .filter_map(|other| chains.get(other));
            let chain = above.max().copied().unwrap_or(0);
            chains.insert(ctid, effort(desired, ctid).saturating_add(chain));
        }
        for (ctid, chain) in chains {
            let order = desired
                .containers
                .get(&ctid)
                .and_then(|container| container.boot_order);
            let priority = (chain, Reverse(order.unwrap_or(u32::MAX)), Reverse(ctid));
            self.priority.insert(ctid, priority);
        }
    }

    /// The selected containers.
    pub fn containers(&self) -> impl Iterator<Item = Ctid> + '_ {
        self.needs.keys().copied()
    }

    /// How many are selected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.needs.len()
    }

    /// Whether nothing is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty()
    }

    /// What a container needs first.
    pub fn needs(&self, ctid: Ctid) -> impl Iterator<Item = Ctid> + '_ {
        self.needs.get(&ctid).into_iter().flatten().copied()
    }

    /// What needs this container, directly.
    #[must_use]
    pub fn dependents(&self, ctid: Ctid) -> &[Ctid] {
        self.dependents.get(&ctid).map_or(&[], Vec::as_slice)
    }

    /// Its place among those that can start.
    #[must_use]
    pub fn priority(&self, ctid: Ctid) -> Priority {
        self.priority
            .get(&ctid)
            .copied()
            .unwrap_or((0, Reverse(u32::MAX), Reverse(ctid)))
    }

    /// An order in which each container comes after everything that it needs; what lies on a
    /// cycle (the configuration reader refuses those) is left out.
    #[must_use]
    pub fn topological(&self) -> Vec<Ctid> {
        let mut missing: BTreeMap<Ctid, usize> = self
            .needs
            .iter()
            .map(|(ctid, needs)| (*ctid, needs.len()))
            .collect();
        let free = missing.iter().filter(|(_, count)| **count == 0);
        let mut ready: BinaryHeap<(Priority, Ctid)> = free
            .map(|(ctid, _)| (self.priority(*ctid), *ctid))
            .collect();
        let mut order = Vec::with_capacity(self.needs.len());
        while let Some((_, ctid)) = ready.pop() {
            order.push(ctid);
            for dependent in self.dependents(ctid) {
                let Some(count) = missing.get_mut(dependent) else {
                    continue;
                };
                *count -= 1;
                if *count == 0 {
                    ready.push((self.priority(*dependent), *dependent));
                }
            }
        }
        order
    }
}
