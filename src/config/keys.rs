//! Which keys the files may have: those that phoenix reads, those that the original knew, those
//! of applications, and those that are probably misspelt.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use super::decode::fields_of;
use super::document::{self, Entry};
use super::findings::{At, Findings, Group};
use super::raw::RawContainer;
use crate::domain::ids::Ctid;

/// Keys of a container that the original knew and phoenix leaves alone.
pub(super) const UNMANAGED: [&str; 24] = [
    "apparmor_manages_nesting",
    "count",
    "description",
    "dns_records",
    "enable_lifecycle_snapshots",
    "firewall",
    "health_checks",
    "integration_tests",
    "is_template",
    "portainer_agent_hostname",
    "portainer_agent_port",
    "portainer_environment_name",
    "portainer_role",
    "portainer_server_ip",
    "public_interface",
    "run_integration_tests",
    "secondary_network_config",
    "static_ip",
    "tags",
    "template_file",
    "tests",
    "traefik_service",
    "trigger_sync_on_completion",
    "vllm",
];

/// Keys that the original's applications read: handed on as they are.
pub(super) const APPLICATION: [&str; 14] = [
    "ports",
    "traefik_service",
    "vllm_args",
    "vllm_engine_config",
    "vllm_gpu_memory_utilization",
    "vllm_max_model_len",
    "vllm_model",
    "vllm_model_type",
    "vllm_parameters",
    "vllm_port",
    "vllm_quantization",
    "vllm_served_model_name",
    "vllm_tensor_parallel_size",
    "vllm_trust_remote_code",
];

/// Sections of the hypervisor file that phoenix does not read.
pub(super) const SECTIONS: [&str; 28] = [
    "$schema",
    "author",
    "behavior",
    "core_paths",
    "dns_server",
    "docker",
    "domain_name",
    "firewall",
    "lxc_templates",
    "mount_point_base",
    "network",
    "nfs",
    "nvidia",
    "nvidia_driver",
    "nvidia_driver_version",
    "nvidia_repo_url",
    "nvidia_runfile_url",
    "portainer_api",
    "proxmox_defaults",
    "samba",
    "step_ca",
    "swarm",
    "tests",
    "timezone",
    "users",
    "version",
    "vm_defaults",
    "vms",
];

/// Keys at the top of the container file.
pub(super) const LXC_ROOT: [&str; 7] = [
    "$schema",
    "lxc_configs",
    "lxc_templates",
    "nvidia_driver_version",
    "nvidia_repo_url",
    "nvidia_runfile_url",
    "secrets",
];

/// Whether a key is somebody's way of writing a comment, or of taking a key out for a while.
pub(super) fn is_comment(key: &str) -> bool {
    key.starts_with(['_', '$', '/'])
}

/// The known key that an unknown one is a near miss of.
pub(super) fn near_miss<'k>(
    key: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    if is_comment(key) {
        return None;
    }
    let lower = key.to_lowercase().replace('-', "_");
    let close = |candidate: &str| {
        let allowed = if candidate.len() > 5 { 2 } else { 1 };
        candidate.len().abs_diff(lower.len()) <= allowed
            && strsim::osa_distance(candidate, &lower) <= allowed
    };
    known.into_iter().find(|candidate| close(candidate))
}

/// What the keys of a container mean.
pub(super) struct KeyBook {
    managed: &'static [&'static str],
    /// What was found out about a key, for the next container that has it.
    judged: HashMap<String, Kind>,
}

/// What a key of a container is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// phoenix acts on it.
    Managed,
    /// The original knew it, phoenix leaves it alone; `handed`: applications read it, too.
    Unmanaged { handed: bool },
    /// An application's.
    Application,
    /// Somebody's comment.
    Comment,
    /// Probably meant as this one.
    Misspelt(&'static str),
}

/// The keys of one container that phoenix does not act on.
#[derive(Default)]
pub(super) struct Foreign<'e, 'a> {
    /// Declared but unmanaged.
    pub(super) unmanaged: Vec<String>,
    /// Of its application.
    pub(super) application: Vec<&'e Entry<'a>>,
}

impl KeyBook {
    /// With an empty memory.
    pub(super) fn new() -> Self {
        Self {
            managed: fields_of::<RawContainer>(),
            judged: HashMap::new(),
        }
    }

    /// Sorts the keys of a container and reports what is misspelt.
    pub(super) fn sort<'e, 'a>(
        &mut self,
        ctid: Ctid,
        members: &'e [Entry<'a>],
        at: &At<'_>,
        findings: &mut Findings,
    ) -> Foreign<'e, 'a> {
        let mut foreign = Foreign::default();
        for entry in members {
            let key = entry.key.as_ref();
            match self.judge(key) {
                Kind::Managed | Kind::Comment => {}
                Kind::Unmanaged { handed } => {
                    findings.group(Group::Unmanaged, key, ctid);
                    foreign.unmanaged.push(key.to_owned());
                    foreign.application.extend(handed.then_some(entry));
                }
                Kind::Application => foreign.application.push(entry),
                Kind::Misspelt(meant) => {
                    let message = format!("is not a known key; did you mean '{meant}'?");
                    findings.key_error(&at.key(key), message, &format!("write it as '{meant}'"));
                }
            }
        }
        foreign.unmanaged.sort_unstable();
        foreign.unmanaged.dedup();
        foreign
    }

    fn judge(&mut self, key: &str) -> Kind {
        if let Some(known) = self.judged.get(key) {
            return *known;
        }
        let handed = APPLICATION.contains(&key);
        let kind = if self.managed.contains(&key) {
            Kind::Managed
        } else if UNMANAGED.contains(&key) || key.starts_with("portainer_") {
            Kind::Unmanaged { handed }
        } else if handed {
            Kind::Application
        } else if is_comment(key) {
            Kind::Comment
        } else {
            let all = self
                .managed
                .iter()
                .chain(&UNMANAGED)
                .chain(&APPLICATION)
                .copied();
            near_miss(key, all).map_or(Kind::Application, Kind::Misspelt)
        };
        self.judged.insert(key.to_owned(), kind);
        kind
    }
}

/// Reports the unknown keys of an object that phoenix reads as a `T`.
pub(super) fn check_object<T: DeserializeOwned>(
    text: &str,
    at: &At<'_>,
    accepted: &[&str],
    findings: &mut Findings,
) {
    let known = fields_of::<T>();
    for entry in document::entries(text).unwrap_or_default() {
        let key = entry.key.as_ref();
        if known.contains(&key) || accepted.contains(&key) || is_comment(key) {
            continue;
        }
        let place = at.key(key);
        match near_miss(key, known.iter().copied()) {
            Some(meant) => findings.key_error(
                &place,
                format!("is not a known key; did you mean '{meant}'?"),
                &format!("write it as '{meant}'"),
            ),
            None => findings.warning(
                &place,
                "is not a known key here, and nothing reads it",
                &format!("take it away; known are: {}", known.join(", ")),
            ),
        }
    }
}

/// Does the same for every object of a list.
pub(super) fn check_list<T: DeserializeOwned>(text: &str, at: &At<'_>, findings: &mut Findings) {
    for (index, element) in document::elements(text)
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        check_object::<T>(element, &at.index(index), &[], findings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_near() {
        let known = ["name", "memory_mb", "cores", "mount_points"];
        let meant = |key: &str| near_miss(key, known);
        assert_eq!(meant("memroy_mb"), Some("memory_mb"));
        assert_eq!(meant("Memory-MB"), Some("memory_mb"));
        assert_eq!(meant("core"), Some("cores"));
        assert_eq!(meant("mount_point"), Some("mount_points"));
        for far in ["nome2", "vllm_model", "_memory_mb", "memory", "x"] {
            assert_eq!(meant(far), None, "{far}");
        }
    }

    #[test]
    fn known_keys_are_not_taken_for_each_other() {
        let managed = fields_of::<RawContainer>();
        assert!(
            managed.contains(&"name") && managed.contains(&"on_unknown"),
            "{managed:?}"
        );
        for key in UNMANAGED.iter().chain(&APPLICATION) {
            assert!(!managed.contains(key), "{key} is managed");
        }
    }
}
