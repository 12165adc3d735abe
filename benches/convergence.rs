//! Convergence of generated fleets of several sizes over the simulated host, without latency,
//! and a real journal on the disk: fresh, with nothing to do, and resumed halfway.
//!
//! A measured iteration is what `phoenix apply` does once the configuration is read: open host
//! and journal, fold the events, look, converge, close.
//!
//! `cargo bench --bench convergence -- --quick`

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use phoenix::domain::desired::{
    DesiredContainer, DesiredState, HealthCheck, OnUnknown, Origin, Place, Script, ScriptKind,
    Template,
};
use phoenix::domain::event::{Draft, Event, RunResumed, RunStarted};
use phoenix::domain::ids::{Ctid, Digest, JournalId, RunId};
use phoenix::domain::options::Net;
use phoenix::domain::record::Record;
use phoenix::domain::secret::Secret;
use phoenix::domain::setting::{Key, Settings, Value};
use phoenix::domain::units::DiskSize;
use phoenix::engine::{Begin, Clock, Env, Limits, Run, Summary, Watcher, converge};
use phoenix::host::sim::{FaultPlan, Latency, SimFacts, SimHost, SimOptions};
use phoenix::host::{Host as _, ObserveRequest};
use phoenix::journal::{Journal, OpenOptions};
use phoenix::steps::Options;
use uuid::Uuid;

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const SNAPSHOT: &str = "ready";
/// One in so many containers is a template that was cloned from the base.
const DERIVED_EVERY: usize = 50;
/// So many services after one another need each the one before.
const CHAIN: usize = 5;

fn ctid(index: usize) -> Ctid {
    let number = u32::try_from(index + 100).unwrap_or(Ctid::MAX);
    Ctid::try_from(number).unwrap_or_else(|error| panic!("{error}"))
}

/// A base template, templates derived from it, and services cloned from those, in short chains
/// of dependencies.
fn fleet(size: usize) -> DesiredState {
    let derived = (size / DERIVED_EVERY).max(1);
    let containers = (0..size).map(|index| {
        let (source, needs) = match index {
            0 => (None, None),
            _ if index <= derived => (Some(0), None),
            _ => {
                let chained = (index - derived) % CHAIN != 1;
                (Some(1 + index % derived), chained.then(|| index - 1))
            }
        };
        let container = container(index, source, needs, index <= derived);
        (ctid(index), Arc::new(container))
    });
    DesiredState {
        containers: containers.collect(),
        storages: BTreeMap::from([("tank".to_owned(), Some("zfspool".to_owned()))]),
        ..DesiredState::default()
    }
}

fn container(
    index: usize,
    source: Option<usize>,
    needs: Option<usize>,
    template: bool,
) -> DesiredContainer {
    let origin = match source {
        Some(source) => Origin::Clone {
            source: ctid(source),
            snapshot: SNAPSHOT.to_owned(),
        },
        None => Origin::Template(Template {
            file: "debian-12.tar.zst".to_owned(),
            storage: Some("local".to_owned()),
        }),
    };
    let check = HealthCheck {
        command: vec!["true".to_owned()],
        retries: 3,
        interval_s: 1,
        timeout_s: 5,
        open_digest: None,
    };
    DesiredContainer {
        ctid: ctid(index),
        name: format!("ct{index}"),
        origin,
        node: None,
        storage: "tank".to_owned(),
        disk: DiskSize::gib(4),
        unprivileged: true,
        settings: settings(index),
        gpus: BTreeSet::new(),
        binds: Vec::new(),
        volumes: Vec::new(),
        features: vec![script(ScriptKind::Feature, "base")],
        application: (!template).then(|| script(ScriptKind::Application, "setup.sh")),
        health: (!template).then_some(check),
        snapshot: template.then(|| SNAPSHOT.to_owned()),
        dependencies: needs.map(ctid).into_iter().collect(),
        externals: BTreeSet::new(),
        boot_order: None,
        unmanaged: Vec::new(),
        on_unknown: OnUnknown::Retry,
        document: Secret::new("{}".to_owned()),
    }
}

fn settings(index: usize) -> Settings {
    let net = Net {
        name: "eth0".to_owned(),
        bridge: Some("vmbr0".to_owned()),
        ip: Some(format!(
            "10.{}.{}.{}/8",
            index >> 16,
            (index >> 8) & 255,
            index & 255
        )),
        gw: Some("10.255.255.254".to_owned()),
        ..Net::default()
    };
    Settings::from([
        (Key::Hostname, Value::Text(format!("ct{index}"))),
        (Key::Memory, Value::Number(1024)),
        (Key::Swap, Value::Number(0)),
        (Key::Cores, Value::Number(2)),
        (Key::Onboot, Value::Flag(true)),
        (Key::Net(0), net.into()),
    ])
}

fn script(kind: ScriptKind, name: &str) -> Script {
    Script {
        name: name.to_owned(),
        kind,
        place: Place::Container,
        path: PathBuf::from(name),
        content: Digest::of(name.as_bytes()),
        arguments: Vec::new(),
        inputs: Digest::of(b""),
        open_inputs: None,
    }
}

struct BenchClock(Instant);

impl Clock for BenchClock {
    fn now(&self) -> DateTime<Utc> {
        let millis = i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX);
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis)
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Asks for a stop once so many containers have converged.
struct StopAfter<'a> {
    left: AtomicU64,
    stop: &'a AtomicBool,
}

impl Watcher for StopAfter<'_> {
    fn recorded(&self, draft: &Draft) {
        if matches!(draft.event, Event::ContainerConverged { .. })
            && self.left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            self.stop.store(true, Ordering::SeqCst);
        }
    }
}

/// One process over the state in `dir`, which goes on with what an interrupted one left there; it is stopped after so many containers.
fn process(dir: &Path, desired: &DesiredState, stop_after: u64) -> Summary {
    let host = SimHost::open(SimOptions {
        dir: dir.join("sim"),
        facts: SimFacts::offering(desired),
        latency: Latency::default(),
        faults: FaultPlan::default(),
        new_identity: Uuid::from_u128(7),
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let identity = host.identity().unwrap_or_else(|error| panic!("{error}"));
    let journal = Journal::open(&OpenOptions {
        dir: &dir.join("journal"),
        host: &identity,
        now: DateTime::UNIX_EPOCH,
        new_id: JournalId(Uuid::from_u128(8)),
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let mut record = Record::default();
    let folded = journal.for_each(&mut |entry| {
        let folded = record.fold(&entry);
        assert!(folded.is_ok(), "{folded:?}");
        Ok(())
    });
    assert!(folded.is_ok(), "{folded:?}");
    let seen = host
        .observe(&ObserveRequest::all(desired))
        .unwrap_or_else(|error| panic!("{error}"));
    let stop = AtomicBool::new(false);
    let env = Env {
        host: &host,
        recorder: &journal,
        clock: &BenchClock(Instant::now()),
        watcher: &StopAfter {
            left: AtomicU64::new(stop_after),
            stop: &stop,
        },
        stop: &stop,
        desired,
        journal: journal.id(),
        limits: Limits::default(),
    };
    let summary = converge(&env, &run(&record), &record, seen);
    let closed = journal.close();
    assert!(closed.is_ok(), "{closed:?}");
    summary.unwrap_or_else(|error| panic!("{error}"))
}

const JOBS: u32 = 4;

fn run(record: &Record) -> Run {
    let (operator, version, boot_id) = ("bench".to_owned(), "0".to_owned(), "0".to_owned());
    let desired = Digest::of(b"");
    let left = record.resumable();
    let begin = match left {
        Some(_) => Begin::Resume(RunResumed {
            operator,
            version,
            boot_id,
            pid: 1,
            desired,
            jobs: JOBS,
        }),
        None => Begin::Start(RunStarted {
            operator,
            version,
            boot_id,
            pid: 1,
            desired,
            targets: Vec::new(),
            jobs: JOBS,
            rerun: Vec::new(),
            no_restart: false,
            check_health: false,
            destroy: false,
        }),
    };
    let number = record.runs.len() as u128 + 1;
    Run {
        id: left.map_or(RunId(Uuid::from_u128(number)), |left| left.id),
        begin,
        targets: Vec::new(),
        jobs: JOBS,
        options: Options::default(),
    }
}

fn copy(from: &Path, to: &Path) {
    let made = fs::create_dir_all(to);
    assert!(made.is_ok(), "{made:?}");
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // Synced, so that nobody's sync has to wait for the copy while it is timed.
            let copied =
                fs::copy(entry.path(), &target).and_then(|_| fs::File::open(&target)?.sync_all());
            assert!(copied.is_ok(), "{copied:?}");
        }
    }
}

/// The time that a process takes on a copy of a prepared state, checked by what came of it.
fn timed(
    prepared: Option<&Path>,
    scratch: &Path,
    desired: &DesiredState,
    check: &dyn Fn(&Summary) -> bool,
) -> Duration {
    if let Some(prepared) = prepared {
        copy(prepared, scratch);
    }
    let begun = Instant::now();
    let summary = process(scratch, desired, u64::MAX);
    let time = begun.elapsed();
    assert!(check(&summary), "{:?}", summary.totals);
    let removed = fs::remove_dir_all(scratch);
    assert!(removed.is_ok(), "{removed:?}");
    time
}

fn convergence(criterion: &mut Criterion) {
    // A directory on the disk: /tmp is memory on many machines.
    let Ok(dir) = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let scratch = dir.path().join("scratch");
    let mut group = criterion.benchmark_group("converge");
    group.sample_size(10);
    for size in SIZES {
        let desired = fleet(size);
        let all = desired.containers.len() as u64;
        let (whole, half) = (
            dir.path().join(format!("{size}-whole")),
            dir.path().join(format!("{size}-half")),
        );
        process(&whole, &desired, u64::MAX);
        let stopped = process(&half, &desired, all / 2);
        assert!(stopped.interrupted, "{:?}", stopped.totals);
        group.throughput(Throughput::Elements(all));
        let mut bench = |name: &str, prepared: Option<&Path>, check: &dyn Fn(&Summary) -> bool| {
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter_custom(|times| {
                    let time = |_| timed(prepared, &scratch, &desired, check);
                    (0..times).map(time).sum()
                });
            });
        };
        bench("fresh", None, &|summary| {
            summary.totals.converged == all && summary.totals.unchanged == 0
        });
        bench("nothing to do", Some(&whole), &|summary| {
            summary.totals.unchanged == all && summary.totals.mutations == 0
        });
        bench("resumed halfway", Some(&half), &|summary| {
            summary.totals.converged == all && summary.totals.unchanged >= all / 2
        });
    }
    group.finish();
}

criterion_group!(benches, convergence);
criterion_main!(benches);
