//! What was seen on a node as the world that phoenix compares. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::devices;
use super::super::run::Stored;
use super::conf::{self, Conf};
use super::look::Look;
use crate::domain::ids::Ctid;
use crate::domain::observed::{
    Elsewhere, HostFacts, Lock, ObservedContainer, Receipt, ReceiptKey, Receipts, Status, Storage,
    TemplateState,
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
        let exact = std::str::from_utf8(bytes)
            .ok()
            .filter(|_| !look.told_by_pct);
        found.texts.insert(*ctid, exact.map(str::to_owned));
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
    for (snapshot, section) in seen.snapshots.iter_mut().flat_map(|snapshot| {
        let section = conf.snapshots().find(|(name, _)| *name == snapshot.name);
        section.map(|(_, section)| (snapshot, section))
    }) {
        snapshot.receipts = section
            .description()
            .as_deref()
            .map(heard)
            .unwrap_or_default();
    }
    // A root disk that is a directory or a device is one, although phoenix has no word for it.
    if !seen.settings.contains_key(&Key::Rootfs) && seen.lock.is_none() {
        // A creation that broke off, whose lock was taken away: it is cured all the same.
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
    (start == socket).then(|| conf::raw_lines(Conf::parse(lines).live()))
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
    Some(stored(text.strip_prefix("receipts\n")?.lines()))
}

/// What a snapshot's description says of the receipts on the disk that it preserves: of a disk
/// that is not mounted they could not be told otherwise.
const TOLD: &str = "phoenix receipt ";
/// Proxmox VE's limit of a description, less what its encoding can add.
const TOLD_MAX: usize = 4096;

/// The description of a snapshot of a disk with these receipts.
pub(super) fn told(receipts: &Receipts) -> String {
    let line = |(script, receipt): (&ReceiptKey, &Receipt)| {
        let stored = Stored {
            script: script.clone(),
            receipt: receipt.clone(),
        };
        let text = serde_json::to_string(&stored).ok()?;
        Some(format!("{TOLD}{text}"))
    };
    let lines: Vec<String> = receipts.iter().filter_map(line).collect();
    Some(lines.join("\n"))
        .filter(|text| text.len() <= TOLD_MAX)
        .unwrap_or_default()
}

fn heard(description: &str) -> Receipts {
    let lines = description
        .lines()
        .filter_map(|line| line.strip_prefix(TOLD));
    stored(lines)
}

fn stored<'a>(lines: impl Iterator<Item = &'a str>) -> Receipts {
    let stored = lines.filter_map(|line| serde_json::from_str::<Stored>(line).ok());
    stored
        .map(|stored| (stored.script, stored.receipt))
        .collect()
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

/// Storages that take the whole of a disk when it is made. On all others disks grow as they are
/// written, and more can be promised than there is.
const THICK: [&str; 2] = ["lvm", "iscsi"];

/// What `pvesm status` prints. One that is switched off is none; one that is full, or not there
/// at the moment, has no space.
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
        let limited = kib == 0 || THICK.contains(kind);
        let storage = Storage {
            kind: (*kind).to_owned(),
            free: limited.then(|| DiskSize::bytes(whole_mib(kib.saturating_mul(1024)))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::ScriptKind;
    use crate::domain::ids::{Digest, RunId};
    use crate::host::pct::look::Machine;

    fn id(number: u32) -> Ctid {
        number.try_into().expect("an id")
    }

    fn look(files: &[(&str, u32, &str)]) -> Look {
        let file = |(node, number, text): &(&str, u32, &str)| {
            ((*node).to_owned(), id(*number), text.as_bytes().to_vec())
        };
        Look {
            node: "pve1".to_owned(),
            files: Some(files.iter().map(file).collect()),
            ..Look::default()
        }
    }

    const ROOTFS: &str = "rootfs: local:100/vm-100-disk-0.raw,size=1G\n";

    #[test]
    fn containers_of_other_nodes_and_machines_take_their_ids() {
        let mut look = look(&[("pve1", 100, ROOTFS), ("pve2", 101, ROOTFS)]);
        let machine = |node: &str, runs| Machine {
            node: node.to_owned(),
            runs,
        };
        look.machines = [
            (id(200), machine("pve1", true)),
            (id(201), machine("pve2", false)),
        ]
        .into();
        look.statistics =
            "pve2-node/pve2:1:2\npve2.3-vm/201:0:db:stopped:0:1:2\npve2.3-vm/101:5:web:running:0\n"
                .to_owned();
        let facts = facts(&look);
        assert_eq!(
            containers(&look).seen.keys().copied().collect::<Vec<_>>(),
            [id(100)]
        );
        assert_eq!(
            facts.elsewhere,
            [
                (id(101), Elsewhere::container("pve2")),
                (id(200), Elsewhere::machine("pve1")),
                (id(201), Elsewhere::machine("pve2")),
            ]
            .into()
        );
        assert_eq!(
            facts.guests,
            Some(
                [
                    (id(100), Status::Stopped),
                    (id(101), Status::Running),
                    (id(200), Status::Running),
                    (id(201), Status::Stopped),
                ]
                .into()
            )
        );
    }

    #[test]
    fn a_container_without_a_root_disk_is_half_made_whatever_became_of_its_lock() {
        for text in ["", "lock: create\n", "arch: amd64\nhostname: x\n"] {
            let look = look(&[("pve1", 100, text)]);
            assert!(containers(&look).seen[&id(100)].half_created(), "{text}");
        }
        let gone = look(&[("pve1", 100, "lock: destroyed\n")]);
        assert!(containers(&gone).seen[&id(100)].half_destroyed());
        for text in [
            "lock: backup\n",
            ROOTFS,
            "lock: create\nrootfs: local:1/x.raw,size=1G\n",
            "rootfs: /dev/vg/ct100,size=1G\n",
        ] {
            let look = look(&[("pve1", 100, text)]);
            assert!(!containers(&look).seen[&id(100)].half_created(), "{text}");
        }
    }

    #[test]
    fn raw_lines_of_a_running_container_wait_for_its_next_start() {
        let text = format!("{ROOTFS}lxc.cap.drop: a\nlxc.idmap: u 0 1 2\n");
        let mut look = look(&[("pve1", 100, &text)]);
        let key = |name: &str| Key::Lxc(name.to_owned());
        let lines = |lines: &[&str]| Value::Lines(lines.iter().map(|l| (*l).to_owned()).collect());
        let seen = |look: &Look| containers(look).seen[&id(100)].as_ref().clone();
        // It runs with what it was started with.
        look.running = [(id(100), "77".to_owned())].into();
        look.given = [(
            id(100),
            "77\nlxc.cap.drop: a\nlxc.environment: X=1\n".to_owned(),
        )]
        .into();
        let waiting = seen(&look);
        assert_eq!(waiting.live(&key("lxc.environment")), Some(lines(&["X=1"])));
        assert_eq!(
            waiting.pending,
            [
                (key("lxc.idmap"), Some(lines(&["u 0 1 2"]))),
                (key("lxc.environment"), None)
            ]
            .into()
        );
        // Written from what is seen, the note says the same again.
        assert_eq!(
            note("77", &waiting),
            "77\nlxc.cap.drop: a\nlxc.environment: X=1\n"
        );
        // Once it was started again, the note is of the past.
        look.running = [(id(100), "78".to_owned())].into();
        assert!(seen(&look).pending.is_empty());
        // Nor does one that is stopped wait for anything.
        look.running.clear();
        assert!(seen(&look).pending.is_empty());
    }

    #[test]
    fn receipts_are_read_from_a_container_and_from_the_description_of_a_snapshot() {
        let receipt = Receipt {
            ctid: id(100),
            content: Digest::of(b"a"),
            inputs: Digest::of(b"b"),
            run: RunId::NONE,
        };
        let key = ReceiptKey {
            kind: ScriptKind::Feature,
            name: "docker".to_owned(),
        };
        let all: Receipts = [(key.clone(), receipt.clone())].into();
        let told = told(&all);
        let description: String = told.lines().map(|line| format!("#{line}\n")).collect();
        let text = format!(
            "{ROOTFS}[golden]\n{description}{ROOTFS}snaptime: 1\n[other]\n#by hand\n{ROOTFS}snaptime: 2\n"
        );
        let mut look = look(&[("pve1", 100, &text)]);
        look.running = [(id(100), "77".to_owned())].into();
        let seen = containers(&look).seen[&id(100)].as_ref().clone();
        assert_eq!(seen.receipts, None, "it did not answer");
        assert_eq!(seen.snapshots[0].receipts, all);
        assert_eq!(seen.snapshots[1].receipts, Receipts::new());
        let stored = serde_json::to_string(&Stored {
            script: key,
            receipt,
        })
        .expect("a text");
        let answer = format!("receipts\nnonsense\n{stored}\n{{}}\n");
        look.receipts = [(id(100), answer.into_bytes())].into();
        assert_eq!(containers(&look).seen[&id(100)].receipts, Some(all));
    }

    #[test]
    fn storages_are_those_of_pvesm() {
        // As it was recorded, and with one that is away and one that is switched off.
        let text = "Name         Type     Status           Total            Used       Available        %\n\
            btr         btrfs     active         8388608            5920         7846912    0.07%\n\
            local         dir     active       264212084        15086616        80199272    5.71%\n\
            raid          lvm     active         8388608            5920         7846912    0.07%\n\
            nas           nfs   inactive               0               0               0    0.00%\n\
            old           dir   disabled               0               0               0      N/A\n";
        let found = storages(text);
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            ["btr", "local", "nas", "raid"]
        );
        assert_eq!(found["btr"].kind, "btrfs");
        assert_eq!(found["btr"].free, None);
        assert_eq!(found["raid"].free, Some(DiskSize::bytes(7663 << 20)));
        assert_eq!(found["nas"].free, Some(DiskSize::bytes(0)));
    }

    #[test]
    fn templates_that_can_be_downloaded_are_listed_with_their_section() {
        let text = "system          debian-12-standard_12.7-1_amd64.tar.zst\nmail            proxmox-mailgateway-8.1-standard_8.1-1_amd64.tar.zst\n";
        assert!(available(text).contains("debian-12-standard_12.7-1_amd64.tar.zst"));
        assert_eq!(available(text).len(), 2);
    }
}
