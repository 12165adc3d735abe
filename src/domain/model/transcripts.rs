//! Recorded sessions of the real `pct` (Proxmox VE 8.4, pve-container 5.3.5), replayed.
//!
//! Each table is a session: a command, and what the real tool said to it; `ok` when it was silent,
//! or `show` with the configuration and the pending values that it printed afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::action::{Action, CloneSpec, CreateSpec, Mark};
use super::super::desired::Template;
use super::super::ids::{Ctid, JournalId, RunId};
use super::super::observed::{
    HostFacts, ObservedContainer, ObservedWorld, Status, Storage, TemplateState,
};
use super::super::setting::{Changes, Key, Settings, Value};
use super::super::units::DiskSize;
use super::{Effect, Operation, after, operated};

fn ctid(text: &str) -> Ctid {
    text.parse().expect("an id")
}

fn mark(of: Ctid) -> Mark {
    Mark {
        journal: JournalId(uuid::Uuid::nil()),
        ctid: of,
    }
}

fn setting(pair: &str) -> (Key, Value) {
    let (key, value) = pair.split_once(['=', ':']).expect("KEY=VALUE");
    let key: Key = key.parse().expect("a key");
    let value = key.parse_value(value.trim_start()).expect("a value");
    (key, value)
}

/// A host as the one of the recordings: a directory, a btrfs, one bridge, two archives.
fn host() -> HostFacts {
    let storage = |kind: &str| Storage {
        kind: kind.to_owned(),
        free: None,
    };
    let templates = [
        "alpine-bb_3.19_amd64.tar.gz",
        "debian-12-standard_12.7-1_amd64.tar.zst",
    ];
    HostFacts {
        storages: [
            ("local".to_owned(), storage("dir")),
            ("btr".to_owned(), storage("btrfs")),
        ]
        .into(),
        bridges: ["vmbr0".to_owned()].into(),
        templates: templates
            .map(|file| (file.to_owned(), TemplateState::Present))
            .into(),
        ..HostFacts::default()
    }
}

/// A container with these lines of configuration.
fn container(status: Status, lines: &[&str]) -> ObservedContainer {
    let mut settings: Settings = lines.iter().map(|line| setting(line)).collect();
    let unprivileged = settings
        .remove(&Key::Other("unprivileged".to_owned()))
        .is_some();
    ObservedContainer {
        status,
        lock: None,
        template: false,
        unprivileged,
        mark: None,
        settings,
        pending: Changes::new(),
        receipts: Some(BTreeMap::new()),
        snapshots: Vec::new(),
    }
}

fn changes(words: &[&str]) -> Result<Changes, String> {
    let mut changes = Changes::new();
    for pair in words {
        if let Some(keys) = pair.strip_prefix("delete=") {
            for key in keys.split(',') {
                changes.insert(key.parse().map_err(|error| format!("{error}"))?, None);
            }
            continue;
        }
        let (key, value) = pair.split_once('=').expect("KEY=VALUE");
        let key: Key = key.parse().map_err(|error| format!("{error}"))?;
        let value = key
            .parse_value(value)
            .map_err(|error| format!("{key}: {error}"))?;
        changes.insert(key, Some(value));
    }
    Ok(changes)
}

/// `create ID TEMPLATE rootfs=STORAGE:GIB KEY=VALUE…`
fn create(id: Ctid, words: &[&str]) -> Result<Action, String> {
    let mut settings = Settings::new();
    let (mut storage, mut disk, mut unprivileged) = ("local".to_owned(), DiskSize::gib(4), false);
    for (key, value) in changes(&words[1..])? {
        match (key, value) {
            (Key::Rootfs, Some(Value::Rootfs(rootfs))) => {
                (storage, disk) = (rootfs.volume.storage, rootfs.size);
            }
            (Key::Other(name), _) if name == "unprivileged" => unprivileged = true,
            (key, Some(value)) => _ = settings.insert(key, value),
            (_, None) => {}
        }
    }
    let template = Template {
        file: words[0].to_owned(),
        storage: None,
    };
    let mark = mark(id);
    Ok(Action::Create(Box::new(CreateSpec {
        template,
        storage,
        disk,
        unprivileged,
        settings,
        mark,
    })))
}

fn perform(world: &ObservedWorld, command: &str) -> Result<(Ctid, Effect), String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let id = ctid(words[1]);
    let name = || words[2].to_owned();
    let by_hand = |operation: Operation| operated(world, id, &operation);
    let act = |action: Action| after(world, id, &action, RunId::NONE);
    let effect = match words[0] {
        "set" => by_hand(Operation::Set {
            changes: changes(&words[2..])?,
        }),
        "start" => act(Action::Start),
        "reboot" => act(Action::Restart { keys: Vec::new() }),
        "stop" => by_hand(Operation::Stop),
        "destroy" => by_hand(Operation::Destroy),
        "unlock" => act(Action::Unlock),
        "template" => by_hand(Operation::Template),
        "rollback" => by_hand(Operation::Rollback { name: name() }),
        "delsnapshot" => by_hand(Operation::DeleteSnapshot { name: name() }),
        "snapshot" => act(Action::Snapshot { name: name() }),
        "resize" => act(Action::Resize {
            disk: words[2].parse().expect("a disk"),
            size: words[3].parse().expect("a size"),
            was: None,
        }),
        "create" => act(create(id, &words[2..])?),
        "clone" => {
            // clone NEW SOURCE SNAPSHOT HOSTNAME STORAGE
            act(Action::Clone(Box::new(CloneSpec {
                source: ctid(words[2]),
                snapshot: words[3].to_owned(),
                hostname: words[4].to_owned(),
                storage: words[5].to_owned(),
                mark: mark(id),
            })))
        }
        other => panic!("{other}"),
    };
    effect
        .map(|effect| (id, effect))
        .map_err(|refusal| refusal.to_string())
}

/// What a container shows, in the manner of `pct config --current`, `pct pending` and
/// `pct status`. Generated hardware addresses are shown as `NEW`.
fn shown(container: &ObservedContainer) -> Vec<String> {
    let text = |value: &Value| match value.to_string() {
        text if text.contains("hwaddr=BC:24:11:") && !text.contains("hwaddr=BC:24:11:AA:BB:0C") => {
            let (head, tail) = text.split_once("hwaddr=").expect("just seen");
            format!("{head}hwaddr=NEW{}", &tail[17..])
        }
        text => text,
    };
    let mut lines: Vec<String> = container
        .settings
        .iter()
        .map(|(key, value)| format!("{key}: {}", text(value)))
        .collect();
    lines.extend(container.lock.map(|lock| format!("lock: {lock}")));
    lines.extend(container.template.then(|| "template: 1".to_owned()));
    lines.extend(container.unprivileged.then(|| "unprivileged: 1".to_owned()));
    lines.sort();
    for (key, value) in &container.pending {
        lines.push(match value {
            Some(value) => format!("new {key}: {}", text(value)),
            None => format!("del {key}"),
        });
    }
    lines.extend(
        container
            .snapshots
            .iter()
            .map(|snapshot| format!("snapshot {}", snapshot.name)),
    );
    lines.push(container.status.to_string());
    lines
}

/// Plays a session. Each entry: a command and what it answers, or `show ID` and the lines that
/// must be among what is shown (those with `!` in front must not).
fn play(mut world: ObservedWorld, session: &[(&str, &str)]) -> ObservedWorld {
    for (command, expected) in session {
        if let Some(id) = command.strip_prefix("show ") {
            let lines = shown(&world.containers[&ctid(id)]);
            for line in expected
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
            {
                match line.strip_prefix('!') {
                    Some(line) => assert!(
                        !lines.iter().any(|shown| shown.starts_with(line)),
                        "{line} in {lines:#?}"
                    ),
                    None => assert!(
                        lines.iter().any(|shown| shown == line),
                        "{line} in {lines:#?}"
                    ),
                }
            }
            continue;
        }
        match perform(&world, command) {
            Ok((id, effect)) => {
                assert_eq!(*expected, "ok", "{command} was done");
                world.absorb(id, effect);
            }
            Err(refusal) => assert_eq!(refusal, *expected, "{command}"),
        }
    }
    world
}

fn with(id: &str, container: ObservedContainer) -> ObservedWorld {
    ObservedWorld {
        host: host(),
        containers: [(ctid(id), Arc::new(container))].into(),
    }
}

const NET0: &str = "net0: name=eth0,bridge=vmbr0,gw=10.99.0.1,hwaddr=BC:24:11:AA:BB:0C,ip=10.99.0.101/24,type=veth";

/// Container 100 of the recordings, running.
fn running_100() -> ObservedWorld {
    let lines = [
        "arch: amd64",
        "hostname: ct100",
        "memory: 512",
        "net0: name=eth0,bridge=vmbr0,gw=10.99.0.1,hwaddr=bc:24:11:aa:bb:0c,ip=10.99.0.100/24,type=veth",
        "ostype: alpine",
        "rootfs: local:100/vm-100-disk-0.raw,size=1G",
        "swap: 512",
    ];
    with("100", container(Status::Running, &lines))
}

#[test]
fn session_03_what_plugs_in_and_what_waits() {
    play(
        running_100(),
        &[
            ("set 100 memory=256 cores=1", "ok"),
            (
                "set 100 hostname=newname onboot=1 startup=order=2,up=5,down=10 tags=b;a \
                 description=x nameserver=1.1.1.1 searchdomain=ex.org",
                "ok",
            ),
            ("set 100 features=nesting=1", "ok"),
            (
                "show 100",
                "cores: 1
                 description: x
                 hostname: newname
                 memory: 256
                 onboot: 1
                 startup: order=2,up=5,down=10
                 tags: a;b
                 !nameserver
                 !searchdomain
                 !features
                 new nameserver: 1.1.1.1
                 new searchdomain: ex.org
                 new features: nesting=1
                 running",
            ),
        ],
    );
}

#[test]
fn session_04_mounts_and_networks_on_a_running_container() {
    play(
        running_100(),
        &[
            ("set 100 mp0=local:1,mp=/data", "ok"),
            ("set 100 mp1=/srv/host,mp=/mnt/h", "ok"),
            ("set 100 mp2=local:0.5,mp=/d2,ro=1,backup=1", "ok"),
            (
                "show 100",
                "mp0: local:100/vm-100-disk-1.raw,mp=/data,size=1G
                 mp1: /srv/host,mp=/mnt/h
                 mp2: local:100/vm-100-disk-2.raw,mp=/d2,backup=1,ro=1,size=512M
                 !new ",
            ),
            ("set 100 net2=name=eth2,bridge=nobridge", "bridge 'nobridge' does not exist"),
            ("set 100 cores=2 cpulimit=1.5 cpuunits=512 swap=0", "ok"),
            ("set 100 memory=64", "ok"),
            ("set 100 unprivileged=1", "unable to modify read-only option: 'unprivileged'"),
            ("set 100 ostype=debian", "ok"),
            ("set 100 arch=i386", "ok"),
            ("set 100 tty=3 cmode=shell console=0 timezone=host protection=1", "ok"),
            (
                "set 100 net0=name=eth0,bridge=vmbr0,ip=10.99.0.101/24,gw=10.99.0.1,\
                 hwaddr=BC:24:11:AA:BB:0C",
                "ok",
            ),
            ("set 100 net1=name=eth1,bridge=vmbr0,ip=dhcp,ip6=auto,firewall=0", "ok"),
            (
                "show 100",
                "arch: amd64
                 cores: 2
                 cpulimit: 1.5
                 cpuunits: 512
                 memory: 64
                 net0: name=eth0,bridge=vmbr0,gw=10.99.0.1,hwaddr=BC:24:11:AA:BB:0C,ip=10.99.0.101/24,type=veth
                 net1: name=eth1,bridge=vmbr0,firewall=0,hwaddr=NEW,ip=dhcp,ip6=auto,type=veth
                 ostype: alpine
                 protection: 1
                 swap: 0
                 new arch: i386
                 new cmode: shell
                 new console: 0
                 new ostype: debian
                 new timezone: host
                 new tty: 3",
            ),
        ],
    );
}

#[test]
fn session_05_deletions_and_the_stop_that_writes_what_waits() {
    let world = play(
        running_100(),
        &[
            (
                "set 100 mp2=local:0.5,mp=/d2 nameserver=1.1.1.1 protection=1",
                "ok",
            ),
            (
                "set 100 delete=net1,mp2",
                "can't remove CT 100 drive 'mp2' - protection mode enabled",
            ),
            (
                "set 100 delete=nosuchkey",
                "delete: unknown option 'nosuchkey'",
            ),
            (
                "set 100 delete=memory",
                "unable to delete required option 'memory'",
            ),
            ("set 100", "no options specified"),
            ("set 100 protection=0", "ok"),
            ("set 100 delete=protection", "ok"),
            (
                "show 100",
                "!nameserver\n!protection\nnew nameserver: 1.1.1.1",
            ),
            ("stop 100", "ok"),
            ("show 100", "nameserver: 1.1.1.1\n!new \nstopped"),
        ],
    );
    assert!(world.containers[&ctid("100")].pending.is_empty());
}

#[test]
fn session_07_disks() {
    play(
        running_100(),
        &[
            ("set 100 mp0=local:1,mp=/data mp1=/srv/host,mp=/mnt/h", "ok"),
            ("set 100 net1=name=eth1,bridge=vmbr0", "ok"),
            ("resize 100 rootfs 2G", "ok"),
            ("resize 100 rootfs 1G", "unable to shrink disk size"),
            ("resize 100 rootfs 2G", "disk is already at specified size"),
            ("resize 100 rootfs 2.5G", "ok"),
            ("resize 100 mp0 1536M", "ok"),
            ("resize 100 mp1 2G", "unable to parse volume ID '/srv/host'"),
            (
                "show 100",
                "mp0: local:100/vm-100-disk-1.raw,mp=/data,size=1536M
                 rootfs: local:100/vm-100-disk-0.raw,size=2560M",
            ),
            ("set 100 rootfs=local:100/vm-100-disk-0.raw,size=9G", "ok"),
            (
                "set 100 mp0=local:100/vm-100-disk-1.raw,mp=/data,size=7G",
                "ok",
            ),
            ("set 100 mp0=local:100/vm-100-disk-1.raw,mp=/data2", "ok"),
            (
                "show 100",
                "mp0: local:100/vm-100-disk-1.raw,mp=/data,size=1536M
                 new mp0: local:100/vm-100-disk-1.raw,mp=/data2
                 rootfs: local:100/vm-100-disk-0.raw,size=2560M
                 new rootfs: local:100/vm-100-disk-0.raw,size=9G",
            ),
            ("set 100 delete=mp0,net1", "ok"),
            (
                "show 100",
                "mp0: local:100/vm-100-disk-1.raw,mp=/data,size=1536M\ndel mp0\n!net1",
            ),
            // The recording reverts the deletion here; the same value again does that too.
            ("set 100 mp0=local:100/vm-100-disk-1.raw,mp=/data", "ok"),
            ("show 100", "!del mp0\n!new mp0"),
            ("set 100 mp0=local:100/vm-100-disk-1.raw,mp=/data2", "ok"),
            ("stop 100", "ok"),
            (
                "show 100",
                "mp0: local:100/vm-100-disk-1.raw,mp=/data2,size=1536M
                 rootfs: local:100/vm-100-disk-0.raw,size=9G
                 !new ",
            ),
            ("resize 100 rootfs 10G", "ok"),
            ("set 100 mp0=local:100/vm-100-disk-1.raw,mp=/data3", "ok"),
            (
                "show 100",
                "mp0: local:100/vm-100-disk-1.raw,mp=/data3,size=1536M",
            ),
        ],
    );
}

/// Container 100 of the recordings, stopped, with three mounts.
fn stopped_100() -> ObservedWorld {
    let lines = [
        "arch: amd64",
        "cores: 2",
        "hostname: newname",
        "memory: 64",
        "mp0: local:100/vm-100-disk-1.raw,mp=/data3,size=1536M",
        "mp1: /srv/host,mp=/mnt/h",
        "mp2: local:100/vm-100-disk-2.raw,mp=/d2,backup=1,ro=1,size=512M",
        NET0,
        "ostype: alpine",
        "rootfs: local:100/vm-100-disk-0.raw,size=10G",
        "swap: 0",
    ];
    with("100", container(Status::Stopped, &lines))
}

#[test]
fn session_08_a_stopped_container_takes_everything_at_once() {
    play(
        stopped_100(),
        &[
            ("set 100 mp3=local:0,mp=/subvol", "ok"),
            (
                "set 100 mp4=volume=local:1,mp=/x,acl=1,quota=0,backup=0,replicate=0,shared=1",
                "ok",
            ),
            ("set 100 mp5=nosuch:1,mp=/y", "storage 'nosuch' does not exist"),
            ("set 100 mp5=/nonexistent/host/dir,mp=/y", "ok"),
            ("set 100 net3=name=eth0,bridge=vmbr0", "ok"),
            (
                "set 100 net5=name=eth5,bridge=vmbr0,ip=manual,link_down=1,firewall=1,trunks=3;2",
                "ok",
            ),
            ("set 100 memory=8", "memory: value must have a minimum value of 16"),
            ("set 100 memory=128.5", "memory: type check ('integer') failed - got '128.5'"),
            ("set 100 cores=0", "cores: value must have a minimum value of 1"),
            ("set 100 onboot=yes", "ok"),
            ("set 100 onboot=no", "ok"),
            ("set 100 startup=up=5,order=3", "ok"),
            ("set 100 features=mount=nfs;cifs,nesting=yes", "ok"),
            (
                "set 100 hostname=bad_name!",
                "hostname: invalid format - value does not look like a valid DNS name",
            ),
            ("set 100 cpulimit=2.50 cpuunits=1024", "ok"),
            ("set 100 description=x", "ok"),
            ("set 100 description=", "ok"),
            ("set 100 bogus=1", "Unknown option: bogus"),
            (
                "show 100",
                "cpulimit: 2.50
                 features: mount=nfs;cifs,nesting=yes
                 mp3: local:100/subvol-100-disk-3.subvol,mp=/subvol,size=0T
                 mp4: local:100/vm-100-disk-4.raw,mp=/x,acl=1,backup=0,quota=0,replicate=0,shared=1,size=1G
                 mp5: /nonexistent/host/dir,mp=/y
                 net3: name=eth0,bridge=vmbr0,hwaddr=NEW,type=veth
                 net5: name=eth5,bridge=vmbr0,firewall=1,hwaddr=NEW,ip=manual,link_down=1,trunks=3;2,type=veth
                 onboot: 0
                 !description
                 !new ",
            ),
        ],
    );
}

#[test]
fn session_09_a_lock_stops_everything() {
    play(
        stopped_100(),
        &[
            (
                "set 100 mp3=local:0,mp=/subvol mp4=local:1,mp=/x mp5=/no/dir,mp=/y",
                "ok",
            ),
            ("set 100 lock=backup", "ok"),
            ("set 100 memory=128", "CT is locked (backup)"),
            ("start 100", "CT is locked (backup)"),
            ("snapshot 100 s1", "CT is locked (backup)"),
            ("clone 200 100 s1 copy local", "CT is locked (backup)"),
            ("destroy 100", "CT is locked (backup)"),
            ("resize 100 rootfs 11G", "CT is locked (backup)"),
            ("template 100", "CT is locked (backup)"),
            ("unlock 100", "ok"),
            ("unlock 100", "no lock found trying to remove any lock"),
            (
                "unlock 999",
                "Configuration file 'nodes/localhost/lxc/999.conf' does not exist",
            ),
            (
                "set 100 lock=bogus",
                "lock: value 'bogus' does not have a value in the enumeration 'backup, create, \
                 destroyed, disk, fstrim, migrate, mounted, rollback, snapshot, snapshot-delete'",
            ),
            ("set 100 delete=mp5,mp3,mp4", "ok"),
            (
                "show 100",
                "unused0: local:100/subvol-100-disk-3.subvol
                 unused1: local:100/vm-100-disk-4.raw
                 !mp3
                 !lock",
            ),
            ("start 100", "ok"),
            ("stop 100", "ok"),
        ],
    );
}

#[test]
fn session_10_snapshots() {
    play(
        stopped_100(),
        &[
            ("snapshot 100 s1", "snapshot feature is not available"),
            ("set 100 delete=mp1,mp0,mp2", "ok"),
            ("set 100 delete=unused0,unused1", "ok"),
            ("snapshot 100 s1", "snapshot feature is not available"),
            (
                "create 101 alpine-bb_3.19_amd64.tar.gz rootfs=btr:1 hostname=btct memory=128 \
                 unprivileged=1 net0=name=eth0,bridge=vmbr0,ip=10.99.0.101/24,type=veth \
                 features=nesting=1",
                "ok",
            ),
            (
                "show 101",
                "arch: amd64
                 features: nesting=1
                 hostname: btct
                 memory: 128
                 net0: name=eth0,bridge=vmbr0,hwaddr=NEW,ip=10.99.0.101/24,type=veth
                 ostype: alpine
                 rootfs: btr:101/vm-101-disk-0.raw,size=1G
                 swap: 512
                 unprivileged: 1
                 !new ",
            ),
            ("snapshot 101 s1", "ok"),
            ("start 101", "ok"),
            ("snapshot 101 s2", "ok"),
            ("set 101 memory=256", "ok"),
            ("snapshot 101 s3", "ok"),
            ("snapshot 101 s3", "snapshot name 's3' already used"),
            (
                "snapshot 101 current",
                "unable to use snapshot name 'current' (reserved name)",
            ),
            (
                "snapshot 101 vzdump",
                "unable to use snapshot name 'vzdump' (reserved name)",
            ),
            (
                "snapshot 101 9bad",
                "snapname: invalid format - invalid configuration ID '9bad'",
            ),
            ("rollback 101 s1", "ok"),
            ("show 101", "memory: 128\nstopped"),
            ("rollback 101 s3", "ok"),
            ("show 101", "memory: 256\nstopped"),
            ("delsnapshot 101 nosuch", "snapshot 'nosuch' does not exist"),
            ("delsnapshot 101 s2", "ok"),
            ("show 101", "snapshot s1\nsnapshot s3\n!snapshot s2"),
        ],
    );
}

#[test]
fn session_11_clones_and_templates() {
    let base = ObservedWorld {
        host: host(),
        ..ObservedWorld::default()
    };
    play(
        base,
        &[
            (
                "create 101 alpine-bb_3.19_amd64.tar.gz rootfs=btr:1 hostname=btct memory=128 \
                 unprivileged=1 net0=name=eth0,bridge=vmbr0,ip=10.99.0.101/24",
                "ok",
            ),
            ("snapshot 101 s1", "ok"),
            ("start 101", "ok"),
            ("set 101 memory=256", "ok"),
            ("clone 203 101 s1 cl3 btr", "ok"),
            (
                "clone 203 101 s1 cl3 btr",
                "CT 203 already exists on node 'localhost'",
            ),
            (
                "show 203",
                "hostname: cl3
                 memory: 128
                 net0: name=eth0,bridge=vmbr0,hwaddr=NEW,ip=10.99.0.101/24,type=veth
                 ostype: alpine
                 rootfs: btr:203/vm-203-disk-0.raw,size=1G
                 unprivileged: 1
                 !snapshot
                 stopped",
            ),
            (
                "clone 204 999 s1 x btr",
                "Configuration file 'nodes/localhost/lxc/999.conf' does not exist",
            ),
            (
                "clone 204 101 nosuch x btr",
                "snapshot 'nosuch' does not exist",
            ),
            (
                "clone 204 101 s1 x nosuch",
                "storage 'nosuch' does not exist",
            ),
            (
                "template 101",
                "unable to create template, because CT contains snapshots",
            ),
            ("stop 101", "ok"),
            (
                "template 101",
                "unable to create template, because CT contains snapshots",
            ),
            (
                "snapshot 101 x",
                "snapname: invalid format - invalid configuration ID 'x'",
            ),
            (
                "create 102 alpine-bb_3.19_amd64.tar.gz rootfs=btr:1 hostname=tpl memory=128",
                "ok",
            ),
            ("template 102", "ok"),
            ("template 102", "you can't convert a template to a template"),
            (
                "show 102",
                "rootfs: btr:102/base-102-disk-0.raw,size=1G\ntemplate: 1",
            ),
            ("start 102", "you can't start a CT if it's a template"),
            (
                "snapshot 102 tsnap",
                "you can't take a snapshot if it's a template",
            ),
            ("destroy 102", "ok"),
            (
                "destroy 102",
                "Configuration file 'nodes/localhost/lxc/102.conf' does not exist",
            ),
            (
                "create 103 alpine-bb_3.19_amd64.tar.gz rootfs=local:0 hostname=sv",
                "ok",
            ),
            (
                "show 103",
                "rootfs: local:103/subvol-103-disk-0.subvol,size=0T",
            ),
            ("snapshot 103 snap1", "snapshot feature is not available"),
            ("resize 103 rootfs 2G", "can't resize this image format"),
            (
                "create 104 alpine-bb_3.19_amd64.tar.gz rootfs=btr:0 hostname=sv \
                 mp0=btr:0,mp=/data,backup=1 mp1=/srv/host,mp=/host,ro=1",
                "ok",
            ),
            (
                "show 104",
                "mp0: btr:104/subvol-104-disk-1.subvol,mp=/data,backup=1,size=0T
                 mp1: /srv/host,mp=/host,ro=1
                 rootfs: btr:104/subvol-104-disk-0.subvol,size=0T",
            ),
            ("snapshot 104 snap1", "snapshot feature is not available"),
            // Session 14 goes on with this container.
            ("set 104 delete=mp1", "ok"),
            ("snapshot 104 snapA", "ok"),
            ("set 104 mp1=btr:1,mp=/later", "ok"),
            ("rollback 104 snapA", "ok"),
            ("show 104", "unused0: btr:104/vm-104-disk-2.raw\n!mp1"),
            ("set 104 delete=mp0", "ok"),
            ("show 104", "unused1: btr:104/subvol-104-disk-1.subvol"),
        ],
    );
}

#[test]
fn session_12_creation() {
    let base = ObservedWorld {
        host: host(),
        ..ObservedWorld::default()
    };
    play(
        base,
        &[
            (
                "create 300 nosuch.tar.gz",
                "volume 'local:vztmpl/nosuch.tar.gz' does not exist",
            ),
            (
                "create 300 alpine-bb_3.19_amd64.tar.gz rootfs=nosuch:1",
                "storage 'nosuch' does not exist",
            ),
            (
                "create 300 alpine-bb_3.19_amd64.tar.gz memory=5",
                "memory: value must have a minimum value of 16",
            ),
            ("create 300 alpine-bb_3.19_amd64.tar.gz bogus=1", "Unknown option: bogus"),
            (
                "create 300 alpine-bb_3.19_amd64.tar.gz rootfs=local:0 \
                 net0=name=eth0,bridge=nosuchbr",
                "ok",
            ),
            (
                "show 300",
                "arch: amd64
                 hostname: CT300
                 memory: 512
                 net0: name=eth0,bridge=nosuchbr,hwaddr=NEW,type=veth
                 ostype: alpine
                 rootfs: local:300/subvol-300-disk-0.subvol,size=0T
                 swap: 512
                 stopped",
            ),
            (
                "create 300 alpine-bb_3.19_amd64.tar.gz",
                "CT 300 already exists on node 'localhost'",
            ),
            ("start 300", "bridge 'nosuchbr' does not exist"),
            ("destroy 300", "ok"),
            ("create 300 alpine-bb_3.19_amd64.tar.gz", "ok"),
            ("show 300", "rootfs: local:300/vm-300-disk-0.raw,size=4G"),
            ("destroy 300", "ok"),
            (
                "create 300 alpine-bb_3.19_amd64.tar.gz rootfs=local:0.25 \
                 hostname=Full.Example.ORG swap=0 tags=z,a unprivileged=1 \
                 net0=name=eth0,bridge=vmbr0,firewall=1,hwaddr=bc:24:11:00:00:01,ip=10.99.0.30/24 \
                 mp0=local:0.1,mp=/data features=nesting=1",
                "ok",
            ),
            ("start 300", "ok"),
            ("start 300", "CT 300 already running"),
            (
                "show 300",
                "hostname: Full.Example.ORG
                 mp0: local:300/vm-300-disk-1.raw,mp=/data,size=102M
                 net0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=bc:24:11:00:00:01,ip=10.99.0.30/24,type=veth
                 rootfs: local:300/vm-300-disk-0.raw,size=256M
                 tags: a;z
                 running",
            ),
            ("set 300 features=nesting=0", "ok"),
            ("set 300 mp1=/srv/host,mp=/h", "ok"),
            ("show 300", "features: nesting=1\nnew features: nesting=0\nmp1: /srv/host,mp=/h"),
            ("reboot 300", "ok"),
            ("show 300", "features: nesting=0\n!new \nrunning"),
            ("destroy 300", "unable to destroy CT 300 - container is running"),
            ("stop 300", "ok"),
            ("stop 300", "CT 300 not running"),
            ("destroy 300", "ok"),
        ],
    );
}

#[test]
fn session_16_normalisation() {
    let lines = [
        "hostname: CT700",
        "memory: 300",
        "rootfs: local:700/subvol-700-disk-0.subvol,size=0T",
    ];
    play(
        with("700", container(Status::Stopped, &lines)),
        &[
            (
                "set 700 net0=name=eth0,bridge=vmbr0,ip6=FD00::0001/64,ip=dhcp,tag=5,rate=1.0,\
                 mtu=1400,hwaddr=Bc:24:11:0a:0B:0c",
                "ok",
            ),
            (
                "set 700 net1=bridge=vmbr0,name=eth1,firewall=yes,link_down=no,ip=10.0.0.2/24",
                "ok",
            ),
            ("set 700 net2=name=eth2,hwaddr=02:00:00:00:00:01", "bridge '' does not exist"),
            ("set 700 mp0=/srv/host,mp=/a/b//c/,ro=yes,backup=1", "ok"),
            ("set 700 mp1=mp=/z,volume=local:0.1", "ok"),
            ("set 700 mp2=local:1,mp=/q,size=7G", "ok"),
            ("set 700 mp3=local:0,mp=/q2,size=7G", "ok"),
            ("set 700 swap=00 memory=0256 cpulimit=1 cores=02", "ok"),
            ("set 700 startup=order=1,up=30", "ok"),
            ("set 700 tags=x;x;Y", "ok"),
            (
                "set 700 features=nesting=1,nesting=0",
                "features: invalid format - duplicate key in comma-separated list property: nesting",
            ),
            ("set 700 features=keyctl=1,nesting=1", "ok"),
            ("set 700 nameserver=1.1.1.1,8.8.8.8", "ok"),
            ("set 700 dev0=/dev/fuse,mode=0666", "ok"),
            (
                "show 700",
                "cores: 2
                 dev0: /dev/fuse,mode=0666
                 features: keyctl=1,nesting=1
                 memory: 256
                 mp0: /srv/host,mp=/a/b//c/,backup=1,ro=1
                 mp1: local:700/vm-700-disk-1.raw,mp=/z,size=102M
                 mp2: local:700/vm-700-disk-2.raw,mp=/q,size=1G
                 mp3: local:700/subvol-700-disk-3.subvol,mp=/q2,size=0T
                 nameserver: 1.1.1.1 8.8.8.8
                 net0: name=eth0,bridge=vmbr0,hwaddr=Bc:24:11:0a:0B:0c,ip=dhcp,ip6=FD00::0001/64,mtu=1400,rate=1.0,tag=5,type=veth
                 net1: name=eth1,bridge=vmbr0,firewall=1,hwaddr=NEW,ip=10.0.0.2/24,link_down=0,type=veth
                 swap: 0
                 tags: x;y",
            ),
            ("set 700 delete=dev0,tags", "ok"),
            ("show 700", "!dev0\n!tags"),
        ],
    );
}

#[test]
fn session_17_one_key_that_fails_leaves_all_as_they_were() {
    let lines = [
        "hostname: UPPER",
        "memory: 256",
        "cores: 2",
        "nameserver: 1.1.1.1 8.8.8.8",
    ];
    play(
        with("700", container(Status::Running, &lines)),
        &[
            (
                "set 700 hostname=hh memory=192 net2=name=eth2,bridge=nobridge tags=q cores=1 \
                 nameserver=9.9.9.9",
                "bridge 'nobridge' does not exist",
            ),
            (
                "show 700",
                "hostname: UPPER\nmemory: 256\ncores: 2\n!tags\n!new ",
            ),
            ("set 700 memory=16", "ok"),
        ],
    );
}
