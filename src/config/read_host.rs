//! The hypervisor file: shared volumes, types of storages, and what is left alone.

use std::collections::BTreeMap;

use super::decode::{decode, fields_of};
use super::document::{self, Entry};
use super::findings::{At, File, Findings};
use super::keys::{SECTIONS, check_object, is_comment, near_miss};
use super::limits;
use super::lower::mounts;
use super::raw_host::{RawDataset, RawHypervisor, RawSharedVolume};
use super::scalar::Object;
use super::world::{SharedMount, World};
use crate::domain::ids::Ctid;

/// Reads what containers share.
pub(super) fn hypervisor(
    text: &str,
    members: &[Entry<'_>],
    world: &mut World<'_>,
    findings: &mut Findings,
) {
    let file = At::File(File::Hypervisor);
    check_sections(members, findings);
    for key in ["shared_volumes", "zfs", "proxmox_storage_ids"] {
        if let Some(entry) = members.iter().rfind(|entry| entry.key == key) {
            limits::texts(entry.value, &At::File(File::Hypervisor).key(key), findings);
        }
    }
    let raw: RawHypervisor = decode(text, &file, findings);
    let ids = raw.proxmox_storage_ids.unwrap_or_default();
    let named = ["fastdata_iso", "fastData_shared_iso"]
        .iter()
        .find_map(|key| ids.get(*key));
    world.template_storage = named.cloned().flatten();
    for (_, dataset) in raw
        .zfs
        .unwrap_or_default()
        .0
        .datasets
        .unwrap_or_default()
        .iter()
    {
        let RawDataset {
            name: Some(name),
            pool: Some(pool),
            proxmox_storage_type: Some(kind),
        } = &dataset.0
        else {
            continue;
        };
        // Some files name the storage, not the dataset.
        for storage in [format!("{pool}-{name}"), name.clone()] {
            world
                .storage_types
                .entry(storage)
                .or_insert_with(|| kind.clone());
        }
    }
    shared_volumes(
        raw.shared_volumes.unwrap_or_default(),
        members,
        world,
        findings,
    );
}

/// Reads the shared volumes; what stands among them by mistake is told apart.
fn shared_volumes(
    declared: BTreeMap<String, Option<Object<RawSharedVolume>>>,
    members: &[Entry<'_>],
    world: &mut World<'_>,
    findings: &mut Findings,
) {
    let file = At::File(File::Hypervisor);
    let volumes = file.key("shared_volumes");
    let section = members.iter().rfind(|entry| entry.key == "shared_volumes");
    let listed = section
        .and_then(|entry| document::entries(entry.value))
        .unwrap_or_default();
    let texts: BTreeMap<&str, &str> = listed
        .iter()
        .map(|entry| (entry.key.as_ref(), entry.value))
        .collect();
    for (name, volume) in declared {
        let at = volumes.key(&name);
        let Some(volume) = volume else {
            findings.error(&at, "must be an object", "write host_path and mounts");
            continue;
        };
        let misplaced = SECTIONS.contains(&name.as_str());
        if volume.host_path.is_none() && volume.mounts.is_none() && misplaced {
            let help = format!("move '{name}' to the top of the file; no volume is made of it");
            findings.warning(&at, "is no shared volume and has no effect here", &help);
            continue;
        }
        if let Some(text) = texts.get(name.as_str()) {
            check_object::<RawSharedVolume>(text, &at, &[], findings);
        }
        shared_volume(&name, &volume, &at, world, findings);
    }
}

fn check_sections(members: &[Entry<'_>], findings: &mut Findings) {
    let file = At::File(File::Hypervisor);
    let read = fields_of::<RawHypervisor>();
    let mut left_alone = Vec::new();
    for entry in members {
        let key = entry.key.as_ref();
        if SECTIONS.contains(&key) {
            left_alone.extend((key != "$schema").then_some(key));
        } else if !read.contains(&key) {
            let known = read.iter().chain(&SECTIONS).copied();
            match near_miss(key, known) {
                Some(meant) => findings.key_error(
                    &file.key(key),
                    format!("is not a known section; did you mean '{meant}'?"),
                    &format!("write it as '{meant}'"),
                ),
                None if is_comment(key) => {}
                None => findings.warning(
                    &file.key(key),
                    "is not a known section, and nothing reads it",
                    "take it away, or look at docs/configuration.md for its name",
                ),
            }
        }
    }
    if !left_alone.is_empty() {
        let help = "they describe the set-up of the hypervisor itself";
        let list = left_alone.join(", ");
        findings.note(
            &file,
            format!("these sections are not managed by phoenix: {list}"),
            help,
        );
    }
}

fn shared_volume(
    name: &str,
    volume: &RawSharedVolume,
    at: &At<'_>,
    world: &mut World<'_>,
    findings: &mut Findings,
) {
    let Some(host_path) = &volume.host_path else {
        let help = "name the directory of the host, such as \"/srv/data\"";
        findings.key_error(&at.key("host_path"), "is missing", help);
        return;
    };
    let host_path = mounts::path(host_path, &at.key("host_path"), findings);
    let mode = mounts::mode(volume.mode.as_deref(), &at.key("mode"), findings);
    if volume.owner.is_some() {
        let help = "the original never read it; mount_points take owner_uid and owner_gid";
        findings.note(
            &at.key("owner"),
            "declared, but not managed by phoenix",
            help,
        );
    }
    let mounts_at = at.key("mounts");
    for (id, path) in volume.mounts.iter().flatten() {
        let at = mounts_at.key(id);
        let declared = id
            .parse::<Ctid>()
            .ok()
            .filter(|ctid| world.containers.contains_key(ctid));
        let Some(path) = path else {
            findings.error(
                &at,
                "must be a path, but is null",
                "name the path in the container",
            );
            continue;
        };
        let path = mounts::path(path, &at, findings);
        match declared {
            Some(ctid) => world.shared.entry(ctid).or_default().push(SharedMount {
                volume: name.to_owned(),
                host_path: host_path.clone(),
                path,
                mode,
            }),
            None if world.blind.lxc => {}
            None => findings.warning(
                &at,
                format!("no container {id} is declared, so this mount has no effect"),
                "take it away, or declare the container in phoenix_lxc_configs.json",
            ),
        }
    }
}
