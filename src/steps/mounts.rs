//! What states 4 and 5 share: mounts are keyed by their path in the container.

use std::collections::BTreeSet;

use super::{Context, Problems};
use crate::domain::diagnostic::Problem;
use crate::domain::event::Owned;
use crate::domain::observed::ObservedContainer;
use crate::domain::options::{Mount, Source};
use crate::domain::setting::{Changes, Key, MAX_MOUNT_SLOT, Settings, Value};

/// Whether two paths in a container name the same place, `/a//b/` and `/a/b` do.
pub(super) fn same_path(one: &str, other: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    parts(one) == parts(other)
}

/// The mount at a path, as it will be after the next start.
pub(super) fn at(seen: &ObservedContainer, path: &str) -> Option<(u8, Mount)> {
    seen.mounts()
        .find(|(_, mount)| same_path(&mount.path, path))
}

/// Whether some settings mount something at a path.
pub(super) fn any_at(settings: &Settings, path: &str) -> bool {
    let mounts = settings.values();
    mounts
        .into_iter()
        .any(|value| matches!(value, Value::Mount(mount) if same_path(&mount.path, path)))
}

/// A mount at a path that is there now, and that the next start will take away.
pub(super) fn leaving(seen: &ObservedContainer, path: &str) -> Option<(u8, Mount)> {
    seen.settings
        .iter()
        .find_map(|(key, value)| match (key, value) {
            (Key::Mount(slot), Value::Mount(mount)) if same_path(&mount.path, path) => {
                Some((*slot, (**mount).clone()))
            }
            _ => None,
        })
}

/// Two mounts at one place, which Proxmox VE takes without a word: nobody can tell which of them
/// is meant, so nothing is done about either.
pub(super) fn problems(cx: &Context<'_>) -> Problems {
    let Some(seen) = cx.observed else {
        return Vec::new();
    };
    let mounts: Vec<(u8, Mount)> = seen.mounts().collect();
    let ours = |path: &str| {
        declared(cx, path)
            || cx
                .owned()
                .iter()
                .any(|owned| matches!(owned, Owned::Mount(own) if same_path(own, path)))
    };
    let mut problems = Vec::new();
    for (index, (slot, mount)) in mounts.iter().enumerate() {
        let twin = mounts[..index]
            .iter()
            .find(|(_, other)| same_path(&other.path, &mount.path));
        if let Some((other, _)) = twin.filter(|_| ours(&mount.path)) {
            problems.push(Problem::new(
                "",
                format!("mp{other} and mp{slot} are both mounted at {}", mount.path),
                "unmount one of them by hand",
            ));
        }
    }
    problems
}

/// Chooses slots that nothing uses: not now, not after the next start, not by this change.
pub(super) struct Slots(BTreeSet<u8>);

impl Slots {
    pub(super) fn of(seen: &ObservedContainer) -> Self {
        let keys = seen.settings.keys().chain(seen.pending.keys());
        Self(
            keys.filter_map(|key| {
                if let Key::Mount(slot) = key {
                    Some(*slot)
                } else {
                    None
                }
            })
            .collect(),
        )
    }

    pub(super) fn take(&mut self) -> Option<u8> {
        let free = (0..=MAX_MOUNT_SLOT).find(|slot| !self.0.contains(slot))?;
        self.0.insert(free);
        Some(free)
    }
}

/// Whether the configuration declares something at this path.
pub(super) fn declared(cx: &Context<'_>, path: &str) -> bool {
    let binds = cx.desired.binds.iter().map(|bind| &bind.path);
    let volumes = cx.desired.volumes.iter().map(|volume| &volume.path);
    binds.chain(volumes).any(|own| same_path(own, path))
}

/// Mounts of ours that are declared no more, of the one or the other kind: to be removed.
pub(super) fn remove_undeclared(
    cx: &Context<'_>,
    seen: &ObservedContainer,
    kind: fn(&Source) -> bool,
    changes: &mut Changes,
) {
    for owned in cx.owned() {
        let Owned::Mount(path) = owned else { continue };
        if declared(cx, path) {
            continue;
        }
        if let Some((slot, mount)) = at(seen, path)
            && kind(&mount.source)
        {
            changes.insert(Key::Mount(slot), None);
        }
    }
}
