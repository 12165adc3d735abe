//! From what is written to what is compared: one container at a time.

pub(super) mod mounts;
mod network;
mod run;
pub(super) mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checks;
use super::findings::{At, File, Findings, Group};
use super::keys::{Foreign, KeyBook};
use super::raw::RawOnUnknown;
use super::scalar::List;
use super::scripts::Scripts;
use super::world::{Declared, World};
use crate::domain::desired::{DesiredContainer, DesiredState, OnUnknown, Origin, Template};
use crate::domain::ids::Ctid;
use crate::domain::secret::Secret;
use crate::domain::units::DiskSize;

/// Lowers everything and checks it as a whole.
pub(super) fn lower(
    world: &World<'_>,
    findings: &mut Findings,
    scripts: &mut Scripts,
) -> DesiredState {
    let mut keys = KeyBook::new();
    let mut desired = DesiredState::default();
    for (ctid, declared) in &world.containers {
        let id = ctid.to_string();
        let file = At::File(File::Lxc);
        let all = file.key("lxc_configs");
        let at = all.key(&id);
        let foreign = keys.sort(*ctid, &declared.members, &at, findings);
        let mut lowering = Lowering {
            world,
            ctid: *ctid,
            declared,
            at,
            findings,
            scripts,
        };
        let container = lowering.container(foreign);
        desired.containers.insert(*ctid, Arc::new(container));
    }
    checks::check(world, &desired, findings);
    desired.externals = externals(world, findings);
    desired.storages = storages(world, &desired);
    desired.secrets = world.secrets.clone();
    desired
}

/// One container on its way.
pub(super) struct Lowering<'l, 'a> {
    pub(super) world: &'l World<'a>,
    pub(super) ctid: Ctid,
    pub(super) declared: &'l Declared<'a>,
    pub(super) at: At<'l>,
    pub(super) findings: &'l mut Findings,
    pub(super) scripts: &'l mut Scripts,
}

impl Lowering<'_, '_> {
    fn container(&mut self, foreign: Foreign<'_, '_>) -> DesiredContainer {
        let raw = &self.declared.raw;
        let (settings, gpus) = (self.settings(), self.gpus());
        let (binds, volumes) = self.mounts();
        let node = self.node();
        DesiredContainer {
            ctid: self.ctid,
            name: raw.name.clone().unwrap_or_default(),
            origin: self.origin(),
            node,
            storage: self.storage("storage_pool", raw.storage_pool.as_deref(), self.at),
            disk: self.disk(),
            unprivileged: self.unprivileged(),
            settings,
            gpus,
            binds,
            volumes,
            features: self.features(),
            application: self.application(&foreign.application),
            health: self.health(),
            snapshot: self.snapshot(),
            dependencies: self.dependencies(),
            externals: self.external_needs(),
            boot_order: raw.boot_order,
            unmanaged: foreign.unmanaged,
            on_unknown: match raw.on_unknown {
                Some(RawOnUnknown::Stop) => OnUnknown::Stop,
                Some(RawOnUnknown::Retry) | None => OnUnknown::Retry,
            },
            // Joined, not formatted: a text that grows while it is written ends half empty.
            document: Secret::new(
                [
                    "{\"lxc_configs\":{\"",
                    &self.ctid.to_string(),
                    "\":",
                    self.declared.text,
                    "}",
                    &self.world.root_scalars,
                    "}",
                ]
                .concat(),
            ),
        }
    }

    /// Says that a key which must be there is not.
    pub(super) fn missing(&mut self, at: &At<'_>, key: &str, example: &str) {
        let help = format!("declare it, such as \"{key}\": {example}");
        self.findings.key_error(&at.key(key), "is missing", &help);
    }

    /// Says of a list that it must not hold null.
    pub(super) fn refuse_nulls<T>(&mut self, key: &str, list: Option<&List<T>>) {
        let at = self.at.key(key);
        let nulls = list.map_or(&[][..], |list| &list.0).iter().enumerate();
        for (index, _) in nulls.filter(|(_, element)| element.is_none()) {
            self.findings
                .error(&at.index(index), "must not be null", "take it away");
        }
    }

    fn origin(&mut self) -> Origin {
        let raw = &self.declared.raw;
        let unknown = Origin::Template(Template {
            file: String::new(),
            storage: None,
        });
        match (&raw.template, raw.source()) {
            (Some(template), None) => self.template(template),
            (None, Some((key, id))) => {
                if key == "clone_from_template_ctid" {
                    self.findings.group(Group::OldSpelling, key, self.ctid);
                }
                self.clone_origin(key, &id.0).unwrap_or(unknown)
            }
            (None, None) => {
                let help = "declare \"template\" (an archive) or \"clone_from_ctid\" (a container \
                            with template_snapshot_name)";
                let message = "neither template nor clone_from_ctid says what it is made from";
                self.findings.key_error(&self.at, message, help);
                unknown
            }
            (Some(_), Some((key, _))) => {
                let message = format!("template and {key} are both declared");
                self.findings
                    .key_error(&self.at.key(key), message, "keep one of them");
                unknown
            }
        }
    }

    fn template(&mut self, text: &str) -> Origin {
        let (storage, path) = match text.split_once(":vztmpl/") {
            Some((storage, name)) => (Some(storage.to_owned()), name),
            None => (self.world.template_storage.clone(), text),
        };
        let file = path.rsplit('/').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        if file.is_empty() || file.starts_with('.') || !file.chars().all(plain) {
            let help = "write the path of an archive, or STORAGE:vztmpl/NAME";
            let message = format!("'{text}' does not name a template archive");
            self.findings.error(&self.at.key("template"), message, help);
        }
        Origin::Template(Template {
            file: file.to_owned(),
            storage,
        })
    }

    fn clone_origin(&mut self, key: &str, text: &str) -> Option<Origin> {
        let at = self.at.key(key);
        let source = text.trim().parse::<Ctid>().ok();
        let declared = source.and_then(|source| self.world.containers.get(&source));
        let (Some(source), Some(declared)) = (source, declared) else {
            let machine = source.and_then(|source| self.world.vms.get(&source));
            let message = match (source, machine) {
                (None, _) => format!("'{text}' is not the id of a container"),
                (Some(_), Some(vm)) => {
                    format!("{text} is the virtual machine {}, not a container", vm.name)
                }
                (Some(_), None) => format!("container {text} is not declared"),
            };
            self.findings
                .error(&at, message, "name a container of this file");
            return None;
        };
        let Some(snapshot) = declared.raw.template_snapshot_name.clone() else {
            let message = format!("container {source} has no template_snapshot_name to clone from");
            let help = format!("declare template_snapshot_name for {source}");
            self.findings.error(&at, message, &help);
            return None;
        };
        Some(Origin::Clone { source, snapshot })
    }

    /// A storage's name, judged.
    pub(super) fn storage(&mut self, key: &str, name: Option<&str>, at: At<'_>) -> String {
        let Some(name) = name else {
            self.missing(&at, key, "\"local-zfs\"");
            return String::new();
        };
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let last = name.ends_with(|c: char| c.is_ascii_alphanumeric());
        let plain = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if name.len() < 2 || !(first && last && plain) {
            let help = "two or more letters, digits, '-', '_' or '.'; a letter first, no sign last";
            let message = format!("'{name}' is not the name of a storage");
            self.findings.error(&at.key(key), message, help);
        }
        name.to_owned()
    }

    fn disk(&mut self) -> DiskSize {
        match self.declared.raw.storage_size_gb {
            None => self.missing(&self.at.clone(), "storage_size_gb", "8"),
            Some(0) => {
                let at = self.at.key("storage_size_gb");
                self.findings
                    .error(&at, "must be 1 or more, but is 0", "give a size in GiB");
            }
            Some(gib) => return DiskSize::gib(gib),
        }
        DiskSize::gib(1)
    }

    fn unprivileged(&mut self) -> bool {
        let raw = &self.declared.raw;
        if raw.unprivileged.is_none() {
            if raw.source().is_some() {
                self.findings
                    .group(Group::InheritedPrivilege, "unprivileged", self.ctid);
            } else if raw.template.is_some() {
                let help = "declare \"unprivileged\": true, or false if the container's root must \
                            be root on the host";
                self.findings
                    .key_error(&self.at.key("unprivileged"), "is missing", help);
            }
        }
        self.world.unprivileged(self.ctid).unwrap_or(true)
    }

    fn node(&mut self) -> Option<String> {
        let node = self.declared.raw.node.clone()?;
        let plain = node.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if node.is_empty() || node.len() > 63 || !plain || node.starts_with('-') {
            let message = format!("'{node}' is not the name of a node");
            let help = "write the node's host name, without its domain";
            self.findings.error(&self.at.key("node"), message, help);
        }
        Some(node)
    }

    /// Proxmox VE: at least two characters, first a letter (`pve-configid`); at most 40.
    fn snapshot(&mut self) -> Option<String> {
        let name = self.declared.raw.template_snapshot_name.clone()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let at = self.at.key("template_snapshot_name");
        if !(2..=40).contains(&name.len()) || !first || !name.chars().all(plain) {
            let help = "2 to 40 letters, digits, '-' or '_'; the first must be a letter";
            let message = format!("'{name}' cannot be the name of a snapshot");
            self.findings.error(&at, message, help);
        } else if matches!(name.as_str(), "current" | "vzdump") {
            let message = format!("the name '{name}' is reserved by Proxmox VE");
            self.findings.error(&at, message, "take another name");
        }
        Some(name)
    }

    /// The virtual machines among what it depends on.
    fn external_needs(&self) -> BTreeSet<Ctid> {
        let list = self
            .declared
            .raw
            .dependencies
            .iter()
            .flat_map(|list| list.iter());
        let ids = list.filter_map(|(_, id)| id.ctid());
        ids.filter(|id| self.world.vms.contains_key(id) && !self.world.containers.contains_key(id))
            .collect()
    }

    fn dependencies(&mut self) -> BTreeSet<Ctid> {
        let list = self.declared.raw.dependencies.as_ref();
        self.refuse_nulls("dependencies", list);
        let at = self.at.key("dependencies");
        let mut found = BTreeSet::new();
        for (index, id) in list.into_iter().flat_map(|list| list.iter()) {
            let place = at.index(index);
            match id.ctid() {
                None => {
                    let message = format!("'{}' is not the id of a guest", id.0);
                    let help = "name a container, or a virtual machine of phoenix_vm_configs.json";
                    self.findings.error(&place, message, help);
                }
                Some(ctid) if self.world.containers.contains_key(&ctid) => {
                    found.insert(ctid);
                }
                Some(ctid) if self.world.vms.contains_key(&ctid) || self.world.blind.vm => {}
                Some(ctid) => {
                    let message = format!(
                        "{ctid} is neither a declared container nor a declared virtual machine"
                    );
                    let help = "correct the id, take it away, or declare the guest";
                    self.findings.error(&place, message, help);
                }
            }
        }
        found
    }
}

/// Virtual machines that containers depend on.
fn externals(world: &World<'_>, findings: &mut Findings) -> BTreeMap<Ctid, String> {
    let mut found = BTreeMap::new();
    for (ctid, declared) in &world.containers {
        let ids = declared
            .raw
            .dependencies
            .iter()
            .flat_map(|list| list.iter());
        for vmid in ids.filter_map(|(_, id)| id.ctid()) {
            if let Some(vm) = world.vms.get(&vmid)
                && !world.containers.contains_key(&vmid)
            {
                findings.group(Group::External, &format!("{vmid} ({})", vm.name), *ctid);
                found.insert(vmid, vm.name.clone());
            }
        }
    }
    found
}

/// Every storage that containers name, with its type where the hypervisor file gives one.
fn storages(world: &World<'_>, desired: &DesiredState) -> BTreeMap<String, Option<String>> {
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut add = |name: &String| {
        if !name.is_empty() && !found.contains_key(name) {
            found.insert(name.clone(), world.storage_types.get(name).cloned());
        }
    };
    for container in desired.containers.values() {
        add(&container.storage);
        container
            .volumes
            .iter()
            .for_each(|volume| add(&volume.storage));
        if let Origin::Template(Template {
            storage: Some(storage),
            ..
        }) = &container.origin
        {
            add(storage);
        }
    }
    found
}
