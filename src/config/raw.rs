//! The container file as it is written: every key that phoenix acts on, with its type. The
//! published schema is made from these types, and so is the list of known keys.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::scalar::{Command, Features, IdText, List, NameServers, Object};

/// `phoenix_lxc_configs.json`: the containers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(title = "phoenix_lxc_configs.json")]
pub(super) struct RawLxcFile {
    /// Where editors find the schema of this file.
    #[serde(rename = "$schema")]
    #[expect(
        dead_code,
        reason = "accepted, described in the schema, and without a meaning here"
    )]
    pub(super) schema: Option<Value>,
    /// The containers by their ids.
    #[schemars(required)]
    #[expect(dead_code, reason = "read container by container; here for the schema")]
    pub(super) lxc_configs: Option<BTreeMap<String, RawContainer>>,
    /// Paths of values of this file, outside of `lxc_configs`, that are never written or shown.
    #[expect(dead_code, reason = "read before everything else; here for the schema")]
    pub(super) secrets: Option<List<String>>,
}

/// One container. Keys that are not listed here are handed to the application script.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "container")]
pub(super) struct RawContainer {
    /// Host name: letters, digits, `-` and dots.
    #[schemars(required, length(min = 1, max = 255))]
    pub(super) name: Option<String>,
    /// Memory in MiB.
    #[schemars(required, range(min = 16))]
    pub(super) memory_mb: Option<u32>,
    /// Swap in MiB. Not declared: whatever the container has.
    pub(super) swap_mb: Option<u32>,
    /// Processor cores.
    #[schemars(required, range(min = 1, max = 8192))]
    pub(super) cores: Option<u64>,
    /// The template archive that the container is made from: a path or a volume id. Either this
    /// or `clone_from_ctid`.
    #[schemars(length(min = 1))]
    pub(super) template: Option<String>,
    /// The container whose template snapshot this one is cloned from.
    pub(super) clone_from_ctid: Option<IdText>,
    /// Old spelling of `clone_from_ctid`.
    #[schemars(extend("deprecated" = true))]
    pub(super) clone_from_template_ctid: Option<IdText>,
    /// Storage of the root disk.
    #[schemars(required)]
    pub(super) storage_pool: Option<String>,
    /// Size of the root disk in GiB; grows, never shrinks.
    #[schemars(required, range(min = 1))]
    pub(super) storage_size_gb: Option<u32>,
    /// The network interface.
    #[schemars(required)]
    pub(super) network_config: Option<Object<RawNetwork>>,
    /// Hardware address of the interface; none: the host chooses one.
    #[schemars(regex(pattern = r"^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$"))]
    pub(super) mac_address: Option<String>,
    /// Whether the container's root is an ordinary user of the host. A clone that does not
    /// declare it has what its source has.
    pub(super) unprivileged: Option<bool>,
    /// Feature scripts, in the order in which they run.
    pub(super) features: Option<Features>,
    /// Second argument of the feature scripts.
    pub(super) bootstrap_ca_url: Option<String>,
    /// Features of Proxmox VE, such as `nesting=1`.
    pub(super) pct_options: Option<List<String>>,
    /// Raw lines of the container's configuration, such as `lxc.mount.auto: sys:rw`.
    pub(super) lxc_options: Option<List<String>>,
    /// GPUs handed in, by index: `none`, `0`, `0,1`.
    #[schemars(regex(pattern = r"^(none|[0-9]+(, ?[0-9]+)*)?$"))]
    pub(super) gpu_assignment: Option<String>,
    /// AppArmor profile, taken literally.
    pub(super) apparmor_profile: Option<String>,
    /// Maps of user and group ids. They replace the host's own map as a whole.
    pub(super) id_maps: Option<List<Object<RawIdMap>>>,
    /// Whether the host starts it when it boots.
    pub(super) start_at_boot: Option<bool>,
    /// Position in the order of starting, lowest first.
    pub(super) boot_order: Option<u32>,
    /// Seconds to wait after its start, and for its shutdown.
    pub(super) boot_delay: Option<u32>,
    /// Guests that must have converged before this one.
    pub(super) dependencies: Option<List<IdText>>,
    /// Volumes of the container's own.
    pub(super) volumes: Option<List<Object<RawVolume>>>,
    /// The same as `volumes`.
    pub(super) zfs_volumes: Option<List<Object<RawVolume>>>,
    /// Directories of the host.
    pub(super) mount_points: Option<List<Object<RawMountPoint>>>,
    /// A script under `bin/` that runs in the container.
    #[schemars(length(min = 1))]
    pub(super) application_script: Option<String>,
    /// How to know that the container works.
    pub(super) health_check: Option<Object<RawHealthCheck>>,
    /// Name of the snapshot that clones of this container start from.
    #[schemars(
        length(min = 2, max = 40),
        regex(pattern = r"^[A-Za-z][A-Za-z0-9_-]+$")
    )]
    pub(super) template_snapshot_name: Option<String>,
    /// The node of the cluster that it belongs on; none: the one that is spoken to.
    pub(super) node: Option<String>,
    /// What to do when nobody knows whether a script on the host ran to its end.
    pub(super) on_unknown: Option<RawOnUnknown>,
    /// Paths of this container's values that are never written or shown, such as
    /// `env.DB_PASSWORD` or `vllm_args[1]`. What is called password, token or the like need not be
    /// listed.
    pub(super) secrets: Option<List<String>>,
}

/// What to do when nobody knows.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "on_unknown")]
pub(super) enum RawOnUnknown {
    /// Run it again.
    Retry,
    /// Stop.
    Stop,
}

/// A network interface.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "network_config")]
pub(super) struct RawNetwork {
    /// Its name in the container, such as `eth0`.
    #[schemars(required, length(min = 1, max = 15))]
    pub(super) name: Option<String>,
    /// The host's bridge.
    #[schemars(required)]
    pub(super) bridge: Option<String>,
    /// An IPv4 address with its prefix length, `dhcp` or `manual`.
    #[schemars(required)]
    pub(super) ip: Option<String>,
    /// IPv4 address of the gateway.
    pub(super) gw: Option<String>,
    /// Name servers.
    pub(super) nameservers: Option<NameServers>,
    /// The same as `nameservers`, and stronger.
    pub(super) nameserver: Option<NameServers>,
    /// The same as the container's `mac_address`.
    #[schemars(regex(pattern = r"^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$"))]
    pub(super) hwaddr: Option<String>,
    /// Kind of the interface: only `bridge`.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

/// One line of an id map.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "id_map")]
pub(super) struct RawIdMap {
    /// `u` for users, `g` for groups.
    #[serde(rename = "type")]
    #[schemars(required, regex(pattern = "^[ug]$"))]
    pub(super) kind: Option<String>,
    /// First id in the container.
    #[schemars(required)]
    pub(super) container_id: Option<u32>,
    /// First id on the host.
    #[schemars(required)]
    pub(super) host_id: Option<u32>,
    /// How many.
    #[schemars(required, range(min = 1))]
    pub(super) size: Option<u32>,
}

/// A volume of a container's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "volume")]
pub(super) struct RawVolume {
    /// Its name, for messages.
    #[schemars(required)]
    pub(super) name: Option<String>,
    /// Its storage.
    #[schemars(required)]
    pub(super) pool: Option<String>,
    /// Its size in GiB; grows, never shrinks.
    #[schemars(required, range(min = 1))]
    pub(super) size_gb: Option<u32>,
    /// Where it appears in the container.
    #[schemars(required)]
    pub(super) mount_point: Option<String>,
}

/// A directory of the host, mounted into one container.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "mount_point")]
pub(super) struct RawMountPoint {
    /// The directory; made if it is missing.
    #[schemars(required)]
    pub(super) host_path: Option<String>,
    /// Where it appears in the container.
    #[schemars(required)]
    pub(super) container_path: Option<String>,
    /// Owner, as the container sees it.
    pub(super) owner_uid: Option<u32>,
    /// Group, as the container sees it.
    pub(super) owner_gid: Option<u32>,
    /// Permission bits in octal, in quotes, such as `0755`.
    #[schemars(regex(pattern = "^[0-7]{3,4}$"))]
    pub(super) mode: Option<String>,
}

/// A health check. Either `command` or `shell`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "health_check")]
pub(super) struct RawHealthCheck {
    /// What to run in the container.
    pub(super) command: Option<Command>,
    /// A line for `/bin/sh -c` in the container.
    pub(super) shell: Option<String>,
    /// How often to try; 3 when not declared.
    #[schemars(range(min = 1))]
    pub(super) retries: Option<u32>,
    /// Seconds between two tries; 5 when not declared.
    pub(super) interval: Option<u32>,
    /// Seconds that one try may take; 10 when not declared.
    #[schemars(range(min = 1))]
    pub(super) timeout: Option<u32>,
}
