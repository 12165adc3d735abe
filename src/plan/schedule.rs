//! Which container is worked on next: as soon as everything it needs has converged, never two
//! clones of one source at once, the longest chain of work first. Knows neither threads nor time,
//! so what it makes of a fleet can be computed without waiting for it.

use std::collections::{BTreeMap, BTreeSet};

use super::order::{Graph, Priority};
use crate::domain::ids::Ctid;

/// The source that a container is yet to be cloned from, if it is.
pub type Pending<'a> = &'a (dyn Fn(Ctid) -> Option<Ctid> + Sync);

/// The containers that wait, those that can start, and the sources that are being cloned from.
pub struct Schedule<'a> {
    graph: &'a Graph,
    pending: Pending<'a>,
    /// How many of its needs each waiting container still misses.
    missing: BTreeMap<Ctid, usize>,
    /// Those that can start, by the source that they are to be cloned from.
    ready: BTreeMap<Option<Ctid>, BTreeSet<(Priority, Ctid)>>,
    busy: BTreeSet<Ctid>,
}

/// A container to work on now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The container.
    pub ctid: Ctid,
    /// The source that it keeps busy until [`Schedule::release`].
    pub source: Option<Ctid>,
}

impl<'a> Schedule<'a> {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(graph: &'a Graph, pending: Pending<'a>) -> Self {
        let mut schedule = Self {
            graph,
            pending,
            missing: BTreeMap::new(),
            ready: BTreeMap::new(),
            busy: BTreeSet::new(),
        };
        for ctid in graph.containers() {
            match graph.needs(ctid).count() {
                0 => schedule.make_ready(ctid),
                count => {
                    schedule.missing.insert(ctid, count);
                }
            }
        }
        schedule
    }

    fn make_ready(&mut self, ctid: Ctid) {
        let waiting = self.ready.entry((self.pending)(ctid)).or_default();
        waiting.insert((self.graph.priority(ctid), ctid));
    }

    /// The next one to work on, if any can start. Its source, if it is to be cloned, is busy then.
    pub fn take(&mut self) -> Option<Turn> {
        let busy = &self.busy;
        let free = |source: &Option<Ctid>| source.is_none_or(|source| !busy.contains(&source));
        let tops = self.ready.iter().filter(|(source, _)| free(source));
        let tops = tops.filter_map(|(source, waiting)| waiting.last().map(|top| (*top, *source)));
        let (top, source) = tops.max()?;
        if let Some(waiting) = self.ready.get_mut(&source) {
            waiting.remove(&top);
            if waiting.is_empty() {
                self.ready.remove(&source);
            }
        }
        self.busy.extend(source);
        Some(Turn {
            ctid: top.1,
            source,
        })
    }

    /// Nobody clones from this source any more.
    pub fn release(&mut self, source: Ctid) {
        self.busy.remove(&source);
    }

    /// Keeps a source busy once more, if nobody else does.
    pub fn claim(&mut self, source: Ctid) -> bool {
        self.busy.insert(source)
    }

    /// A container has converged: what needs it may start.
    pub fn reached(&mut self, ctid: Ctid) {
        for dependent in self.graph.dependents(ctid) {
            let Some(count) = self.missing.get_mut(dependent) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                self.missing.remove(dependent);
                self.make_ready(*dependent);
            }
        }
    }

    /// A container has failed: that stops what depends on it, which is returned, and nothing else.
    pub fn failed(&mut self, ctid: Ctid) -> Vec<Ctid> {
        let mut open = self.graph.dependents(ctid).to_vec();
        let mut skipped = Vec::new();
        while let Some(ctid) = open.pop() {
            if self.missing.remove(&ctid).is_some() {
                skipped.push(ctid);
                open.extend_from_slice(self.graph.dependents(ctid));
            }
        }
        skipped
    }
}
