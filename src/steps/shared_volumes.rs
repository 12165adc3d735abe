//! State 4, `apply_shared_volumes`: bind mounts of host directories.

use super::mounts::{Slots, at, leaving, remove_undeclared};
use super::{Context, Problems, Work};
use crate::domain::action::{Action, DirectorySpec};
use crate::domain::desired::DesiredBind;
use crate::domain::diagnostic::Problem;
use crate::domain::event::Owned;
use crate::domain::observed::ObservedContainer;
use crate::domain::options::{Mount, Source};
use crate::domain::setting::{Changes, Key};

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    let seen = cx.existing()?;
    let mut work = Work::default();
    let binds = cx.desired.binds.iter();
    let mut directories: Vec<_> = binds.filter_map(|bind| directory(cx, bind)).collect();
    // One that is in another comes after it: what is made on the way to it is root's, and a
    // killed run would leave it so, where nobody declared an owner.
    directories.sort_by(|one, other| one.path.cmp(&other.path));
    let directories = directories.into_iter().map(Action::EnsureDirectory);
    work.actions.extend(directories);
    let changes = changes(cx, seen, &mut work)?;
    work.configure(seen, changes);
    Ok(work.settled())
}

/// The changes of mounts alone, without the host's directories.
pub(super) fn changes(
    cx: &Context<'_>,
    seen: &ObservedContainer,
    work: &mut Work,
) -> Result<Changes, Problems> {
    let mut changes = Changes::new();
    let mut slots = Slots::of(seen);
    for bind in &cx.desired.binds {
        let found = at(seen, &bind.path);
        let (slot, other) = match found {
            Some((_, mount)) if mount.source == Source::Host(bind.host_path.clone()) => continue,
            Some((
                slot,
                Mount {
                    source: Source::Host(_),
                    other,
                    ..
                },
            )) => (Some(slot), other),
            Some((slot, _)) => return Err(vec![volume_in_the_way(bind, slot)]),
            // One that the next start would take away stays; a new one would cover it till then.
            None => match leaving(seen, &bind.path) {
                Some((slot, mount)) if matches!(mount.source, Source::Host(_)) => {
                    (Some(slot), mount.other)
                }
                _ => (slots.take(), std::collections::BTreeMap::new()),
            },
        };
        let slot = slot.ok_or_else(|| vec![no_slot(&bind.declared_at)])?;
        let source = Source::Host(bind.host_path.clone());
        let mount = Mount {
            source,
            path: bind.path.clone(),
            size: None,
            other,
        };
        changes.insert(Key::Mount(slot), Some(mount.into()));
        work.claims.push(Owned::Mount(bind.path.clone()));
    }
    let is_bind = |source: &Source| matches!(source, Source::Host(_));
    remove_undeclared(cx, seen, is_bind, &mut changes);
    Ok(changes)
}

fn volume_in_the_way(bind: &DesiredBind, slot: u8) -> Problem {
    Problem::new(
        &bind.declared_at,
        format!(
            "a volume (mp{slot}) is mounted at {}; phoenix does not take it away",
            bind.path
        ),
        "unmount the volume by hand if its data is not needed there, or declare another path",
    )
}

pub(super) fn no_slot(declared_at: &str) -> Problem {
    Problem::new(
        declared_at,
        "all 256 mount slots are in use",
        "unmount something",
    )
}

/// What has to be done to the host's directory: create it, or give it its declared owner and
/// mode. What is not declared is left as it is found.
fn directory(cx: &Context<'_>, bind: &DesiredBind) -> Option<DirectorySpec> {
    let declared = bind
        .owner
        .map(|(uid, gid)| (cx.desired.host_id('u', uid), cx.desired.host_id('g', gid)));
    let Some(found) = cx.world.host.directories.get(&bind.host_path) else {
        let root = (cx.desired.host_id('u', 0), cx.desired.host_id('g', 0));
        let owner = Some(declared.unwrap_or(root));
        return Some(DirectorySpec {
            path: bind.host_path.clone(),
            owner,
            mode: bind.mode,
        });
    };
    let owner = declared.filter(|owner| *owner != (found.uid, found.gid));
    let mode = bind.mode.filter(|mode| *mode != found.mode);
    let differs = owner.is_some() || mode.is_some();
    differs.then(|| DirectorySpec {
        path: bind.host_path.clone(),
        owner,
        mode,
    })
}
