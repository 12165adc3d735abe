//! What a plan says before a run, held against what the run did.

use std::collections::{BTreeMap, BTreeSet};

use phoenix::domain::action::Action;
use phoenix::domain::desired::DesiredState;
use phoenix::domain::ids::Ctid;
use phoenix::domain::observed::ObservedWorld;
use phoenix::domain::record::Outcome;
use phoenix::domain::step::Step;
use phoenix::engine::{ContainerOutcome, Summary};
use phoenix::plan::{ContainerPlan, FleetPlan};
use proptest::prelude::*;

use crate::hostile::honest;
use crate::worlds::host::Logged;
use crate::worlds::session::Session;

/// What a plan says where it is the host, and no state, that finds something impossible.
const REFUSED: &str = "the host would refuse to ";

/// A run, with what was to be known of it before.
pub struct Told {
    pub plan: FleetPlan,
    pub summary: Summary,
    pub log: Vec<Logged>,
}

/// Actions by container. Those on the host itself (directories, templates) are shared: the plan
/// gives them to one container, a parallel run may do them for another.
fn by_container<'a>(
    actions: impl Iterator<Item = (Ctid, &'a Action)>,
) -> (BTreeMap<Ctid, Vec<String>>, BTreeSet<String>) {
    let mut own: BTreeMap<Ctid, Vec<String>> = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for (ctid, action) in actions {
        let text = serde_json::to_string(action).expect("JSON");
        match action {
            Action::EnsureDirectory(spec) => {
                shared.insert(spec.path.clone());
            }
            Action::FetchTemplate(_) => {
                shared.insert(text);
            }
            _ => own.entry(ctid).or_default().push(text),
        }
    }
    (own, shared)
}

fn planned<'a>(
    plans: impl Iterator<Item = &'a ContainerPlan>,
) -> impl Iterator<Item = (Ctid, &'a Action)> {
    plans.flat_map(|container| {
        let steps = container.steps.iter();
        let actions = steps.flat_map(|step| step.work.actions.iter());
        actions.map(|action| (container.ctid, action))
    })
}

/// Those that a lock of somebody else is in the way of: their own, or that of what they are
/// cloned from. A plan looks past it.
fn locked(world: &ObservedWorld, desired: &DesiredState) -> BTreeSet<Ctid> {
    let lock = |ctid| {
        let seen = world.containers.get(&ctid);
        seen.is_some_and(|seen| seen.lock.is_some())
    };
    let all = desired.containers.iter();
    all.filter(|(ctid, container)| lock(**ctid) || container.clone_source().is_some_and(lock))
        .map(|(ctid, _)| *ctid)
        .collect()
}

/// Plans, applies although the plan may say that something is impossible, and holds one against
/// the other.
pub fn apply_as_foretold(session: &Session, desired: &DesiredState) -> Result<Told, TestCaseError> {
    let plan = session.plan(desired);
    let locked = locked(&session.world(), desired);
    session.outside.log.lock().expect("the log").clear();
    let summary = session.apply(desired);
    let log = session.outside.log.lock().expect("the log").clone();
    honest(session, desired, &summary)?;
    let told = Told { plan, summary, log };
    told.outcomes(&locked)?;
    told.failures(session, &locked)?;
    told.actions()?;
    Ok(told)
}

impl Told {
    pub fn plan_of(&self, ctid: Ctid) -> &ContainerPlan {
        let mut plans = self.plan.containers.iter();
        plans.find(|plan| plan.ctid == ctid).expect("a plan")
    }

    /// What fails was called impossible, or is locked by somebody else; and nothing that was
    /// called impossible is reached, nor what needs it. ([`honest`] has seen that what needs
    /// something that failed is skipped, and nothing else.)
    fn outcomes(&self, locked: &BTreeSet<Ctid>) -> Result<(), TestCaseError> {
        for (ctid, outcome) in &self.summary.outcomes {
            let plan = self.plan_of(*ctid);
            let impossible = !plan.problems.is_empty();
            let foretold = match outcome {
                ContainerOutcome::Failed => {
                    impossible || locked.contains(ctid) && plan.changes() > 0
                }
                ContainerOutcome::Skipped { .. } => true,
                _ => !impossible && plan.blocked_by.is_none(),
            };
            prop_assert!(foretold, "{ctid}: {outcome:?} {plan:#?}");
        }
        Ok(())
    }

    /// What was called impossible fails at that state, and for that reason: without an attempt,
    /// or after the one that the host refused.
    fn failures(&self, session: &Session, locked: &BTreeSet<Ctid>) -> Result<(), TestCaseError> {
        let record = session.record();
        for (ctid, outcome) in &self.summary.outcomes {
            let problems = &self.plan_of(*ctid).problems;
            let Some((at, _)) = problems.first() else {
                continue;
            };
            // A lock may stop it before it gets there, but it refuses no comparison.
            let sooner = locked.contains(ctid) && *at != Step::ValidateInputs;
            if *outcome != ContainerOutcome::Failed || sooner {
                continue;
            }
            let known = record.container(*ctid);
            let Some(Outcome::Failed { step, message }) = known.outcome else {
                return Err(TestCaseError::fail(format!("{ctid}: {known:?}")));
            };
            let texts: Vec<&str> = problems
                .iter()
                .map(|(_, problem)| problem.message.as_str())
                .collect();
            let said = texts.join("; ");
            prop_assert_eq!(step, *at, "{}: {} {}", ctid, said, message);
            let refused = said.starts_with(REFUSED);
            prop_assert!(
                said == message || refused && said.ends_with(&message),
                "{ctid}: {said} {message}"
            );
            let attempts = known.attempts.get(at).copied();
            prop_assert_eq!(attempts, refused.then_some(1), "{}: {}", ctid, message);
        }
        Ok(())
    }

    /// What was reached had all done that was planned and nothing else; of what was not, nothing
    /// was done that comes after what stopped it; of what was skipped, nothing at all.
    fn actions(&self) -> Result<(), TestCaseError> {
        let (own, shared) = by_container(planned(self.plan.containers.iter()));
        let done = self.log.iter();
        let (done, done_shared) = by_container(done.map(|logged| (logged.ctid, &logged.action)));
        let actions = |of: &BTreeMap<Ctid, Vec<String>>, ctid| of.get(ctid).cloned();
        let mut reached = BTreeSet::new();
        for (ctid, outcome) in &self.summary.outcomes {
            let mine = self.log.iter().filter(|logged| logged.ctid == *ctid);
            let (own, done) = (actions(&own, ctid), actions(&done, ctid));
            match (outcome, self.plan_of(*ctid).problems.first()) {
                (ContainerOutcome::Failed, Some((at, problem))) => {
                    let refused = problem.message.starts_with(REFUSED);
                    let last = mine.map(|logged| logged.step).max();
                    let before = last.is_none_or(|last| last < *at || refused && last == *at);
                    prop_assert!(before, "{ctid}: {last:?}, and {at:?} is impossible");
                }
                (ContainerOutcome::Failed, None) => {
                    let (own, done) = (own.unwrap_or_default(), done.unwrap_or_default());
                    prop_assert!(own.len() > done.len() && own.starts_with(&done));
                }
                (ContainerOutcome::Skipped { .. }, _) => {
                    prop_assert_eq!(mine.count(), 0, "{} was skipped", ctid);
                }
                _ => {
                    prop_assert_eq!(own, done, "{}", ctid);
                    reached.insert(*ctid);
                }
            }
        }
        if reached.len() == self.plan.containers.len() {
            prop_assert_eq!(&shared, &done_shared);
        }
        let all = self.plan.containers.iter();
        let needed = all.filter(|plan| reached.contains(&plan.ctid));
        let (_, needed) = by_container(planned(needed));
        prop_assert!(needed.is_subset(&done_shared));
        let mutations = self.log.iter().filter(|logged| logged.action.mutates());
        prop_assert_eq!(self.summary.totals.mutations, mutations.count() as u64);
        Ok(())
    }
}
