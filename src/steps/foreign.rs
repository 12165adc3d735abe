//! What is worth a word although nothing is done about it: other people's mounts and options,
//! drift that no action cures, changes that wait for a restart.

use super::{Context, start};
use crate::domain::event::Owned;
use crate::domain::observed::{ObservedContainer, Status};
use crate::domain::options::{Mount, Source};
use crate::domain::setting::{Key, Settings, Value};

/// Notes on a container as it is seen.
#[must_use]
pub fn notes(cx: &Context<'_>) -> Vec<String> {
    let Some(seen) = cx.observed else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    if seen.half_created() {
        return notes;
    }
    notes.extend(adopted(cx, seen));
    notes.extend(elsewhere(cx, seen));
    notes.extend(unmanaged(cx, seen));
    notes.extend(waiting(cx, seen));
    notes
}

fn adopted(cx: &Context<'_>, seen: &ObservedContainer) -> Option<String> {
    let ours = seen.mark.is_some_and(|mark| mark.ctid == cx.desired.ctid);
    let known = cx.record.created || cx.record.outcome.is_some();
    (!ours && !known).then(|| "was not made by phoenix; it is adopted as it is".to_owned())
}

fn elsewhere(cx: &Context<'_>, seen: &ObservedContainer) -> Vec<String> {
    let mut notes = Vec::new();
    let rootfs = seen
        .rootfs()
        .filter(|rootfs| rootfs.volume.storage != cx.desired.storage);
    if let Some(rootfs) = rootfs {
        notes.push(format!(
            "its root disk is on storage '{}', not on '{}' as declared; phoenix does not move disks",
            rootfs.volume.storage, cx.desired.storage
        ));
    }
    for volume in &cx.desired.volumes {
        let found = super::mounts::at(seen, &volume.path);
        if let Some((
            _,
            Mount {
                source: Source::Volume(found),
                ..
            },
        )) = found
            && found.storage != volume.storage
        {
            notes.push(format!(
                "the volume at {} is on storage '{}', not on '{}' as declared; phoenix does not \
                 move disks",
                volume.path, found.storage, volume.storage
            ));
        }
    }
    notes
}

/// Mounts, options and raw lines that are neither declared nor ours, nor inherited from the
/// snapshot that the container was cloned from.
fn unmanaged(cx: &Context<'_>, seen: &ObservedContainer) -> Vec<String> {
    let declared = cx.settings();
    let inherited = inherited(cx);
    let settings = seen.eventual_settings();
    let mut found = Vec::new();
    for (key, value) in &settings {
        match (key, value) {
            (Key::Mount(_), Value::Mount(mount)) => {
                let binds = cx.desired.binds.iter().map(|bind| &bind.path);
                let volumes = cx.desired.volumes.iter().map(|volume| &volume.path);
                let known = binds
                    .chain(volumes)
                    .any(|path| super::mounts::same_path(path, &mount.path));
                let ours = cx.record.owned.contains(&Owned::Mount(mount.path.clone()));
                let from_source = inherited
                    .values()
                    .any(|value| matches!(value, Value::Mount(own) if own.path == mount.path));
                if !known && !ours && !from_source {
                    found.push(format!("{key}: {value}"));
                }
            }
            (Key::Features, Value::Options(options)) => {
                let own = parts(declared.get(key));
                let from_source = parts(inherited.get(key));
                found.extend(options.0.iter().filter_map(|(name, value)| {
                    let pair = format!("{name}={value}");
                    let known = own.iter().any(|own| own.starts_with(&format!("{name}=")));
                    let ours = cx.record.owned.contains(&Owned::Feature(name.clone()));
                    let skip = known || ours || from_source.contains(&pair);
                    (!skip).then(|| format!("{key}: {pair}"))
                }));
            }
            (Key::Lxc(_), Value::Lines(lines)) => {
                let own = parts(declared.get(key));
                let from_source = parts(inherited.get(key));
                found.extend(lines.iter().filter_map(|line| {
                    let ours = cx
                        .record
                        .owned
                        .contains(&Owned::Line(key.clone(), line.clone()));
                    let skip = own.contains(line) || ours || from_source.contains(line);
                    (!skip).then(|| format!("{key}: {line}"))
                }));
            }
            _ => {}
        }
    }
    found
        .into_iter()
        .map(|what| format!("unmanaged, left as it is: {what}"))
        .collect()
}

fn parts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Options(options)) => options
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        Some(Value::Lines(lines)) => lines.clone(),
        _ => Vec::new(),
    }
}

fn inherited(cx: &Context<'_>) -> Settings {
    let crate::domain::desired::Origin::Clone { source, snapshot } = &cx.desired.origin else {
        return Settings::new();
    };
    let source = cx.world.containers.get(source);
    let snapshot = source.and_then(|source| source.snapshot(snapshot));
    snapshot
        .map(|snapshot| snapshot.settings.clone())
        .unwrap_or_default()
}

fn waiting(cx: &Context<'_>, seen: &ObservedContainer) -> Option<String> {
    let keys = start::waiting(cx, seen);
    let left = seen.status == Status::Running && cx.options.no_restart && !keys.is_empty();
    left.then(|| {
        let keys: Vec<String> = keys.iter().map(Key::to_string).collect();
        format!("waits for a restart (--no-restart): {}", keys.join(", "))
    })
}
