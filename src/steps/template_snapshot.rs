//! State 11, `create_template_snapshot`: the snapshot that clones start from exists, by its
//! exact name. It is never deleted and taken again.

use super::{Context, Problems, Work, defined};
use crate::domain::action::Action;
use crate::domain::diagnostic::Problem;
use crate::domain::options::Source;
use crate::domain::setting::Key;

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    let seen = cx.existing()?;
    let missing = cx
        .desired
        .snapshot
        .as_ref()
        .filter(|name| seen.snapshot(name).is_none());
    let action = missing.map(|name| Action::Snapshot { name: name.clone() });
    // One that broke off a moment ago has left its lock, which would refuse another.
    let broken = action.is_some() && defined::left_locked(cx, seen);
    let unlock = broken.then_some(Action::Unlock);
    Ok(Work::of(unlock.into_iter().chain(action).collect()))
}

/// What is in the way of a snapshot that is still to be taken. Proxmox VE: "snapshot feature is
/// not available" on a storage that has none, and with any bind mount.
pub(super) fn problems(cx: &Context<'_>) -> Problems {
    let Some(name) = &cx.desired.snapshot else {
        return Vec::new();
    };
    if cx
        .observed
        .is_some_and(|seen| seen.snapshot(name).is_some())
    {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let volumes = cx
        .desired
        .volumes
        .iter()
        .map(|volume| (&volume.declared_at, &volume.storage));
    let rootfs = ("storage_pool".to_owned(), cx.desired.storage.clone());
    for (key, storage) in std::iter::once((&rootfs.0, &rootfs.1)).chain(volumes) {
        let facts = cx.world.host.storages.get(storage);
        if let Some(facts) = facts.filter(|facts| !facts.can_snapshot()) {
            problems.push(Problem::new(
                key,
                format!(
                    "snapshot '{name}' cannot be taken: storage '{storage}' (type {}) has none",
                    facts.kind
                ),
                "declare a storage that has snapshots (zfspool, lvmthin, btrfs …)",
            ));
        }
    }
    let binds = cx
        .observed
        .into_iter()
        .flat_map(|seen| seen.mounts())
        .filter_map(|(slot, mount)| {
            if let Source::Host(host) = mount.source {
                Some((slot, host))
            } else {
                None
            }
        });
    for (slot, host) in binds {
        problems.push(Problem::new(
            "template_snapshot_name",
            format!(
                "snapshot '{name}' cannot be taken: {} mounts the host's {host}",
                Key::Mount(slot)
            ),
            "unmount it: Proxmox VE takes no snapshot of a container with a bind mount",
        ));
    }
    problems
}
