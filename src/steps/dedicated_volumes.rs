//! State 5, `apply_dedicated_volumes`: volumes of the container's own. They grow, never shrink,
//! and are never made anew.

use std::collections::BTreeMap;

use super::mounts::{Slots, at, leaving, remove_undeclared};
use super::shared_volumes::no_slot;
use super::{Context, Problems, Work};
use crate::domain::action::Action;
use crate::domain::diagnostic::Problem;
use crate::domain::event::Owned;
use crate::domain::observed::ObservedContainer;
use crate::domain::options::{Mount, Source, Volume};
use crate::domain::setting::{Changes, Key};

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    let seen = cx.existing()?;
    let problems = problems(cx);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut work = Work::default();
    let changes = changes(cx, seen, &mut work)?;
    work.configure(seen, changes);
    for volume in &cx.desired.volumes {
        // Also of one that is kept although the next start would have taken it away.
        let kept = at(seen, &volume.path).or_else(|| leaving_volume(seen, &volume.path));
        if let Some((slot, mount)) = kept
            && mount.size.is_some_and(|size| size < volume.size)
        {
            work.actions.push(Action::Resize {
                disk: Key::Mount(slot),
                size: volume.size,
                was: mount.size,
            });
        }
    }
    Ok(work.settled())
}

/// The changes of mounts alone, without sizes.
pub(super) fn changes(
    cx: &Context<'_>,
    seen: &ObservedContainer,
    work: &mut Work,
) -> Result<Changes, Problems> {
    let mut changes = Changes::new();
    let mut slots = Slots::of(seen);
    for volume in &cx.desired.volumes {
        if at(seen, &volume.path).is_some() {
            continue;
        }
        // One that the next start would take away stays: a new one would be an empty disk over it.
        if let Some((slot, mount)) = leaving_volume(seen, &volume.path) {
            changes.insert(Key::Mount(slot), Some(mount.into()));
            work.claims.push(Owned::Mount(volume.path.clone()));
            continue;
        }
        let slot = slots
            .take()
            .ok_or_else(|| vec![no_slot(&volume.declared_at)])?;
        let source = Source::Volume(Volume {
            storage: volume.storage.clone(),
            name: None,
        });
        let path = volume.path.clone();
        let mount = Mount {
            source,
            path,
            size: Some(volume.size),
            other: BTreeMap::new(),
        };
        changes.insert(Key::Mount(slot), Some(mount.into()));
        work.claims.push(Owned::Mount(volume.path.clone()));
    }
    let is_volume = |source: &Source| matches!(source, Source::Volume(_));
    remove_undeclared(cx, seen, is_volume, &mut changes);
    Ok(changes)
}

/// A volume that is mounted there now, and that the next start would take away.
fn leaving_volume(seen: &ObservedContainer, path: &str) -> Option<(u8, Mount)> {
    leaving(seen, path).filter(|(_, mount)| matches!(mount.source, Source::Volume(_)))
}

/// What no action can cure.
pub(super) fn problems(cx: &Context<'_>) -> Problems {
    let Some(seen) = cx.observed else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    for volume in &cx.desired.volumes {
        let kept = at(seen, &volume.path).or_else(|| leaving_volume(seen, &volume.path));
        let Some((slot, mount)) = kept else {
            continue;
        };
        if let Source::Host(host) = &mount.source {
            problems.push(Problem::new(
                &volume.declared_at,
                format!(
                    "the host directory {host} (mp{slot}) is mounted at {}",
                    volume.path
                ),
                "unmount it by hand, or declare another path",
            ));
        } else if let Some(size) = mount.size.filter(|size| *size > volume.size) {
            problems.push(Problem::new(
                &volume.declared_at,
                format!(
                    "the volume at {} has {size}, and {} is declared: unable to shrink disk size",
                    volume.path, volume.size
                ),
                format!("declare at least {size}"),
            ));
        }
    }
    problems
}
