//! What a host shows of itself and of its containers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::action::Mark;
use super::desired::{Script, ScriptKind};
use super::ids::{Ctid, Digest, RunId};
use super::options::{Mount, Rootfs};
use super::setting::{Changes, Key, Settings, Value};
use super::units::DiskSize;

/// Everything seen in one look at the host. Containers are shared, so that a copy is cheap.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObservedWorld {
    /// The host itself.
    pub host: HostFacts,
    /// The containers that were asked for and exist.
    pub containers: BTreeMap<Ctid, Arc<ObservedContainer>>,
}

/// What phoenix needs to know of a host.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HostFacts {
    /// Changes with each boot of the host.
    pub boot_id: String,
    /// Storages by name.
    pub storages: BTreeMap<String, Storage>,
    /// Bridges by name.
    pub bridges: BTreeSet<String>,
    /// Template archives by file name.
    pub templates: BTreeMap<String, TemplateState>,
    /// State of the host paths that were asked for; absent: does not exist.
    pub directories: BTreeMap<String, Directory>,
    /// Major numbers of character devices by driver name, as in `/proc/devices`.
    pub device_majors: BTreeMap<String, u32>,
    /// Guests, also such that phoenix does not manage, and whether they run; none: the host
    /// cannot tell.
    pub guests: Option<BTreeMap<Ctid, Status>>,
    /// The node's name in its cluster; none: the host is no node of a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Ids that are taken by guests which this host cannot work on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub elsewhere: BTreeMap<Ctid, Elsewhere>,
}

/// A guest that has an id and cannot be worked on: a container on another node of the cluster, or
/// a virtual machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The node that it is on.
    pub node: String,
    /// Whether it is a virtual machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub machine: bool,
}

impl Elsewhere {
    /// A container on another node.
    #[must_use]
    pub fn container(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            machine: false,
        }
    }

    /// A virtual machine on any node.
    #[must_use]
    pub fn machine(node: &str) -> Self {
        Self {
            machine: true,
            ..Self::container(node)
        }
    }
}

/// One storage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Storage {
    /// Its type: `dir`, `zfspool`, `lvmthin`, `btrfs` …
    pub kind: String,
    /// Free space; none: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<DiskSize>,
}

impl Storage {
    /// Whether volumes here can be snapshotted. Measured on Proxmox VE 8.4: `dir` cannot
    /// ("snapshot feature is not available"), `btrfs` can; the others by Proxmox's documentation
    /// of its storage types.
    #[must_use]
    pub fn can_snapshot(&self) -> bool {
        !matches!(self.kind.as_str(), "dir" | "nfs" | "cifs" | "lvm" | "iscsi")
    }
}

/// Whether a template archive is at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateState {
    /// It is on the host.
    Present,
    /// The host can download it.
    Downloadable,
}

/// Owner and permission bits of a directory, as the host sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Directory {
    /// Owning user on the host.
    pub uid: u32,
    /// Owning group on the host.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Whether a guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It runs.
    Running,
    /// It does not.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
        })
    }
}

/// A lock in a container's configuration, by Proxmox VE's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// A backup runs.
    Backup,
    /// It is being created or cloned into.
    Create,
    /// It is being destroyed.
    Destroyed,
    /// A disk of it is being copied or moved.
    Disk,
    /// A trim runs.
    Fstrim,
    /// It moves to another node.
    Migrate,
    /// It is mounted on the host.
    Mounted,
    /// It is being rolled back.
    Rollback,
    /// A snapshot is being taken.
    Snapshot,
    /// A snapshot is being deleted.
    SnapshotDelete,
}

impl Lock {
    /// All of them, in Proxmox VE's order.
    pub const ALL: [Self; 10] = [
        Self::Backup,
        Self::Create,
        Self::Destroyed,
        Self::Disk,
        Self::Fstrim,
        Self::Migrate,
        Self::Mounted,
        Self::Rollback,
        Self::Snapshot,
        Self::SnapshotDelete,
    ];
}

/// No such lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a lock of Proxmox VE")]
pub struct UnknownLock(String);

impl std::str::FromStr for Lock {
    type Err = UnknownLock;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|lock| lock.to_string() == text);
        found.ok_or_else(|| UnknownLock(text.to_owned()))
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Backup => "backup",
            Self::Create => "create",
            Self::Destroyed => "destroyed",
            Self::Disk => "disk",
            Self::Fstrim => "fstrim",
            Self::Migrate => "migrate",
            Self::Mounted => "mounted",
            Self::Rollback => "rollback",
            Self::Snapshot => "snapshot",
            Self::SnapshotDelete => "snapshot-delete",
        })
    }
}

/// One container as the host shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObservedContainer {
    /// Whether it runs.
    pub status: Status,
    /// A lock in its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// Whether it was turned into a Proxmox VE template.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// Whether its root is an ordinary user of the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unprivileged: bool,
    /// What phoenix wrote into its configuration when it made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The live settings, mounts and root disk included.
    pub settings: Settings,
    /// What waits for the next start.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub pending: Changes,
    /// Receipts on its disk; none: the disk cannot be read now.
    pub receipts: Option<Receipts>,
    /// Its snapshots, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Snapshot>,
}

/// Receipts by kind and name of the script.
pub type Receipts = BTreeMap<ReceiptKey, Receipt>;

/// Kind and name of a script, written `feature/docker`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReceiptKey {
    /// Feature or application.
    pub kind: ScriptKind,
    /// Its name.
    pub name: String,
}

impl ReceiptKey {
    /// The key of a script's receipt. A container has one application: whichever script ran last
    /// has set it up, so its name is no part of the key.
    #[must_use]
    pub fn of(script: &Script) -> Self {
        let name = match script.kind {
            ScriptKind::Feature => script.name.clone(),
            ScriptKind::Application => "script".to_owned(),
        };
        Self {
            kind: script.kind,
            name,
        }
    }
}

impl fmt::Display for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ScriptKind::Feature => "feature",
            ScriptKind::Application => "application",
        };
        write!(f, "{kind}/{}", self.name)
    }
}

impl From<ReceiptKey> for String {
    fn from(key: ReceiptKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for ReceiptKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (kind, name) = match text.split_once('/') {
            Some(("feature", name)) => (ScriptKind::Feature, name),
            Some(("application", name)) => (ScriptKind::Application, name),
            _ => return Err(format!("'{text}' names no script")),
        };
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }
}

/// What a script leaves inside the container, in the same execution, after it succeeded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The container that it ran in; a clone inherits its parent's.
    pub ctid: Ctid,
    /// Digest of the script.
    pub content: Digest,
    /// Digest of its arguments and other inputs.
    pub inputs: Digest,
    /// The run that ran it.
    pub run: RunId,
}

/// A snapshot, with the configuration it preserved as far as the host shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// The settings it preserved.
    pub settings: Settings,
    /// The mark it preserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The receipts on the preserved disk, where the host shows them.
    #[serde(default, skip_serializing_if = "Receipts::is_empty")]
    pub receipts: Receipts,
    /// Left behind by a snapshot that was killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

impl ObservedContainer {
    /// The live value of a key, or what a container has without it.
    #[must_use]
    pub fn live(&self, key: &Key) -> Option<Value> {
        self.settings
            .get(key)
            .cloned()
            .or_else(|| key.default_value())
    }

    /// The value that a key will have after the next start.
    #[must_use]
    pub fn eventual(&self, key: &Key) -> Option<Value> {
        match self.pending.get(key) {
            Some(waiting) => waiting.clone().or_else(|| key.default_value()),
            None => self.live(key),
        }
    }

    /// All settings as they will be after the next start.
    #[must_use]
    pub fn eventual_settings(&self) -> Cow<'_, Settings> {
        if self.pending.is_empty() {
            return Cow::Borrowed(&self.settings);
        }
        let mut settings = self.settings.clone();
        for (key, value) in &self.pending {
            match value {
                Some(value) => settings.insert(key.clone(), value.clone()),
                None => settings.remove(key),
            };
        }
        Cow::Owned(settings)
    }

    /// The root disk.
    #[must_use]
    pub fn rootfs(&self) -> Option<&Rootfs> {
        match self.settings.get(&Key::Rootfs) {
            Some(Value::Rootfs(rootfs)) => Some(rootfs),
            _ => None,
        }
    }

    /// Whether its creation did not come to its end: locked for it, and no root disk yet.
    #[must_use]
    pub fn half_created(&self) -> bool {
        self.lock == Some(Lock::Create) && self.rootfs().is_none()
    }

    /// Whether its destruction did not come to its end: nothing of it is left but its lock.
    #[must_use]
    pub fn half_destroyed(&self) -> bool {
        self.lock == Some(Lock::Destroyed) && self.rootfs().is_none()
    }

    /// A snapshot by its exact name, if it is whole.
    #[must_use]
    pub fn snapshot(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots
            .iter()
            .find(|snapshot| snapshot.name == name && !snapshot.incomplete)
    }

    /// Whether a key will be set after the next start.
    #[must_use]
    pub fn will_set(&self, key: &Key) -> bool {
        match self.pending.get(key) {
            Some(waiting) => waiting.is_some(),
            None => self.settings.contains_key(key),
        }
    }

    /// The mounts as they will be after the next start, by slot.
    pub fn mounts(&self) -> impl Iterator<Item = (u8, Mount)> {
        let waiting = self
            .pending
            .iter()
            .map(|(key, value)| (key, value.as_ref()));
        let live = self
            .settings
            .iter()
            .filter(|(key, _)| !self.pending.contains_key(key));
        let all = waiting.chain(live.map(|(key, value)| (key, Some(value))));
        let mounts: BTreeMap<u8, Mount> = all
            .filter_map(|(key, value)| match (key, value) {
                (Key::Mount(slot), Some(Value::Mount(mount))) => Some((*slot, (**mount).clone())),
                _ => None,
            })
            .collect();
        mounts.into_iter()
    }
}
