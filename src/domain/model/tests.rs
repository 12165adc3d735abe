//! What the recorded sessions do not reach.

use std::path::PathBuf;

use super::super::action::{CloneSpec, CreateSpec, Mark};
use super::super::desired::{HealthCheck, ScriptKind};
use super::super::ids::{Digest, JournalId};
use super::super::observed::{Lock, Storage};
use super::super::setting::{Changes, Key, Settings, Value};
use super::super::units::DiskSize;
use super::*;

fn ctid(number: u32) -> Ctid {
    Ctid::try_from(number).expect("an id")
}

fn template(file: &str) -> Template {
    Template {
        file: file.to_owned(),
        storage: None,
    }
}

fn mark(of: u32) -> Mark {
    Mark {
        journal: JournalId(uuid::Uuid::nil()),
        ctid: ctid(of),
    }
}

/// A host with one pool of so many GiB.
fn world(free: u32) -> ObservedWorld {
    let pool = Storage {
        kind: "zfspool".to_owned(),
        free: Some(DiskSize::gib(free)),
    };
    ObservedWorld {
        host: HostFacts {
            storages: [("pool".to_owned(), pool)].into(),
            bridges: ["vmbr0".to_owned()].into(),
            templates: [
                ("debian.tar".to_owned(), TemplateState::Present),
                ("far.tar".to_owned(), TemplateState::Downloadable),
            ]
            .into(),
            ..HostFacts::default()
        },
        ..ObservedWorld::default()
    }
}

fn changes(pairs: &[(&str, &str)]) -> Changes {
    let pair = |(key, value): &(&str, &str)| {
        let key: Key = key.parse().expect("a key");
        let value = key.parse_value(value).expect("a value");
        (key, Some(value))
    };
    pairs.iter().map(pair).collect()
}

fn create(of: u32, gib: u32, settings: &[(&str, &str)]) -> Action {
    let settings: Settings = changes(settings)
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    Action::Create(Box::new(CreateSpec {
        template: template("debian.tar"),
        storage: "pool".to_owned(),
        disk: DiskSize::gib(gib),
        unprivileged: true,
        settings,
        mark: mark(of),
    }))
}

fn clone(of: u32, source: u32) -> Action {
    Action::Clone(Box::new(CloneSpec {
        source: ctid(source),
        snapshot: "base".to_owned(),
        hostname: format!("copy{of}"),
        storage: "pool".to_owned(),
        mark: mark(of),
    }))
}

fn script(name: &str, place: Place) -> Action {
    Action::RunScript(Box::new(Script {
        name: name.to_owned(),
        kind: ScriptKind::Feature,
        place,
        path: PathBuf::from("/x"),
        content: Digest::of(b"content"),
        arguments: Vec::new(),
        inputs: Digest::of(b"inputs"),
        open_inputs: None,
    }))
}

fn snapshot() -> Action {
    Action::Snapshot {
        name: "base".to_owned(),
    }
}

/// Does it, and says what the host refused.
fn act(world: &mut ObservedWorld, of: u32, action: &Action) -> Result<(), Refusal> {
    let effect = after(world, ctid(of), action, RunId::NONE)?;
    world.absorb(ctid(of), effect);
    Ok(())
}

fn done(world: &mut ObservedWorld, of: u32, actions: &[Action]) {
    for action in actions {
        assert_eq!(act(world, of, action), Ok(()), "{action:?}");
    }
}

fn free(world: &ObservedWorld) -> String {
    let free = world.host.storages["pool"].free;
    free.map(|free| free.to_string()).expect("a limit")
}

fn container(world: &ObservedWorld, of: u32) -> &ObservedContainer {
    &world.containers[&ctid(of)]
}

#[test]
fn space_is_taken_grown_shared_and_given_back() {
    let mut world = world(10);
    done(
        &mut world,
        100,
        &[create(100, 2, &[("mp0", "pool:1,mp=/d")]), snapshot()],
    );
    assert_eq!(free(&world), "7G");
    done(&mut world, 101, &[clone(101, 100)]);
    assert_eq!(free(&world), "4G");
    let size = DiskSize::gib(4);
    done(
        &mut world,
        101,
        &[Action::Resize {
            disk: Key::Rootfs,
            size,
            was: None,
        }],
    );
    assert_eq!(free(&world), "2G");
    let refused = act(&mut world, 102, &create(102, 1, &[("mp0", "pool:2,mp=/d")]));
    assert_eq!(
        refused,
        Err(Refusal::OutOfSpace {
            storage: "pool".to_owned(),
            free: "1G".to_owned(),
            wanted: "2G".to_owned(),
        })
    );
    let size = DiskSize::gib(7);
    let refused = act(
        &mut world,
        101,
        &Action::Resize {
            disk: Key::Rootfs,
            size,
            was: None,
        },
    );
    assert!(matches!(refused, Err(Refusal::OutOfSpace { .. })));
    let gone = operated(&world, ctid(101), &Operation::Destroy).expect("stopped");
    world.absorb(ctid(101), gone);
    assert_eq!(free(&world), "7G");
}

#[test]
fn a_clone_takes_the_snapshots_disk_and_receipts_and_a_mark_and_addresses_of_its_own() {
    let mut world = world(10);
    done(
        &mut world,
        100,
        &[
            create(
                100,
                1,
                &[("net0", "name=eth0,bridge=vmbr0"), ("mp0", "pool:1,mp=/d")],
            ),
            Action::Start,
            script("docker", Place::Container),
            snapshot(),
            script("late", Place::Container),
        ],
    );
    done(&mut world, 101, &[clone(101, 100)]);
    let (source, copy) = (container(&world, 100), container(&world, 101));
    let receipts = copy.receipts.as_ref().expect("readable");
    assert_eq!(
        receipts.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["feature/docker"]
    );
    assert!(receipts.values().all(|receipt| receipt.ctid == ctid(100)));
    assert_eq!(copy.mark, Some(mark(101)));
    assert!(copy.unprivileged);
    assert_ne!(copy.settings[&Key::Net(0)], source.settings[&Key::Net(0)]);
    assert_eq!(
        copy.settings[&Key::Rootfs].to_string(),
        "pool:subvol-101-disk-0,size=1G"
    );
    assert_eq!(
        copy.settings[&Key::Mount(0)].to_string(),
        "pool:subvol-101-disk-1,mp=/d,size=1G"
    );
}

#[test]
fn a_bind_mount_is_in_the_way_of_snapshots_and_of_clones() {
    let mut world = world(10);
    done(
        &mut world,
        100,
        &[create(100, 1, &[("mp3", "/srv,mp=/srv")])],
    );
    assert_eq!(act(&mut world, 100, &snapshot()), Err(Refusal::NoSnapshots));
    let mut by_hand = container(&world, 100).clone();
    let taken = by_hand.preserved("base");
    by_hand.snapshots.push(taken);
    world.absorb(ctid(100), Effect::of(by_hand));
    assert_eq!(
        act(&mut world, 101, &clone(101, 100)),
        Err(Refusal::CloneBind(Key::Mount(3)))
    );
}

#[test]
fn a_script_needs_a_running_container_and_leaves_a_receipt_only_inside() {
    let mut world = world(10);
    done(&mut world, 100, &[create(100, 1, &[])]);
    let check = Action::CheckHealth(Box::new(HealthCheck {
        command: vec!["true".to_owned()],
        retries: 1,
        interval_s: 1,
        timeout_s: 1,
        open_digest: None,
    }));
    for action in [
        script("a", Place::Container),
        script("a", Place::Host),
        check.clone(),
    ] {
        let refused = act(&mut world, 100, &action);
        assert_eq!(
            refused,
            Err(Refusal::ExecNotRunning(ctid(100))),
            "{action:?}"
        );
    }
    done(
        &mut world,
        100,
        &[Action::Start, script("host", Place::Host), check],
    );
    assert_eq!(container(&world, 100).receipts, Some([].into()));
    done(&mut world, 100, &[script("inside", Place::Container)]);
    let receipts = container(&world, 100).receipts.clone().expect("readable");
    assert_eq!(receipts.len(), 1);
    let restart = Action::Restart { keys: Vec::new() };
    done(&mut world, 100, &[restart]);
    assert_eq!(container(&world, 100).receipts, Some(receipts));
}

#[test]
fn what_a_killed_creation_leaves_is_discarded_and_nothing_else_is() {
    let mut world = world(10);
    for (id, effect) in killed(&world, ctid(100), &create(100, 1, &[])).expect("possible") {
        world.absorb(id, effect);
    }
    assert!(container(&world, 100).half_created());
    assert_eq!(
        act(&mut world, 100, &Action::Start),
        Err(Refusal::Locked(Lock::Create))
    );
    assert_eq!(
        act(&mut world, 100, &create(100, 1, &[])),
        Err(Refusal::Exists(ctid(100)))
    );
    done(
        &mut world,
        100,
        &[Action::Discard { source: None }, create(100, 1, &[])],
    );
    let refused = act(&mut world, 100, &Action::Discard { source: None });
    assert_eq!(refused, Err(Refusal::NotHalfCreated(ctid(100))));
}

#[test]
fn a_killed_clone_leaves_its_source_locked_too() {
    let mut world = world(10);
    done(&mut world, 100, &[create(100, 1, &[]), snapshot()]);
    for (id, effect) in killed(&world, ctid(101), &clone(101, 100)).expect("possible") {
        world.absorb(id, effect);
    }
    assert!(container(&world, 101).half_created());
    assert_eq!(
        act(&mut world, 102, &clone(102, 100)),
        Err(Refusal::Locked(Lock::Disk))
    );
    done(&mut world, 100, &[Action::Unlock]);
    done(
        &mut world,
        101,
        &[Action::Discard { source: None }, clone(101, 100)],
    );
}

#[test]
fn a_killed_snapshot_is_no_snapshot_and_unlock_takes_it_away() {
    let mut world = world(10);
    done(&mut world, 100, &[create(100, 1, &[])]);
    for (id, effect) in killed(&world, ctid(100), &snapshot()).expect("possible") {
        world.absorb(id, effect);
    }
    assert_eq!(container(&world, 100).lock, Some(Lock::Snapshot));
    assert_eq!(container(&world, 100).snapshot("base"), None);
    assert_eq!(container(&world, 100).snapshots.len(), 1);
    done(&mut world, 100, &[Action::Unlock, snapshot()]);
    assert!(container(&world, 100).snapshot("base").is_some());
}

#[test]
fn a_killed_action_that_would_be_refused_leaves_nothing() {
    let world = world(10);
    let refused = killed(&world, ctid(101), &clone(101, 100));
    assert_eq!(refused, Err(Refusal::Missing { ctid: ctid(100) }));
    assert_eq!(
        killed(&world, ctid(1000), &create(1000, 1, &[])).map(|all| all.len()),
        Ok(1)
    );
}

#[test]
fn a_reboot_takes_down_what_does_not_start_at_boot_and_writes_what_waits() {
    let mut world = world(10);
    for (id, onboot) in [(100, "0"), (101, "1"), (102, "1")] {
        done(&mut world, id, &[create(id, 1, &[("onboot", onboot)])]);
    }
    for id in [100, 101] {
        let changes = changes(&[("nameserver", "1.1.1.1")]);
        done(
            &mut world,
            id,
            &[
                Action::Start,
                Action::Configure {
                    changes,
                    was: [].into(),
                },
            ],
        );
    }
    let world = rebooted(&world, "boot-2");
    assert_eq!(world.host.boot_id, "boot-2");
    let status: Vec<Status> = world.containers.values().map(|one| one.status).collect();
    assert_eq!(status, [Status::Stopped, Status::Running, Status::Running]);
    for id in [100, 101] {
        let container = container(&world, id);
        assert!(container.pending.is_empty());
        assert!(container.settings.contains_key(&Key::Nameserver));
    }
}

#[test]
fn a_directory_keeps_what_is_not_asked_for() {
    let mut world = world(10);
    let ensure = |owner, mode| {
        let path = "/srv/data".to_owned();
        Action::EnsureDirectory(DirectorySpec { path, owner, mode })
    };
    let state = |world: &ObservedWorld| world.host.directories["/srv/data"];
    done(&mut world, 100, &[ensure(None, None)]);
    assert_eq!(
        state(&world),
        Directory {
            uid: 0,
            gid: 0,
            mode: 0o755
        }
    );
    done(&mut world, 100, &[ensure(Some((1000, 1001)), None)]);
    assert_eq!(
        state(&world),
        Directory {
            uid: 1000,
            gid: 1001,
            mode: 0o755
        }
    );
    done(&mut world, 100, &[ensure(None, Some(0o700))]);
    assert_eq!(
        state(&world),
        Directory {
            uid: 1000,
            gid: 1001,
            mode: 0o700
        }
    );
}

#[test]
fn a_template_must_be_fetched_before_it_is_used() {
    let mut world = world(10);
    let Action::Create(spec) = create(100, 1, &[]) else {
        unreachable!()
    };
    let far = CreateSpec {
        template: template("far.tar"),
        ..*spec
    };
    let create = Action::Create(Box::new(far));
    let missing = Err(Refusal::NoTemplate("local:vztmpl/far.tar".to_owned()));
    assert_eq!(act(&mut world, 100, &create), missing);
    done(
        &mut world,
        100,
        &[Action::FetchTemplate(template("far.tar")), create],
    );
    let unknown = Action::FetchTemplate(template("none.tar"));
    assert!(matches!(
        act(&mut world, 100, &unknown),
        Err(Refusal::NoTemplate(_))
    ));
}

#[test]
fn an_address_is_new_each_time_a_network_is_set_without_one() {
    let mut world = world(10);
    let net = [("net0", "name=eth0,bridge=vmbr0")];
    done(&mut world, 100, &[create(100, 1, &net)]);
    let mut seen = vec![container(&world, 100).settings[&Key::Net(0)].to_string()];
    for _ in 0..3 {
        done(
            &mut world,
            100,
            &[Action::Configure {
                changes: changes(&net),
                was: [].into(),
            }],
        );
        let now = container(&world, 100).settings[&Key::Net(0)].to_string();
        assert!(!seen.contains(&now), "{now}");
        seen.push(now);
    }
}

#[test]
fn going_back_to_the_live_value_takes_the_waiting_one_away() {
    let mut world = world(10);
    let features = |text| Action::Configure {
        changes: changes(&[("features", text)]),
        was: [].into(),
    };
    let settings = [("features", "nesting=1"), ("mp0", "/a,mp=/a")];
    done(
        &mut world,
        100,
        &[
            create(100, 1, &settings),
            Action::Start,
            features("nesting=0"),
        ],
    );
    assert!(!container(&world, 100).pending.is_empty());
    done(&mut world, 100, &[features("nesting=1")]);
    assert!(container(&world, 100).pending.is_empty());
    let delete = |key: Key| Action::Configure {
        changes: [(key, None)].into(),
        was: [].into(),
    };
    done(
        &mut world,
        100,
        &[delete(Key::Mount(0)), delete(Key::Features)],
    );
    assert_eq!(container(&world, 100).pending.len(), 2);
    done(
        &mut world,
        100,
        &[Action::Configure {
            changes: changes(&settings),
            was: [].into(),
        }],
    );
    assert!(container(&world, 100).pending.is_empty());
}

#[test]
fn growing_a_disk_is_not_undone_by_a_change_of_it_that_waits() {
    let mut world = world(10);
    done(
        &mut world,
        100,
        &[create(100, 1, &[("mp0", "pool:1,mp=/a")]), Action::Start],
    );
    let Value::Mount(mut mount) = container(&world, 100).settings[&Key::Mount(0)].clone() else {
        panic!("a mount");
    };
    "/b".clone_into(&mut mount.path);
    let changes = [(Key::Mount(0), Some(Value::Mount(mount)))].into();
    let resize = Action::Resize {
        disk: Key::Mount(0),
        size: DiskSize::gib(2),
        was: None,
    };
    done(
        &mut world,
        100,
        &[
            Action::Configure {
                changes,
                was: [].into(),
            },
            resize,
        ],
    );
    let stopped = operated(&world, ctid(100), &Operation::Stop).expect("it runs");
    world.absorb(ctid(100), stopped);
    let shown = container(&world, 100).settings[&Key::Mount(0)].to_string();
    assert_eq!(shown, "pool:subvol-100-disk-1,mp=/b,size=2G");
}

#[test]
fn a_mount_is_taken_away_by_its_path_and_its_volume_is_kept() {
    let mut world = world(10);
    done(
        &mut world,
        100,
        &[create(100, 1, &[("mp5", "pool:1,mp=/a")])],
    );
    let unmount = |path: &str| Operation::Unmount {
        path: path.to_owned(),
    };
    let refused = operated(&world, ctid(100), &unmount("/b"));
    assert!(matches!(refused, Err(Refusal::NotMounted { .. })));
    let effect = operated(&world, ctid(100), &unmount("/a")).expect("mounted");
    world.absorb(ctid(100), effect);
    let container = container(&world, 100);
    assert!(!container.settings.contains_key(&Key::Mount(5)));
    assert_eq!(
        container.settings[&Key::Unused(0)].to_string(),
        "pool:subvol-100-disk-1"
    );
}

#[test]
fn a_protected_container_is_not_destroyed() {
    let mut world = world(10);
    done(&mut world, 100, &[create(100, 1, &[("protection", "1")])]);
    let refused = operated(&world, ctid(100), &Operation::Destroy);
    assert_eq!(refused, Err(Refusal::Protected(ctid(100))));
}

#[test]
fn an_action_by_its_serialised_form_does_the_same() {
    let mut world = world(10);
    for action in [
        create(100, 1, &[("net0", "name=eth0,bridge=vmbr0")]),
        snapshot(),
    ] {
        let text = serde_json::to_string(&action).expect("JSON");
        let again: Action = serde_json::from_str(&text).expect("an action");
        assert_eq!(again, action);
        done(&mut world, 100, &[again]);
    }
}

#[test]
fn deleting_what_only_waits_takes_the_waiting_value_away() {
    let mut world = world(10);
    let set = Action::Configure {
        changes: changes(&[("nameserver", "1.1.1.1")]),
        was: [].into(),
    };
    let delete = Action::Configure {
        changes: [(Key::Nameserver, None)].into(),
        was: [].into(),
    };
    done(&mut world, 100, &[create(100, 1, &[]), Action::Start, set]);
    assert_eq!(container(&world, 100).pending.len(), 1);
    done(&mut world, 100, &[delete]);
    assert!(container(&world, 100).pending.is_empty());
}

#[test]
fn a_stopped_container_takes_a_bridge_that_is_missing_until_it_starts() {
    let mut world = world(10);
    let set = Action::Configure {
        changes: changes(&[("net0", "name=eth0,bridge=none")]),
        was: [].into(),
    };
    done(&mut world, 100, &[create(100, 1, &[]), set]);
    let refused = act(&mut world, 100, &Action::Start);
    assert_eq!(refused, Err(Refusal::NoBridge("none".to_owned())));
}

#[test]
fn a_set_by_hand_is_read_from_pairs() {
    let set = |pairs: &[&str]| Operation::set(pairs.iter().copied());
    let read = set(&["memory=0128", "delete=mp0,tags", "lxc.a=1", "lxc.a=2"]).expect("pairs");
    let Operation::Set { changes } = read else {
        panic!("a set");
    };
    let shown: Vec<String> = changes
        .iter()
        .map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => format!("-{key}"),
        })
        .collect();
    assert_eq!(shown, ["memory=128", "-mp0", "lxc.a=1 | 2", "-tags"]);
    for (pair, text) in [
        ("memory", "memory: a pair KEY=VALUE is wanted"),
        ("memory=8", "memory: value must have a minimum value of 16"),
        (
            "a b=8",
            "a b: 'a b' is not a key of a container's configuration",
        ),
    ] {
        assert_eq!(
            set(&[pair]).map_err(|refusal| refusal.to_string()),
            Err(text.to_owned())
        );
    }
}
