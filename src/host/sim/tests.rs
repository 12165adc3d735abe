//! The simulated host as phoenix and as several processes use it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::domain::action::{CloneSpec, CreateSpec, DirectorySpec, Mark};
use crate::domain::desired::{
    DesiredContainer, DesiredState, DesiredVolume, OnUnknown, Origin, Place, Script, ScriptKind,
    Template,
};
use crate::domain::ids::{Digest, JournalId, RunId};
use crate::domain::observed::{Directory, Status};
use crate::domain::secret::Secret;
use crate::domain::setting::{Key, Settings, Value};
use crate::domain::step::Step;
use crate::domain::units::DiskSize;

fn ctid(number: u32) -> Ctid {
    Ctid::try_from(number).expect("an id")
}

fn facts(free_gb: Option<u32>) -> SimFacts {
    let kind = "zfspool".to_owned();
    SimFacts {
        storages: [("pool".to_owned(), SimStorage { kind, free_gb })].into(),
        bridges: ["vmbr0".to_owned()].into(),
        templates: ["debian.tar".to_owned()].into(),
        downloadable: ["far.tar".to_owned()].into(),
        ..SimFacts::default()
    }
}

fn options(dir: &TempDir) -> SimOptions {
    SimOptions {
        dir: dir.path().join("sim"),
        facts: facts(None),
        latency: Latency::None,
        faults: FaultPlan::default(),
        new_identity: Uuid::nil(),
    }
}

fn open(dir: &TempDir) -> SimHost {
    SimHost::open(options(dir)).expect("a host")
}

fn create(of: u32) -> Action {
    let net: Value = Key::Net(0)
        .parse_value("name=eth0,bridge=vmbr0")
        .expect("a net");
    Action::Create(Box::new(CreateSpec {
        template: Template {
            file: "debian.tar".to_owned(),
            storage: None,
        },
        storage: "pool".to_owned(),
        disk: DiskSize::gib(4),
        unprivileged: true,
        settings: Settings::from([(Key::Net(0), net)]),
        mark: Mark {
            journal: JournalId(Uuid::nil()),
            ctid: ctid(of),
        },
    }))
}

fn clone(of: u32, source: u32) -> Action {
    Action::Clone(Box::new(CloneSpec {
        source: ctid(source),
        snapshot: "base".to_owned(),
        hostname: format!("c{of}"),
        storage: "pool".to_owned(),
        mark: Mark {
            journal: JournalId(Uuid::nil()),
            ctid: ctid(of),
        },
    }))
}

fn snapshot() -> Action {
    Action::Snapshot {
        name: "base".to_owned(),
    }
}

fn set(key: Key, text: &str) -> Action {
    let value = key.parse_value(text).expect("a value");
    Action::Configure {
        changes: [(key, Some(value))].into(),
        was: [].into(),
    }
}

fn script(name: &str) -> Action {
    Action::RunScript(Box::new(Script {
        name: name.to_owned(),
        kind: ScriptKind::Feature,
        place: Place::Container,
        path: PathBuf::from("/x"),
        content: Digest::of(b"content"),
        arguments: Vec::new(),
        inputs: Digest::of(b"inputs"),
        open_inputs: None,
    }))
}

fn act(host: &SimHost, of: u32, action: &Action) -> Result<Applied, HostError> {
    let call = Call {
        run: RunId(Uuid::from_u128(7)),
        ctid: ctid(of),
        step: Step::EnsureContainerDefined,
        attempt: 1,
        intent: 42,
        document: Secret::new("{}"),
    };
    host.apply(&call, action)
}

fn done(host: &SimHost, of: u32, actions: &[Action]) {
    for action in actions {
        act(host, of, action).expect("done");
    }
}

fn hand(of: u32, operation: Operation) -> HandOperation {
    HandOperation::Container {
        ctid: ctid(of),
        operation,
    }
}

fn shown(host: &SimHost) -> String {
    host.show(None).expect("a world").to_string()
}

fn seen(host: &SimHost) -> ObservedWorld {
    host.observe(&ObserveRequest::default()).expect("a world")
}

fn log_path(dir: &TempDir) -> PathBuf {
    dir.path().join("sim/log.jsonl")
}

#[test]
fn what_was_done_is_there_when_the_host_is_opened_again() {
    let dir = TempDir::new().expect("a directory");
    let host = open(&dir);
    done(
        &host,
        100,
        &[create(100), Action::Start, script("docker"), snapshot()],
    );
    done(&host, 101, &[clone(101, 100)]);
    let (shown_before, seen_before) = (shown(&host), seen(&host));
    drop(host);
    let host = SimHost::open(SimOptions {
        new_identity: Uuid::max(),
        ..options(&dir)
    });
    let host = host.expect("a host");
    assert_eq!(shown(&host), shown_before);
    assert_eq!(seen(&host), seen_before);
    assert_eq!(
        host.identity().as_deref(),
        Ok("sim:00000000-0000-0000-0000-000000000000")
    );
    assert_eq!(host.observations(), 1);
}

#[test]
fn the_log_tells_who_did_what_for_which_intent() {
    let dir = TempDir::new().expect("a directory");
    let host = open(&dir);
    done(&host, 100, &[create(100)]);
    host.hand(hand(100, Operation::Start)).expect("done");
    host.hand(HandOperation::Reboot).expect("done");
    act(&host, 100, &create(100)).expect_err("it exists");
    let log = host.log().expect("a log");
    let told: Vec<_> = log
        .iter()
        .map(|entry| {
            (
                entry.n,
                entry.kind.as_str(),
                entry.run.is_some(),
                entry.intent,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "create", true, Some(42)),
            (2, "start", false, None),
            (3, "reboot", false, None)
        ]
    );
    assert_eq!(log[0].action, Some(create(100)));
}

#[test]
fn two_processes_and_their_threads_lose_nothing_and_do_nothing_twice() {
    let dir = TempDir::new().expect("a directory");
    let hosts = [open(&dir), open(&dir)];
    std::thread::scope(|scope| {
        for (index, host) in hosts.iter().enumerate() {
            for thread in 0..2_u32 {
                let first = 1000 + 100 * (2 * u32::try_from(index).expect("small") + thread);
                scope.spawn(move || {
                    for of in first..first + 25 {
                        done(
                            host,
                            of,
                            &[create(of), Action::Start, script("a"), snapshot()],
                        );
                        // All want this one; one of them gets it.
                        let _ = act(host, 500, &create(500));
                    }
                });
            }
        }
    });
    let log = hosts[0].log().expect("a log");
    let mut count: BTreeMap<(Ctid, String), u32> = BTreeMap::new();
    for (index, entry) in log.iter().enumerate() {
        assert_eq!(entry.n, index as u64 + 1);
        *count
            .entry((entry.ctid.expect("of a container"), entry.kind.clone()))
            .or_default() += 1;
    }
    assert_eq!(log.len(), 4 * 25 * 4 + 1);
    assert!(count.values().all(|times| *times == 1), "{count:?}");
    let worlds = [shown(&hosts[0]), shown(&hosts[1]), shown(&open(&dir))];
    assert!(worlds.iter().all(|world| *world == worlds[0]));
    drop(hosts);
    std::fs::remove_file(dir.path().join("sim/world.json")).expect("a checkpoint");
    assert_eq!(shown(&open(&dir)), worlds[0], "the fold of the whole log");
}

#[test]
fn a_line_torn_at_any_byte_is_an_effect_that_never_was() {
    let dir = TempDir::new().expect("a directory");
    let host = open(&dir);
    done(&host, 100, &[create(100), snapshot()]);
    let (before, length) = (
        shown(&host),
        std::fs::metadata(log_path(&dir)).expect("a log").len(),
    );
    done(&host, 101, &[clone(101, 100)]);
    let after = shown(&host);
    drop(host);
    let bytes = std::fs::read(log_path(&dir)).expect("a log");
    for cut in usize::try_from(length).expect("small")..=bytes.len() {
        std::fs::write(log_path(&dir), &bytes[..cut]).expect("written");
        let host = open(&dir);
        let whole = cut == bytes.len();
        assert_eq!(
            shown(&host),
            if whole { after.clone() } else { before.clone() },
            "{cut}"
        );
        if !whole {
            done(&host, 101, &[clone(101, 100)]);
            assert_eq!(shown(&host), after, "{cut}");
        }
    }
}

#[test]
fn a_process_sees_the_cut_of_a_line_that_another_tore() {
    let dir = TempDir::new().expect("a directory");
    let host = open(&dir);
    done(&host, 100, &[create(100)]);
    let mut bytes = std::fs::read(log_path(&dir)).expect("a log");
    bytes.extend_from_slice(b"{\"n\":2,\"run\"");
    std::fs::write(log_path(&dir), &bytes).expect("written");
    done(&host, 100, &[Action::Start]);
    assert_eq!(host.log().map(|log| log.len()).ok(), Some(2));
    assert_eq!(shown(&open(&dir)), shown(&host));
}

#[test]
fn a_log_that_is_none_is_an_error_that_says_where() {
    let dir = TempDir::new().expect("a directory");
    drop(open(&dir));
    std::fs::write(log_path(&dir), "{\"n\":1}\n").expect("written");
    let error = SimHost::open(options(&dir))
        .expect_err("no log")
        .to_string();
    assert!(
        error.contains("log.jsonl") && error.contains("line 1"),
        "{error}"
    );
}

#[test]
fn a_checkpoint_that_is_ahead_of_its_log_or_broken_is_not_believed() {
    let dir = TempDir::new().expect("a directory");
    let host = open(&dir);
    for of in 100..400 {
        done(&host, of, &[create(of)]);
    }
    let world = shown(&host);
    drop(host);
    let checkpoint = dir.path().join("sim/world.json");
    let kept = std::fs::read(&checkpoint).expect("a checkpoint at close");
    std::fs::write(&checkpoint, &kept[..kept.len() / 2]).expect("written");
    assert_eq!(shown(&open(&dir)), world);
    std::fs::write(&checkpoint, kept).expect("written");
    let log = std::fs::read_to_string(log_path(&dir)).expect("a log");
    let two: String = log.split_inclusive('\n').take(2).collect();
    std::fs::write(log_path(&dir), two).expect("written");
    assert_eq!(
        seen(&open(&dir)).containers.len(),
        1,
        "the facts and one creation"
    );
}

#[test]
fn a_reset_is_seen_by_others_and_keeps_the_identity() {
    let dir = TempDir::new().expect("a directory");
    let (one, other) = (open(&dir), open(&dir));
    done(&one, 100, &[create(100), Action::Start]);
    assert_eq!(seen(&other).containers.len(), 1);
    one.hand(HandOperation::Reset).expect("done");
    for of in 200..203 {
        done(&one, of, &[create(of)]);
    }
    assert_eq!(shown(&other), shown(&one));
    assert_eq!(other.log().map(|log| log.len()).ok(), Some(3));
    assert_eq!(one.identity(), other.identity());
}

#[test]
fn a_reboot_changes_the_boot_and_takes_down_what_does_not_start_at_boot() {
    let dir = TempDir::new().expect("a directory");
    let host = open(&dir);
    for of in [100, 101] {
        done(&host, of, &[create(of), Action::Start]);
    }
    done(
        &host,
        101,
        &[set(Key::Onboot, "1"), set(Key::Nameserver, "1.1.1.1")],
    );
    let before = seen(&host).host.boot_id;
    host.hand(HandOperation::Reboot).expect("done");
    let world = seen(&host);
    assert_ne!(world.host.boot_id, before);
    let status: Vec<Status> = world.containers.values().map(|one| one.status).collect();
    assert_eq!(status, [Status::Stopped, Status::Running]);
    assert!(world.containers[&ctid(101)].pending.is_empty());
    assert_eq!(seen(&open(&dir)), world);
}

#[test]
fn equal_worlds_print_the_same_bytes_whatever_way_they_came_to_be() {
    let (one, other) = (
        TempDir::new().expect("a directory"),
        TempDir::new().expect("a directory"),
    );
    let host = open(&one);
    done(
        &host,
        200,
        &[
            create(200),
            set(Key::Cores, "2"),
            set(Key::Memory, "256"),
            Action::Start,
        ],
    );
    done(&host, 1000, &[create(1000)]);
    let again = open(&other);
    done(&again, 1000, &[create(1000)]);
    again.hand(HandOperation::Reboot).expect("done");
    done(
        &again,
        200,
        &[
            create(200),
            set(Key::Memory, "300"),
            set(Key::Memory, "256"),
        ],
    );
    done(&again, 200, &[Action::Start, set(Key::Cores, "2")]);
    assert_eq!(shown(&host), shown(&again));
    let one = host.show(Some(ctid(200))).expect("it exists");
    assert_eq!(one["settings"]["memory"], "256");
    assert!(matches!(
        host.show(Some(ctid(999))),
        Err(SimError::Refused(_))
    ));
    let keys: Vec<String> = serde_json::from_str::<serde_json::Value>(&shown(&host)).expect("JSON")
        ["containers"]
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    assert_eq!(keys, ["200", "1000"]);
}

#[test]
fn facts_are_not_kept_but_what_was_made_is() {
    let dir = TempDir::new().expect("a directory");
    let limited = |gib| {
        SimHost::open(SimOptions {
            facts: facts(gib),
            ..options(&dir)
        })
    };
    let host = limited(Some(10)).expect("a host");
    let spec = DirectorySpec {
        path: "/srv/a".to_owned(),
        owner: Some((5, 6)),
        mode: None,
    };
    let fetch = Action::FetchTemplate(Template {
        file: "far.tar".to_owned(),
        storage: None,
    });
    done(
        &host,
        100,
        &[create(100), Action::EnsureDirectory(spec), fetch],
    );
    let free = |host: &SimHost| seen(host).host.storages["pool"].free;
    assert_eq!(free(&host), Some(DiskSize::gib(6)));
    done(&host, 101, &[create(101)]);
    let refused = act(&host, 102, &create(102)).expect_err("no space left");
    assert!(refused.message.contains("out of space"), "{refused}");
    // Another process with other facts, beside it.
    let wide = limited(Some(100)).expect("a host");
    done(&wide, 102, &[create(102)]);
    assert_eq!(
        (free(&wide), free(&host)),
        (Some(DiskSize::gib(88)), Some(DiskSize::gib(0)))
    );
    host.hand(hand(102, Operation::Destroy)).expect("done");
    assert_eq!(free(&host), Some(DiskSize::gib(2)));
    let asked = ObserveRequest {
        containers: Some([ctid(100)].into()),
        directories: ["/srv/a".to_owned(), "/srv/b".to_owned()].into(),
    };
    let world = open(&dir).observe(&asked).expect("a world");
    assert_eq!(world.containers.len(), 1);
    assert_eq!(world.host.templates.len(), 2);
    let made = Directory {
        uid: 5,
        gid: 6,
        mode: 0o755,
    };
    assert_eq!(world.host.directories, [("/srv/a".to_owned(), made)].into());
    assert_eq!(world.host.storages["pool"].free, None);
}

fn faulty(dir: &TempDir, plan: &str) -> SimHost {
    let faults: Vec<Fault> = serde_json::from_str(plan).expect("faults");
    let faults = FaultPlan::new(faults).expect("a plan");
    let mut host = SimHost::open(SimOptions {
        faults,
        ..options(dir)
    })
    .expect("a host");
    // The test's stand-in for the end of the process.
    host.die = || std::panic::resume_unwind(Box::new("killed"));
    host
}

fn is_killed(host: &SimHost, of: u32, action: &Action) -> bool {
    let call = std::panic::AssertUnwindSafe(|| act(host, of, action));
    std::panic::catch_unwind(call).is_err()
}

#[test]
fn faults_refuse_before_and_after_the_effect() {
    let dir = TempDir::new().expect("a directory");
    let host = faulty(
        &dir,
        r#"[{"kind":"create","n":1,"fault":"transient"},
            {"kind":"create","n":2,"fault":"permanent","message":"broken"},
            {"kind":"create","n":3,"fault":"unknown-before"},
            {"kind":"create","n":4,"fault":"unknown-after"},
            {"kind":"observe","n":2,"fault":"transient"}]"#,
    );
    let tried = |kind, there| {
        let error = act(&host, 100, &create(100)).expect_err("a fault");
        assert_eq!(
            (error.kind, host.log().expect("a log").len()),
            (kind, there),
            "{error}"
        );
        error.message
    };
    tried(FailureKind::Transient, 0);
    assert_eq!(tried(FailureKind::Permanent, 0), "broken");
    tried(FailureKind::UnknownOutcome, 0);
    tried(FailureKind::UnknownOutcome, 1);
    let observe = || host.observe(&ObserveRequest::default());
    assert!(observe().is_ok());
    assert_eq!(
        observe().map_err(|error| error.kind).err(),
        Some(FailureKind::Transient)
    );
}

#[test]
fn an_end_of_the_process_leaves_what_the_real_tool_leaves() {
    let dir = TempDir::new().expect("a directory");
    let host = faulty(&dir, r#"[{"kind":"create","fault":"exit-before"}]"#);
    assert!(is_killed(&host, 100, &create(100)));
    assert!(seen(&host).containers.is_empty());
    let host = faulty(&dir, r#"[{"kind":"create","fault":"exit-middle"}]"#);
    assert!(is_killed(&host, 100, &create(100)));
    let half = |host: &SimHost, of| seen(host).containers[&ctid(of)].half_created();
    assert!(half(&host, 100) && half(&open(&dir), 100));
    let host = faulty(&dir, r#"[{"kind":"snapshot","fault":"exit-middle"}]"#);
    done(&host, 100, &[Action::Discard { source: None }, create(100)]);
    assert!(is_killed(&host, 100, &snapshot()));
    let container = seen(&open(&dir)).containers[&ctid(100)].clone();
    assert_eq!(
        (container.lock, container.snapshots.len()),
        (Some(Lock::Snapshot), 1)
    );
    let host = faulty(
        &dir,
        r#"[{"kind":"clone","fault":"exit-middle"},{"kind":"start","fault":"exit-after"},
            {"kind":"any","n":6,"fault":"exit-middle"}]"#,
    );
    done(&host, 100, &[Action::Unlock, snapshot()]);
    assert!(is_killed(&host, 101, &clone(101, 100)));
    assert!(half(&open(&dir), 101));
    assert_eq!(seen(&host).containers[&ctid(100)].lock, Some(Lock::Disk));
    done(&host, 100, &[Action::Unlock]);
    assert!(is_killed(&host, 100, &Action::Start));
    assert_eq!(seen(&host).containers[&ctid(100)].status, Status::Running);
    // What has no middle is not begun.
    assert!(is_killed(&host, 100, &set(Key::Memory, "256")));
    assert_eq!(
        seen(&host).containers[&ctid(100)].live(&Key::Memory),
        Some(Value::Number(512))
    );
    let partial: Vec<u64> = host
        .log()
        .expect("a log")
        .iter()
        .filter(|entry| entry.partial)
        .map(|entry| entry.n)
        .collect();
    assert_eq!(partial, [1, 4, 7]);
}

#[test]
fn an_action_under_way_locks_its_containers_for_everybody_and_dies_with_its_process() {
    let dir = TempDir::new().expect("a directory");
    let host = open(&dir);
    done(&host, 100, &[create(100), snapshot()]);
    let locks = InFlight::new(dir.path().join("sim/locks"));
    // What another process holds while it clones 100 into 101.
    let held = locks
        .take(&locks_of(ctid(101), &clone(101, 100)))
        .expect("free");
    let world = seen(&host);
    assert_eq!(world.containers[&ctid(100)].lock, Some(Lock::Disk));
    assert!(world.containers[&ctid(101)].half_created());
    let only = ObserveRequest {
        containers: Some([ctid(100)].into()),
        ..ObserveRequest::default()
    };
    assert_eq!(
        host.observe(&only).map(|world| world.containers.len()),
        Ok(1)
    );
    for (of, action, text) in [
        (102, clone(102, 100), "CT is locked (disk)"),
        (100, Action::Start, "CT is locked (disk)"),
        (101, create(101), "CT is locked (create)"),
    ] {
        let error = act(&host, of, &action).expect_err("locked");
        assert_eq!(
            (error.kind, error.message.as_str()),
            (FailureKind::Transient, text)
        );
    }
    let refused = host
        .hand(hand(100, Operation::Start))
        .expect_err("locked")
        .to_string();
    assert_eq!(refused, "CT is locked (disk)");
    drop(held);
    assert_eq!(seen(&host).containers[&ctid(100)].lock, None);
    // The file of a process that died is no lock.
    std::fs::write(dir.path().join("sim/locks/100"), "disk").expect("written");
    done(&host, 102, &[clone(102, 100)]);
    assert!(!dir.path().join("sim/locks/100").exists());
    let held = locks.take(&[(ctid(100), None)]).expect("free");
    let error = act(&host, 100, &Action::Start).expect_err("locked");
    assert!(error.message.contains("got timeout"), "{error}");
    assert_eq!(seen(&host).containers[&ctid(100)].lock, None);
    drop(held);
}

#[test]
fn with_latency_one_of_two_that_come_at_once_is_refused_and_nothing_is_half_done() {
    let dir = TempDir::new().expect("a directory");
    done(&open(&dir), 100, &[create(100), snapshot()]);
    let slow = || {
        let options = SimOptions {
            latency: Latency::Pct(200),
            ..options(&dir)
        };
        SimHost::open(options).expect("a host")
    };
    let hosts = [slow(), slow()];
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (101..105_u32)
            .zip(hosts.iter().cycle())
            .map(|(of, host)| scope.spawn(move || act(host, of, &clone(of, 100))))
            .collect();
        all.into_iter()
            .map(|one| one.join().expect("no panic"))
            .collect()
    });
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(error.message, "CT is locked (disk)");
    }
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(done >= 1);
    let world = seen(&open(&dir));
    assert_eq!(world.containers.len(), 1 + done);
    assert!(
        world
            .containers
            .values()
            .all(|container| container.lock.is_none())
    );
    act(&hosts[0], 999, &Action::Start).expect_err("there is none");
}

#[test]
fn a_facts_file_is_read_and_its_mistakes_are_named() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("facts.json");
    let read = |text: &str| {
        std::fs::write(&path, text).expect("written");
        SimFacts::read(&path).map_err(|error| error.to_string())
    };
    let facts = read(
        r#"{"storages":{"pool":{"kind":"dir","free_gb":5}},"bridges":["vmbr0"],
            "templates":["a"],"downloadable":["b"],"device_majors":{"nvidia":195},
            "directories":{"/srv":{"mode":"0700","uid":9}},"guests":{"8000":"running"}}"#,
    )
    .expect("facts");
    let again: SimFacts = serde_json::to_value(&facts)
        .and_then(serde_json::from_value)
        .expect("the same");
    assert_eq!(again, facts);
    assert_eq!(
        facts.directory("/srv"),
        Some(Directory {
            uid: 9,
            gid: 0,
            mode: 0o700
        })
    );
    for (text, part) in [
        (r#"{"storage":{}}"#, "unknown field `storage`"),
        (r#"{"storages":{"a":{}}}"#, "missing field `kind`"),
        (
            r#"{"directories":{"/a":{"mode":"rwx"}}}"#,
            "'rwx' is no mode",
        ),
        ("{", "line 1 column 1"),
    ] {
        let error = read(text).expect_err(text);
        assert!(
            error.contains(part) && error.contains("facts.json"),
            "{error}"
        );
    }
    let missing = SimFacts::read(&dir.path().join("none.json")).expect_err("no file");
    assert!(missing.to_string().contains("none.json"));
}

#[test]
fn a_log_longer_than_its_checkpoints_is_read_again_as_it_was() {
    let dir = TempDir::new().expect("a directory");
    let host = open(&dir);
    for of in 100..400 {
        done(&host, of, &[create(of), Action::Start, snapshot()]);
    }
    assert!(
        dir.path().join("sim/world.json").exists(),
        "written on the way"
    );
    let world = seen(&host);
    drop(host);
    let host = open(&dir);
    assert_eq!(seen(&host), world);
    assert_eq!(host.log().map(|log| log.len()).ok(), Some(900));
}

#[test]
fn a_host_without_a_facts_file_offers_what_the_configuration_names() {
    let net: Value = Key::Net(0)
        .parse_value("name=eth0,bridge=vmbr7")
        .expect("a net");
    let volume = DesiredVolume {
        name: "data".to_owned(),
        storage: "bulk".to_owned(),
        size: DiskSize::gib(1),
        path: "/d".to_owned(),
        declared_at: String::new(),
    };
    let container = DesiredContainer {
        ctid: ctid(100),
        name: "web".to_owned(),
        origin: Origin::Template(Template {
            file: "debian.tar".to_owned(),
            storage: Some("archives".to_owned()),
        }),
        node: None,
        storage: "pool".to_owned(),
        disk: DiskSize::gib(1),
        unprivileged: true,
        settings: [(Key::Net(0), net)].into(),
        gpus: [].into(),
        binds: Vec::new(),
        volumes: vec![volume],
        features: Vec::new(),
        application: None,
        health: None,
        snapshot: None,
        dependencies: [].into(),
        externals: [].into(),
        boot_order: None,
        unmanaged: Vec::new(),
        on_unknown: OnUnknown::Retry,
        document: Secret::default(),
    };
    let desired = DesiredState {
        containers: [(ctid(100), Arc::new(container))].into(),
        externals: [(ctid(8000), "vm".to_owned())].into(),
        storages: [("bulk".to_owned(), Some("dir".to_owned()))].into(),
        ..DesiredState::default()
    };
    let facts = SimFacts::offering(&desired);
    let kinds: Vec<(&str, &str)> = facts
        .storages
        .iter()
        .map(|(name, storage)| (name.as_str(), storage.kind.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [("archives", "dir"), ("bulk", "dir"), ("pool", "zfspool")]
    );
    assert!(
        facts
            .storages
            .values()
            .all(|storage| storage.free_gb.is_none())
    );
    assert!(facts.bridges.contains("vmbr7") && facts.templates.contains("debian.tar"));
    assert_eq!(facts.guests, Some([(ctid(8000), Status::Running)].into()));
    assert_eq!(facts.device_majors["nvidia"], 195);
}
