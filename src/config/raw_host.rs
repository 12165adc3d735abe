//! The files about the hypervisor and its virtual machines: what phoenix reads of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{IdText, List, Object};

/// `phoenix_hypervisor_config.json`: what containers share. Its other sections belong to the
/// original's set-up of the hypervisor; they are accepted and left alone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(title = "phoenix_hypervisor_config.json")]
pub(super) struct RawHypervisor {
    /// Directories of the host that several containers mount, by name.
    pub(super) shared_volumes: Option<BTreeMap<String, Option<Object<RawSharedVolume>>>>,
    /// Storages of the host.
    pub(super) zfs: Option<Object<RawZfs>>,
    /// Names of storages by their use. phoenix reads `fastdata_iso` (or `fastData_shared_iso`):
    /// the storage of template archives.
    pub(super) proxmox_storage_ids: Option<BTreeMap<String, Option<String>>>,
    /// Paths of values of this file that are never written or shown.
    #[expect(
        dead_code,
        reason = "read before everything else; here for its type and the schema"
    )]
    pub(super) secrets: Option<List<String>>,
}

/// A directory of the host that several containers mount.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "shared_volume")]
pub(super) struct RawSharedVolume {
    /// The directory; made if it is missing.
    #[schemars(required)]
    pub(super) host_path: Option<String>,
    /// Where it appears, by the id of the container.
    #[schemars(required)]
    pub(super) mounts: Option<BTreeMap<String, Option<String>>>,
    /// Accepted and left alone: the original never read it.
    pub(super) owner: Option<String>,
    /// Permission bits in octal, in quotes, such as `0755`.
    #[schemars(regex(pattern = "^[0-7]{3,4}$"))]
    pub(super) mode: Option<String>,
}

/// Storages of the host.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "zfs")]
pub(super) struct RawZfs {
    /// Each makes the storage `POOL-NAME`.
    pub(super) datasets: Option<List<Object<RawDataset>>>,
}

/// One storage.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "dataset")]
pub(super) struct RawDataset {
    /// Its name in the pool.
    pub(super) name: Option<String>,
    /// The pool.
    pub(super) pool: Option<String>,
    /// `zfspool` or `dir`: the second cannot take snapshots.
    pub(super) proxmox_storage_type: Option<String>,
}

/// `phoenix_vm_configs.json`: read only to know which ids are virtual machines.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RawVmFile {
    /// The virtual machines.
    pub(super) vms: Option<List<Object<RawVm>>>,
}

/// One virtual machine.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RawVm {
    /// Its id.
    pub(super) vmid: Option<IdText>,
    /// Its name.
    pub(super) name: Option<String>,
    /// The machine it is cloned from.
    pub(super) clone_from_vmid: Option<IdText>,
    /// Guests that must be up before it.
    pub(super) dependencies: Option<List<IdText>>,
}
