//! The state of a simulated host: what its log says, read from the beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::SimFacts;
use super::log::LogEntry;
use crate::domain::ids::{Ctid, RunId};
use crate::domain::model::{Effect, after, killed, operated, rebooted, space};
use crate::domain::observed::{Directory, HostFacts, ObservedContainer, ObservedWorld};
use crate::domain::refusal::Refusal;
use crate::domain::units::DiskSize;

/// Everything that the log tells. Serialised, it is the checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Fold {
    /// The facts in force for what comes next in the log.
    pub(super) facts: SimFacts,
    /// How many entries there are.
    pub(super) entries: u64,
    /// How often the host booted, the first time not counted.
    pub(super) reboots: u64,
    /// Directories as phoenix made them.
    pub(super) made: BTreeMap<String, Directory>,
    /// Template archives that phoenix fetched.
    pub(super) fetched: BTreeSet<String>,
    /// The containers.
    pub(super) containers: BTreeMap<Ctid, Arc<ObservedContainer>>,
    /// The same as the model knows it; made from the above.
    #[serde(skip)]
    pub(super) world: ObservedWorld,
    /// Bytes in use by storage; made from the above.
    #[serde(skip)]
    used: BTreeMap<String, u64>,
}

impl Fold {
    /// Makes what is not kept in a checkpoint.
    pub(super) fn restored(mut self) -> Self {
        self.world.containers = std::mem::take(&mut self.containers);
        self.recount();
        self
    }

    /// What a checkpoint keeps.
    pub(super) fn to_keep(&self) -> Self {
        Self {
            facts: self.facts.clone(),
            entries: self.entries,
            reboots: self.reboots,
            made: self.made.clone(),
            fetched: self.fetched.clone(),
            containers: self.world.containers.clone(),
            ..Self::default()
        }
    }

    /// Puts other facts in force.
    pub(super) fn set_facts(&mut self, facts: SimFacts) {
        self.facts = facts;
        self.refresh_host();
    }

    fn recount(&mut self) {
        self.used.clear();
        for container in self.world.containers.values() {
            for (storage, bytes) in space(container) {
                let sum = self.used.entry(storage).or_default();
                *sum = sum.saturating_add(bytes);
            }
        }
        self.refresh_host();
    }

    fn refresh_host(&mut self) {
        let mut host = self.facts.host(&self.fetched, &self.used, self.reboots + 1);
        let known = self.facts.directories.keys();
        let given = known.filter_map(|path| Some((path.clone(), self.facts.directory(path)?)));
        host.directories = given.collect();
        host.directories
            .extend(self.made.iter().map(|(path, state)| (path.clone(), *state)));
        self.world.host = host;
    }

    /// The host as seen with other facts than those in force, and with only these directories.
    pub(super) fn host_by(&self, facts: &SimFacts, directories: &BTreeSet<String>) -> HostFacts {
        let mut host = facts.host(&self.fetched, &self.used, self.reboots + 1);
        let state = |path: &String| {
            self.made
                .get(path)
                .copied()
                .or_else(|| facts.directory(path))
        };
        let seen = directories
            .iter()
            .filter_map(|path| Some((path.clone(), state(path)?)));
        host.directories = seen.collect();
        host
    }

    /// Takes an effect in.
    pub(super) fn absorb(&mut self, ctid: Ctid, effect: Effect) {
        match &effect {
            Effect::Directory(path, state) => {
                self.made.insert(path.clone(), *state);
            }
            Effect::Template(file) => {
                self.fetched.insert(file.clone());
            }
            Effect::Container(container) => self.account(ctid, Some(container)),
            Effect::Gone | Effect::Discarded(_) => self.account(ctid, None),
            Effect::Nothing => {}
        }
        self.world.absorb(ctid, effect);
        // The exact sum, where the model only adds and subtracts.
        for (name, storage) in &mut self.world.host.storages {
            let gib = self
                .facts
                .storages
                .get(name)
                .and_then(|storage| storage.free_gb);
            let taken = self.used.get(name).copied().unwrap_or(0);
            storage.free =
                gib.map(|gib| DiskSize::bytes(DiskSize::gib(gib).get().saturating_sub(taken)));
        }
    }

    fn account(&mut self, ctid: Ctid, next: Option<&Arc<ObservedContainer>>) {
        let before = self
            .world
            .containers
            .get(&ctid)
            .map(|one| space(one))
            .unwrap_or_default();
        for (storage, bytes) in before {
            let sum = self.used.entry(storage).or_default();
            *sum = sum.saturating_sub(bytes);
        }
        for (storage, bytes) in next.map(|one| space(one)).unwrap_or_default() {
            let sum = self.used.entry(storage).or_default();
            *sum = sum.saturating_add(bytes);
        }
    }

    /// What an entry does, by the model.
    pub(super) fn effects(&self, entry: &LogEntry) -> Result<Vec<(Ctid, Effect)>, Refusal> {
        let Some(ctid) = entry.ctid else {
            return Ok(Vec::new());
        };
        if let Some(operation) = &entry.operation {
            return Ok(vec![(ctid, operated(&self.world, ctid, operation)?)]);
        }
        match &entry.action {
            Some(action) if entry.partial => killed(&self.world, ctid, action),
            Some(action) => {
                let run = entry.run.unwrap_or(RunId::NONE);
                Ok(vec![(ctid, after(&self.world, ctid, action, run)?)])
            }
            None => Ok(Vec::new()),
        }
    }

    /// Takes an entry in whose effects are known.
    pub(super) fn take(&mut self, entry: &LogEntry, effects: Vec<(Ctid, Effect)>) {
        self.entries = entry.n;
        for (ctid, effect) in effects {
            self.absorb(ctid, effect);
        }
        if entry.is_reboot() {
            self.reboots += 1;
            self.world = rebooted(&self.world, "");
            self.recount();
        }
    }
}
