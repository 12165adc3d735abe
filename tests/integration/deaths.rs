//! The real program dies of every kind of action, before it, after it, and after it was seen and
//! before that was written down; once, and in every ordered pair. The host's own log tells what
//! happened, the journal what was meant, and what others had on the host stays as it was.
//!
//! `cargo test` takes every twentieth pair; with `PHOENIX_EVERY_POINT=1` all of them are taken.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Mutex;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::crash_journal::{copy, directory};
use crate::support;
use crate::witness::{Fleet, OTHERS, Site, Stage, all};

/// A fresh fleet, the same changed, and one of it destroyed.
const STAGES: [Stage; 3] = [
    Stage {
        config: "fresh",
        words: &["apply", "--jobs", "1"],
    },
    Stage {
        config: "changed",
        words: &["apply", "--jobs", "1"],
    },
    Stage {
        config: "without",
        words: &["destroy", "901", "--yes"],
    },
];

/// A container with everything that a state can do, cloned from one that is made.
fn declarations() -> support::Site {
    let mut site = support::Site::new();
    site.remove(&[902, 903]);
    site.set(901, "storage_size_gb", json!(9));
    site.set(901, "application_script", json!("setup.sh"));
    site.set(901, "health_check", json!({ "command": ["true"] }));
    site
}

/// Containers of another journal: one that is whole, and one that was killed as it was made.
fn others(fleet: &Path) -> usize {
    let mut site = support::Site::new();
    site.remove(&[900, 901, 902, 903]);
    site.hypervisor["shared_volumes"] = json!({});
    site.declare(880, "whole");
    site.write();
    site.ok(&["apply"]);
    site.declare(881, "half");
    site.write();
    let faults = json!([{ "kind": "create", "fault": "exit-middle" }]);
    let mut killed = site.with_faults(&["apply"], &faults);
    let status = killed.output().expect("it starts").status;
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    let effects = site.effects().len();
    copy(&site.state().join("sim"), &fleet.join(OTHERS));
    effects
}

fn small() -> Fleet {
    let dir = directory();
    let mut site = declarations();
    let declare = |site: &support::Site, stage: usize| {
        site.write();
        for part in ["etc", "bin"] {
            let to = dir.path().join(STAGES[stage].config).join(part);
            copy(&site.path(part), &to);
        }
    };
    declare(&site, 0);
    site.set(901, "storage_size_gb", json!(11));
    site.set(901, "memory_mb", json!(768));
    site.set(901, "pct_options", json!(["keyctl=1"]));
    declare(&site, 1);
    site.remove(&[901]);
    site.hypervisor["shared_volumes"] = json!({});
    declare(&site, 2);
    let others = others(dir.path());
    Fleet::of(dir, &STAGES, others)
}

/// Which processes die, and of what, until one comes to its end.
#[derive(Clone, Debug)]
struct Death {
    stage: usize,
    faults: Vec<Value>,
}

impl Death {
    fn then(&self, next: &Self) -> Self {
        let faults = self.faults.iter().chain(&next.faults);
        Self {
            stage: self.stage,
            faults: faults.cloned().collect(),
        }
    }
}

const PLACES: [&str; 3] = ["exit-before", "exit-after", "exit-seen"];

/// The calls of each stage, one of every kind.
fn calls(stage: usize) -> &'static [(&'static str, u32, u32)] {
    match stage {
        0 => &[
            ("fetch_template", 900, 1),
            ("create", 900, 1),
            ("start", 900, 1),
            ("run_script", 900, 1),
            ("snapshot", 900, 1),
            ("clone", 901, 1),
            ("ensure_directory", 901, 1),
            ("configure", 901, 1),
            ("resize", 901, 1),
            ("start", 901, 1),
            // On the host.
            ("run_script", 901, 1),
            ("run_script", 901, 2),
            ("check_health", 901, 1),
        ],
        1 => &[
            ("configure", 901, 1),
            ("resize", 901, 1),
            ("restart", 901, 1),
            ("check_health", 901, 1),
        ],
        _ => &[("destroy", 901, 1)],
    }
}

/// What is cured after the middle of an action, by which other action.
const MIDDLES: [(usize, &str, u32, Option<&str>); 4] = [
    (0, "create", 900, Some("discard")),
    (0, "clone", 901, Some("discard")),
    (0, "snapshot", 900, Some("unlock")),
    (2, "destroy", 901, None),
];

fn deaths() -> Vec<Death> {
    let fault = |kind: &str, ctid: u32, n: u32, fault: &str| json!([{ "kind": kind, "ctid": ctid, "n": n, "fault": fault }]);
    let mut deaths = Vec::new();
    for stage in 0..STAGES.len() {
        for (kind, ctid, n) in calls(stage) {
            // Nothing is looked at after a check.
            let places = PLACES.into_iter();
            let places = places.filter(|place| *kind != "check_health" || *place != "exit-seen");
            deaths.extend(places.map(|place| Death {
                stage,
                faults: vec![fault(kind, *ctid, *n, place)],
            }));
        }
    }
    for (stage, kind, ctid, cure) in MIDDLES {
        let half = fault(kind, ctid, 1, "exit-middle");
        deaths.push(Death {
            stage,
            faults: vec![half.clone()],
        });
        if let Some(cure) = cure {
            deaths.extend(PLACES.map(|place| Death {
                stage,
                faults: vec![half.clone(), fault(cure, ctid, 1, place)],
            }));
        }
    }
    deaths
}

/// Every death alone, and every ordered pair of those of a stage, or one of so many.
fn stories(one_of: usize) -> Vec<Death> {
    let deaths = deaths();
    let pairs = deaths.iter().flat_map(|first| {
        let same = deaths.iter().filter(|next| next.stage == first.stage);
        same.map(|next| first.then(next))
    });
    let pairs: Vec<_> = pairs.step_by(one_of).collect();
    deaths.into_iter().chain(pairs).collect()
}

/// How many processes died of their faults, and what the next said of what they had left.
fn live(fleet: &Fleet, death: &Death) -> (usize, Vec<String>) {
    let story = format!("{death:?}");
    let site = Site::new(fleet);
    for (before, stage) in STAGES.iter().enumerate().take(death.stage) {
        site.done(before, stage.words).code(0);
    }
    let mut died = 0;
    for faults in &death.faults {
        let words = site.next(death.stage);
        let mut child = site.start(death.stage, words, "none", Some(faults));
        let status = child.wait().expect("it ends");
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        assert!(killed || status.success(), "{story}: {status}");
        died += usize::from(killed);
    }
    // Where the last had come to its end, there is nothing to resume.
    if site.record().resumable().is_some() {
        site.done(death.stage, &["resume"]).code(0);
    }
    site.check(death.stage, &story);
    let journal = site.json(&["journal", "export"]).lines();
    let verdicts = journal.iter().filter_map(|line| line["verdict"].as_str());
    (died, verdicts.map(str::to_owned).collect())
}

#[test]
fn whatever_it_dies_of_each_effect_happens_once_and_was_meant() {
    let fleet = small();
    let one_of = match std::env::var_os("PHOENIX_EVERY_POINT") {
        Some(_) => 1,
        None => 20,
    };
    let stories = stories(one_of);
    let met = Mutex::new(BTreeMap::<String, usize>::new());
    all(&stories, |story| {
        let (died, verdicts) = live(&fleet, story);
        let alone = story.faults.len() == 1;
        assert!(died > 0 && (died == 1 || !alone), "{story:?}");
        let mut met = met.lock().expect("what was met");
        *met.entry(format!("died {died} times")).or_default() += 1;
        for verdict in verdicts {
            *met.entry(verdict).or_default() += 1;
        }
    });
    let met = met.into_inner().expect("what was met");
    println!("{} stories: {met:?}", stories.len());
    for needed in ["adopted", "retried", "ambiguous_retried"] {
        assert!(met.contains_key(needed), "{needed}: {met:?}");
    }
}

/// What history tells of a death of a single action.
#[test]
fn what_it_died_of_is_told() {
    let fleet = small();
    let verdicts = |stage, kind: &str, ctid: u32, place: &str| {
        let faults = vec![json!([{ "kind": kind, "ctid": ctid, "fault": place }])];
        live(&fleet, &Death { stage, faults }).1
    };
    for (stage, kind, ctid) in [
        (0, "create", 900),
        (0, "clone", 901),
        (0, "resize", 901),
        (0, "start", 901),
        (0, "snapshot", 900),
        (0, "run_script", 900),
        (1, "restart", 901),
        (2, "destroy", 901),
    ] {
        for (place, verdict) in [
            ("exit-before", "retried"),
            ("exit-after", "adopted"),
            ("exit-seen", "adopted"),
        ] {
            let told = verdicts(stage, kind, ctid, place);
            assert_eq!(told, [verdict], "{kind} {place}");
        }
    }
    // A script on the host leaves no trace. That it came to its end is written down at once.
    for (place, verdict) in [
        ("exit-before", "ambiguous_retried"),
        ("exit-after", "ambiguous_retried"),
        ("exit-seen", "adopted"),
    ] {
        let told = verdicts(0, "run_script", 901, place);
        assert_eq!(told, [verdict], "on the host, {place}");
    }
}
