//! The real program on a simulated host whose own log bears witness: what is in it happened, and
//! all of it must be vouched for by the journal.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use phoenix::config;
use phoenix::domain::record::Record;
use phoenix::host::sim::SimFacts;
use phoenix::journal::Journal;
use rustix::process::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::crash_journal::{copy, directory};
use crate::support::{Done, phoenix, read};

/// What is declared, and what a person types for it.
pub struct Stage {
    /// The directory of its configuration, in that of the fleet.
    pub config: &'static str,
    pub words: &'static [&'static str],
}

/// Declarations, one after another, and what each comes to when nobody is killed.
pub struct Fleet {
    pub dir: TempDir,
    stages: &'static [Stage],
    pub expected: Vec<Expected>,
    /// The effects of others, who were on the host before.
    pub others: usize,
}

/// After a stage.
pub struct Expected {
    world: String,
    effects: BTreeMap<String, usize>,
    pub lines: usize,
}

/// The host as others left it, in the fleet's directory.
pub const OTHERS: &str = "host";

impl Fleet {
    /// The example fleet, and the same after a few changes that need a restart, a larger disk
    /// and more.
    pub fn new() -> Self {
        const STAGES: [Stage; 2] = [
            Stage {
                config: "first",
                words: &["apply"],
            },
            Stage {
                config: "second",
                words: &["apply"],
            },
        ];
        let dir = directory();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/fleet");
        for stage in &STAGES {
            copy(&example, &dir.path().join(stage.config));
        }
        let file = dir.path().join("second/etc/phoenix_lxc_configs.json");
        let mut lxc: Value = serde_json::from_str(&read(&file)).expect("JSON");
        let all = &mut lxc["lxc_configs"];
        all["120"]["pct_options"] = json!(["nesting=1"]);
        all["121"]["memory_mb"] = json!(768);
        all["130"]["storage_size_gb"] = json!(9);
        all["127"]["pct_options"] = json!(["keyctl=1"]);
        fs::write(&file, lxc.to_string()).expect("written");
        Self::of(dir, &STAGES, 0)
    }

    /// The fleet whose declarations are in a directory.
    pub fn of(dir: TempDir, stages: &'static [Stage], others: usize) -> Self {
        write_facts(&dir, stages);
        let mut fleet = Self {
            dir,
            stages,
            expected: Vec::new(),
            others,
        };
        let site = Site::new(&fleet);
        let mut expected = Vec::new();
        for (number, stage) in stages.iter().enumerate() {
            site.done(number, stage.words).code(0);
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

/// What the fleet needs by its first two declarations, and its templates still to be downloaded.
fn write_facts(dir: &TempDir, stages: &[Stage]) {
    let loaded = config::load(&dir.path().join(stages[1].config)).expect("the fleet");
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
        let others = fleet.dir.path().join(OTHERS);
        if others.is_dir() {
            copy(&others, &dir.path().join("host"));
        }
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
            .arg(root.join(self.fleet.stages[declared].config))
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

    /// The effects of what was done here.
    pub fn log(&self) -> Vec<Value> {
        let all = self.json(&["sim", "log"]).lines();
        all.into_iter().skip(self.fleet.others).collect()
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
    pub fn next(&self, declared: usize) -> &'static [&'static str] {
        match self.record().resumable() {
            Some(_) => &["resume"],
            None => self.fleet.stages[declared].words,
        }
    }

    /// Starts a run in a process group of its own.
    pub fn start(
        &self,
        declared: usize,
        words: &[&str],
        latency: &str,
        faults: Option<&Value>,
    ) -> Child {
        let mut command = self.command(declared, words);
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

pub fn pid(child: &Child) -> Pid {
    let raw = i32::try_from(child.id()).expect("a pid");
    Pid::from_raw(raw).expect("a pid")
}

pub fn on_host(action: &Value) -> bool {
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

pub const LATENCY: &str = "pct/250";

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
