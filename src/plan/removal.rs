//! What must be gone before what: the declared world of a run that destroys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::action::Mark;
use crate::domain::desired::{DesiredContainer, DesiredState};
use crate::domain::ids::{Ctid, JournalId};
use crate::domain::observed::ObservedWorld;
use crate::domain::record::{Made, Record};
use crate::domain::setting::Key;

/// A container that is not to be destroyed, since others that stay need it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("container {ctid} is needed by {}", listed(by))]
pub struct Needed {
    /// The container.
    pub ctid: Ctid,
    /// Those that exist and depend on it, or were cloned from it.
    pub by: BTreeSet<Ctid>,
}

fn listed(ctids: &BTreeSet<Ctid>) -> String {
    let all: Vec<String> = ctids.iter().map(Ctid::to_string).collect();
    all.join(", ")
}

/// What is known of the containers that stay and of those that go.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The declared world.
    pub desired: &'a DesiredState,
    /// What is seen.
    pub world: &'a ObservedWorld,
    /// What the journal knows.
    pub record: &'a Record,
    /// The journal.
    pub journal: JournalId,
}

/// The world in which the named containers are not to be. Each goes after those that need it.
///
/// # Errors
/// Those that others need which exist and are not named.
pub fn removal(known: &Known<'_>, targets: &BTreeSet<Ctid>) -> Result<DesiredState, Vec<Needed>> {
    let staying = known
        .world
        .containers
        .keys()
        .filter(|ctid| !targets.contains(ctid));
    let mut needed: BTreeMap<Ctid, BTreeSet<Ctid>> = BTreeMap::new();
    for ctid in staying {
        let declared = known.declared_needs(*ctid);
        for need in declared.into_iter().chain(known.cloned_from(*ctid)) {
            if targets.contains(&need) {
                needed.entry(need).or_default().insert(*ctid);
            }
        }
    }
    if !needed.is_empty() {
        let needed = needed.into_iter();
        return Err(needed.map(|(ctid, by)| Needed { ctid, by }).collect());
    }
    let absent = |ctid: &Ctid| {
        let needs = |other: &&Ctid| known.declared_needs(**other).contains(ctid);
        let after = targets.iter().filter(needs).copied().collect();
        let absent = DesiredContainer::absent(*ctid, known.name(*ctid), after);
        (*ctid, Arc::new(absent))
    };
    Ok(DesiredState {
        secrets: known.desired.secrets.clone(),
        containers: targets.iter().map(absent).collect(),
        digest: known.desired.digest,
        ..DesiredState::default()
    })
}

impl Known<'_> {
    fn declared_needs(&self, ctid: Ctid) -> BTreeSet<Ctid> {
        let declared = self.desired.containers.get(&ctid);
        declared
            .map(|container| container.needs().collect())
            .unwrap_or_default()
    }

    /// What phoenix cloned a container from, whatever is declared today.
    fn cloned_from(&self, ctid: Ctid) -> Option<Ctid> {
        let seen = self.world.containers.get(&ctid)?;
        let own = Mark {
            journal: self.journal,
            ctid,
        };
        match self.record.containers.get(&ctid)?.origin {
            Some(Made::Clone(source, _)) if seen.mark == Some(own) => Some(source),
            _ => None,
        }
    }

    fn name(&self, ctid: Ctid) -> String {
        if let Some(declared) = self.desired.containers.get(&ctid) {
            return declared.name.clone();
        }
        let seen = self.world.containers.get(&ctid);
        let name = seen.and_then(|seen| seen.live(&Key::Hostname));
        name.map(|name| name.to_string()).unwrap_or_default()
    }
}
