//! State 3, `apply_configurations`: memory, cores, network, features, raw options; field by
//! field, and changed in one go.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Context, Problems, Work, mounts};
use crate::domain::event::Owned;
use crate::domain::observed::ObservedContainer;
use crate::domain::options::{Net, Options};
use crate::domain::secret::{covers, differ_in_secrets};
use crate::domain::setting::{Changes, Key, Settings, Value};

/// Drivers whose device numbers a container with a GPU is given, as named in `/proc/devices`.
pub(super) const GPU_DRIVERS: [&str; 2] = ["nvidia", "nvidia-uvm"];

/// Keys of which a container can have several lines, each meaning something by itself. All
/// others, and `lxc.idmap`, whose lines mean something only together, are set as a whole.
const LISTS: [&str; 9] = [
    "lxc.cap.drop",
    "lxc.cap.keep",
    "lxc.cgroup.devices.allow",
    "lxc.cgroup.devices.deny",
    "lxc.cgroup2.devices.allow",
    "lxc.cgroup2.devices.deny",
    "lxc.environment",
    "lxc.mount.auto",
    "lxc.mount.entry",
];

pub(super) fn compare(cx: &Context<'_>) -> Result<Work, Problems> {
    let seen = cx.existing()?;
    let mut work = Work::default();
    let changes = changes(cx, seen, &mut work);
    work.configure(seen, changes);
    Ok(work.settled())
}

/// What a container that is made by phoenix owes to its declaration, whether its creation, the
/// snapshot it is cloned from or a later change gives it: all of it is ours.
pub(super) fn claims(cx: &Context<'_>) -> Vec<Owned> {
    let mut claims = Vec::new();
    for (key, value) in declared(cx).into_owned() {
        match value {
            Value::Options(options) => claims.extend(options.0.into_keys().map(Owned::Feature)),
            Value::Lines(lines) if is_list(&key) => {
                claims.extend(lines.into_iter().map(|line| Owned::Line(key.clone(), line)));
            }
            _ => claims.push(Owned::Key(key)),
        }
    }
    let binds = cx.desired.binds.iter().map(|bind| &bind.path);
    let volumes = cx.desired.volumes.iter().map(|volume| &volume.path);
    claims.extend(binds.chain(volumes).cloned().map(Owned::Mount));
    claims
}

/// The declared settings with what facts of the host complete: the devices of GPUs.
pub(super) fn declared<'a>(cx: &Context<'a>) -> Cow<'a, Settings> {
    if cx.desired.gpus.is_empty() {
        return Cow::Borrowed(&cx.desired.settings);
    }
    let mut settings = cx.desired.settings.clone();
    let mut add = |key: &str, line: String| {
        let lines = settings
            .entry(Key::Lxc(key.to_owned()))
            .or_insert_with(|| Value::Lines(Vec::new()));
        if let Value::Lines(lines) = lines
            && !lines.contains(&line)
        {
            lines.push(line);
        }
    };
    for driver in GPU_DRIVERS {
        if let Some(major) = cx.world.host.device_majors.get(driver) {
            add("lxc.cgroup2.devices.allow", format!("c {major}:* rwm"));
        }
    }
    let common = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"].map(str::to_owned);
    let own = cx.desired.gpus.iter().map(|gpu| format!("nvidia{gpu}"));
    for device in common.into_iter().chain(own) {
        let line = format!("/dev/{device} dev/{device} none bind,optional,create=file");
        add("lxc.mount.entry", line);
    }
    Cow::Owned(settings)
}

/// What differs from the declaration, as changes; `work` takes what becomes ours by them.
pub(super) fn changes(cx: &Context<'_>, seen: &ObservedContainer, work: &mut Work) -> Changes {
    let declared = cx.settings();
    let mut changes = Changes::new();
    for key in keys(&declared, cx) {
        let found = seen.eventual(&key);
        let change = match (declared.get(&key), &key) {
            (wanted, Key::Features) => features(cx, wanted, found, work),
            (wanted, Key::Lxc(name)) if LISTS.contains(&name.as_str()) => {
                lines(cx, &key, wanted, found, work)
            }
            (Some(Value::Net(wanted)), _) => net(wanted, found.as_ref()).map(Some),
            (Some(wanted), _) => (found.as_ref() != Some(wanted)).then(|| Some(wanted.clone())),
            (None, _) => remove(cx, &key, seen),
        };
        let Some(change) = change else { continue };
        let whole = !matches!(change, Some(Value::Options(_))) && !is_list(&key);
        if change.is_some() && whole {
            work.claims.push(Owned::Key(key.clone()));
        }
        changes.insert(key, change);
    }
    changes
}

fn is_list(key: &Key) -> bool {
    matches!(key, Key::Lxc(name) if LISTS.contains(&name.as_str()))
}

/// The key that something of ours is part of; mounts are known by their path.
fn key_of(owned: &Owned) -> Option<&Key> {
    match owned {
        Owned::Key(key) | Owned::Line(key, _) => Some(key),
        Owned::Feature(_) => Some(&Key::Features),
        Owned::Mount(_) => None,
    }
}

/// What is ours, declared no more, and gone: not there now, and not after the next start.
#[must_use]
pub fn stale(cx: &Context<'_>) -> Vec<Owned> {
    let Some(seen) = cx.observed else {
        return Vec::new();
    };
    let declared = cx.settings();
    let there = [&seen.settings, &*seen.eventual_settings()];
    let kept = |owned: &&Owned| match owned {
        Owned::Mount(path) => {
            mounts::declared(cx, path)
                || there.iter().any(|settings| mounts::any_at(settings, path))
        }
        _ => holds(&declared, owned) || there.iter().any(|settings| holds(settings, owned)),
    };
    cx.owned()
        .iter()
        .filter(|owned| !kept(owned))
        .cloned()
        .collect()
}

fn holds(settings: &Settings, owned: &Owned) -> bool {
    match (owned, key_of(owned).and_then(|key| settings.get(key))) {
        (Owned::Feature(name), Some(Value::Options(options))) => options.0.contains_key(name),
        (Owned::Line(_, recorded), Some(Value::Lines(lines))) => {
            lines.iter().any(|line| covers(recorded, line))
        }
        (Owned::Key(_), value) => value.is_some(),
        _ => false,
    }
}

/// Every key that is declared, or of which something is ours.
fn keys(declared: &Settings, cx: &Context<'_>) -> BTreeSet<Key> {
    let ours = cx.owned().iter().filter_map(key_of);
    declared.keys().chain(ours).cloned().collect()
}

/// A key of ours that is declared no more goes back to what a container has without it.
fn remove(cx: &Context<'_>, key: &Key, seen: &ObservedContainer) -> Option<Option<Value>> {
    let owned = Owned::Key(key.clone());
    let there = seen.will_set(key);
    (there && cx.owned().contains(&owned)).then_some(None)
}

/// Name, bridge, address and gateway are the declaration's; the hardware address too where it
/// is declared. The live one is always handed over: without it Proxmox VE would make a new one,
/// and a mere change of its case would take the interface down.
fn net(wanted: &Net, found: Option<&Value>) -> Option<Value> {
    let Some(Value::Net(found)) = found else {
        return Some(wanted.clone().into());
    };
    let same_address = match (&wanted.hwaddr, &found.hwaddr) {
        (Some(wanted), Some(found)) => wanted.eq_ignore_ascii_case(found),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let same = |one: &Option<String>, other: &Option<String>| one == other;
    if same_address
        && wanted.name == found.name
        && same(&wanted.bridge, &found.bridge)
        && same(&wanted.ip, &found.ip)
        && same(&wanted.gw, &found.gw)
        && wanted
            .other
            .iter()
            .all(|(key, value)| found.other.get(key) == Some(value))
    {
        return None;
    }
    let mut merged = Net {
        other: found.other.clone(),
        ..wanted.clone()
    };
    merged.other.extend(wanted.other.clone());
    if same_address {
        merged.hwaddr.clone_from(&found.hwaddr);
    }
    Some(merged.into())
}

/// Declared options must agree; ours that are declared no more go; other people's stay.
fn features(
    cx: &Context<'_>,
    wanted: Option<&Value>,
    found: Option<Value>,
    work: &mut Work,
) -> Option<Option<Value>> {
    let wanted = if let Some(Value::Options(wanted)) = wanted {
        wanted.clone()
    } else {
        Options::default()
    };
    let mut merged = if let Some(Value::Options(found)) = found {
        found
    } else {
        Options::default()
    };
    let before = merged.clone();
    for (name, value) in &wanted.0 {
        if !merged.agrees(name, value) {
            merged.0.insert(name.clone(), value.clone());
            work.claims.push(Owned::Feature(name.clone()));
        }
    }
    for owned in cx.owned() {
        let Owned::Feature(name) = owned else {
            continue;
        };
        if !wanted.0.contains_key(name) {
            merged.0.remove(name);
        }
    }
    if merged == before {
        return None;
    }
    Some((!merged.0.is_empty()).then_some(Value::Options(merged)))
}

/// The same for the lines of an `lxc.*` key. Two that differ in nothing but their secrets (one
/// variable with two values) are one, whoever put it there: what is declared counts.
fn lines(
    cx: &Context<'_>,
    key: &Key,
    wanted: Option<&Value>,
    found: Option<Value>,
    work: &mut Work,
) -> Option<Option<Value>> {
    let wanted = if let Some(Value::Lines(wanted)) = wanted {
        wanted.as_slice()
    } else {
        &[]
    };
    let mut merged = if let Some(Value::Lines(found)) = found {
        found
    } else {
        Vec::new()
    };
    let before = merged.clone();
    let replaced = |line: &String| {
        let mut wanted = wanted.iter();
        cx.owns_line(key, line) || wanted.any(|wanted| differ_in_secrets(key, wanted, line))
    };
    merged.retain(|line| wanted.contains(line) || !replaced(line));
    for line in wanted {
        if !merged.contains(line) {
            merged.push(line.clone());
            work.claims.push(Owned::Line(key.clone(), line.clone()));
        }
    }
    if merged == before {
        return None;
    }
    Some((!merged.is_empty()).then_some(Value::Lines(merged)))
}
