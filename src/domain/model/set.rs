//! `pct set`: what is checked, what is written at once, what waits for the next start.

use super::super::ids::{Ctid, Digest};
use super::super::observed::{HostFacts, Lock, ObservedContainer, Status};
use super::super::options::{Mount, Net, Rootfs, Source, Volume};
use super::super::refusal::Refusal;
use super::super::setting::{Changes, Key, Value, boolean};
use super::volumes::{Allocator, volume_of};

/// Keys of a container that Proxmox VE knows and phoenix has no type for; `devN` besides.
const OTHER_KEYS: [&str; 17] = [
    "arch",
    "cmode",
    "console",
    "cpulimit",
    "cpuunits",
    "debug",
    "description",
    "hookscript",
    "lock",
    "ostype",
    "protection",
    "searchdomain",
    "tags",
    "template",
    "timezone",
    "tty",
    "unprivileged",
];

/// Keys that a container cannot be without.
const REQUIRED: [Key; 3] = [Key::Hostname, Key::Memory, Key::Rootfs];

/// Changes the configuration of a container as `pct set` does: all of it or nothing.
///
/// # Errors
/// In Proxmox VE's words.
pub fn set(
    container: &ObservedContainer,
    host: &HostFacts,
    ctid: Ctid,
    changes: &Changes,
) -> Result<ObservedContainer, Refusal> {
    if changes.is_empty() {
        return Err(Refusal::NothingToSet);
    }
    changes
        .iter()
        .try_for_each(|(key, value)| permitted(key, value.as_ref()))?;
    container.require_no_lock()?;
    let mut next = container.clone();
    let mut disks = Allocator::new(host, ctid, Some(container));
    for (key, value) in changes {
        let live = container.settings.get(key);
        let value = match value {
            Some(value) => Some(written(ctid, key, value, live, &mut disks)?),
            None => None,
        };
        match value.filter(|value| !is_empty(value)) {
            Some(value) => next.put(host, key, value)?,
            None => next.delete(ctid, key)?,
        }
    }
    Ok(next)
}

/// Whether the key can be changed at all.
pub(super) fn permitted(key: &Key, value: Option<&Value>) -> Result<(), Refusal> {
    match (key, value) {
        (Key::Other(name), _) if name == "unprivileged" => Err(Refusal::ReadOnlyPrivilege),
        (Key::Other(name), _) if is_known(name) => Ok(()),
        (Key::Other(_), Some(_)) => Err(Refusal::UnknownOption(key.clone())),
        (Key::Other(name), None) => Err(bad(
            &Key::Other("delete".to_owned()),
            format!("unknown option '{name}'"),
        )),
        (_, None) if REQUIRED.contains(key) => Err(Refusal::RequiredKey(key.clone())),
        _ => Ok(()),
    }
}

fn is_known(name: &str) -> bool {
    let device = |name: &str| {
        name.strip_prefix("dev")
            .is_some_and(|slot| slot.parse::<u8>().is_ok())
    };
    OTHER_KEYS.contains(&name) || device(name)
}

fn bad(key: &Key, message: impl Into<String>) -> Refusal {
    Refusal::BadValue {
        key: key.clone(),
        message: message.into(),
    }
}

/// Whether a value says nothing, so that writing it deletes the key.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.is_empty(),
        Value::Options(options) => options.0.is_empty(),
        Value::Lines(lines) => lines.is_empty(),
        _ => false,
    }
}

/// The value as Proxmox VE writes it; volumes without a name are allocated.
pub(super) fn written(
    ctid: Ctid,
    key: &Key,
    value: &Value,
    live: Option<&Value>,
    disks: &mut Allocator<'_>,
) -> Result<Value, Refusal> {
    match (key, value) {
        (Key::Mount(_), Value::Mount(mount)) => Ok(mount_written(key, mount, disks)?.into()),
        (Key::Rootfs, Value::Rootfs(rootfs)) => rootfs_written(key, rootfs, live),
        (Key::Unused(_), Value::Text(_)) | (Key::Lxc(_), Value::Lines(_)) => Ok(value.clone()),
        (Key::Net(slot), Value::Net(net)) => {
            key.parse_value(&net.to_string())
                .map_err(|error| bad(key, error.0))?;
            Ok(net_written(ctid, *slot, net, live).into())
        }
        (Key::Mount(_) | Key::Rootfs | Key::Unused(_) | Key::Lxc(_) | Key::Net(_), _) => {
            Err(bad(key, "invalid format - format error"))
        }
        _ => key
            .parse_value(&value.to_string())
            .map_err(|error| bad(key, error.0)),
    }
}

fn mount_written(key: &Key, mount: &Mount, disks: &mut Allocator<'_>) -> Result<Mount, Refusal> {
    let mut mount = mount.clone();
    for name in ["acl", "backup", "quota", "replicate", "ro", "shared"] {
        one_or_zero(mount.other.get_mut(name));
    }
    match &mut mount.source {
        Source::Volume(volume) if volume.name.is_none() => {
            let size = mount
                .size
                .ok_or_else(|| bad(key, "invalid format - format error"))?;
            *volume = disks.allocate(&volume.storage, size)?;
        }
        Source::Volume(_) => {}
        Source::Host(_) => mount.size = None,
    }
    Ok(mount)
}

fn rootfs_written(key: &Key, rootfs: &Rootfs, live: Option<&Value>) -> Result<Value, Refusal> {
    match live {
        Some(Value::Rootfs(live)) if live.volume == rootfs.volume => Ok(rootfs.clone().into()),
        _ => Err(bad(key, "the root disk of a container cannot be replaced")),
    }
}

fn one_or_zero(text: Option<&mut String>) {
    if let Some(text) = text
        && let Ok(flag) = boolean(text)
    {
        *text = if flag { "1" } else { "0" }.to_owned();
    }
}

fn net_written(ctid: Ctid, slot: u8, net: &Net, live: Option<&Value>) -> Net {
    let mut net = net.clone();
    net.other
        .entry("type".to_owned())
        .or_insert_with(|| "veth".to_owned());
    for name in ["firewall", "link_down"] {
        one_or_zero(net.other.get_mut(name));
    }
    if net.hwaddr.is_none() {
        let old = match live {
            Some(Value::Net(live)) => live.hwaddr.as_deref(),
            _ => None,
        };
        net.hwaddr = Some(new_hwaddr(ctid, slot, old));
    }
    net
}

/// A hardware address in Proxmox VE's range. It takes the old one in, so that it differs from it.
pub(super) fn new_hwaddr(ctid: Ctid, slot: u8, old: Option<&str>) -> String {
    let parts = [
        ctid.to_string(),
        slot.to_string(),
        old.unwrap_or_default().to_uppercase(),
    ];
    let hex = Digest::of_parts(parts.iter().map(String::as_bytes))
        .to_string()
        .to_uppercase();
    format!("BC:24:11:{}:{}:{}", &hex[..2], &hex[2..4], &hex[4..6])
}

impl ObservedContainer {
    pub(super) fn require_no_lock(&self) -> Result<(), Refusal> {
        self.lock.map_or(Ok(()), |lock| Err(Refusal::Locked(lock)))
    }

    fn runs(&self) -> bool {
        self.status == Status::Running
    }

    /// Gives a key a value, at once or at the next start.
    fn put(&mut self, host: &HostFacts, key: &Key, value: Value) -> Result<(), Refusal> {
        match (key, &value) {
            (Key::Other(name), Value::Text(text)) if name == "lock" => {
                self.lock = Some(text.parse().map_err(|_| unknown_lock(key, text))?);
                return Ok(());
            }
            (Key::Other(name), Value::Flag(flag)) if name == "template" => {
                self.template = *flag;
                return Ok(());
            }
            (Key::Net(_), Value::Net(net)) => self.check_bridge(host, net)?,
            _ => {}
        }
        let live = self.settings.get(key);
        let new_mount = matches!(key, Key::Mount(_)) && live.is_none();
        if !self.runs() || key.hotplugs() || new_mount {
            self.pending.remove(key);
            self.write(key, Some(value));
        } else if live == Some(&sized(value.clone(), live)) {
            self.pending.remove(key);
        } else {
            self.pending.insert(key.clone(), Some(value));
        }
        Ok(())
    }

    /// Proxmox VE looks for the bridge when it plugs the interface in, and for the word always.
    fn check_bridge(&self, host: &HostFacts, net: &Net) -> Result<(), Refusal> {
        match &net.bridge {
            None => Err(Refusal::NoBridge(String::new())),
            Some(bridge) if self.runs() && !host.bridges.contains(bridge) => {
                Err(Refusal::NoBridge(bridge.clone()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Takes a key away, at once or at the next start.
    fn delete(&mut self, ctid: Ctid, key: &Key) -> Result<(), Refusal> {
        if matches!(key, Key::Mount(_) | Key::Unused(_)) && self.protected() {
            return Err(Refusal::ProtectedDrive {
                ctid,
                drive: key.clone(),
            });
        }
        if self.runs() && !key.hotplugs() && self.settings.contains_key(key) {
            self.pending.insert(key.clone(), None);
        } else {
            self.pending.remove(key);
            self.write(key, None);
        }
        Ok(())
    }

    pub(super) fn protected(&self) -> bool {
        let key = Key::Other("protection".to_owned());
        self.settings.get(&key) == Some(&Value::Flag(true))
    }

    /// Writes a live value. A volume that is mounted no more becomes an unused one.
    fn write(&mut self, key: &Key, value: Option<Value>) {
        let old = self.settings.remove(key);
        if let Some(value) = value {
            self.settings
                .insert(key.clone(), sized(value, old.as_ref()));
        }
        if let (Key::Mount(_), Some((volume, _))) = (key, old.as_ref().and_then(volume_of)) {
            self.keep_unused(&volume);
        }
    }

    /// Lists a volume that nothing mounts as unused.
    pub(super) fn keep_unused(&mut self, volume: &Volume) {
        let mut named = self.settings.values().filter_map(volume_of);
        if named.any(|(known, _)| known == *volume) {
            return;
        }
        let free = (0..=u8::MAX)
            .map(Key::Unused)
            .find(|key| !self.settings.contains_key(key));
        if let Some(key) = free {
            self.settings.insert(key, Value::Text(volume.to_string()));
        }
    }

    /// Writes everything that waits.
    pub(super) fn apply_pending(&mut self) {
        for (key, value) in std::mem::take(&mut self.pending) {
            self.write(&key, value);
        }
    }
}

/// A mount of a known volume that does not tell its size gets it.
fn sized(value: Value, live: Option<&Value>) -> Value {
    match (value, live) {
        (Value::Mount(mut mount), Some(Value::Mount(live)))
            if mount.size.is_none() && mount.source == live.source =>
        {
            mount.size = live.size;
            Value::Mount(mount)
        }
        (value, _) => value,
    }
}

fn unknown_lock(key: &Key, text: &str) -> Refusal {
    let names = Lock::ALL.map(|lock| lock.to_string()).join(", ");
    bad(
        key,
        format!("value '{text}' does not have a value in the enumeration '{names}'"),
    )
}
