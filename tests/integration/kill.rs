//! The real program is killed, at many points, and goes on in another process. Runs on the
//! example fleet; the simulated host keeps its own log of effects, beside the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use phoenix::domain::record::Record;
use rustix::process::{Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

use crate::witness::{Fleet, LATENCY, Site, all, on_host, pid, scattered};

/// When to kill: after so many effects in all, and a while.
#[derive(Clone, Copy, Debug)]
struct Kill {
    effects: usize,
    micros: u64,
}

/// What the kills met.
#[derive(Default)]
struct Met {
    kills: usize,
    live: usize,
    /// The states whose intents were open then.
    open: BTreeMap<String, usize>,
}

impl Met {
    fn note(&mut self, live: bool, record: &Record) {
        self.kills += 1;
        if !live {
            return;
        }
        self.live += 1;
        let open = record
            .containers
            .values()
            .filter_map(|known| known.open.as_ref());
        let latest = open.max_by_key(|intent| intent.seq);
        let step = latest.map_or("between two states".to_owned(), |open| {
            open.step.to_string()
        });
        *self.open.entry(step).or_insert(0) += 1;
    }
}

/// Kills one process after another, and lets the last come to its end.
fn live(fleet: &Fleet, declared: usize, kills: &[Kill], met: &Mutex<Met>) {
    let site = Site::new(fleet);
    for before in 0..declared {
        site.done(before, &["apply"]).code(0);
    }
    for kill in kills {
        let mut child = site.start(declared, site.next(declared), LATENCY, None);
        site.await_effects(&mut child, kill.effects);
        std::thread::sleep(Duration::from_micros(kill.micros));
        // It is a child that nobody has waited for, so its group is still its own.
        kill_process_group(pid(&child), Signal::KILL).expect("sent");
        let status = child.wait().expect("it ends");
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        assert!(killed || status.success(), "{kills:?}: {status}");
        met.lock()
            .expect("what was met")
            .note(killed, &site.record());
    }
    let story = format!("{kills:?}");
    site.done(declared, site.next(declared)).code(0);
    site.check(declared, &story);
}

/// Stories of one kill, spread over the whole of a run, and of several.
fn stories(fleet: &Fleet) -> Vec<(usize, Vec<Kill>)> {
    let (first, second) = (fleet.expected[0].lines, fleet.expected[1].lines);
    let kill = |seed: usize, effects| Kill {
        effects,
        micros: scattered(seed, 15_000) as u64,
    };
    let mut stories: Vec<(usize, Vec<Kill>)> = (0..24)
        .map(|n| (0, vec![kill(n, first * n / 24)]))
        .collect();
    for n in 0..10 {
        let mut effects: Vec<usize> = (0..3 + n % 3)
            .map(|kill| scattered(100 * n + kill, first))
            .collect();
        effects.sort_unstable();
        let kills = effects.into_iter().enumerate();
        stories.push((
            0,
            kills.map(|(at, effects)| kill(n + at, effects)).collect(),
        ));
    }
    for n in 0..second - first {
        stories.push((1, vec![kill(n, first + n)]));
    }
    stories
}

#[test]
fn killed_at_any_moment_it_goes_on() {
    let fleet = Fleet::new();
    let met = Mutex::new(Met::default());
    let stories = stories(&fleet);
    all(&stories, |(declared, kills)| {
        live(&fleet, *declared, kills, &met)
    });
    let met = met.into_inner().expect("what was met");
    println!(
        "{} kills, {} of a live run; its latest intent:",
        met.kills, met.live
    );
    for (step, times) in &met.open {
        println!("{times:>6}  {step}");
    }
    assert!(met.kills >= 40, "{} kills", met.kills);
    assert!(met.live * 2 >= met.kills, "only {} live", met.live);
    assert!(met.open.len() >= 5, "{:?}", met.open);
}

/// Which processes die of what, before one comes to its end; on which declaration.
fn faulty_stories() -> Vec<(usize, Vec<Value>)> {
    let one = |kind: &str, n: u64, fault: &str| json!([{ "kind": kind, "n": n, "fault": fault }]);
    let mut stories = Vec::new();
    for fault in ["exit-before", "exit-after"] {
        for kind in [
            "fetch_template",
            "create",
            "clone",
            "ensure_directory",
            "configure",
            "resize",
            "start",
            "run_script",
            "check_health",
            "snapshot",
        ] {
            stories.push((0, vec![one(kind, 1, fault)]));
        }
        // A feature of 113 runs on the host: only the journal can know of it.
        let mut on_host = one("run_script", 1, fault);
        on_host[0]["ctid"] = json!(113);
        stories.push((0, vec![on_host.clone(), on_host]));
        for kind in ["restart", "configure", "resize", "check_health"] {
            stories.push((1, vec![one(kind, 1, fault)]));
        }
        for half in ["create", "clone"] {
            let cure = one("discard", 1, fault);
            stories.push((0, vec![one(half, 1, "exit-middle"), cure]));
        }
        let cure = one("unlock", 1, fault);
        stories.push((0, vec![one("snapshot", 1, "exit-middle"), cure]));
    }
    for kind in ["create", "clone", "snapshot"] {
        stories.push((
            0,
            vec![one(kind, 1, "exit-middle"), one(kind, 1, "exit-middle")],
        ));
    }
    stories
}

#[test]
fn killed_around_each_kind_of_action_it_goes_on() {
    let fleet = Fleet::new();
    let kinds: BTreeSet<String> = faulty_stories()
        .iter()
        .flat_map(|(_, processes)| processes)
        .map(|faults| faults[0]["kind"].as_str().expect("a kind").to_owned())
        .collect();
    // No run of `apply` destroys; `cli::destroy` kills the command that does.
    let known = phoenix::domain::action::Action::KINDS.into_iter();
    let applied = known.filter(|kind| *kind != "destroy").map(str::to_owned);
    assert_eq!(kinds, applied.collect(), "a kind is left out");
    let met_on_host = AtomicUsize::new(0);
    all(&faulty_stories(), |(declared, processes)| {
        let site = Site::new(&fleet);
        for before in 0..*declared {
            site.done(before, &["apply"]).code(0);
        }
        for faults in processes {
            let mut child = site.start(*declared, site.next(*declared), "none", Some(faults));
            let status = child.wait().expect("it ends");
            assert_eq!(
                status.signal(),
                Some(Signal::KILL.as_raw()),
                "{processes:?}: {status}"
            );
        }
        site.done(*declared, &["resume"]).code(0);
        let again = site
            .log()
            .iter()
            .filter(|entry| on_host(&entry["action"]))
            .count();
        met_on_host.fetch_add(again.saturating_sub(1), Ordering::SeqCst);
        site.check(*declared, &format!("{processes:?}"));
    });
    let again = met_on_host.into_inner();
    assert!(again >= 2, "scripts on the host ran again {again} times");
}

#[test]
fn interrupted_by_a_signal_it_says_so_and_goes_on() {
    let fleet = Fleet::new();
    let half = fleet.expected[0].lines / 2;
    let moments: Vec<usize> = (0..8).map(|n| 1 + n * half / 8).collect();
    all(&moments, |effects| {
        let site = Site::new(&fleet);
        let mut child = site.start(0, &["apply"], LATENCY, None);
        site.await_effects(&mut child, *effects);
        kill_process(pid(&child), Signal::INT).expect("sent");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(130), "after {effects} effects");
        let runs = site.json(&["runs"]).json();
        assert_eq!(runs[0]["outcome"], "interrupted");
        // What was being done was finished: nothing is unknown.
        let record = site.record();
        assert!(record.containers.values().all(|known| known.open.is_none()));
        let resumed = site.done(0, &["resume", "--format", "json"]).code(0).json();
        assert_eq!(resumed["run"], runs[0]["run"]);
        site.check(0, &format!("SIGINT after {effects} effects"));
    });
}

#[test]
fn of_two_at_once_one_is_sent_away() {
    let fleet = Fleet::new();
    let site = Site::new(&fleet);
    let mut first = site.start(0, &["apply"], "pct/50", None);
    site.await_effects(&mut first, 1);
    for verb in ["apply", "resume"] {
        let second = site.done(0, &[verb]);
        let first = format!("{}", first.id());
        assert!(second.err.contains(&first), "{}", second.err);
        second.code(7);
    }
    assert!(first.wait().expect("it ends").success());
    site.check(0, "two at once");
}
