//! Works on many containers at a time: each as soon as everything it needs has converged, never
//! two clones of one source at once, the longest chain first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::look::pending_source;
use super::reconcile::{Done, Shared, reconcile};
use super::{ContainerOutcome, EngineError};
use crate::domain::event::Event;
use crate::domain::ids::Ctid;
use crate::domain::record::Record;
use crate::plan::{Graph, Priority};

/// What came of all containers.
pub(super) struct Outcomes {
    pub(super) outcomes: BTreeMap<Ctid, ContainerOutcome>,
    pub(super) mutations: u64,
}

/// Works on all containers of the graph.
pub(super) fn work(
    shared: &Shared<'_>,
    graph: &Graph,
    record: &Record,
    jobs: u32,
) -> Result<Outcomes, EngineError> {
    let pool = Pool {
        shared,
        graph,
        record,
        state: Mutex::new(State::default()),
        wake: Condvar::new(),
    };
    pool.prepare();
    let workers = usize::try_from(jobs)
        .unwrap_or(1)
        .clamp(1, graph.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| pool.worker());
        }
    });
    let state = pool
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match state.fatal {
        Some(error) => Err(error),
        None => Ok(Outcomes {
            outcomes: state.outcomes,
            mutations: state.mutations,
        }),
    }
}

struct Pool<'a> {
    shared: &'a Shared<'a>,
    graph: &'a Graph,
    record: &'a Record,
    state: Mutex<State>,
    wake: Condvar,
}

type Waiting = BTreeSet<(Priority, Ctid)>;

#[derive(Default)]
struct State {
    /// How many of its needs each waiting container still misses.
    missing: BTreeMap<Ctid, usize>,
    /// Those that can start, by the source that they are to be cloned from.
    ready: BTreeMap<Option<Ctid>, Waiting>,
    /// Sources that are being cloned from.
    busy: BTreeSet<Ctid>,
    running: usize,
    outcomes: BTreeMap<Ctid, ContainerOutcome>,
    mutations: u64,
    fatal: Option<EngineError>,
}

impl State {
    /// The next one to work on, with the source it keeps busy.
    fn take(&mut self) -> Option<(Ctid, Option<Ctid>)> {
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
        self.running += 1;
        Some((top.1, source))
    }
}

impl Pool<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepare(&self) {
        let mut state = self.lock();
        for ctid in self.graph.containers() {
            match self.graph.needs(ctid).count() {
                0 => self.make_ready(&mut state, ctid),
                count => {
                    state.missing.insert(ctid, count);
                }
            }
        }
    }

    fn make_ready(&self, state: &mut State, ctid: Ctid) {
        let world = self
            .shared
            .world
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let desired = self.shared.env.desired.containers.get(&ctid);
        let source = desired.and_then(|desired| pending_source(&world, desired));
        state
            .ready
            .entry(source)
            .or_default()
            .insert((self.graph.priority(ctid), ctid));
    }

    fn worker(&self) {
        let mut state = self.lock();
        loop {
            if state.fatal.is_some() || self.shared.env.stopping() {
                break;
            }
            if let Some((ctid, source)) = state.take() {
                drop(state);
                let result = self.converge(ctid, source);
                state = self.lock();
                state.running -= 1;
                self.settle(&mut state, ctid, result);
                self.wake.notify_all();
            } else if state.running == 0 {
                break;
            } else {
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        self.wake.notify_all();
    }

    fn converge(&self, ctid: Ctid, source: Option<Ctid>) -> Result<Done, EngineError> {
        let release = || {
            if let Some(source) = source {
                self.lock().busy.remove(&source);
                self.wake.notify_all();
            }
        };
        let Some(desired) = self.shared.env.desired.containers.get(&ctid) else {
            return Ok(Done {
                outcome: ContainerOutcome::Failed,
                mutations: 0,
            });
        };
        let result = reconcile(self.shared, desired, self.record.container(ctid), &release);
        release();
        result
    }

    fn settle(&self, state: &mut State, ctid: Ctid, result: Result<Done, EngineError>) {
        let done = match result {
            Ok(done) => done,
            Err(error) => {
                // The first trouble is the cause; what follows it is its consequence.
                state.fatal.get_or_insert(error);
                return;
            }
        };
        state.mutations += done.mutations;
        match done.outcome {
            ContainerOutcome::Converged | ContainerOutcome::Unchanged => {
                for dependent in self.graph.dependents(ctid) {
                    let Some(count) = state.missing.get_mut(dependent) else {
                        continue;
                    };
                    *count -= 1;
                    if *count == 0 {
                        state.missing.remove(dependent);
                        self.make_ready(state, *dependent);
                    }
                }
            }
            ContainerOutcome::Failed => self.skip_dependents(state, ctid),
            ContainerOutcome::Interrupted | ContainerOutcome::Skipped { .. } => {}
        }
        state.outcomes.insert(ctid, done.outcome);
    }

    /// A failure stops what depends on it, and nothing else.
    fn skip_dependents(&self, state: &mut State, because: Ctid) {
        let mut open = self.graph.dependents(because).to_vec();
        let mut drafts = Vec::new();
        while let Some(ctid) = open.pop() {
            if state.missing.remove(&ctid).is_none() {
                continue;
            }
            state
                .outcomes
                .insert(ctid, ContainerOutcome::Skipped { because });
            let skipped = Event::ContainerSkipped { because };
            let env = self.shared.env;
            let draft = env.draft(env.clock.now(), self.shared.run, Some(ctid), skipped);
            self.shared.env.watcher.recorded(&draft);
            drafts.push(draft);
            open.extend_from_slice(self.graph.dependents(ctid));
        }
        if !drafts.is_empty()
            && let Err(error) = self.shared.env.recorder.enqueue(drafts)
        {
            state.fatal.get_or_insert(error.into());
        }
    }
}
