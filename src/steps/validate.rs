//! State 1, `validate_inputs`: everything that can be known to fail is said before any change.
//!
//! The configuration reader has said what is wrong with the files by themselves; here they are
//! held against the host.

use std::collections::BTreeMap;

use super::{
    Context, Problems, Work, dedicated_volumes, defined, disk_size, mounts, template_snapshot,
};
use crate::domain::desired::Origin;
use crate::domain::diagnostic::Problem;
use crate::domain::observed::Status;
use crate::domain::setting::{Key, Value};
use crate::domain::units::DiskSize;

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    let mut problems = Vec::new();
    placement(cx, &mut problems);
    storages(cx, &mut problems);
    bridges(cx, &mut problems);
    template(cx, &mut problems);
    devices(cx, &mut problems);
    guests(cx, &mut problems);
    problems.extend(defined::problems(cx));
    problems.extend(mounts::problems(cx));
    problems.extend(dedicated_volumes::problems(cx));
    problems.extend(disk_size::problems(cx));
    problems.extend(template_snapshot::problems(cx));
    if problems.is_empty() {
        Ok(Work::default())
    } else {
        Err(problems)
    }
}

/// A container is worked on where it is, and made where it is declared.
fn placement(cx: &Context<'_>, problems: &mut Problems) {
    let facts = &cx.world.host;
    let Some(here) = &facts.node else { return };
    let ctid = cx.desired.ctid;
    if cx.observed.is_none()
        && let Some(taken) = facts.elsewhere.get(&ctid)
    {
        let there = &taken.node;
        let (message, help) = if taken.machine {
            (
                format!("the id {ctid} is that of a virtual machine on node '{there}'"),
                "declare the container under another id".to_owned(),
            )
        } else {
            (
                format!("container {ctid} is on node '{there}', and phoenix works on '{here}'"),
                format!("run phoenix on '{there}' (--host pct+ssh://{there}), or migrate it"),
            )
        };
        problems.push(Problem::new("node", message, help));
    } else if let Some(declared) = cx.desired.node.as_ref().filter(|node| *node != here) {
        let message = if cx.observed.is_some() {
            format!("it is declared for node '{declared}', and is on '{here}'")
        } else {
            format!("it is declared for node '{declared}', and phoenix works on '{here}'")
        };
        let help = if cx.observed.is_some() {
            format!("migrate it (pct migrate {ctid} {declared}), or declare `node` as \"{here}\"")
        } else {
            format!("run phoenix on '{declared}' (--host pct+ssh://{declared})")
        };
        problems.push(Problem::new("node", message, help));
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() {
        "it has none".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    }
}

/// Storages that are needed for something that does not exist yet, and how much of each.
fn storages(cx: &Context<'_>, problems: &mut Problems) {
    let facts = &cx.world.host.storages;
    let mut wanted: BTreeMap<&str, DiskSize> = BTreeMap::new();
    let mut want = |storage, size: DiskSize| {
        let sum = wanted.entry(storage).or_default();
        *sum = DiskSize::bytes(sum.get().saturating_add(size.get()));
    };
    let mut named = vec![("storage_pool".to_owned(), cx.desired.storage.as_str())];
    if cx.observed.is_none() {
        want(cx.desired.storage.as_str(), cx.desired.disk);
    }
    for volume in &cx.desired.volumes {
        named.push((volume.declared_at.clone(), &volume.storage));
        let exists = cx.observed.is_some_and(|seen| {
            seen.mounts()
                .any(|(_, mount)| mounts::same_path(&mount.path, &volume.path))
        });
        if !exists {
            want(volume.storage.as_str(), volume.size);
        }
    }
    for (key, storage) in named {
        if !facts.contains_key(storage) {
            problems.push(Problem::new(
                key,
                format!("the host has no storage '{storage}'"),
                format!(
                    "name one that the host has ({}), or create it",
                    listed(facts.keys())
                ),
            ));
        }
    }
    for (storage, size) in wanted {
        let free = facts.get(storage).and_then(|facts| facts.free);
        if let Some(free) = free.filter(|free| *free < size) {
            problems.push(Problem::new(
                "storage_pool",
                format!("storage '{storage}' has {free} free, and {size} are needed"),
                "free space in it, or declare another storage",
            ));
        }
    }
}

fn bridges(cx: &Context<'_>, problems: &mut Problems) {
    for (key, value) in &cx.desired.settings {
        let (Key::Net(_), Value::Net(net)) = (key, value) else {
            continue;
        };
        let Some(bridge) = &net.bridge else { continue };
        if !cx.world.host.bridges.contains(bridge) {
            problems.push(Problem::new(
                "network_config.bridge",
                format!("the host has no bridge '{bridge}'"),
                format!(
                    "name one that the host has ({}), or create it",
                    listed(cx.world.host.bridges.iter())
                ),
            ));
        }
    }
}

fn template(cx: &Context<'_>, problems: &mut Problems) {
    let Origin::Template(template) = &cx.desired.origin else {
        return;
    };
    if cx.observed.is_none() && !cx.world.host.templates.contains_key(&template.file) {
        problems.push(Problem::new(
            "template",
            format!(
                "the host has no template '{}' and cannot download it",
                template.file
            ),
            format!(
                "name one that the host has ({}), or copy it there",
                listed(cx.world.host.templates.keys())
            ),
        ));
    }
}

fn devices(cx: &Context<'_>, problems: &mut Problems) {
    if cx.desired.gpus.is_empty() {
        return;
    }
    for driver in super::configurations::GPU_DRIVERS {
        if !cx.world.host.device_majors.contains_key(driver) {
            problems.push(Problem::new(
                "gpu_assignment",
                format!("the host has no '{driver}' devices"),
                "install the NVIDIA driver on the host, or declare `gpu_assignment` as \"none\"",
            ));
        }
    }
}

fn guests(cx: &Context<'_>, problems: &mut Problems) {
    let Some(guests) = &cx.world.host.guests else {
        return;
    };
    for guest in &cx.desired.externals {
        let trouble = match guests.get(guest) {
            Some(Status::Running) => continue,
            Some(Status::Stopped) => "does not run",
            None => "does not exist on the host",
        };
        problems.push(Problem::new(
            "dependencies",
            format!("guest {guest}, which it depends on and phoenix does not manage, {trouble}"),
            "start it, or take it out of `dependencies`",
        ));
    }
}
