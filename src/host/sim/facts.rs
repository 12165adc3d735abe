//! What a simulated host has: storages, bridges, templates, devices, other guests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::SimError;
use crate::domain::desired::{DesiredState, Origin};
use crate::domain::ids::Ctid;
use crate::domain::observed::{
    Directory, HostFacts, ObservedWorld, Status, Storage, TemplateState,
};
use crate::domain::setting::Value;
use crate::domain::units::DiskSize;
use crate::host::ObserveRequest;

/// The facts of a simulated host that no action of phoenix makes. What phoenix makes there
/// (directories, downloads, used space) comes on top and is kept with the containers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimFacts {
    /// Storages by name.
    pub storages: BTreeMap<String, SimStorage>,
    /// Bridges.
    pub bridges: BTreeSet<String>,
    /// File names of the template archives that are there.
    pub templates: BTreeSet<String>,
    /// File names of the template archives that can be downloaded.
    pub downloadable: BTreeSet<String>,
    /// Directories that exist before phoenix makes any.
    pub directories: BTreeMap<String, SimDirectory>,
    /// Major numbers of character devices by driver name.
    pub device_majors: BTreeMap<String, u32>,
    /// Guests that phoenix does not manage; none: the host cannot tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guests: Option<BTreeMap<Ctid, Status>>,
}

/// A storage of a simulated host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimStorage {
    /// Its type: `zfspool`, `dir`, `btrfs`, `lvmthin` …
    pub kind: String,
    /// GiB that are free while there is no container; none: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_gb: Option<u32>,
}

/// A directory of a simulated host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimDirectory {
    /// Owning user.
    #[serde(default)]
    pub uid: u32,
    /// Owning group.
    #[serde(default)]
    pub gid: u32,
    /// Permission bits, written in octal: `"0755"`.
    #[serde(default = "usual_mode", with = "octal")]
    pub mode: u32,
}

fn usual_mode() -> u32 {
    0o755
}

/// Permission bits as people write them.
mod octal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{mode:04o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        u32::from_str_radix(&text, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is no mode such as \"0755\"")))
    }
}

impl SimFacts {
    /// Reads a facts file.
    ///
    /// # Errors
    /// When it cannot be read or says something that a simulated host does not have.
    pub fn read(path: &Path) -> Result<Self, SimError> {
        super::read_json(path, "facts of the simulated host")
    }

    /// A host on which everything is there that the configuration names.
    #[must_use]
    pub fn offering(desired: &DesiredState) -> Self {
        let mut facts = Self::default();
        for (name, kind) in &desired.storages {
            facts.offer_storage(name, kind.as_deref().unwrap_or(USUAL_KIND));
        }
        for container in desired.containers.values() {
            facts.offer_storage(&container.storage, USUAL_KIND);
            for volume in &container.volumes {
                facts.offer_storage(&volume.storage, USUAL_KIND);
            }
            if let Origin::Template(template) = &container.origin {
                facts.templates.insert(template.file.clone());
                facts.offer_storage(template.storage.as_deref().unwrap_or("local"), "dir");
            }
            let bridges = container.settings.values().filter_map(|value| match value {
                Value::Net(net) => net.bridge.clone(),
                _ => None,
            });
            facts.bridges.extend(bridges);
        }
        let majors = [("nvidia", 195), ("nvidia-uvm", 243)];
        facts.device_majors = majors.map(|(name, major)| (name.to_owned(), major)).into();
        let running = |ctid: &Ctid| (*ctid, Status::Running);
        facts.guests = Some(desired.externals.keys().map(running).collect());
        facts
    }

    fn offer_storage(&mut self, name: &str, kind: &str) {
        let storage = || SimStorage {
            kind: kind.to_owned(),
            free_gb: None,
        };
        self.storages.entry(name.to_owned()).or_insert_with(storage);
    }

    /// What phoenix sees of it, without directories, with so much space used.
    pub(super) fn host(
        &self,
        fetched: &BTreeSet<String>,
        used: &BTreeMap<String, u64>,
        boot: u64,
    ) -> HostFacts {
        let storage = |(name, storage): (&String, &SimStorage)| {
            let taken = used.get(name).copied().unwrap_or(0);
            let free = storage
                .free_gb
                .map(|gib| DiskSize::gib(gib).get().saturating_sub(taken));
            let kind = storage.kind.clone();
            (
                name.clone(),
                Storage {
                    kind,
                    free: free.map(DiskSize::bytes),
                },
            )
        };
        let mut templates = BTreeMap::new();
        for (files, state) in [
            (&self.downloadable, TemplateState::Downloadable),
            (&self.templates, TemplateState::Present),
            (fetched, TemplateState::Present),
        ] {
            templates.extend(files.iter().map(|file| (file.clone(), state)));
        }
        HostFacts {
            boot_id: format!("boot-{boot}"),
            storages: self.storages.iter().map(storage).collect(),
            bridges: self.bridges.clone(),
            templates,
            directories: BTreeMap::new(),
            device_majors: self.device_majors.clone(),
            guests: self.guests.clone(),
            ..HostFacts::default()
        }
    }

    /// What is seen of a host with these facts before anything was done on it.
    #[must_use]
    pub fn untouched(&self, request: &ObserveRequest) -> ObservedWorld {
        let mut host = self.host(&BTreeSet::new(), &BTreeMap::new(), 1);
        let seen = |path: &String| Some((path.clone(), self.directory(path)?));
        host.directories = request.directories.iter().filter_map(seen).collect();
        ObservedWorld {
            host,
            containers: BTreeMap::new(),
        }
    }

    /// A directory that was there before phoenix made any.
    pub(super) fn directory(&self, path: &str) -> Option<Directory> {
        let found = self.directories.get(path)?;
        Some(Directory {
            uid: found.uid,
            gid: found.gid,
            mode: found.mode,
        })
    }
}

/// The type of a storage that the configuration names without one.
const USUAL_KIND: &str = "zfspool";
