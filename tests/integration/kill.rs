//! The real program is killed, at many points, and goes on in another process. Runs on the
//! example fleet; the simulated host keeps its own log of effects, beside the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use phoenix::config;
use phoenix::domain::record::Record;
use phoenix::host::sim::SimFacts;
use phoenix::journal::Journal;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::crash_journal::{copy, directory};
use crate::support::{Done, phoenix, read};

/// The example fleet, the same after a few changes that need a restart, a larger disk and more,
/// and what both come to when nobody is killed.
pub struct Fleet {
    dir: TempDir,
    pub expected: Vec<Expected>,
}

/// After the first declaration, and after the second.
pub struct Expected {
    world: String,
    effects: BTreeMap<String, usize>,
    pub lines: usize,
}

const DECLARED: [&str; 2] = ["first", "second"];

impl Fleet {
    pub fn new() -> Self {
        let dir = directory();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/fleet");
        for name in DECLARED {
            copy(&example, &dir.path().join(name));
        }
        let file = dir.path().join("second/etc/phoenix_lxc_configs.json");
        let mut lxc: Value = serde_json::from_str(&read(&file)).expect("JSON");
        let all = &mut lxc["lxc_configs"];
        all["120"]["pct_options"] = json!(["nesting=1"]);
        all["121"]["memory_mb"] = json!(768);
        all["130"]["storage_size_gb"] = json!(9);
        all["127"]["pct_options"] = json!(["keyctl=1"]);
        fs::write(&file, lxc.to_string()).expect("written");
        write_facts(&dir);

        let mut fleet = Self {
            dir,
            expected: Vec::new(),
        };
        let site = Site::new(&fleet);
        let mut expected = Vec::new();
        for declared in 0..DECLARED.len() {
            site.done(declared, &["apply"]).code(0);
            expected.push(Expected {
                world: site.world(),
                effects: effects(&site.log()),
                lines: site.log().len(),
            });
        }
        drop(site);
        fleet.expected = expected;
        fleet
    }
}

/// What the fleet needs, and its templates still to be downloaded.
fn write_facts(dir: &TempDir) {
    let loaded = config::load(&dir.path().join(DECLARED[1])).expect("the fleet");
    let mut facts = SimFacts::offering(&loaded.desired);
    facts.downloadable = std::mem::take(&mut facts.templates);
    let text = serde_json::to_string(&facts).expect("JSON");
    fs::write(dir.path().join("facts.json"), text).expect("written");
}

/// A state directory and a simulated host beside it.
pub struct Site<'a> {
    fleet: &'a Fleet,
    pub dir: TempDir,
    pub state: PathBuf,
}

impl<'a> Site<'a> {
    pub fn new(fleet: &'a Fleet) -> Self {
        let dir = directory();
        let state = dir.path().join("state");
        Self { fleet, dir, state }
    }

    /// The directory of the simulated host.
    pub fn host(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    pub fn command(&self, declared: usize, arguments: &[&str]) -> Command {
        let mut command = phoenix();
        let root = self.fleet.dir.path();
        command
            .arg("--host")
            .arg(format!("sim:{}", self.host().display()))
            .arg("--config")
            .arg(root.join(DECLARED[declared]))
            .arg("--state")
            .arg(&self.state)
            .args(arguments)
            .env("PHOENIX_SIM_FACTS", root.join("facts.json"));
        command
    }

    pub fn done(&self, declared: usize, arguments: &[&str]) -> Done {
        let output = self.command(declared, arguments).output();
        Done::of(&output.expect("it starts"))
    }

    pub fn json(&self, arguments: &[&str]) -> Done {
        let mut all = arguments.to_vec();
        all.extend(["--format", "json"]);
        self.done(0, &all).code(0)
    }

    pub fn world(&self) -> String {
        self.json(&["sim", "show"]).out
    }

    pub fn log(&self) -> Vec<Value> {
        self.json(&["sim", "log"]).lines()
    }

    /// The effects so far, while a process works.
    pub fn effects_now(&self) -> usize {
        let log = fs::read_to_string(self.host().join("log.jsonl")).unwrap_or_default();
        log.lines()
            .filter(|line| line.starts_with("{\"n\""))
            .count()
    }

    /// What the journal says, read from a copy of it: the next process finds all as it was left.
    pub fn record(&self) -> Record {
        let image = directory();
        let journal = self.state.join("journal");
        if journal.is_dir() {
            copy(&journal, &image.path().join("journal"));
        }
        let mut record = Record::default();
        if let Some(journal) = Journal::open_existing(image.path()).expect("a journal") {
            let folded = journal.for_each(&mut |entry| {
                record.fold(&entry).expect("legal");
                Ok(())
            });
            folded.expect("a journal that reads");
        }
        record
    }

    /// What a person types after a crash.
    pub fn next(&self) -> &'static str {
        match self.record().resumable() {
            Some(_) => "resume",
            None => "apply",
        }
    }

    /// Starts a run in a process group of its own.
    pub fn start(
        &self,
        declared: usize,
        verb: &str,
        latency: &str,
        faults: Option<&Value>,
    ) -> Child {
        let mut command = self.command(declared, &[verb]);
        if let Some(faults) = faults {
            let file = self.dir.path().join("faults.json");
            fs::write(&file, faults.to_string()).expect("written");
            command.env("PHOENIX_SIM_FAULTS", file);
        }
        command
            .env("PHOENIX_SIM_LATENCY", latency)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("it starts")
    }

    /// Waits until so many effects have appeared, or the process has ended.
    pub fn await_effects(&self, child: &mut Child, effects: usize) {
        while self.effects_now() < effects && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    /// What was done comes to the end it was meant to come to, in the world and in the journal.
    pub fn check(&self, declared: usize, story: &str) {
        let expected = &self.fleet.expected[declared];
        assert_eq!(self.world(), expected.world, "{story}");
        let log = self.log();
        assert_eq!(
            effects(&log),
            expected.effects,
            "{story}: an effect twice, or never"
        );
        let journal = self.json(&["journal", "export"]).lines();
        vouched_for(&log, &journal, story);
        self.json(&["journal", "verify"]);
        let again = self.done(declared, &["apply", "--format", "json"]).code(0);
        assert_eq!(again.json()["mutations"], 0, "{story}");
        assert_eq!(self.log().len(), log.len(), "{story}");
    }
}

fn pid(child: &Child) -> Pid {
    let raw = i32::try_from(child.id()).expect("a pid");
    Pid::from_raw(raw).expect("a pid")
}

fn on_host(action: &Value) -> bool {
    action["do"] == "run_script" && action["place"] == "host"
}

/// How often each effect happened. What only cures, and the halves that it cures, are left out;
/// what is of the host, whoever does it, and the scripts on it count once.
fn effects(log: &[Value]) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    for entry in log {
        let mut action = entry["action"].clone();
        let kind = action["do"]
            .as_str()
            .expect("an action of a run")
            .to_owned();
        if entry["partial"] == true || kind == "discard" || kind == "unlock" {
            continue;
        }
        // The mark names the journal.
        if let Some(fields) = action.as_object_mut() {
            fields.remove("mark");
        }
        match kind.as_str() {
            "ensure_directory" => _ = effects.insert(format!("{kind} {}", action["path"]), 1),
            "fetch_template" => _ = effects.insert(action.to_string(), 1),
            _ if on_host(&action) => {
                effects.insert(format!("{} {action}", entry["ctid"]), 1);
            }
            _ => {
                let times = effects.entry(format!("{} {action}", entry["ctid"]));
                *times.or_insert(0) += 1;
            }
        }
    }
    effects
}

/// Every effect had its intent in the journal, and a script on the host that ran again was
/// recorded as ambiguous.
pub fn vouched_for(log: &[Value], journal: &[Value], story: &str) {
    let mut on_host_runs: BTreeMap<u64, usize> = BTreeMap::new();
    // What compaction folded away has no lines any more.
    let forgotten = journal.first().and_then(|line| line["through"].as_u64());
    let known = |entry: &&Value| entry["intent"].as_u64() > forgotten;
    for entry in log.iter().filter(known) {
        let intent = &entry["intent"];
        let found = journal.iter().find(|line| line["seq"] == *intent);
        let found = found.unwrap_or_else(|| panic!("{story}: no intent {intent}"));
        assert_eq!(found["kind"], "step_started", "{story}");
        for key in ["run", "ctid", "step", "attempt"] {
            assert_eq!(found[key], entry[key], "{story}: {key} of {entry}");
        }
        let intended = found["actions"].as_array().expect("actions");
        assert!(intended.contains(&entry["action"]), "{story}: {entry}");
        if on_host(&entry["action"]) {
            let ctid = entry["ctid"].as_u64().expect("an id");
            *on_host_runs.entry(ctid).or_insert(0) += 1;
        }
    }
    for (ctid, runs) in on_host_runs {
        let ambiguous =
            |line: &&Value| line["ctid"] == ctid && line["verdict"] == "ambiguous_retried";
        let ambiguous = journal.iter().filter(ambiguous).count();
        assert!(
            runs <= 1 + ambiguous,
            "{story}: a script of {ctid} ran {runs} times"
        );
    }
}

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

pub const LATENCY: &str = "pct/250";

/// Kills one process after another, and lets the last come to its end.
fn live(fleet: &Fleet, declared: usize, kills: &[Kill], met: &Mutex<Met>) {
    let site = Site::new(fleet);
    for before in 0..declared {
        site.done(before, &["apply"]).code(0);
    }
    for kill in kills {
        let mut child = site.start(declared, site.next(), LATENCY, None);
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
    site.done(declared, &[site.next()]).code(0);
    site.check(declared, &story);
}

/// Numbers without any pattern, the same each time.
pub fn scattered(seed: usize, below: usize) -> usize {
    let mut x = seed as u64 + 0x9E37_79B9;
    for _ in 0..3 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    usize::try_from(x % below as u64).expect("a number")
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

/// Does all of them, a few at a time.
pub fn all<T: Sync>(stories: &[T], work: impl Fn(&T) + Sync) {
    const THREADS: usize = 4;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || stories.iter().skip(thread).step_by(THREADS).for_each(work));
        }
    });
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
    let known = phoenix::domain::action::Action::KINDS;
    assert_eq!(kinds, known.map(str::to_owned).into(), "a kind is left out");
    let met_on_host = AtomicUsize::new(0);
    all(&faulty_stories(), |(declared, processes)| {
        let site = Site::new(&fleet);
        for before in 0..*declared {
            site.done(before, &["apply"]).code(0);
        }
        for faults in processes {
            let mut child = site.start(*declared, site.next(), "none", Some(faults));
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
        let mut child = site.start(0, "apply", LATENCY, None);
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
    let mut first = site.start(0, "apply", "pct/50", None);
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
