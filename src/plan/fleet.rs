//! The plan of all selected containers.

use std::collections::BTreeSet;

use super::container::{ContainerPlan, plan_container};
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

/// Plans all selected containers on the world as it was seen.
#[must_use]
pub fn plan_fleet(planner: &Planner<'_>, seen: &ObservedWorld) -> FleetPlan {
    let mut world = seen.clone();
    let unknown = ContainerRecord::default();
    let mut blocked: BTreeSet<Ctid> = BTreeSet::new();
    let lent = planner.record.sources_of_broken_clones();
    let mut plans = Vec::with_capacity(planner.graph.len());
    for ctid in planner.graph.topological() {
        let Some(desired) = planner.desired.containers.get(&ctid) else {
            continue;
        };
        let record = planner.record.containers.get(&ctid).unwrap_or(&unknown);
        let blocker = planner
            .graph
            .needs(ctid)
            .find(|need| blocked.contains(need));
        let lent = lent.contains(&ctid);
        let mut plan = match blocker {
            // Its own problems are worth saying; what would be done is not, for it will not be.
            Some(_) => {
                let mut scrap = world.clone();
                plan_container(
                    desired,
                    &mut scrap,
                    record,
                    planner.journal,
                    planner.options,
                    lent,
                )
            }
            None => plan_container(
                desired,
                &mut world,
                record,
                planner.journal,
                planner.options,
                lent,
            ),
        };
        if blocker.is_some() {
            plan.blocked_by = blocker;
            plan.steps.clear();
            plan.problems
                .retain(|(step, _)| *step == crate::domain::step::Step::ValidateInputs);
        }
        if blocker.is_some() || !plan.problems.is_empty() {
            plan.steps.clear();
            blocked.insert(ctid);
        }
        plans.push(plan);
    }
    FleetPlan { containers: plans }
}
