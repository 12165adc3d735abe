//! The generators reach everything: each kind of action, refusal, event, verdict and problem.
//! A law that holds over worlds in which nothing ever happens says nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use phoenix::domain::action::Action;
use phoenix::domain::desired::DesiredState;
use phoenix::domain::event::{Event, Seen, Verdict};
use phoenix::domain::ids::RunId;
use phoenix::domain::refusal::Refusal;
use phoenix::domain::step::Step;
use phoenix::engine::ContainerOutcome;
use phoenix::steps::{self, Context};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::worlds::arbitrary::{deed, perform};
use crate::worlds::build::{Shape, bare_host, fleet};
use crate::worlds::generate::{
    Drift, Lack, drift, happen, lack, lacking, mischief, redeclared, shapes, trouble,
};
use crate::worlds::host::{Bomb, Mischief};
use crate::worlds::session::{JOURNAL, Session};

/// The variants of an enum by name: a new one does not compile until it is listed here.
macro_rules! names {
    ($names:ident, $name_of:ident, $enum:ident, [$($variant:ident),* $(,)?]) => {
        const $names: &[&str] = &[$(stringify!($variant)),*];

        fn $name_of(value: &$enum) -> &'static str {
            match value {
                $($enum::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

names!(
    REFUSALS,
    refusal_name,
    Refusal,
    [
        Missing,
        Exists,
        Locked,
        NotLocked,
        AlreadyRunning,
        NotRunning,
        ExecNotRunning,
        DestroyRunning,
        StartTemplate,
        SnapshotTemplate,
        TemplateWithSnapshots,
        AlreadyTemplate,
        TemplateRunning,
        Protected,
        ProtectedDrive,
        UnknownOption,
        NotMounted,
        CannotResize,
        NoStorage,
        NoBridge,
        NoTemplate,
        OutOfSpace,
        Shrink,
        SameSize,
        NoDisk,
        NotAVolume,
        NoSnapshots,
        SnapshotExists,
        NoSnapshot,
        ReservedSnapshot,
        BadSnapshotName,
        CloneBind,
        ReadOnlyPrivilege,
        RequiredKey,
        NothingToSet,
        BadValue,
        LockTimeout,
        NotHalfCreated,
    ]
);

names!(
    EVENTS,
    event_name,
    Event,
    [
        RunStarted,
        RunInterrupted,
        RunResumed,
        RunFinished,
        RunSuperseded,
        JournalCompacted,
        RunCarried,
        ContainerCarried,
        JournalRepaired,
        ContainerUnchanged,
        StepsHeld,
        StepStarted,
        ActionDone,
        StepConverged,
        StepFailed,
        OwnershipReleased,
        IntentInspected,
        ContainerConverged,
        ContainerDestroyed,
        ContainerFailed,
        ContainerSkipped,
    ]
);

names!(
    VERDICTS,
    verdict_name,
    Verdict,
    [Adopted, Retried, AmbiguousRetried, AmbiguousStopped,]
);

names!(
    SEEN,
    seen_name,
    Seen,
    [Absent, Stopped, Running, HalfCreated]
);

names!(
    OUTCOMES,
    outcome_name,
    ContainerOutcome,
    [Unchanged, Converged, Failed, Skipped, Interrupted,]
);

/// Of the lock file, which the model has none of: the simulated host says it.
const NOT_OF_THE_MODEL: [&str; 1] = ["LockTimeout"];

/// The journal's own.
const NOT_OF_A_RUN: [&str; 4] = [
    "JournalCompacted",
    "RunCarried",
    "ContainerCarried",
    "JournalRepaired",
];

/// Nobody sends a signal here.
const NOT_WITHOUT_A_SIGNAL: [&str; 1] = ["Interrupted"];

/// What each problem that a state can find says: words that no other says, `*` for any others.
const PROBLEMS: [&str; 28] = [
    "the host has no storage",
    " free, and * are needed",
    "the host has no bridge",
    "and cannot download it",
    "the host has no * devices",
    "phoenix does not manage, does not run",
    "phoenix does not manage, does not exist",
    "is half-created (CT is locked (create)), and not by phoenix",
    "is being destroyed (CT is locked (destroyed)), and not by phoenix",
    "was not made by phoenix with this journal",
    "that cannot be changed",
    "was turned into a Proxmox VE template",
    "its clone source * does not exist",
    "its clone source * has no snapshot",
    "a clone is as privileged as its source",
    "the disk of its clone source",
    "unable to clone mountpoint",
    "are both mounted at",
    "the host directory * is mounted at",
    "the volume at * has ",
    "phoenix does not take it away",
    "all 256 mount slots are in use",
    "the root disk has",
    "nobody knows whether",
    "cannot be taken: storage",
    "cannot be taken: mp",
    "has gone while it was worked on",
    "the host would refuse to",
];

/// How often a problem is made in `src/steps` and `src/plan`: whoever adds one adds it to
/// [`PROBLEMS`], unless it says what another says already.
const PLACES: usize = 25;

#[test]
fn no_problem_is_left_out() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut places = 0;
    for module in ["steps", "plan"] {
        for file in fs::read_dir(src.join(module)).expect("a directory") {
            let text = fs::read_to_string(file.expect("an entry").path()).expect("a source file");
            places += text.matches("Problem::new(").count();
        }
    }
    assert_eq!(places, PLACES);
}

/// How often things were seen.
#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn saw(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_insert(0) += 1;
    }

    /// All of these were seen but those, and nothing else; prints the counts.
    fn check(&self, title: &str, all: &[&str], never: &[&str]) {
        let mut table = format!("{title}\n");
        let mut wrong = 0;
        let listed = all.iter().copied();
        let unlisted = self.0.keys().map(String::as_str);
        for name in listed.chain(unlisted.filter(|name| !all.contains(name))) {
            let count = self.0.get(name).copied().unwrap_or(0);
            let expected = all.contains(&name) && !never.contains(&name);
            let remark = match (count > 0, expected) {
                (true, false) => "  <-- not expected",
                (false, true) => "  <-- never reached",
                _ => "",
            };
            wrong += usize::from(!remark.is_empty());
            writeln!(table, "{count:>8}  {name}{remark}").expect("a text");
        }
        println!("{table}");
        assert_eq!(wrong, 0, "{table}");
    }
}

/// The same cases in every run.
fn cases<S: Strategy>(strategy: &S, count: usize) -> impl Iterator<Item = S::Value> + '_ {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count).map(move |_| {
        let tree = strategy.new_tree(&mut runner).expect("a case");
        tree.current()
    })
}

#[test]
fn every_refusal_of_the_model() {
    let mut refusals = Tally::default();
    for (shapes, deeds) in cases(&(shapes(), vec(deed(), 60)), 300) {
        let session = Session::new(bare_host());
        session.apply(&fleet(&shapes));
        let mut world = session.world();
        for deed in &deeds {
            if let Err(refusal) = perform(&mut world, deed) {
                refusals.saw(refusal_name(&refusal));
            }
        }
    }
    refusals.check("refusals", REFUSALS, &NOT_OF_THE_MODEL);
}

/// What happens next in the life of a fleet.
#[derive(Clone, Debug)]
enum Chapter {
    /// A process that comes to its end.
    Apply,
    /// One that is killed at some point.
    Killed(u64),
    /// One that goes on where another ended.
    Resume,
    /// One on a host that misbehaves.
    Mischief(Vec<Mischief>),
    /// People.
    Drifts(Vec<Drift>),
    /// The host has, or lacks, something else from now on.
    Lack(Lack),
    /// It is declared anew.
    Redeclared,
    /// These are to be destroyed, by a process that is killed at some point, or not.
    Destroyed(Vec<bool>, Option<u64>),
}

fn chapter(count: usize) -> impl Strategy<Value = Chapter> {
    let people = prop_oneof![3 => drift(count), 2 => trouble(count)];
    prop_oneof![
        3 => Just(Chapter::Apply),
        4 => (0..80_u64).prop_map(Chapter::Killed),
        2 => Just(Chapter::Resume),
        3 => vec(mischief(), 1..8).prop_map(Chapter::Mischief),
        3 => vec(people, 1..5).prop_map(Chapter::Drifts),
        1 => lack().prop_map(Chapter::Lack),
        1 => Just(Chapter::Redeclared),
        2 => (vec(any::<bool>(), count), proptest::option::of(0..20_u64))
            .prop_map(|(who, point)| Chapter::Destroyed(who, point)),
    ]
}

#[derive(Clone, Debug)]
struct Life {
    first: Vec<Shape>,
    then: Vec<Shape>,
    /// Has nothing to do with it, but the ids.
    other: Vec<Shape>,
    lack: Lack,
    stop_on_unknown: bool,
    chapters: Vec<Chapter>,
}

fn life() -> impl Strategy<Value = Life> {
    let worlds = (shapes().prop_flat_map(redeclared), shapes(), lack());
    (worlds, any::<bool>()).prop_flat_map(|(((first, then), other, lack), stop_on_unknown)| {
        let chapters = vec(chapter(first.len()), 4..10);
        chapters.prop_map(move |chapters| Life {
            first: first.clone(),
            then: then.clone(),
            other: other.clone(),
            lack,
            stop_on_unknown,
            chapters,
        })
    })
}

/// What was seen in lives.
#[derive(Default)]
struct Sights {
    actions: Tally,
    events: Tally,
    verdicts: Tally,
    seen: Tally,
    outcomes: Tally,
    problems: Tally,
}

impl Sights {
    fn problem(&mut self, message: &str) {
        let says = |words: &&str| {
            let mut rest = message;
            words.split('*').all(|part| match rest.split_once(part) {
                Some((_, behind)) => {
                    rest = behind;
                    true
                }
                None => false,
            })
        };
        let known: Vec<&str> = PROBLEMS.into_iter().filter(says).collect();
        match known.as_slice() {
            [one] => self.problems.saw(*one),
            _ => self.problems.saw(format!("{known:?} in: {message}")),
        }
    }

    /// Compares every state of every container with a declaration, whatever came before.
    fn compare(&mut self, session: &Session, desired: &DesiredState) {
        let (world, record) = (session.world(), session.record());
        for (ctid, container) in &desired.containers {
            let context = Context {
                desired: container,
                observed: world.containers.get(ctid).map(|seen| &**seen),
                world: &world,
                record: &record.container(*ctid),
                run: RunId::NONE,
                journal: JOURNAL,
                lent: false,
                disturbed: false,
                options: &session.options,
            };
            let gone = Context {
                observed: None,
                ..context
            };
            let states = container.states().iter();
            let steps: Vec<_> = states.map(|step| steps::compare(*step, &context)).collect();
            let anew = steps::compare(Step::EnsureContainerDefined, &gone);
            for problem in steps
                .into_iter()
                .chain([anew])
                .filter_map(Result::err)
                .flatten()
            {
                self.problem(&problem.message);
            }
        }
        for plan in session.plan(desired).containers {
            plan.problems
                .iter()
                .for_each(|(_, problem)| self.problem(&problem.message));
        }
    }

    fn live(&mut self, life: &Life) {
        let declared = |shapes: &[Shape]| {
            let stop_on_unknown = life.stop_on_unknown;
            let shapes: Vec<Shape> = shapes
                .iter()
                .map(|shape| Shape {
                    stop_on_unknown,
                    ..shape.clone()
                })
                .collect();
            fleet(&shapes)
        };
        let session = Session::new(bare_host());
        lacking(
            &mut session.outside.world.lock().expect("the world").host,
            life.lack,
        );
        let (mut now, then) = (declared(&life.first), declared(&life.then));
        self.compare(&session, &declared(&life.other));
        let mut process = |desired: &DesiredState, bomb: &Bomb, resume| {
            if let Ok(summary) = session.process(desired, bomb, resume) {
                let outcomes = summary.outcomes.iter();
                outcomes.for_each(|(_, outcome)| self.outcomes.saw(outcome_name(outcome)));
            }
        };
        let mut destroyed = Vec::new();
        for chapter in &life.chapters {
            match chapter {
                Chapter::Apply => process(&now, &Bomb::never(), false),
                Chapter::Killed(point) => process(&now, &Bomb::at(*point), true),
                Chapter::Resume => process(&now, &Bomb::never(), true),
                Chapter::Mischief(cycle) => {
                    session.outside.mischief.begin(cycle);
                    process(&now, &Bomb::never(), false);
                    session.outside.mischief.begin(&[]);
                }
                Chapter::Drifts(drifts) => {
                    let mut world = session.outside.world.lock().expect("the world");
                    drifts.iter().for_each(|drift| happen(&mut world, drift));
                }
                Chapter::Lack(lack) => {
                    let mut world = session.outside.world.lock().expect("the world");
                    lacking(&mut world.host, *lack);
                }
                Chapter::Redeclared => now.clone_from(&then),
                Chapter::Destroyed(who, point) => {
                    let all = now.containers.keys().zip(who);
                    let targets = all.filter(|(_, goes)| **goes).map(|(ctid, _)| *ctid);
                    if let Ok(gone) = session.removal(&now, &targets.collect()) {
                        let bomb = point.map_or_else(Bomb::never, Bomb::at);
                        process(&gone, &bomb, false);
                        destroyed.push(gone);
                    }
                }
            }
        }
        let small = |shape: &Shape| Shape {
            disk: 1,
            volumes: Vec::new(),
            ..shape.clone()
        };
        let small: Vec<Shape> = life.first.iter().map(small).collect();
        for desired in [&now, &declared(&life.other), &declared(&small)] {
            self.compare(&session, desired);
        }
        for gone in &destroyed {
            self.compare(&session, gone);
        }
        self.read(&session);
    }

    /// What the host did, and what the journal says.
    fn read(&mut self, session: &Session) {
        for logged in session.outside.log.lock().expect("the log").iter() {
            self.actions.saw(logged.action.kind());
        }
        for entry in session.written.lock().expect("events").iter() {
            self.events.saw(event_name(&entry.event));
            match &entry.event {
                Event::IntentInspected { verdict, .. } => self.verdicts.saw(verdict_name(verdict)),
                Event::StepStarted { seen, .. } | Event::StepConverged { seen, .. } => {
                    self.seen.saw(seen_name(seen));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn everything_that_can_happen_in_a_life() {
    let mut sights = Sights::default();
    for life in cases(&life(), 800) {
        sights.live(&life);
    }
    sights.actions.check("actions", &Action::KINDS, &[]);
    sights.events.check("events", EVENTS, &NOT_OF_A_RUN);
    sights.verdicts.check("verdicts", VERDICTS, &[]);
    sights.seen.check("what was seen", SEEN, &[]);
    sights
        .outcomes
        .check("outcomes", OUTCOMES, &NOT_WITHOUT_A_SIGNAL);
    sights.problems.check("problems", &PROBLEMS, &[]);
}
