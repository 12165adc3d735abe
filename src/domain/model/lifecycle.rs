//! What happens to a container that exists: start and stop, disks that grow, snapshots.

use super::super::ids::Ctid;
use super::super::observed::{HostFacts, ObservedContainer, Receipts, Snapshot, Status};
use super::super::options::Source;
use super::super::refusal::Refusal;
use super::super::setting::{Key, Settings, Value};
use super::super::units::DiskSize;
use super::Effect;
use super::make::first_bind;
use super::volumes::{Allocator, is_plain_directory, volume_of};

/// The longest name of a snapshot.
const SNAPSHOT_NAME_MAX: usize = 40;

impl ObservedContainer {
    pub(super) fn started(&self, host: &HostFacts, ctid: Ctid) -> Result<Self, Refusal> {
        if self.status == Status::Running {
            return Err(Refusal::AlreadyRunning(ctid));
        }
        self.require_no_lock()?;
        if self.template {
            return Err(Refusal::StartTemplate);
        }
        let mut next = self.clone();
        next.apply_pending();
        next.require_bridges(host)?;
        next.status = Status::Running;
        Ok(next)
    }

    pub(super) fn restarted(&self, host: &HostFacts, ctid: Ctid) -> Result<Self, Refusal> {
        self.stopped(ctid)?.started(host, ctid)
    }

    pub(super) fn stopped(&self, ctid: Ctid) -> Result<Self, Refusal> {
        if self.status != Status::Running {
            return Err(Refusal::NotRunning(ctid));
        }
        self.require_no_lock()?;
        Ok(self.down())
    }

    /// The container when it does not run any more, for whatever reason: what waited is written.
    pub(super) fn down(&self) -> Self {
        let mut next = Self {
            status: Status::Stopped,
            ..self.clone()
        };
        next.apply_pending();
        next
    }

    fn require_bridges(&self, host: &HostFacts) -> Result<(), Refusal> {
        let bridges = self.settings.values().filter_map(|value| match value {
            Value::Net(net) => net.bridge.as_ref(),
            _ => None,
        });
        for bridge in bridges {
            if !host.bridges.contains(bridge) {
                return Err(Refusal::NoBridge(bridge.clone()));
            }
        }
        Ok(())
    }

    pub(super) fn resized(
        &self,
        host: &HostFacts,
        ctid: Ctid,
        disk: &Key,
        size: DiskSize,
    ) -> Result<Self, Refusal> {
        self.require_no_lock()?;
        let live = match (disk, self.settings.get(disk)) {
            (Key::Rootfs | Key::Mount(_), Some(live)) => live,
            _ => return Err(Refusal::NoDisk(disk.clone())),
        };
        if let Value::Mount(mount) = live
            && let Source::Host(path) = &mount.source
        {
            return Err(Refusal::NotAVolume(path.clone()));
        }
        let (volume, now) = volume_of(live).ok_or_else(|| Refusal::NoDisk(disk.clone()))?;
        let now = now.unwrap_or_default();
        if is_plain_directory(&volume) {
            return Err(Refusal::CannotResize);
        }
        if size < now {
            return Err(Refusal::Shrink);
        }
        if size == now {
            return Err(Refusal::SameSize);
        }
        Allocator::new(host, ctid, Some(self)).reserve(&volume.storage, size.get() - now.get())?;
        let mut next = self.clone();
        let waiting = next.pending.get_mut(disk).and_then(Option::as_mut);
        // A change of the same disk that waits must not take the new size back.
        for value in next.settings.get_mut(disk).into_iter().chain(waiting) {
            grow(value, size);
        }
        Ok(next)
    }

    /// The container without its lock, and without the snapshots that never came to their end.
    pub(super) fn unlocked(&self) -> Result<Self, Refusal> {
        if self.lock.is_none() {
            return Err(Refusal::NotLocked);
        }
        let mut next = Self {
            lock: None,
            ..self.clone()
        };
        next.snapshots.retain(|snapshot| !snapshot.incomplete);
        Ok(next)
    }

    pub(super) fn snapshotted(&self, host: &HostFacts, name: &str) -> Result<Self, Refusal> {
        check_snapshot_name(name)?;
        self.require_no_lock()?;
        if self.template {
            return Err(Refusal::SnapshotTemplate);
        }
        if self.snapshots.iter().any(|snapshot| snapshot.name == name) {
            return Err(Refusal::SnapshotExists(name.to_owned()));
        }
        if first_bind(&self.settings).is_some() {
            return Err(Refusal::NoSnapshots);
        }
        let disks = self
            .settings
            .iter()
            .filter(|(key, _)| !matches!(key, Key::Unused(_)));
        for (volume, _) in disks.filter_map(|(_, value)| disk_volume(value)) {
            match host.storages.get(&volume.storage) {
                None => return Err(Refusal::NoStorage(volume.storage)),
                Some(storage) if !storage.can_snapshot() => return Err(Refusal::NoSnapshots),
                Some(_) => {}
            }
        }
        let mut next = self.clone();
        next.snapshots.push(self.preserved(name));
        Ok(next)
    }

    /// What a snapshot of now preserves.
    pub(super) fn preserved(&self, name: &str) -> Snapshot {
        let kept = self
            .settings
            .iter()
            .filter(|(key, _)| !matches!(key, Key::Unused(_)));
        Snapshot {
            name: name.to_owned(),
            settings: kept
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            mark: self.mark,
            receipts: self.receipts.clone().unwrap_or_default(),
            incomplete: false,
        }
    }

    pub(super) fn rolled_back(&self, name: &str) -> Result<Self, Refusal> {
        self.require_no_lock()?;
        let missing = || Refusal::NoSnapshot(name.to_owned());
        let snapshot = self.snapshot(name).ok_or_else(missing)?;
        let mut next = self.clone();
        next.status = Status::Stopped;
        next.pending.clear();
        next.mark = snapshot.mark;
        next.receipts = self
            .receipts
            .as_ref()
            .map(|_: &Receipts| snapshot.receipts.clone());
        let unused = |(key, _): &(&Key, &Value)| matches!(key, Key::Unused(_));
        let lost = self.settings.iter().filter(unused);
        let kept: Settings = lost
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        next.settings = snapshot.settings.clone();
        next.settings.extend(kept);
        for (volume, _) in self.settings.values().filter_map(disk_volume) {
            next.keep_unused(&volume);
        }
        Ok(next)
    }

    pub(super) fn without_snapshot(&self, name: &str) -> Result<Self, Refusal> {
        self.require_no_lock()?;
        let mut next = self.clone();
        next.snapshots.retain(|snapshot| snapshot.name != name);
        if next.snapshots.len() == self.snapshots.len() {
            return Err(Refusal::NoSnapshot(name.to_owned()));
        }
        Ok(next)
    }

    /// The container as a Proxmox VE template; its disks are renamed so that nobody writes them.
    pub(super) fn templated(&self) -> Result<Self, Refusal> {
        self.require_no_lock()?;
        if !self.snapshots.is_empty() {
            return Err(Refusal::TemplateWithSnapshots);
        }
        if self.template {
            return Err(Refusal::AlreadyTemplate);
        }
        if self.status == Status::Running {
            return Err(Refusal::TemplateRunning);
        }
        let mut next = Self {
            template: true,
            ..self.clone()
        };
        for value in next.settings.values_mut() {
            let volume = match value {
                Value::Rootfs(rootfs) => &mut rootfs.volume,
                Value::Mount(mount) => match &mut mount.source {
                    Source::Volume(volume) => volume,
                    Source::Host(_) => continue,
                },
                _ => continue,
            };
            if let Some(name) = &mut volume.name {
                *name = base_name(name);
            }
        }
        Ok(next)
    }

    /// Stopped first, where it runs. What a killed destruction left is no obstacle.
    pub(super) fn destroyed(&self, ctid: Ctid) -> Result<Effect, Refusal> {
        if !self.half_destroyed() {
            self.down().require_destroyable(ctid)?;
        }
        Ok(Effect::Gone)
    }

    pub(super) fn require_destroyable(&self, ctid: Ctid) -> Result<(), Refusal> {
        self.require_no_lock()?;
        if self.protected() {
            return Err(Refusal::Protected(ctid));
        }
        match self.status {
            Status::Running => Err(Refusal::DestroyRunning(ctid)),
            Status::Stopped => Ok(()),
        }
    }
}

fn base_name(name: &str) -> String {
    let (folder, file) = name
        .rsplit_once('/')
        .map_or(("", name), |(folder, file)| (folder, file));
    let renamed = match file.split_once('-') {
        Some(("vm", rest)) => format!("base-{rest}"),
        Some(("subvol", rest)) if !file.ends_with(".subvol") => format!("basevol-{rest}"),
        _ => file.to_owned(),
    };
    if folder.is_empty() {
        renamed
    } else {
        format!("{folder}/{renamed}")
    }
}

fn disk_volume(value: &Value) -> Option<(super::super::options::Volume, Option<DiskSize>)> {
    match value {
        Value::Mount(_) | Value::Rootfs(_) => volume_of(value),
        _ => None,
    }
}

fn grow(value: &mut Value, size: DiskSize) {
    match value {
        Value::Mount(mount) => mount.size = Some(size),
        Value::Rootfs(rootfs) => rootfs.size = size,
        _ => {}
    }
}

/// Proxmox VE's rule for names of snapshots: a letter first, two characters at least.
fn check_snapshot_name(name: &str) -> Result<(), Refusal> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let well_formed = (2..=SNAPSHOT_NAME_MAX).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(word);
    match name {
        _ if !well_formed => Err(Refusal::BadSnapshotName(name.to_owned())),
        "current" | "vzdump" => Err(Refusal::ReservedSnapshot(name.to_owned())),
        _ => Ok(()),
    }
}
