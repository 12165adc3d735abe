//! Volumes: their names, their sizes, the space they take.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ids::Ctid;
use super::super::observed::{HostFacts, ObservedContainer};
use super::super::options::{Source, Volume};
use super::super::refusal::Refusal;
use super::super::setting::{Settings, Value};
use super::super::units::DiskSize;

/// The volume that a value names, with its size where the value tells it.
pub(super) fn volume_of(value: &Value) -> Option<(Volume, Option<DiskSize>)> {
    match value {
        Value::Mount(mount) => match &mount.source {
            Source::Volume(volume) => Some((volume.clone(), mount.size)),
            Source::Host(_) => None,
        },
        Value::Rootfs(rootfs) => Some((rootfs.volume.clone(), Some(rootfs.size))),
        Value::Text(text) => text.parse().ok().map(|volume| (volume, None)),
        _ => None,
    }
}

/// All values that can name a volume of a container: live, waiting, preserved, unused.
fn values(container: &ObservedContainer) -> impl Iterator<Item = &Value> {
    let preserved = container
        .snapshots
        .iter()
        .flat_map(|snapshot| volume_values(&snapshot.settings));
    let waiting = container
        .pending
        .values()
        .flatten()
        .filter(|value| names_a_volume(value));
    volume_values(&container.settings)
        .chain(waiting)
        .chain(preserved)
}

fn names_a_volume(value: &Value) -> bool {
    matches!(value, Value::Mount(_) | Value::Rootfs(_))
}

fn volume_values(settings: &Settings) -> impl Iterator<Item = &Value> {
    use super::super::setting::Key;
    settings
        .iter()
        .filter(|(key, _)| matches!(key, Key::Mount(_) | Key::Rootfs | Key::Unused(_)))
        .map(|(_, value)| value)
}

/// The bytes that the volumes of a container take, by storage. A volume that several settings
/// name counts once, at its largest; a snapshot takes nothing of its own.
#[must_use]
pub fn space(container: &ObservedContainer) -> BTreeMap<String, u64> {
    let mut sizes: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (volume, size) in values(container).filter_map(volume_of) {
        if let (Some(name), Some(size)) = (volume.name, size) {
            let known = sizes.entry((volume.storage, name)).or_default();
            *known = (*known).max(size.get());
        }
    }
    let mut total = BTreeMap::new();
    for ((storage, _), size) in sizes {
        let sum: &mut u64 = total.entry(storage).or_default();
        *sum = sum.saturating_add(size);
    }
    total
}

/// Adjusts the free space of the storages to what became of a container.
pub(super) fn account(
    host: &mut HostFacts,
    before: Option<&ObservedContainer>,
    after: Option<&ObservedContainer>,
) {
    if host.storages.values().all(|storage| storage.free.is_none()) {
        return;
    }
    let released = before.map(space).unwrap_or_default();
    let taken = after.map(space).unwrap_or_default();
    for (name, storage) in &mut host.storages {
        if let Some(free) = &mut storage.free {
            let of = |map: &BTreeMap<String, u64>| map.get(name).copied().unwrap_or(0);
            let left = free
                .get()
                .saturating_add(of(&released))
                .saturating_sub(of(&taken));
            *free = DiskSize::bytes(left);
        }
    }
}

/// Hands out new volumes within one call: numbers that are free, space that is there.
pub(super) struct Allocator<'a> {
    host: &'a HostFacts,
    ctid: Ctid,
    taken: BTreeSet<(String, u32)>,
    reserved: BTreeMap<String, u64>,
}

impl<'a> Allocator<'a> {
    /// For a container that may have volumes already.
    pub(super) fn new(
        host: &'a HostFacts,
        ctid: Ctid,
        container: Option<&ObservedContainer>,
    ) -> Self {
        let volumes = container.into_iter().flat_map(values).filter_map(volume_of);
        let taken = volumes
            .filter_map(|(volume, _)| {
                let number = disk_number(volume.name.as_deref()?, ctid)?;
                Some((volume.storage, number))
            })
            .collect();
        Self {
            host,
            ctid,
            taken,
            reserved: BTreeMap::new(),
        }
    }

    /// Makes sure that a storage has room for so much more.
    pub(super) fn reserve(&mut self, storage: &str, bytes: u64) -> Result<(), Refusal> {
        let found = self.host.storages.get(storage);
        let found = found.ok_or_else(|| Refusal::NoStorage(storage.to_owned()))?;
        let reserved = self.reserved.entry(storage.to_owned()).or_default();
        let left = found.free.map(|free| free.get().saturating_sub(*reserved));
        match left {
            Some(left) if left < bytes => Err(Refusal::OutOfSpace {
                storage: storage.to_owned(),
                free: DiskSize::bytes(left).to_string(),
                wanted: DiskSize::bytes(bytes).to_string(),
            }),
            _ => {
                *reserved = reserved.saturating_add(bytes);
                Ok(())
            }
        }
    }

    /// A new volume.
    pub(super) fn allocate(&mut self, storage: &str, size: DiskSize) -> Result<Volume, Refusal> {
        self.reserve(storage, size.get())?;
        let number = (0..=u32::MAX)
            .find(|number| !self.taken.contains(&(storage.to_owned(), *number)))
            .unwrap_or(u32::MAX);
        self.taken.insert((storage.to_owned(), number));
        let kind = self
            .host
            .storages
            .get(storage)
            .map_or("", |found| found.kind.as_str());
        Ok(Volume {
            storage: storage.to_owned(),
            name: Some(name(kind, self.ctid, number, size)),
        })
    }
}

/// The name of a container's disk: a file in a directory, a file system of a pool, or a block
/// device. A size of nothing asks a directory for a plain directory.
fn name(kind: &str, ctid: Ctid, number: u32, size: DiskSize) -> String {
    match kind {
        "dir" | "btrfs" | "nfs" | "cifs" if size.get() == 0 => {
            format!("{ctid}/subvol-{ctid}-disk-{number}.subvol")
        }
        "dir" | "btrfs" | "nfs" | "cifs" => format!("{ctid}/vm-{ctid}-disk-{number}.raw"),
        "zfspool" => format!("subvol-{ctid}-disk-{number}"),
        _ => format!("vm-{ctid}-disk-{number}"),
    }
}

/// The number in a container's disk name.
fn disk_number(name: &str, ctid: Ctid) -> Option<u32> {
    let (_, rest) = name.split_once(&format!("-{ctid}-disk-"))?;
    rest.split('.').next()?.parse().ok()
}

/// Whether a volume is a plain directory, which cannot grow.
pub(super) fn is_plain_directory(volume: &Volume) -> bool {
    volume
        .name
        .as_deref()
        .is_some_and(|name| name.ends_with(".subvol"))
}
