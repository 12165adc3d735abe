//! What only shows when all containers are looked at together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::directories;
use super::findings::{At, File, Findings};
use super::graph::{Needs, cycles};
use super::world::World;
use crate::domain::desired::{DesiredContainer, DesiredState, Origin};
use crate::domain::ids::Ctid;
use crate::domain::setting::{Key, Value};

/// Checks the whole.
pub(super) fn check(world: &World<'_>, desired: &DesiredState, findings: &mut Findings) {
    if world.containers.is_empty() && !world.blind.lxc {
        let help = "declare one inside of \"lxc_configs\"; docs/configuration.md has the keys";
        let file = At::File(File::Lxc);
        findings.key_error(&file.key("lxc_configs"), "no container is declared", help);
    }
    check_ids(world, findings);
    check_cycles(world, findings);
    directories::check(desired, findings);
    let mut seen = Seen::default();
    for container in desired.containers.values() {
        let id = container.ctid.to_string();
        let file = At::File(File::Lxc);
        let all = file.key("lxc_configs");
        let at = all.key(&id);
        check_clone(world, container, &at, findings);
        check_snapshot_storage(world, container, &at, findings);
        seen.check(world, container, &at, findings);
    }
}

fn check_ids(world: &World<'_>, findings: &mut Findings) {
    let file = At::File(File::Lxc);
    let all = file.key("lxc_configs");
    for ctid in world.containers.keys() {
        if let Some(vm) = world.vms.get(ctid) {
            let message = format!("{ctid} is also the id of the virtual machine {}", vm.name);
            let help = "give one of them another id";
            findings.key_error(&all.key(&ctid.to_string()), message, help);
        }
    }
}

/// Cycles through clone sources and dependencies, those of virtual machines included.
fn check_cycles(world: &World<'_>, findings: &mut Findings) {
    let mut needs = Needs::new();
    for (vmid, vm) in &world.vms {
        needs.entry(*vmid).or_default().extend(&vm.needs);
    }
    for (ctid, declared) in &world.containers {
        let depends = declared
            .raw
            .dependencies
            .iter()
            .flat_map(|list| list.iter());
        let all = needs.entry(*ctid).or_default();
        all.extend(depends.filter_map(|(_, id)| id.ctid()));
        all.extend(declared.raw.source_ctid());
    }
    for mut cycle in cycles(&needs) {
        // A cycle is shown from a container: machines among themselves are not ours to judge.
        let is_container = |ctid: &Ctid| world.containers.contains_key(ctid);
        let Some(first) = cycle.iter().position(is_container) else {
            continue;
        };
        cycle.rotate_left(first);
        report_cycle(world, &cycle, findings);
    }
}

fn report_cycle(world: &World<'_>, cycle: &[Ctid], findings: &mut Findings) {
    let next = |position: usize| cycle[(position + 1) % cycle.len()];
    let links: Vec<String> = cycle
        .iter()
        .enumerate()
        .map(|(position, ctid)| {
            let next = next(position);
            match world.containers.get(ctid) {
                Some(declared) if declared.raw.source_ctid() == Some(next) => {
                    format!("{ctid} is cloned from {next}")
                }
                Some(_) => format!("{ctid} depends on {next}"),
                None => format!("virtual machine {ctid} needs {next}"),
            }
        })
        .collect();
    let message = format!("none of these can be first: {}", links.join(", "));
    let help = "take one of these dependencies away";
    let id = cycle[0].to_string();
    let file = At::File(File::Lxc);
    let all = file.key("lxc_configs");
    let at = all.key(&id);
    let Some(declared) = world.containers.get(&cycle[0]) else {
        return;
    };
    let next = next(0);
    if let Some((key, _)) = declared
        .raw
        .source()
        .filter(|(_, id)| id.ctid() == Some(next))
    {
        findings.error(&at.key(key), message, help);
        return;
    }
    let list = at.key("dependencies");
    let mut depends = declared
        .raw
        .dependencies
        .iter()
        .flat_map(|list| list.iter());
    let index = depends
        .find(|(_, id)| id.ctid() == Some(next))
        .map_or(0, |(index, _)| index);
    findings.error(&list.index(index), message, help);
}

/// What Proxmox VE cannot change in a clone.
fn check_clone(
    world: &World<'_>,
    container: &DesiredContainer,
    at: &At<'_>,
    findings: &mut Findings,
) {
    let Origin::Clone { source, .. } = &container.origin else {
        return;
    };
    let Some(parent) = world.containers.get(source) else {
        return;
    };
    let Some(own) = world.containers.get(&container.ctid) else {
        return;
    };
    if let (Some(size), Some(least)) = (own.raw.storage_size_gb, parent.raw.storage_size_gb)
        && size < least
    {
        let message =
            format!("{size} GiB is less than the {least} GiB of its clone source {source}");
        let help = "a disk cannot shrink: declare at least the size of the source";
        findings.error(&at.key("storage_size_gb"), message, help);
    }
    if let (Some(flag), Some(inherited)) = (own.raw.unprivileged, world.unprivileged(*source))
        && flag != inherited
    {
        let message = format!("is {flag}, but that of its clone source {source} is {inherited}");
        let help = "a clone keeps the privilege of its source: declare the same, or make it from a \
                    template";
        findings.error(&at.key("unprivileged"), message, help);
    }
}

/// A storage of plain directories takes no snapshots of containers.
fn check_snapshot_storage(
    world: &World<'_>,
    container: &DesiredContainer,
    at: &At<'_>,
    findings: &mut Findings,
) {
    let Some(snapshot) = &container.snapshot else {
        return;
    };
    let is_dir = |storage: &str| {
        world
            .storage_types
            .get(storage)
            .is_some_and(|kind| kind == "dir")
    };
    let mut refuse = |place: &At<'_>, storage: &str| {
        let message = format!(
            "the storage '{storage}' is of type dir, so the snapshot '{snapshot}' cannot be taken \
             (\"snapshot feature is not available\")"
        );
        let help = "use a storage of type zfspool, or take template_snapshot_name away";
        findings.error(place, message, help);
    };
    if is_dir(&container.storage) {
        refuse(&at.key("storage_pool"), &container.storage);
    }
    for volume in container
        .volumes
        .iter()
        .filter(|volume| is_dir(&volume.storage))
    {
        let Some((key, index)) = volume.declared_at.split_once('[') else {
            continue;
        };
        let index = index.trim_end_matches(']').parse().unwrap_or_default();
        refuse(&at.key(key).index(index).key("pool"), &volume.storage);
    }
}

/// What may exist only once.
#[derive(Default)]
struct Seen {
    addresses: HashMap<String, Ctid>,
    macs: HashMap<String, Ctid>,
    names: BTreeMap<String, BTreeSet<Ctid>>,
}

impl Seen {
    fn check(
        &mut self,
        world: &World<'_>,
        container: &DesiredContainer,
        at: &At<'_>,
        findings: &mut Findings,
    ) {
        let ctid = container.ctid;
        let network = at.key("network_config");
        if let Some(Value::Net(net)) = container.settings.get(&Key::Net(0)) {
            let address = net.ip.as_deref().and_then(|ip| ip.split_once('/'));
            if let Some((address, _)) = address
                && let Some(other) = take(&mut self.addresses, address.to_owned(), ctid)
            {
                let message = format!("{address} is also the address of container {other}");
                let help = "give every container an address of its own";
                findings.error(&network.key("ip"), message, help);
            }
            if let Some(mac) = &net.hwaddr
                && let Some(other) = take(&mut self.macs, mac.to_ascii_lowercase(), ctid)
            {
                let message = format!("{mac} is also the hardware address of container {other}");
                let help = "give every container one of its own, or none: the host chooses one";
                let declared = world.containers.get(&ctid);
                let outer = declared.is_some_and(|own| own.raw.mac_address.is_some());
                let place = if outer {
                    at.key("mac_address")
                } else {
                    network.key("hwaddr")
                };
                findings.error(&place, message, help);
            }
        }
        let names = self
            .names
            .entry(container.name.to_ascii_lowercase())
            .or_default();
        if let Some(other) = names.first().filter(|_| !container.name.is_empty()) {
            let message = format!("'{}' is also the name of container {other}", container.name);
            let help = "give every container a name of its own";
            findings.warning(&at.key("name"), message, help);
        }
        names.insert(ctid);
    }
}

fn take(seen: &mut HashMap<String, Ctid>, what: String, ctid: Ctid) -> Option<Ctid> {
    match seen.get(&what) {
        Some(other) => Some(*other),
        None => {
            seen.insert(what, ctid);
            None
        }
    }
}
