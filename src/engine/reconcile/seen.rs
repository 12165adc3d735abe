//! Looking at one container while it is worked on, and the account of what is seen.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use super::Reconciler;
use crate::domain::event::Seen;
use crate::domain::ids::{Ctid, Digest};
use crate::domain::observed::{ObservedContainer, Status};
use crate::domain::secret::Secrets;
use crate::engine::look::observe_patiently;
use crate::host::{HostError, ObserveRequest};

impl Reconciler<'_> {
    /// Looks at this container, at the host's directories that it mounts, and at the one that it
    /// is cloned from while that is held: a clone that broke off leaves that one locked. Later
    /// the lock is that of somebody else's clone.
    pub(super) fn look(&self) -> Result<(), HostError> {
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

    /// The account of the container as it was seen last.
    pub(super) fn seen(&mut self) -> Seen {
        let shared = self.shared;
        let world = shared.world();
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
}

/// A short account of what a container looks like.
fn seen(container: &ObservedContainer, secrets: &Secrets) -> Seen {
    if container.half_created() || container.half_destroyed() {
        return Seen::HalfCreated;
    }
    let bytes = if secrets.is_empty() {
        serde_json::to_vec(container)
    } else {
        serde_json::to_vec(&secrets.redacted_seen(container))
    };
    let digest = Digest::of(&bytes.unwrap_or_default());
    match container.status {
        Status::Running => Seen::Running(digest),
        Status::Stopped => Seen::Stopped(digest),
    }
}
