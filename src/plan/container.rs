//! The plan of one container: the states compared one after another, each on what the model says
//! the states before it will have made.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::action::Action;
use crate::domain::desired::DesiredContainer;
use crate::domain::diagnostic::Problem;
use crate::domain::ids::{Ctid, RunId};
use crate::domain::model::{self, Effect};
use crate::domain::observed::{ObservedContainer, ObservedWorld};
use crate::domain::record::ContainerRecord;
use crate::domain::refusal::{FailureKind, Refusal};
use crate::domain::step::Step;
use crate::steps::{self, Context, Problems, Work};

use super::fleet::Planning;

/// What would be done for one container.
#[derive(Clone, Debug)]
pub struct ContainerPlan {
    /// The container.
    pub ctid: Ctid,
    /// Its declared name.
    pub name: String,
    /// The states for which something is to be done, in order.
    pub steps: Vec<StepPlan>,
    /// What no action can cure; then nothing is done for it and what depends on it.
    pub problems: Vec<(Step, Problem)>,
    /// The container whose problems keep this one from being worked on.
    pub blocked_by: Option<Ctid>,
    /// What is worth a word.
    pub notes: Vec<String>,
    /// Keys that are declared and that phoenix does not manage.
    pub unmanaged: Vec<String>,
}

impl ContainerPlan {
    /// How many actions are planned.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.steps.iter().map(|step| step.work.actions.len()).sum()
    }

    fn trouble(&mut self, step: Step, problems: Problems) {
        let problems = problems.into_iter().map(|problem| (step, problem));
        self.problems.extend(problems);
    }
}

/// What would be done for one state.
#[derive(Clone, Debug)]
pub struct StepPlan {
    /// The state.
    pub step: Step,
    /// The actions.
    pub work: Work,
}

/// Plans one container and lets the world become what the plan will make of it.
pub(super) fn plan_container(
    planning: &Planning<'_>,
    desired: &DesiredContainer,
    world: &mut ObservedWorld,
) -> ContainerPlan {
    let mut pass = Pass::new(planning, desired);
    let mut plan = pass.begun(world);
    for step in desired.states().iter().copied() {
        if let Err(problems) = pass.step(step, world, &mut plan.steps) {
            plan.trouble(step, problems);
            break;
        }
    }
    plan
}

/// Judges a container that another one's problems keep from being worked on: its own problems are
/// worth saying; what would be done is not, for it will not be.
pub(super) fn judge_container(
    planning: &Planning<'_>,
    desired: &DesiredContainer,
    world: &ObservedWorld,
    blocker: Ctid,
) -> ContainerPlan {
    let pass = Pass::new(planning, desired);
    let mut plan = pass.begun(world);
    plan.blocked_by = Some(blocker);
    let first = Step::ValidateInputs;
    if desired.states().contains(&first) {
        let seen = seen(world, desired.ctid);
        if let Err(problems) = steps::compare(first, &pass.context(world, seen.as_deref())) {
            plan.trouble(first, problems);
        }
    }
    plan
}

fn seen(world: &ObservedWorld, ctid: Ctid) -> Option<Arc<ObservedContainer>> {
    world.containers.get(&ctid).cloned()
}

/// What an action does once the locks of other people have passed, which refuse it now: `apply`
/// waits for them, so the plan looks past them.
fn after_locks(world: &ObservedWorld, ctid: Ctid, action: &Action) -> Result<Effect, Refusal> {
    let refusal = match model::after(world, ctid, action, RunId::NONE) {
        Err(refusal) if refusal.kind() == FailureKind::Transient => refusal,
        result => return result,
    };
    let mut free = world.clone();
    let source = if let Action::Clone(spec) = action {
        Some(spec.source)
    } else {
        None
    };
    for ctid in std::iter::once(ctid).chain(source) {
        if let Some(container) = free.containers.get_mut(&ctid) {
            Arc::make_mut(container).lock = None;
        }
    }
    model::after(&free, ctid, action, RunId::NONE).map_err(|_| refusal)
}

struct Pass<'a> {
    planning: &'a Planning<'a>,
    desired: &'a DesiredContainer,
    record: &'a ContainerRecord,
    disturbed: bool,
    /// Whether the container will be made anew: what the journal knew of it is void then.
    planned: BTreeSet<&'static str>,
}

impl<'a> Pass<'a> {
    fn new(planning: &'a Planning<'a>, desired: &'a DesiredContainer) -> Self {
        let known = planning.planner.record.containers.get(&desired.ctid);
        Self {
            planning,
            desired,
            record: known.unwrap_or(&planning.unknown),
            disturbed: false,
            planned: BTreeSet::new(),
        }
    }

    /// What is to be said of the container before anything is planned for it.
    fn begun(&self, world: &ObservedWorld) -> ContainerPlan {
        let notes = if self.planning.notes {
            let seen = seen(world, self.desired.ctid);
            steps::notes(&self.context(world, seen.as_deref()))
        } else {
            Vec::new()
        };
        ContainerPlan {
            ctid: self.desired.ctid,
            name: self.desired.name.clone(),
            steps: Vec::new(),
            problems: Vec::new(),
            blocked_by: None,
            notes,
            unmanaged: self.desired.unmanaged.clone(),
        }
    }

    fn context<'b>(
        &'b self,
        world: &'b ObservedWorld,
        observed: Option<&'b ObservedContainer>,
    ) -> Context<'b> {
        Context {
            desired: self.desired,
            observed,
            world,
            record: self.record,
            run: RunId::NONE,
            journal: self.planning.planner.journal,
            lent: self.planning.lent.contains(&self.desired.ctid),
            disturbed: self.disturbed,
            options: self.planning.planner.options,
        }
    }

    fn step(
        &mut self,
        step: Step,
        world: &mut ObservedWorld,
        steps: &mut Vec<StepPlan>,
    ) -> Result<(), Problems> {
        let before = seen(world, self.desired.ctid);
        let made_anew = self.planned.contains("create") || self.planned.contains("clone");
        let mut cx = self.context(world, before.as_deref());
        if made_anew {
            cx.record = &self.planning.unknown;
        }
        let work = steps::compare(step, &cx)?;
        for action in &work.actions {
            let refused = |refusal: Refusal| {
                vec![Problem::new(
                    "",
                    format!(
                        "the host would refuse to {}: {refusal}",
                        action.kind().replace('_', " ")
                    ),
                    "cure the cause, then plan again",
                )]
            };
            let effect = after_locks(world, self.desired.ctid, action).map_err(refused)?;
            world.absorb(self.desired.ctid, effect);
            self.disturbed |= action.disturbs();
            self.planned.insert(Action::kind(action));
        }
        if !work.actions.is_empty() {
            steps.push(StepPlan { step, work });
        }
        Ok(())
    }
}
