//! What was seen on a node as the world that phoenix compares. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::devices;
use super::super::run::Stored;
use super::conf::{self, Conf};
use super::look::Look;
use crate::domain::ids::Ctid;
use crate::domain::observed::{
    Elsewhere, HostFacts, Lock, ObservedContainer, Receipts, Status, Storage, TemplateState,
};
use crate::domain::setting::{Key, Settings, Value};
use crate::domain::units::DiskSize;

/// The containers of this node, and the texts that they were read from.
#[derive(Debug, Default)]
pub(super) struct Containers {
    pub(super) seen: BTreeMap<Ctid, Arc<ObservedContainer>>,
    /// None: not a text that could be written back.
    pub(super) texts: BTreeMap<Ctid, Option<String>>,
}

/// The containers of the node that was asked.
pub(super) fn containers(look: &Look) -> Containers {
    let mut found = Containers::default();
    for (node, ctid, bytes) in look.files.iter().flatten() {
        if *node != look.node {
            continue;
        }
        let text = String::from_utf8_lossy(bytes);
        let seen = container(look, *ctid, &text);
        found.seen.insert(*ctid, Arc::new(seen));
        let exact = std::str::from_utf8(bytes).ok().map(str::to_owned);
        found.texts.insert(*ctid, exact);
    }
    found
}

fn container(look: &Look, ctid: Ctid, text: &str) -> ObservedContainer {
    let conf = Conf::parse(text);
    let socket = look.running.get(&ctid);
    let status = match socket {
        Some(_) => Status::Running,
        None => Status::Stopped,
    };
    let receipts = socket.and_then(|_| receipts(look.receipts.get(&ctid)?));
    let mut seen = conf::observed(&conf, ctid, status, receipts);
    if seen.rootfs().is_none() && matches!(seen.lock, None | Some(Lock::Destroyed)) {
        // A creation whose lock was taken away, or a removal that broke off: neither can be
        // used, and both are cured as a creation that broke off is.
        seen.lock = Some(Lock::Create);
    }
    if let (Some(socket), Some(note)) = (socket, look.given.get(&ctid))
        && let Some(given) = given(note, socket)
    {
        show_waiting(&mut seen, &given);
    }
    seen
}

/// What a running container was started with, if a note is of this very start.
pub(super) fn given(note: &str, socket: &str) -> Option<Settings> {
    let (start, lines) = note.split_once('\n')?;
    (start == socket).then(|| raw(&Conf::parse(lines)))
}

/// The note of what a container was started with.
pub(super) fn note(socket: &str, seen: &ObservedContainer) -> String {
    let mut text = format!("{socket}\n");
    for (key, value) in &seen.settings {
        if let (Key::Lxc(name), Value::Lines(lines)) = (key, value) {
            for line in lines {
                text.push_str(&format!("{name}: {line}\n"));
            }
        }
    }
    text
}

fn raw(conf: &Conf) -> Settings {
    let mut settings = Settings::new();
    for (name, text) in conf.live().lxc() {
        let lines = settings
            .entry(Key::Lxc(name.to_owned()))
            .or_insert_with(|| Value::Lines(Vec::new()));
        if let Value::Lines(lines) = lines {
            lines.push(text.to_owned());
        }
    }
    settings
}

/// Proxmox VE has no word for a raw line that was written while the container runs: it counts
/// from the next start on.
fn show_waiting(seen: &mut ObservedContainer, given: &Settings) {
    let is_raw = |key: &&Key| matches!(key, Key::Lxc(_));
    let keys: BTreeSet<Key> = seen
        .settings
        .keys()
        .chain(given.keys())
        .filter(is_raw)
        .cloned()
        .collect();
    for key in keys {
        let (live, filed) = (given.get(&key).cloned(), seen.settings.get(&key).cloned());
        if live == filed {
            continue;
        }
        match live {
            Some(live) => _ = seen.settings.insert(key.clone(), live),
            None => _ = seen.settings.remove(&key),
        }
        seen.pending.insert(key, filed);
    }
}

/// The receipts that a container showed; none: it did not answer.
fn receipts(answer: &[u8]) -> Option<Receipts> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.strip_prefix("receipts\n")?.lines();
    let stored = lines.filter_map(|line| serde_json::from_str::<Stored>(line).ok());
    Some(
        stored
            .map(|stored| (stored.script, stored.receipt))
            .collect(),
    )
}

/// The node itself.
pub(super) fn facts(look: &Look) -> HostFacts {
    let files = look.files.iter().flatten();
    let other = files.filter(|(node, ..)| *node != look.node);
    let mut elsewhere: BTreeMap<Ctid, Elsewhere> = other
        .map(|(node, ctid, _)| (*ctid, Elsewhere::container(node)))
        .collect();
    let machines = look.machines.iter();
    elsewhere.extend(machines.map(|(ctid, machine)| (*ctid, Elsewhere::machine(&machine.node))));
    HostFacts {
        boot_id: look.boot.clone(),
        storages: storages(look.storages.as_deref().unwrap_or_default()),
        bridges: look.bridges.clone(),
        templates: look
            .templates
            .iter()
            .map(|volid| (archive(volid).to_owned(), TemplateState::Present))
            .collect(),
        directories: look.directories.clone(),
        device_majors: devices::majors(&look.devices),
        guests: Some(guests(look)),
        node: Some(look.node.clone()),
        elsewhere,
    }
}

/// The file name in `STORAGE:vztmpl/FILE`.
pub(super) fn archive(volid: &str) -> &str {
    volid.rsplit('/').next().unwrap_or(volid)
}

/// Every guest of the cluster, and whether it runs. Of one on another node the cluster's
/// statistics tell; one of which they tell nothing counts as running, so that nothing is refused
/// for want of knowledge.
fn guests(look: &Look) -> BTreeMap<Ctid, Status> {
    let status = |runs| {
        if runs {
            Status::Running
        } else {
            Status::Stopped
        }
    };
    let statistics = statistics(&look.statistics);
    let far = |ctid: &Ctid| statistics.get(ctid).copied().unwrap_or(Status::Running);
    let containers = look.files.iter().flatten().map(|(node, ctid, _)| {
        let here = *node == look.node;
        let found = if here {
            status(look.running.contains_key(ctid))
        } else {
            far(ctid)
        };
        (*ctid, found)
    });
    let machines = look.machines.iter().map(|(ctid, machine)| {
        let here = machine.node == look.node;
        (
            *ctid,
            if here {
                status(machine.runs)
            } else {
                far(ctid)
            },
        )
    });
    containers.chain(machines).collect()
}

/// Lines `pve2.3-vm/ID:UPTIME:NAME:STATUS:…` of `/etc/pve/.rrd`.
fn statistics(text: &str) -> BTreeMap<Ctid, Status> {
    let guest = |line: &str| {
        let (kind, rest) = line.split_once('/')?;
        let mut fields = rest.split(':');
        let ctid = fields.next()?.parse().ok()?;
        let status = match (kind.contains("-vm"), fields.nth(2)?) {
            (true, "running") => Status::Running,
            (true, "stopped") => Status::Stopped,
            _ => return None,
        };
        Some((ctid, status))
    };
    text.lines().filter_map(guest).collect()
}

/// What `pvesm status` prints. One that is switched off is none; one that is not there at the
/// moment has no space.
fn storages(text: &str) -> BTreeMap<String, Storage> {
    let storage = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, kind, status, _, _, available, ..] = words.as_slice() else {
            return None;
        };
        let kib: u64 = match *status {
            "active" => available.parse().ok()?,
            "inactive" => 0,
            _ => return None,
        };
        let storage = Storage {
            kind: (*kind).to_owned(),
            free: Some(DiskSize::bytes(whole_mib(kib.saturating_mul(1024)))),
        };
        Some(((*name).to_owned(), storage))
    };
    text.lines().filter_map(storage).collect()
}

/// In whole MiB: nobody wants to read more.
fn whole_mib(bytes: u64) -> u64 {
    bytes >> 20 << 20
}

/// File names that `pveam available` lists: a section, blanks, a name.
pub(super) fn available(text: &str) -> BTreeSet<String> {
    let name = |line: &str| Some(line.split_whitespace().nth(1)?.to_owned());
    text.lines().filter_map(name).collect()
}
