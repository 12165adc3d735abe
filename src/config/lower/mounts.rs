//! States 4 and 5: directories of the host and volumes.

use std::collections::BTreeMap;

use super::Lowering;
use crate::config::findings::{At, File, Findings};
use crate::config::limits::MOUNTS;
use crate::config::raw::{RawMountPoint, RawVolume};
use crate::config::scalar::{List, Object};
use crate::domain::desired::{DesiredBind, DesiredVolume};
use crate::domain::units::DiskSize;

impl Lowering<'_, '_> {
    /// Every mount of the container.
    pub(super) fn mounts(&mut self) -> (Vec<DesiredBind>, Vec<DesiredVolume>) {
        let raw = &self.declared.raw;
        let mut binds = self.shared();
        binds.extend(self.mount_points(raw.mount_points.as_ref()));
        let mut volumes = self.volumes("volumes", raw.volumes.as_ref());
        volumes.extend(self.volumes("zfs_volumes", raw.zfs_volumes.as_ref()));
        self.check_paths(&binds, &volumes);
        let mounts = binds.len() + volumes.len();
        if mounts > MOUNTS {
            let message = format!("has {mounts} mounts; the limit is {MOUNTS}");
            self.findings.key_error(
                &self.at,
                message,
                "Proxmox VE has no more slots: take some away",
            );
        }
        self.check_snapshot(&binds);
        (binds, volumes)
    }

    fn shared(&self) -> Vec<DesiredBind> {
        let mounts = self.world.shared.get(&self.ctid).into_iter().flatten();
        let bind = |mount: &crate::config::world::SharedMount| DesiredBind {
            host_path: mount.host_path.clone(),
            path: mount.path.clone(),
            owner: None,
            mode: mount.mode,
            declared_at: format!("shared_volumes.{}", mount.volume),
        };
        mounts.map(bind).collect()
    }

    fn mount_points(&mut self, list: Option<&List<Object<RawMountPoint>>>) -> Vec<DesiredBind> {
        self.refuse_nulls("mount_points", list);
        let here = self.at;
        let all = here.key("mount_points");
        let mut found = Vec::new();
        for (index, mount) in list.into_iter().flat_map(|list| list.iter()) {
            let at = all.index(index);
            let mode = mode(mount.mode.as_deref(), &at.key("mode"), self.findings);
            let owner = self.owner(mount, &at);
            let host_path = self.named_path("host_path", mount.host_path.as_deref(), &at);
            let path = self.named_path("container_path", mount.container_path.as_deref(), &at);
            if let (Some(host_path), Some(path)) = (host_path, path) {
                let declared_at = format!("mount_points[{index}]");
                found.push(DesiredBind {
                    host_path,
                    path,
                    owner,
                    mode,
                    declared_at,
                });
            }
        }
        found
    }

    fn owner(&mut self, mount: &RawMountPoint, at: &At<'_>) -> Option<(u32, u32)> {
        let (key, given) = match (mount.owner_uid, mount.owner_gid) {
            (Some(uid), Some(gid)) => return Some((uid, gid)),
            (None, None) => return None,
            (Some(uid), None) => ("owner_gid", uid),
            (None, Some(gid)) => ("owner_uid", gid),
        };
        let help = format!("declare both or none, such as \"{key}\": {given}");
        self.findings
            .key_error(&at.key(key), "is missing beside its counterpart", &help);
        None
    }

    fn volumes(&mut self, key: &str, list: Option<&List<Object<RawVolume>>>) -> Vec<DesiredVolume> {
        self.refuse_nulls(key, list);
        let here = self.at;
        let all = here.key(key);
        let mut found = Vec::with_capacity(list.map_or(0, |list| list.0.len()));
        for (index, volume) in list.into_iter().flat_map(|list| list.iter()) {
            let at = all.index(index);
            if volume.name.as_deref().unwrap_or_default().is_empty() {
                self.missing(&at, "name", "\"data\"");
            }
            let storage = self.storage("pool", volume.pool.as_deref(), at);
            let path = self.named_path("mount_point", volume.mount_point.as_deref(), &at);
            match volume.size_gb {
                None => self.missing(&at, "size_gb", "8"),
                Some(0) => {
                    let at = at.key("size_gb");
                    self.findings
                        .error(&at, "must be 1 or more, but is 0", "give a size in GiB");
                }
                Some(_) => {}
            }
            found.extend(path.map(|path| DesiredVolume {
                name: volume.name.clone().unwrap_or_default(),
                storage,
                size: DiskSize::gib(volume.size_gb.unwrap_or(1).max(1)),
                path,
                declared_at: format!("{key}[{index}]"),
            }));
        }
        found
    }

    fn named_path(&mut self, key: &str, text: Option<&str>, at: &At<'_>) -> Option<String> {
        match text {
            Some(text) => Some(path(text, &at.key(key), self.findings)),
            None => {
                self.missing(at, key, "\"/srv/data\"");
                None
            }
        }
    }

    /// No two mounts at one path: Proxmox VE would take both and mount one over the other.
    fn check_paths(&mut self, binds: &[DesiredBind], volumes: &[DesiredVolume]) {
        let binds = binds.iter().map(|bind| (&bind.path, &bind.declared_at));
        let volumes = volumes
            .iter()
            .map(|volume| (&volume.path, &volume.declared_at));
        let mut seen: BTreeMap<&String, &String> = BTreeMap::new();
        for (path, declared_at) in binds.chain(volumes) {
            let Some(first) = seen.insert(path, declared_at) else {
                continue;
            };
            let message = format!(
                "'{path}' of container {} is mounted twice, by {first} and by {declared_at}",
                self.ctid
            );
            self.at_mount(declared_at, |at, findings| {
                findings.key_error(
                    at,
                    message.clone(),
                    "take one of them away, or give it another path",
                );
            });
        }
    }

    fn check_snapshot(&mut self, binds: &[DesiredBind]) {
        let Some(snapshot) = &self.declared.raw.template_snapshot_name else {
            return;
        };
        for bind in binds {
            let message = format!(
                "container {} has the bind mount '{}' and template_snapshot_name '{snapshot}': \
                 Proxmox VE neither snapshots nor clones a container with a bind mount \
                 (\"snapshot feature is not available\")",
                self.ctid, bind.path
            );
            self.at_mount(&bind.declared_at, |at, findings| {
                let help = "mount it in the clones instead, use a volume, or take the snapshot \
                            name away";
                findings.key_error(at, message.clone(), help);
            });
        }
    }

    /// Goes to the place where a mount is declared.
    fn at_mount(&mut self, declared_at: &str, report: impl Fn(&At<'_>, &mut Findings)) {
        if let Some(name) = declared_at.strip_prefix("shared_volumes.") {
            let id = self.ctid.to_string();
            let file = At::File(File::Hypervisor);
            let volumes = file.key("shared_volumes");
            let volume = volumes.key(name);
            report(&volume.key("mounts").key(&id), self.findings);
        } else if let Some((key, index)) = declared_at.split_once('[') {
            let index = index.trim_end_matches(']').parse().unwrap_or_default();
            report(&self.at.key(key).index(index), self.findings);
        }
    }
}

/// A path as Proxmox VE takes it, without what carries no meaning: `/a//b/` is `/a/b`.
pub(in crate::config) fn path(text: &str, at: &At<'_>, findings: &mut Findings) -> String {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let problem = if !text.starts_with('/') {
        Some("is not absolute")
    } else if parts.iter().any(|part| matches!(*part, "." | "..")) {
        Some("has '.' or '..' in it")
    } else if parts.is_empty() {
        Some("is the root directory")
    } else if text.contains([',', '"', '\\']) || text.chars().any(char::is_control) {
        Some("has a comma, quote, backslash or control character, which Proxmox VE cannot store")
    } else if text.trim() != text {
        Some("begins or ends with a space")
    } else {
        None
    };
    if let Some(problem) = problem {
        findings.error(
            at,
            format!("'{text}' {problem}"),
            "write a path such as \"/srv/data\"",
        );
    }
    format!("/{}", parts.join("/"))
}

/// Permission bits from octal digits.
pub(in crate::config) fn mode(
    text: Option<&str>,
    at: &At<'_>,
    findings: &mut Findings,
) -> Option<u32> {
    let text = text?;
    let octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if !octal {
        let message = format!("'{text}' is not a mode");
        findings.error(
            at,
            message,
            "write three or four octal digits, such as \"0755\"",
        );
        return None;
    }
    u32::from_str_radix(text, 8).ok()
}
