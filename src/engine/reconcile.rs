//! Brings one container through the eleven states: compare, intend, do, look again.

mod attempt;
mod busy;
mod failure;
mod inspect;
mod retry;
mod seen;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use chrono::{DateTime, Utc};

use self::busy::Busy;
use super::recorder::Pen;
use super::{ContainerOutcome, EngineError, Env};
use crate::domain::action::Action;
use crate::domain::desired::DesiredContainer;
use crate::domain::event::{Event, Seen};
use crate::domain::ids::{Ctid, RunId};
use crate::domain::observed::{ObservedContainer, ObservedWorld};
use crate::domain::record::{ContainerRecord, Record};
use crate::domain::step::Step;
use crate::steps::{self, Context, Options, Problems, Work};

/// What all containers of a run share.
pub(super) struct Shared<'a> {
    pub(super) env: &'a Env<'a>,
    pub(super) run: RunId,
    options: &'a Options,
    /// Containers of which a clone of ours broke off before this run.
    lent: BTreeSet<Ctid>,
    /// Things of the host itself that somebody is at.
    busy: Busy,
    /// What was seen last of the host and of each container.
    world: RwLock<ObservedWorld>,
}

impl<'a> Shared<'a> {
    /// A run's beginning: what was seen before it, and nobody is at anything.
    pub(super) fn new(
        env: &'a Env<'a>,
        run: RunId,
        options: &'a Options,
        record: &Record,
        seen: ObservedWorld,
    ) -> Self {
        Self {
            env,
            run,
            options,
            lent: record.sources_of_broken_clones(),
            busy: Busy::default(),
            world: RwLock::new(seen),
        }
    }

    /// What was seen last; while it is held, nobody notes anything newer.
    pub(super) fn world(&self) -> RwLockReadGuard<'_, ObservedWorld> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of one container, and what was done for it.
pub(super) struct Done {
    pub(super) outcome: ContainerOutcome,
    pub(super) mutations: u64,
}

/// The container that one is cloned from, which one at a time may use.
pub(super) trait Source {
    /// Waits until nobody else clones from it; says whether it was not held already.
    fn hold(&mut self, source: Ctid) -> bool;

    /// Lets the next one clone from it.
    fn release(&mut self);

    /// The one that is held.
    fn held(&self) -> Option<Ctid>;
}

/// Brings one container to its declared state. The source is let go as soon as nothing more is
/// copied from it.
pub(super) fn reconcile(
    shared: &Shared<'_>,
    desired: &DesiredContainer,
    record: ContainerRecord,
    source: &mut dyn Source,
) -> Result<Done, EngineError> {
    let pen = Pen::new(shared.env, shared.run, desired.ctid, record);
    let began = shared.env.clock.now();
    let mut work = Reconciler {
        shared,
        desired,
        source,
        pen,
        began,
        held: Vec::new(),
        told: None,
        blind: false,
        mutations: 0,
    };
    let outcome = work.converge()?;
    Ok(Done {
        outcome,
        mutations: work.mutations,
    })
}

struct Reconciler<'a> {
    shared: &'a Shared<'a>,
    desired: &'a DesiredContainer,
    source: &'a mut dyn Source,
    pen: Pen<'a>,
    began: DateTime<Utc>,
    /// States that held, not yet written.
    held: Vec<Step>,
    /// The account of the container as it was seen last: what was seen after one state is what is
    /// seen before the next.
    told: Option<(Arc<ObservedContainer>, Seen)>,
    /// The last look failed: what is known of the container is older than the last action.
    blind: bool,
    mutations: u64,
}

/// How the work on one state ended.
enum StepEnd {
    Holds,
    Failed,
    Interrupted,
}

impl<'a> Reconciler<'a> {
    fn converge(&mut self) -> Result<ContainerOutcome, EngineError> {
        let inherited = self.pen.record.open.is_some();
        if inherited {
            self.inspect_open_intent()?;
        }
        for step in self.desired.states().iter().copied() {
            match self.reach(step)? {
                StepEnd::Holds => {}
                StepEnd::Failed => return Ok(ContainerOutcome::Failed),
                StepEnd::Interrupted => return Ok(ContainerOutcome::Interrupted),
            }
            if step == Step::EnsureContainerDefined {
                self.source.release();
            }
        }
        if self.desired.is_absent() {
            return self.destroyed();
        }
        let gone = self.released();
        if self.held.len() == Step::ALL.len() && !inherited && gone.is_none() {
            self.pen.note(vec![Event::ContainerUnchanged])?;
            return Ok(ContainerOutcome::Unchanged);
        }
        let mut events = self.held_events();
        events.extend(gone);
        events.push(Event::ContainerConverged {
            took_ms: self.since(self.began),
        });
        self.pen.note(events)?;
        Ok(ContainerOutcome::Converged)
    }

    fn destroyed(&mut self) -> Result<ContainerOutcome, EngineError> {
        let took_ms = self.since(self.began);
        self.pen.note(vec![Event::ContainerDestroyed { took_ms }])?;
        Ok(match self.mutations {
            0 => ContainerOutcome::Unchanged,
            _ => ContainerOutcome::Converged,
        })
    }

    /// What was ours, is declared no more and is gone, is ours no more: the next one to put it
    /// there may be somebody else.
    fn released(&self) -> Option<Event> {
        let owned = self.in_context(self.shared.options, steps::stale);
        (!owned.is_empty()).then_some(Event::OwnershipReleased { owned })
    }

    /// Works on one state until it holds, cannot hold, or has been tried often enough.
    fn reach(&mut self, step: Step) -> Result<StepEnd, EngineError> {
        let mut tries = 0;
        loop {
            let work = match self.compare(step) {
                Ok(work) => work,
                Err(problems) => return self.impossible(step, &problems),
            };
            if work.actions.is_empty() {
                if tries == 0 {
                    self.held.push(step);
                }
                return Ok(StepEnd::Holds);
            }
            if self.shared.env.stopping() {
                return Ok(StepEnd::Interrupted);
            }
            let (work, _held) = match self.alone(step, work) {
                Ok(alone) => alone,
                Err(problems) => return self.impossible(step, &problems),
            };
            if work.actions.is_empty() {
                continue;
            }
            tries += 1;
            if let Some(end) = self.attempt(step, work, tries)? {
                return Ok(end);
            }
        }
    }

    fn compare(&self, step: Step) -> Result<Work, Problems> {
        self.compare_as(step, self.shared.options)
    }

    fn compare_as(&self, step: Step, options: &Options) -> Result<Work, Problems> {
        self.in_context(options, |cx| steps::compare(step, cx))
    }

    fn in_context<T>(&self, options: &Options, f: impl FnOnce(&Context<'_>) -> T) -> T {
        let world = self.shared.world();
        let observed = world.containers.get(&self.desired.ctid);
        f(&Context {
            desired: self.desired,
            observed: observed.map(|seen| &**seen),
            world: &world,
            record: &self.pen.record,
            run: self.shared.run,
            journal: self.shared.env.journal,
            lent: self.shared.lent.contains(&self.desired.ctid),
            disturbed: false,
            options,
        })
    }

    fn held_events(&mut self) -> Vec<Event> {
        let steps = std::mem::take(&mut self.held);
        if steps.is_empty() {
            Vec::new()
        } else {
            vec![Event::StepsHeld { steps }]
        }
    }

    fn since(&self, began: DateTime<Utc>) -> u64 {
        let passed = self.shared.env.clock.now().signed_duration_since(began);
        u64::try_from(passed.num_milliseconds()).unwrap_or(0)
    }
}

/// The container that an action clones from.
fn source_of(action: &Action) -> Option<Ctid> {
    match action {
        Action::Clone(spec) => Some(spec.source),
        _ => None,
    }
}
