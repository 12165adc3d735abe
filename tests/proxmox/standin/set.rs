//! `pct set`.

use std::collections::BTreeMap;

use phoenix::domain::model;
use phoenix::domain::observed::{ObservedContainer, Status};
use phoenix::domain::options::{Source, Volume};
use phoenix::domain::refusal::Refusal;
use phoenix::domain::setting::{Changes, Key, Settings, Value};
use phoenix::host::pct::conf::digest;

use super::call::Call;
use super::file::{File, NO_BRIDGE};
use super::options::{Options, is_key};
use super::{Failure, Node, Outcome, show, tree};

/// The refusal in the words of this node.
pub fn refused(node: &Node, refusal: &Refusal) -> Failure {
    let text = refusal.to_string();
    let text = text.replace("nodes/localhost/", &format!("nodes/{}/", node.name));
    let text = text.replace("on node 'localhost'", &format!("on node '{}'", node.name));
    let code = if matches!(refusal, Refusal::Missing { .. }) {
        2
    } else {
        255
    };
    Failure::new(code, text)
}

/// The values that options give.
pub fn given(options: &Options) -> (Changes, BTreeMap<Key, String>) {
    let (mut changes, mut texts) = (Changes::new(), BTreeMap::new());
    for (key, text) in options.settings() {
        if key == Key::Other("description".to_owned()) {
            continue;
        }
        if let Ok(mut value) = key.parse_value(text) {
            if let Value::Net(net) = &mut value {
                net.bridge.get_or_insert(NO_BRIDGE.to_owned());
            }
            texts.insert(key.clone(), text.to_owned());
            changes.insert(key, Some(value));
        }
    }
    (changes, texts)
}

/// Proxmox VE's names of keys that are to go, each checked.
fn listed(options: &Options, name: &str) -> Result<Vec<Key>, Failure> {
    let list = options.get(name).unwrap_or_default();
    let names = list.split([',', ' ', ';']).filter(|name| !name.is_empty());
    let key = |key: &str| match key.parse::<Key>() {
        Ok(parsed) if is_key(key) => Ok(parsed),
        _ => Err(options.refused(&[(name.to_owned(), format!("unknown option '{key}'"))])),
    };
    names.map(key).collect()
}

pub fn set(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    if options.is_empty() {
        return Err(Failure::new(2, "no options specified"));
    }
    options.verify()?;
    let (mut changes, texts) = given(options);
    let reverted = listed(options, "revert")?;
    for key in listed(options, "delete")? {
        changes.insert(key, None);
    }
    let described = described(options, &mut changes);
    let _lock = node.lock(ctid)?;
    let mut file = node.read(ctid)?;
    // It reads the file twice.
    for line in [show::warnings(ctid, &file), show::warnings(ctid, &file)].concat() {
        eprintln!("{line}");
    }
    let status = node.status(ctid);
    let before = file.typed(ctid, status);
    check(node, options, &file, &before)?;
    for key in &reverted {
        let deleted = file
            .pending
            .deleted()
            .into_iter()
            .filter(|name| *name != key.to_string());
        let deleted = deleted.collect::<Vec<_>>().join(",");
        file.pending.keys.remove(&key.to_string());
        match deleted.is_empty() {
            true => _ = file.pending.keys.remove("delete"),
            false => file.pending.set("delete", deleted),
        }
    }
    let before = if reverted.is_empty() {
        before
    } else {
        file.typed(ctid, status)
    };
    let root = broken_root(&before, &mut changes, &texts);
    if !changes.is_empty() {
        let mut facts = node.facts();
        facts.bridges.insert(NO_BRIDGE.to_owned());
        let after = model::set(&before, &facts, ctid, &changes);
        let mut after =
            after.map_err(|refusal| hotplug(node, options, status, &changes, &refusal))?;
        tree::renumber(node, ctid, &before.settings, &mut after.settings);
        allocate(node, &before, &after);
        call.middle(node);
        unplugged(&before, &after);
        file.merge(&before, &after, &texts);
        freed(node, &before, &after);
    }
    if let Some(root) = root {
        file.live.set("rootfs", root);
    }
    if let Some(description) = described {
        file.live.description = description;
    }
    node.write(ctid, &file);
    let all: Vec<String> = changes.keys().map(ToString::to_string).collect();
    call.effect(node, "set", &format!("{ctid} {}", all.join(",")));
    complaint(&file, status)
}

/// The description that is asked for; it is deleted by an empty one as well.
fn described(options: &Options, changes: &mut Changes) -> Option<Option<String>> {
    let key = Key::Other("description".to_owned());
    if changes.remove(&key) == Some(None) {
        return Some(None);
    }
    let text = options.get("description")?.trim_end_matches('\n');
    Some((!text.is_empty()).then(|| text.to_owned()))
}

/// What stands in the way of any change.
fn check(node: &Node, options: &Options, file: &File, seen: &ObservedContainer) -> Outcome {
    if let Some(lock) = seen.lock {
        return Err(refused(node, &Refusal::Locked(lock)));
    }
    if options
        .get("digest")
        .is_some_and(|wanted| wanted != digest(&file_text(node, options)))
    {
        let text = "detected modified configuration - file changed by other user? Try again.";
        return Err(Failure::new(255, text));
    }
    match file.live.get("arch") {
        Some(_) => Ok(()),
        None => Err(no_arch()),
    }
}

pub fn no_arch() -> Failure {
    Failure::new(
        255,
        "missing 'arch' - internal error at /usr/share/perl5/PVE/LXC.pm line 676.",
    )
}

/// The text on the disk: a hand may have written it in another order than Proxmox VE does.
fn file_text(node: &Node, options: &Options) -> String {
    let path = options.ctid().map(|ctid| node.conf(ctid));
    path.ok()
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default()
}

/// A root disk that is replaced is written as it was given, and breaks the container.
fn broken_root(
    before: &ObservedContainer,
    changes: &mut Changes,
    texts: &BTreeMap<Key, String>,
) -> Option<String> {
    let same = match (changes.get(&Key::Rootfs), before.rootfs()) {
        (Some(Some(Value::Rootfs(new))), Some(old)) => new.volume == old.volume,
        _ => true,
    };
    if same {
        return None;
    }
    changes.remove(&Key::Rootfs);
    texts.get(&Key::Rootfs).cloned()
}

/// A refusal; one that came of plugging something in names the key.
fn hotplug(
    node: &Node,
    options: &Options,
    status: Status,
    changes: &Changes,
    refusal: &Refusal,
) -> Failure {
    match refusal {
        Refusal::NoBridge(bridge) if status == Status::Running => {
            let on_it = |value: &Option<Value>| matches!(value, Some(Value::Net(net)) if net.bridge.as_ref() == Some(bridge));
            let key = changes
                .iter()
                .find(|(_, value)| on_it(value))
                .map(|(key, _)| key.to_string());
            let key = key.unwrap_or_default();
            let message = format!("unable to hotplug {key}: {refusal}\n");
            options.refused(&[(key, message)])
        }
        _ => refused(node, refusal),
    }
}

/// Proxmox VE says which addresses it takes off a running container.
fn unplugged(before: &ObservedContainer, after: &ObservedContainer) {
    for key in before.settings.keys() {
        let gone = matches!(key, Key::Net(_)) && !after.settings.contains_key(key);
        if gone && before.status == Status::Running {
            println!("delete ips from {key}");
        }
    }
}

/// A volume that a value names.
pub fn volume(value: &Value) -> Option<(&Volume, Option<phoenix::domain::units::DiskSize>)> {
    match value {
        Value::Rootfs(rootfs) => Some((&rootfs.volume, Some(rootfs.size))),
        Value::Mount(mount) => match &mount.source {
            Source::Volume(volume) => Some((volume, mount.size)),
            Source::Host(_) => None,
        },
        _ => None,
    }
}

fn volumes(settings: &Settings) -> BTreeMap<String, u64> {
    let named = |(key, value): (&Key, &Value)| match (key, value) {
        (Key::Unused(_), Value::Text(text)) => Some((text.clone(), 0)),
        _ => {
            volume(value).map(|(volume, size)| (volume.to_string(), size.unwrap_or_default().get()))
        }
    };
    settings.iter().filter_map(named).collect()
}

/// Makes the volumes that are new.
fn allocate(node: &Node, before: &ObservedContainer, after: &ObservedContainer) {
    let old = volumes(&before.settings);
    for (volid, size) in volumes(&after.settings) {
        if !old.contains_key(&volid) {
            for line in tree::make(node, &volid, size) {
                println!("{line}");
            }
        }
    }
}

/// Frees the volumes of unused entries that were deleted.
fn freed(node: &Node, before: &ObservedContainer, after: &ObservedContainer) {
    let kept = volumes(&after.settings);
    for (key, value) in &before.settings {
        if let (Key::Unused(_), Value::Text(volid)) = (key, value)
            && !kept.contains_key(volid)
        {
            tree::free(node, volid);
        }
    }
}

/// A stopped container with a net that has no bridge: everything is written, and it fails.
fn complaint(file: &File, status: Status) -> Outcome {
    let net = |(key, text): (&String, &String)| key.starts_with("net") && !text.contains("bridge=");
    if status == Status::Running || !file.live.keys.iter().any(net) {
        return Ok(());
    }
    let uninitialized = |line: u32| {
        format!(
            "Use of uninitialized value $bridge in concatenation (.) or string at \
             /usr/share/perl5/PVE/Network.pm line {line}.\n"
        )
    };
    let text = format!(
        "{}{}bridge '' does not exist",
        uninitialized(129),
        uninitialized(130)
    );
    Err(Failure::new(2, text))
}
