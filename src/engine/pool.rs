//! Works on many containers at a time, in the order that the schedule says.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::reconcile::{Done, Shared, Source, reconcile};
use super::{ContainerOutcome, EngineError};
use crate::domain::desired::DesiredContainer;
use crate::domain::event::Event;
use crate::domain::ids::Ctid;
use crate::domain::observed::ObservedWorld;
use crate::domain::record::Record;
use crate::plan::{Graph, Pending, Schedule, Turn};

/// What came of all containers.
#[derive(Default)]
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
    let pending = |ctid| {
        let world = shared.world();
        pending_source(&world, shared.env.desired.containers.get(&ctid)?)
    };
    let pool = Pool::new(shared, graph, record, &pending);
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
        None => Ok(state.done),
    }
}

struct Pool<'a> {
    shared: &'a Shared<'a>,
    record: &'a Record,
    state: Mutex<State<'a>>,
    wake: Condvar,
}

struct State<'a> {
    schedule: Schedule<'a>,
    running: usize,
    done: Outcomes,
    fatal: Option<EngineError>,
}

impl<'a> Pool<'a> {
    fn new(
        shared: &'a Shared<'a>,
        graph: &'a Graph,
        record: &'a Record,
        pending: Pending<'a>,
    ) -> Self {
        Self {
            shared,
            record,
            state: Mutex::new(State {
                schedule: Schedule::new(graph, pending),
                running: 0,
                done: Outcomes::default(),
                fatal: None,
            }),
            wake: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'b>(&self, state: MutexGuard<'b, State<'a>>) -> MutexGuard<'b, State<'a>> {
        self.wake
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn worker(&self) {
        let mut state = self.lock();
        loop {
            if state.fatal.is_some() || self.shared.env.stopping() {
                break;
            }
            if let Some(turn) = state.schedule.take() {
                state.running += 1;
                drop(state);
                let result = self.converge(turn);
                state = self.lock();
                state.running -= 1;
                self.settle(&mut state, turn, result);
                self.wake.notify_all();
            } else if state.running == 0 {
                break;
            } else {
                state = self.wait(state);
            }
        }
        self.wake.notify_all();
    }

    fn converge(&self, turn: Turn) -> Result<Done, EngineError> {
        let Some(desired) = self.shared.env.desired.containers.get(&turn.ctid) else {
            return Ok(Done {
                outcome: ContainerOutcome::Failed,
                mutations: 0,
            });
        };
        let mut source = OnLoan {
            pool: self,
            held: turn.source,
        };
        let record = self.record.container(turn.ctid);
        reconcile(self.shared, desired, record, &mut source)
    }

    fn settle(&self, state: &mut State<'_>, turn: Turn, result: Result<Done, EngineError>) {
        let done = match result {
            Ok(done) => done,
            Err(error) => {
                // The first trouble is the cause; what follows it is its consequence.
                state.fatal.get_or_insert(error);
                return;
            }
        };
        state.done.mutations += done.mutations;
        match done.outcome {
            ContainerOutcome::Converged | ContainerOutcome::Unchanged => {
                state.schedule.reached(turn.ctid);
            }
            ContainerOutcome::Failed => self.skip_dependents(state, turn.ctid),
            ContainerOutcome::Interrupted | ContainerOutcome::Skipped { .. } => {}
        }
        state.done.outcomes.insert(turn.ctid, done.outcome);
    }

    fn skip_dependents(&self, state: &mut State<'_>, because: Ctid) {
        let mut drafts = Vec::new();
        for ctid in state.schedule.failed(because) {
            let outcome = ContainerOutcome::Skipped { because };
            state.done.outcomes.insert(ctid, outcome);
            let skipped = Event::ContainerSkipped { because };
            let env = self.shared.env;
            let draft = env.draft(env.clock.now(), self.shared.run, Some(ctid), skipped);
            self.shared.env.watcher.recorded(&draft);
            drafts.push(draft);
        }
        if !drafts.is_empty()
            && let Err(error) = self.shared.env.recorder.enqueue(&drafts)
        {
            state.fatal.get_or_insert(error.into());
        }
    }
}

/// The source that a container is being cloned from; given back when this is dropped, at the
/// latest.
struct OnLoan<'a, 'b> {
    pool: &'a Pool<'b>,
    held: Option<Ctid>,
}

impl Source for OnLoan<'_, '_> {
    fn hold(&mut self, source: Ctid) -> bool {
        if self.held == Some(source) {
            return false;
        }
        let mut state = self.pool.lock();
        while !state.schedule.claim(source) {
            state = self.pool.wait(state);
        }
        self.held = Some(source);
        true
    }

    fn release(&mut self) {
        if let Some(source) = self.held.take() {
            self.pool.lock().schedule.release(source);
            self.pool.wake.notify_all();
        }
    }

    fn held(&self) -> Option<Ctid> {
        self.held
    }
}

impl Drop for OnLoan<'_, '_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// The container that a container is about to be cloned from, if it is yet to be made.
fn pending_source(world: &ObservedWorld, desired: &DesiredContainer) -> Option<Ctid> {
    let exists = world
        .containers
        .get(&desired.ctid)
        .is_some_and(|seen| !seen.half_created());
    desired.clone_source().filter(|_| !exists)
}
