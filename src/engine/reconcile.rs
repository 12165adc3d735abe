//! Brings one container through the eleven states: compare, intend, do, look again.

use std::collections::{BTreeSet, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::busy::{Busy, Held, things_of_the_host};
use super::look::{end, failure_by, failure_of, observe_patiently, seen, without_effect};
use super::recorder::Pen;
use super::{ContainerOutcome, EngineError, Env};
use crate::domain::action::Action;
use crate::domain::desired::{DesiredContainer, OnUnknown, Place};
use crate::domain::event::{Event, Failure, Seen, Verdict};
use crate::domain::ids::{Ctid, RunId};
use crate::domain::model;
use crate::domain::observed::{ObservedContainer, ObservedWorld};
use crate::domain::record::{ContainerRecord, OpenIntent};
use crate::domain::refusal::FailureKind;
use crate::domain::step::Step;
use crate::host::{Call, HostError, ObserveRequest};
use crate::steps::{self, Context, Options, Problems, Work};

/// What all containers of a run share.
pub(super) struct Shared<'a> {
    pub(super) env: &'a Env<'a>,
    pub(super) run: RunId,
    pub(super) options: &'a Options,
    /// Containers of which a clone of ours broke off before this run.
    pub(super) lent: BTreeSet<Ctid>,
    /// Things of the host itself that somebody is at.
    pub(super) busy: Busy,
    /// What was seen last of the host and of each container.
    pub(super) world: RwLock<ObservedWorld>,
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

/// How one attempt ended.
enum Attempt {
    Done,
    /// Why, and whether the action that was refused changes anything.
    Refused(HostError, bool),
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

    /// An intent that a dead process left: what came of it is looked at, never assumed.
    fn inspect_open_intent(&mut self) -> Result<(), EngineError> {
        let Some(open) = self.pen.record.open.clone() else {
            return Ok(());
        };
        let verdict = self.verdict(&open);
        self.pen.write(vec![Event::IntentInspected {
            step: open.step,
            attempt: open.attempt,
            verdict,
        }])?;
        Ok(())
    }

    fn verdict(&self, open: &OpenIntent) -> Verdict {
        if open.unknown_script().is_some() {
            return match self.desired.on_unknown {
                OnUnknown::Retry => Verdict::AmbiguousRetried,
                OnUnknown::Stop => Verdict::AmbiguousStopped,
            };
        }
        let world = self
            .shared
            .world
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let ctid = self.desired.ctid;
        let secrets = &self.shared.env.desired.secrets;
        let seen = world.containers.get(&ctid).map(|seen| &**seen);
        let actions = secrets.restored(&open.actions, self.desired, seen);
        let mut actions = actions.iter().zip(0..);
        let had_effect = actions.all(|(action, index)| match action.leaves_a_trace() {
            true => model::shows(&world, ctid, action, open.run),
            false => open.done.contains(&index),
        });
        match had_effect {
            true => Verdict::Adopted,
            false => Verdict::Retried,
        }
    }

    fn compare(&self, step: Step) -> Result<Work, Problems> {
        self.compare_as(step, self.shared.options)
    }

    fn compare_as(&self, step: Step, options: &Options) -> Result<Work, Problems> {
        self.in_context(options, |cx| steps::compare(step, cx))
    }

    fn in_context<T>(&self, options: &Options, f: impl FnOnce(&Context<'_>) -> T) -> T {
        let world = self
            .shared
            .world
            .read()
            .unwrap_or_else(PoisonError::into_inner);
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

    /// What is to be done to things of the host itself (a directory, a template) is done by one
    /// container at a time, and so is a clone; who waited for another looks and compares anew.
    fn alone(&mut self, step: Step, work: Work) -> Result<(Work, Option<Held<'a>>), Problems> {
        let keys = things_of_the_host(&work.actions);
        // It is held already, unless the host said of an earlier clone that it was made.
        let source = work.actions.iter().find_map(source_of);
        let waited = source.is_some_and(|source| self.source.hold(source));
        if keys.is_empty() && !waited {
            return Ok((work, None));
        }
        let shared: &'a Shared<'a> = self.shared;
        let held = shared.busy.take(keys);
        if let Err(error) = self.look() {
            tracing::warn!(ctid = %self.desired.ctid, %error, "cannot look at the host");
        }
        Ok((self.compare(step)?, Some(held)))
    }

    /// One attempt: the intent is on the disk before the first action, and the container is
    /// looked at after the last. Nothing is returned when another attempt is to follow.
    fn attempt(
        &mut self,
        step: Step,
        work: Work,
        tries: u32,
    ) -> Result<Option<StepEnd>, EngineError> {
        let attempt = self.pen.record.next_attempt(self.shared.run, step);
        let began = self.shared.env.clock.now();
        let Work { actions, claims } = work;
        let mut events = self.held_events();
        let seen = self.seen();
        events.push(Event::StepStarted {
            step,
            attempt,
            actions: actions.clone(),
            claims,
            seen,
        });
        let intent = self.pen.write(events)?;
        let outcome = self.act(step, attempt, intent, &actions)?;
        let looked = self.look();
        self.blind = looked.is_err();
        let left = match looked {
            Ok(()) => self.compare(step),
            Err(error) => return self.fail(step, attempt, tries, &error),
        };
        match (outcome, left) {
            (_, Err(problems)) => {
                let failure = failure_of(&problems);
                let failed = self.failed(step, attempt, failure, false);
                self.pen
                    .note(vec![failed, Event::ContainerFailed { step }])?;
                Ok(Some(StepEnd::Failed))
            }
            (Attempt::Refused(error, _), Ok(left)) if !left.actions.is_empty() => {
                self.fail(step, attempt, tries, &error)
            }
            (Attempt::Done, Ok(left)) if !left.actions.is_empty() => {
                self.fail(step, attempt, tries, &without_effect(&left.actions))
            }
            (Attempt::Refused(error, _), Ok(_)) if error.unseen => {
                self.fail(step, attempt, tries, &error)
            }
            (outcome, Ok(_)) => {
                // What the host did not own up to, and did all the same.
                if let Attempt::Refused(_, mutates) = outcome {
                    self.mutations += u64::from(mutates);
                }
                let (took_ms, seen) = (self.since(began), self.seen());
                self.pen.note(vec![Event::StepConverged {
                    step,
                    attempt,
                    took_ms,
                    seen,
                }])?;
                Ok(Some(StepEnd::Holds))
            }
        }
    }

    /// Does the actions one after another, until one is refused.
    fn act(
        &mut self,
        step: Step,
        attempt: u32,
        intent: u64,
        actions: &[Action],
    ) -> Result<Attempt, EngineError> {
        for (action, index) in actions.iter().zip(0_u32..) {
            // An interrupted run stops between two scripts too; the rest of a state is quick.
            if index > 0 && self.shared.env.stopping() {
                let stopped = HostError::new(FailureKind::Transient, "interrupted");
                return Ok(Attempt::Refused(stopped, false));
            }
            let call = Call {
                run: self.shared.run,
                ctid: self.desired.ctid,
                step,
                attempt,
                intent,
                document: self.desired.document.borrowed(),
            };
            let began = self.shared.env.clock.now();
            let applied = match self.shared.env.host.apply(&call, action) {
                Ok(applied) => applied,
                Err(error) => return Ok(Attempt::Refused(error, action.mutates())),
            };
            self.mutations += u64::from(action.mutates());
            if source_of(action).is_some() {
                self.source.release();
            }
            let took_ms = self.since(began);
            let done = Event::ActionDone {
                step,
                attempt,
                index,
                took_ms,
                output: end(&applied.output),
            };
            // Of a script on the host the journal alone knows that it ran, and that those before
            // it had ended when it began: that is on the disk before anything else is done.
            let next = actions.get(index as usize + 1);
            if on_host(action) || next.is_some_and(on_host) {
                self.pen.write(vec![done])?;
            } else if matches!(action, Action::RunScript(_) | Action::CheckHealth(_)) {
                self.pen.note(vec![done])?;
            }
        }
        Ok(Attempt::Done)
    }

    /// Looks at this container, at the host's directories that it mounts, and at the one that it
    /// is cloned from while that is held: a clone that broke off leaves that one locked. Later
    /// the lock is that of somebody else's clone.
    fn look(&self) -> Result<(), HostError> {
        let ctid = self.desired.ctid;
        let wanted: BTreeSet<Ctid> = self.source.held().into_iter().chain([ctid]).collect();
        let request = ObserveRequest {
            containers: Some(wanted.clone()),
            directories: self
                .desired
                .binds
                .iter()
                .map(|bind| bind.host_path.clone())
                .collect(),
        };
        let seen = observe_patiently(self.shared.env, &request)?;
        let mut world = self
            .shared
            .world
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for ctid in wanted {
            match seen.containers.get(&ctid) {
                Some(container) => world.containers.insert(ctid, Arc::clone(container)),
                None => world.containers.remove(&ctid),
            };
        }
        let known = std::mem::take(&mut world.host.directories);
        world.host = seen.host;
        let fresh = std::mem::take(&mut world.host.directories);
        world.host.directories = known;
        world.host.directories.extend(fresh);
        Ok(())
    }

    fn impossible(&mut self, step: Step, problems: &Problems) -> Result<StepEnd, EngineError> {
        let failure = failure_of(problems);
        let mut events = self.held_events();
        events.push(self.failed(step, 0, failure, false));
        events.push(Event::ContainerFailed { step });
        self.pen.note(events)?;
        Ok(StepEnd::Failed)
    }

    fn fail(
        &mut self,
        step: Step,
        attempt: u32,
        tries: u32,
        error: &HostError,
    ) -> Result<Option<StepEnd>, EngineError> {
        let stopping = self.shared.env.stopping();
        let unknown_script = error.kind == FailureKind::UnknownOutcome
            && self.desired.on_unknown == OnUnknown::Stop
            && self
                .pen
                .record
                .open
                .as_ref()
                .is_some_and(|open| open.unknown_script().is_some());
        if unknown_script {
            return self.stop_at_unknown(step, attempt);
        }
        let retry = error.kind != FailureKind::Permanent
            && tries < self.shared.env.limits.attempts
            && !stopping;
        let failure = failure_by(error);
        if stopping && error.kind != FailureKind::Permanent {
            let failed = self.failed(step, attempt, failure, true);
            self.pen.note(vec![failed])?;
            return Ok(Some(StepEnd::Interrupted));
        }
        let mut events = vec![self.failed(step, attempt, failure, retry)];
        if !retry {
            events.push(Event::ContainerFailed { step });
            self.pen.note(events)?;
            return Ok(Some(StepEnd::Failed));
        }
        self.pen.note(events)?;
        self.shared.env.clock.pause(self.pause(step, tries));
        if let Err(error) = self.look() {
            tracing::warn!(ctid = %self.desired.ctid, %error, "cannot look at the container");
        }
        Ok(None)
    }

    /// That an attempt failed; and if the container is not there, nothing half-done is left.
    fn failed(&mut self, step: Step, attempt: u32, failure: Failure, retry: bool) -> Event {
        let absent = attempt > 0 && !self.blind && self.seen() == Seen::Absent;
        Event::StepFailed {
            step,
            attempt,
            failure,
            retry,
            absent,
        }
    }

    /// Nobody knows whether a script on the host ran, and the configuration says: stop.
    fn stop_at_unknown(
        &mut self,
        step: Step,
        attempt: u32,
    ) -> Result<Option<StepEnd>, EngineError> {
        let verdict = Verdict::AmbiguousStopped;
        self.pen.write(vec![Event::IntentInspected {
            step,
            attempt,
            verdict,
        }])?;
        // Closed as what it is; a comparison refuses to go on then. Whoever asked for the script
        // to run again has been heard, once.
        let heard = Options {
            rerun: BTreeSet::new(),
            ..self.shared.options.clone()
        };
        match self.compare_as(step, &heard) {
            Err(problems) => self.impossible(step, &problems).map(Some),
            Ok(_) => Ok(None),
        }
    }

    /// Twice as long each time, up to a limit, and shortened by up to a quarter so that
    /// containers that met each other once do not meet again.
    fn pause(&self, step: Step, tries: u32) -> Duration {
        let limits = &self.shared.env.limits;
        let doubled = limits.first_pause.saturating_mul(1 << (tries - 1).min(16));
        let whole = doubled.min(limits.longest_pause);
        let mut hasher = DefaultHasher::new();
        (self.shared.run, self.desired.ctid, step, tries).hash(&mut hasher);
        let share = u32::try_from(hasher.finish() % 256).unwrap_or(0);
        whole.saturating_sub(whole / 4 * share / 256)
    }

    fn held_events(&mut self) -> Vec<Event> {
        let steps = std::mem::take(&mut self.held);
        if steps.is_empty() {
            Vec::new()
        } else {
            vec![Event::StepsHeld { steps }]
        }
    }

    fn seen(&mut self) -> Seen {
        let shared = self.shared;
        let world = shared.world.read().unwrap_or_else(PoisonError::into_inner);
        let container = world.containers.get(&self.desired.ctid).cloned();
        drop(world);
        let Some(container) = container else {
            return Seen::Absent;
        };
        match &self.told {
            Some((told, seen)) if Arc::ptr_eq(told, &container) => seen.clone(),
            _ => {
                let seen = seen(&container, &shared.env.desired.secrets);
                self.told = Some((container, seen.clone()));
                seen
            }
        }
    }

    fn since(&self, began: DateTime<Utc>) -> u64 {
        let passed = self.shared.env.clock.now().signed_duration_since(began);
        u64::try_from(passed.num_milliseconds()).unwrap_or(0)
    }
}

fn source_of(action: &Action) -> Option<Ctid> {
    match action {
        Action::Clone(spec) => Some(spec.source),
        _ => None,
    }
}

fn on_host(action: &Action) -> bool {
    matches!(action, Action::RunScript(script) if script.place == Place::Host)
}
