//! How a container comes to be, and what a killed attempt leaves.

use std::sync::Arc;

use super::super::action::{Action, CloneSpec, CreateSpec};
use super::super::ids::{Ctid, RunId};
use super::super::observed::{
    Lock, ObservedContainer, ObservedWorld, Receipts, Snapshot, Status, TemplateState,
};
use super::super::options::{Rootfs, Source};
use super::super::refusal::Refusal;
use super::super::setting::{Changes, Key, Settings, Value};
use super::set::{is_empty, new_hwaddr, permitted, written};
use super::volumes::Allocator;
use super::{Effect, after, existing, no_template};

pub(super) fn create(
    world: &ObservedWorld,
    ctid: Ctid,
    spec: &CreateSpec,
) -> Result<ObservedContainer, Refusal> {
    spec.settings
        .iter()
        .try_for_each(|(key, value)| permitted(key, Some(value)))?;
    if world.containers.contains_key(&ctid) {
        return Err(Refusal::Exists(ctid));
    }
    let mut disks = Allocator::new(&world.host, ctid, None);
    let volume = disks.allocate(&spec.storage, spec.disk)?;
    let rootfs = Rootfs {
        volume,
        size: spec.disk,
        other: [].into(),
    };
    let mut settings = defaults(ctid, spec);
    settings.insert(Key::Rootfs, rootfs.into());
    for (key, value) in spec.settings.iter().filter(|(key, _)| **key != Key::Rootfs) {
        let value = written(ctid, key, value, None, &mut disks)?;
        if !is_empty(&value) {
            settings.insert(key.clone(), value);
        }
    }
    if world.host.templates.get(&spec.template.file) != Some(&TemplateState::Present) {
        return Err(no_template(&spec.template));
    }
    Ok(ObservedContainer {
        unprivileged: spec.unprivileged,
        mark: Some(spec.mark),
        settings,
        receipts: Some(Receipts::new()),
        ..blank()
    })
}

/// A container of which nothing is known but that it does not run.
fn blank() -> ObservedContainer {
    ObservedContainer {
        status: Status::Stopped,
        lock: None,
        template: false,
        unprivileged: false,
        mark: None,
        settings: Settings::new(),
        pending: Changes::new(),
        receipts: None,
        snapshots: Vec::new(),
    }
}

/// A container whose creation is under way, or was killed: a lock and nothing else.
#[must_use]
pub fn unfinished() -> ObservedContainer {
    ObservedContainer {
        lock: Some(Lock::Create),
        ..blank()
    }
}

/// What a killed destruction leaves: nothing but its lock.
#[must_use]
pub fn undestroyed() -> ObservedContainer {
    ObservedContainer {
        lock: Some(Lock::Destroyed),
        ..blank()
    }
}

/// What `pct create` writes without being asked.
fn defaults(ctid: Ctid, spec: &CreateSpec) -> Settings {
    let other = |name: &str| Key::Other(name.to_owned());
    [
        (other("arch"), Value::Text("amd64".to_owned())),
        (Key::Hostname, Value::Text(format!("CT{ctid}"))),
        (Key::Memory, Value::Number(512)),
        (Key::Swap, Value::Number(512)),
        (
            other("ostype"),
            Value::Text(os_type(&spec.template.file).to_owned()),
        ),
    ]
    .into()
}

/// The real host looks into the archive; its name tells as much here.
fn os_type(file: &str) -> &str {
    const KNOWN: [&str; 9] = [
        "alpine",
        "archlinux",
        "centos",
        "debian",
        "devuan",
        "fedora",
        "gentoo",
        "opensuse",
        "ubuntu",
    ];
    KNOWN
        .into_iter()
        .find(|name| file.starts_with(name))
        .unwrap_or("unmanaged")
}

pub(super) fn clone(
    world: &ObservedWorld,
    ctid: Ctid,
    spec: &CloneSpec,
) -> Result<ObservedContainer, Refusal> {
    let source = existing(world, spec.source)?;
    source.require_no_lock()?;
    let snapshot = source
        .snapshot(&spec.snapshot)
        .ok_or_else(|| Refusal::NoSnapshot(spec.snapshot.clone()))?;
    if let Some(key) = first_bind(&snapshot.settings) {
        return Err(Refusal::CloneBind(key.clone()));
    }
    if world.containers.contains_key(&ctid) {
        return Err(Refusal::Exists(ctid));
    }
    let mut disks = Allocator::new(&world.host, ctid, None);
    let mut settings = Settings::new();
    let root_first = |key: &&Key| (**key != Key::Rootfs, (*key).clone());
    let mut keys: Vec<&Key> = snapshot.settings.keys().collect();
    keys.sort_by_key(root_first);
    for key in keys
        .into_iter()
        .filter(|key| !matches!(key, Key::Unused(_)))
    {
        let value = copied(
            ctid,
            key,
            &snapshot.settings[key],
            &spec.storage,
            &mut disks,
        )?;
        settings.insert(key.clone(), value);
    }
    settings.insert(Key::Hostname, hostname(&spec.hostname)?);
    Ok(ObservedContainer {
        unprivileged: source.unprivileged,
        mark: Some(spec.mark),
        settings,
        receipts: Some(snapshot.receipts.clone()),
        ..blank()
    })
}

fn hostname(text: &str) -> Result<Value, Refusal> {
    let key = Key::Hostname;
    key.parse_value(text).map_err(|error| Refusal::BadValue {
        key,
        message: error.0,
    })
}

/// The first bind mount, if there is one.
pub(super) fn first_bind(settings: &Settings) -> Option<&Key> {
    let is_bind = |value: &Value| matches!(value, Value::Mount(mount) if matches!(mount.source, Source::Host(_)));
    settings
        .iter()
        .find(|(_, value)| is_bind(value))
        .map(|(key, _)| key)
}

/// A setting of a copy: a new hardware address, an own volume, anything else as it was.
fn copied(
    ctid: Ctid,
    key: &Key,
    value: &Value,
    storage: &str,
    disks: &mut Allocator<'_>,
) -> Result<Value, Refusal> {
    let mut value = value.clone();
    match (key, &mut value) {
        (Key::Net(slot), Value::Net(net)) => {
            net.hwaddr = Some(new_hwaddr(ctid, *slot, net.hwaddr.as_deref()));
        }
        (Key::Rootfs, Value::Rootfs(rootfs)) => {
            rootfs.volume = disks.allocate(storage, rootfs.size)?;
        }
        (Key::Mount(_), Value::Mount(mount)) => {
            let volume = disks.allocate(storage, mount.size.unwrap_or_default())?;
            mount.source = Source::Volume(volume);
        }
        _ => {}
    }
    Ok(value)
}

/// What an action leaves whose process, and everything it started, was killed in the middle.
/// Nothing for an action that has no middle.
///
/// # Errors
/// When it would have been refused at once.
pub fn killed(
    world: &ObservedWorld,
    ctid: Ctid,
    action: &Action,
) -> Result<Vec<(Ctid, Effect)>, Refusal> {
    after(world, ctid, action, RunId::NONE)?;
    let half = || Effect::of(unfinished());
    let locked = |container: &ObservedContainer, lock| ObservedContainer {
        lock: Some(lock),
        ..container.clone()
    };
    Ok(match action {
        Action::Create(_) => vec![(ctid, half())],
        Action::Clone(spec) => {
            let source = locked(existing(world, spec.source)?, Lock::Disk);
            vec![
                (spec.source, Effect::Container(Arc::new(source))),
                (ctid, half()),
            ]
        }
        Action::Snapshot { name } => {
            let mut next = locked(existing(world, ctid)?, Lock::Snapshot);
            let taken = next.preserved(name);
            next.snapshots.push(Snapshot {
                incomplete: true,
                ..taken
            });
            vec![(ctid, Effect::of(next))]
        }
        Action::Destroy => vec![(ctid, Effect::of(undestroyed()))],
        _ => Vec::new(),
    })
}
