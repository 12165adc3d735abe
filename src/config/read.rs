//! From texts to a [`World`]: syntax, types, keys.

use std::collections::BTreeMap;

use super::decode::decode;
use super::document::{self, Entry};
use super::findings::{At, File, Findings};
use super::keys::{LXC_ROOT, check_list, check_object, near_miss};
use super::limits;
use super::raw::{RawContainer, RawHealthCheck, RawIdMap, RawMountPoint, RawNetwork, RawVolume};
use super::raw_host::RawVmFile;
use super::read_host;
use super::secrets::{Collector, Holder};
use super::sources::{ContainerPlace, Sources};
use super::world::{Blind, Declared, Vm, World};
use crate::domain::ids::Ctid;
use crate::domain::secret::TooMany;

/// The text of a file; what is wrong with its bytes is reported.
pub(super) fn text(file: File, bytes: Vec<u8>, findings: &mut Findings) -> String {
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            findings.at_offset(
                file,
                document::Path::default(),
                offset,
                "is not UTF-8 here".to_owned(),
                "save the file as UTF-8",
            );
            text
        }
    };
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    text
}

/// Reads the three files: hypervisor, containers, virtual machines.
pub(super) fn world<'a>(
    [hypervisor, lxc, vm]: [Option<&'a str>; 3],
    findings: &mut Findings,
    sources: &mut Sources,
) -> Result<World<'a>, TooMany> {
    let mut secrets = Collector::default();
    let hypervisor_members = object(File::Hypervisor, hypervisor, findings);
    let lxc_members = object(File::Lxc, lxc, findings);
    let vm_members = object(File::Vm, vm, findings);
    let mut world = World {
        blind: Blind {
            lxc: lxc_members.is_none(),
            vm: vm.is_some() && vm_members.is_none(),
        },
        ..World::default()
    };
    if let (Some(_), Some(text)) = (vm_members, vm) {
        secrets.anything(text);
        world.vms = machines(text, findings);
    }
    if let (Some(members), Some(text)) = (lxc_members, lxc) {
        world.root_scalars = root_scalars(&members, findings);
        secrets.object(
            Holder::LxcFile,
            text,
            &members,
            &At::File(File::Lxc),
            findings,
        );
        world.containers = containers(text, &members, findings, sources, &mut secrets);
    }
    if let (Some(members), Some(text)) = (hypervisor_members, hypervisor) {
        let at = At::File(File::Hypervisor);
        secrets.object(Holder::HypervisorFile, text, &members, &at, findings);
        read_host::hypervisor(text, &members, &mut world, findings);
    }
    world.secrets = secrets.finish(&world)?;
    Ok(world)
}

/// How the decoder says that it went as deep as it goes.
const TOO_DEEP: &str = "recursion limit exceeded";

/// The members of a file's object; none, with an error, when there is none.
fn object<'a>(
    file: File,
    text: Option<&'a str>,
    findings: &mut Findings,
) -> Option<Vec<Entry<'a>>> {
    let text = text?;
    match document::has_duplicates(text) {
        Err(error) => {
            let offset = offset_of(text, error.line(), error.column());
            let message = error.to_string();
            let what = message.split(" at line ").next().unwrap_or_default();
            let (message, help) = if what == TOO_DEEP {
                (
                    "nested too deeply: more than 127 objects and lists in one another".to_owned(),
                    "nothing that phoenix reads is as deep: look for brackets that are never closed",
                )
            } else {
                (
                    format!("is not JSON: {what}"),
                    "look here and at the line above for a missing or extra comma, quote or bracket",
                )
            };
            let whole = document::Path::default();
            findings.at_offset(file, whole, offset, message, help);
            return None;
        }
        Ok(true) => document::each_duplicate(text, &mut |path, offset| {
            findings.at_offset(
                file,
                path,
                offset,
                "this key stands here a second time in one object".to_owned(),
                "keep one of them: a reader of JSON takes the last and forgets the others",
            );
        }),
        Ok(false) => {}
    }
    let members = document::entries(text);
    if members.is_none() {
        findings.error(
            &At::File(file),
            "must be an object",
            "begin the file with {",
        );
    }
    members
}

/// Where a line and a column in bytes, both from 1, are. The decoder names the byte that it read
/// last.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut offset = (before + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

fn machines(text: &str, findings: &mut Findings) -> BTreeMap<Ctid, Vm> {
    let file = At::File(File::Vm);
    let raw: RawVmFile = decode(text, &file, findings);
    let list = file.key("vms");
    let mut machines = BTreeMap::new();
    for (index, machine) in raw.vms.unwrap_or_default().iter() {
        let at = list.index(index);
        // The first generations numbered machines as they made them.
        let Some(id) = &machine.vmid else { continue };
        let Some(vmid) = id.ctid() else {
            let message = format!("'{}' is not the id of a guest", id.0);
            findings.error(
                &at.key("vmid"),
                message,
                "take a whole number from 100 to 999999999",
            );
            continue;
        };
        let depends = machine.dependencies.iter().flat_map(|list| list.iter());
        let needs = depends.filter_map(|(_, id)| id.ctid());
        let source = machine.clone_from_vmid.iter().filter_map(|id| id.ctid());
        let name = machine.name.clone().unwrap_or_else(|| format!("VM {vmid}"));
        machines.insert(
            vmid,
            Vm {
                name,
                needs: needs.chain(source).collect(),
            },
        );
    }
    machines
}

/// Scalars at the top of the container file, which scripts may read, in the order of their names.
fn root_scalars(members: &[Entry<'_>], findings: &mut Findings) -> String {
    let file = At::File(File::Lxc);
    let mut scalars = BTreeMap::new();
    for entry in members {
        let key = entry.key.as_ref();
        let known = LXC_ROOT.contains(&key);
        if !known && let Some(meant) = near_miss(key, LXC_ROOT) {
            let message = format!("is not a known key; did you mean '{meant}'?");
            findings.key_error(&file.key(key), message, &format!("write it as '{meant}'"));
        } else if !known && key.starts_with(|c: char| c.is_ascii_digit()) {
            let help = "a container belongs inside of \"lxc_configs\"";
            findings.warning(&file.key(key), "nothing reads this here", help);
        }
        if !entry.value.starts_with(['{', '[']) && key != "$schema" {
            scalars.insert(key, entry.value);
        }
    }
    let quoted = scalars
        .into_iter()
        .filter_map(|(key, value)| Some(format!(",{}:{value}", serde_json::to_string(key).ok()?)));
    quoted.collect()
}

fn containers<'a>(
    text: &'a str,
    members: &[Entry<'a>],
    findings: &mut Findings,
    sources: &mut Sources,
    secrets: &mut Collector,
) -> BTreeMap<Ctid, Declared<'a>> {
    let file = At::File(File::Lxc);
    let all = file.key("lxc_configs");
    let mut found = BTreeMap::new();
    let Some(section) = members.iter().rfind(|entry| entry.key == "lxc_configs") else {
        return found;
    };
    let Some(list) = document::entries(section.value) else {
        findings.error(&all, "must be an object", "write {\"ID\": {…}, …}");
        return found;
    };
    for entry in &list {
        let at = all.key(&entry.key);
        let ctid = match entry.key.parse::<Ctid>() {
            Ok(ctid) if ctid.to_string() == entry.key => Some(ctid),
            _ => None,
        };
        if ctid.is_none() {
            let help = "take a whole number from 100 to 999999999, without leading zeros";
            findings.key_error(&at, format!("'{}' is not a container id", entry.key), help);
        }
        let Some(inner) = document::entries(entry.value) else {
            findings.error(
                &at,
                "must be an object",
                "write the container's keys between { and }",
            );
            continue;
        };
        secrets.object(Holder::Container, entry.value, &inner, &at, findings);
        let Some(ctid) = ctid else { continue };
        let start = document::offset_in(text, entry.value);
        let value = start..start + entry.value.len();
        let key = document::key_offset(text, entry);
        sources.add_container(ctid, ContainerPlace { key, value });
        limits::check(&inner, &at, findings);
        let raw: Box<RawContainer> = decode(entry.value, &at, findings);
        check_nested(&inner, &at, findings);
        found.insert(
            ctid,
            Declared {
                text: entry.value,
                members: inner.into(),
                raw,
            },
        );
    }
    found
}

/// Looks for unknown keys in the objects of a container that phoenix reads.
fn check_nested(members: &[Entry<'_>], at: &At<'_>, findings: &mut Findings) {
    for entry in members
        .iter()
        .filter(|entry| entry.value.starts_with(['{', '[']))
    {
        let place = at.key(&entry.key);
        match entry.key.as_ref() {
            "network_config" => check_object::<RawNetwork>(entry.value, &place, &[], findings),
            "health_check" => check_object::<RawHealthCheck>(entry.value, &place, &[], findings),
            "volumes" | "zfs_volumes" => check_list::<RawVolume>(entry.value, &place, findings),
            "mount_points" => check_list::<RawMountPoint>(entry.value, &place, findings),
            "id_maps" => check_list::<RawIdMap>(entry.value, &place, findings),
            _ => {}
        }
    }
}
