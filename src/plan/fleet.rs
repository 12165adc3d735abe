//! The plan of all selected containers.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::container::{ContainerPlan, judge_container, plan_container};
use super::order::Graph;
use crate::domain::desired::DesiredState;
use crate::domain::ids::{Ctid, JournalId};
use crate::domain::observed::ObservedWorld;
use crate::domain::record::{ContainerRecord, Record};
use crate::domain::secret::Secrets;
use crate::steps::Options;

/// What would be done for every selected container, in an order in which it could be done.
#[derive(Clone, Debug, Default)]
pub struct FleetPlan {
    /// One plan a container.
    pub containers: Vec<ContainerPlan>,
}

impl FleetPlan {
    /// How many actions are planned.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.containers.iter().map(ContainerPlan::changes).sum()
    }

    /// Whether any container has a problem that no action can cure.
    #[must_use]
    pub fn has_problems(&self) -> bool {
        self.containers.iter().any(|plan| !plan.problems.is_empty())
    }

    /// The plan to be looked at: without secrets, so that it cannot be done any more.
    #[must_use]
    pub fn redacted(mut self, secrets: &Secrets) -> Self {
        let plans = self.containers.iter_mut();
        for step in plans.flat_map(|plan| &mut plan.steps) {
            secrets.redact_actions(&mut step.work.actions);
        }
        self
    }
}

/// What planning needs beside the two worlds.
#[derive(Clone, Copy, Debug)]
pub struct Planner<'a> {
    /// The declared world.
    pub desired: &'a DesiredState,
    /// Which containers, and their order.
    pub graph: &'a Graph,
    /// What the journal knows.
    pub record: &'a Record,
    /// The journal.
    pub journal: JournalId,
    /// What a person asked for.
    pub options: &'a Options,
}

/// What planning needs, and what is made of it once.
pub(super) struct Planning<'a> {
    pub(super) planner: &'a Planner<'a>,
    /// Containers of which a clone of ours broke off.
    pub(super) lent: BTreeSet<Ctid>,
    /// What the journal knows of a container that it never heard of.
    pub(super) unknown: ContainerRecord,
    /// Whether what is worth a word is looked for.
    pub(super) notes: bool,
}

/// Plans all selected containers on the world as it was seen.
#[must_use]
pub fn plan_fleet(planner: &Planner<'_>, seen: &ObservedWorld) -> FleetPlan {
    let mut containers = Vec::with_capacity(planner.graph.len());
    plan_each(planner, seen, true, &mut |plan| containers.push(plan));
    FleetPlan { containers }
}

/// What no action can cure: of the plan of all selected containers only those that have such
/// problems, without notes.
#[must_use]
pub fn problems_of_fleet(planner: &Planner<'_>, seen: &ObservedWorld) -> FleetPlan {
    let mut containers = Vec::new();
    plan_each(planner, seen, false, &mut |plan| {
        if !plan.problems.is_empty() {
            containers.push(plan);
        }
    });
    FleetPlan { containers }
}

/// Hands over the plan of one container after another, in an order in which they could be done.
fn plan_each(
    planner: &Planner<'_>,
    seen: &ObservedWorld,
    notes: bool,
    take: &mut dyn FnMut(ContainerPlan),
) {
    let planning = Planning {
        planner,
        lent: planner.record.sources_of_broken_clones(),
        unknown: ContainerRecord::default(),
        notes,
    };
    let mut world = seen.clone();
    let mut blocked: BTreeSet<Ctid> = BTreeSet::new();
    for ctid in planner.graph.topological() {
        let Some(desired) = planner.desired.containers.get(&ctid) else {
            continue;
        };
        let mut needs = planner.graph.needs(ctid);
        let mut plan = match needs.find(|need| blocked.contains(need)) {
            Some(blocker) => judge_container(&planning, desired, &world, blocker),
            None => plan_container(&planning, desired, &mut world),
        };
        if plan.blocked_by.is_some() || !plan.problems.is_empty() {
            plan.steps.clear();
            blocked.insert(ctid);
        }
        if planner.graph.dependents(ctid).is_empty() {
            // Nobody looks at it any more: what a plan makes of ten thousand is much to keep.
            match seen.containers.get(&ctid) {
                Some(as_seen) => world.containers.insert(ctid, Arc::clone(as_seen)),
                None => world.containers.remove(&ctid),
            };
        }
        take(plan);
    }
}
