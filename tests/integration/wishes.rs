//! What a person asks for beside the configuration, and how a script on the host of which nobody
//! knows whether it ran is dealt with.

use std::collections::BTreeSet;

use phoenix::domain::action::Action;
use phoenix::domain::desired::{DesiredState, Place};
use phoenix::domain::event::{Event, Verdict};
use phoenix::domain::setting::Key;
use phoenix::engine::Summary;
use phoenix::steps::Options;

use crate::laws::all_converged;
use crate::worlds::build::{Shape, bare_host, ctid, fleet};
use crate::worlds::host::{Bomb, Logged};
use crate::worlds::session::Session;

fn service() -> Shape {
    Shape {
        memory: 512,
        disk: 1,
        features: vec![(0, false), (1, true), (2, false)],
        application: Some(0),
        health: true,
        ..Shape::default()
    }
}

/// What the host did during this, and what came of it.
fn during<T>(session: &Session, work: impl FnOnce() -> T) -> (T, Vec<Logged>) {
    session.outside.log.lock().expect("the log").clear();
    let result = work();
    let log = session.outside.log.lock().expect("the log").clone();
    (result, log)
}

fn runs_of(log: &[Logged], name: &str) -> usize {
    let ran = |logged: &&Logged| matches!(&logged.action, Action::RunScript(script) if script.name == name);
    log.iter().filter(ran).count()
}

fn kinds(log: &[Logged]) -> Vec<&'static str> {
    log.iter().map(|logged| logged.action.kind()).collect()
}

fn no_changes(session: &Session, desired: &DesiredState) {
    let left = session.plan(desired);
    assert_eq!(left.changes(), 0, "{left:#?}");
    assert!(!left.has_problems(), "{left:#?}");
}

fn verdicts(session: &Session) -> Vec<Verdict> {
    let entries = session.written.lock().expect("events").clone();
    let verdict = |event| match event {
        Event::IntentInspected { verdict, .. } => Some(verdict),
        _ => None,
    };
    entries
        .into_iter()
        .filter_map(|entry| verdict(entry.event))
        .collect()
}

/// Sessions whose process was killed at each point at which nobody can know afterwards whether
/// the script on the host ran; with how often it had.
fn killed_at_the_script(desired: &DesiredState) -> Vec<(Session, usize)> {
    let mut sessions = Vec::new();
    for point in 0.. {
        let session = Session::new(bare_host());
        let bomb = Bomb::at(point);
        let (_, log) = during(&session, || session.process(desired, &bomb, false));
        if !bomb.dead() {
            break;
        }
        let open = session.record().container(ctid(0)).open;
        if open.is_some_and(|open| open.unknown_script().is_some()) {
            sessions.push((session, runs_of(&log, "f1")));
        }
    }
    // Before it, in the middle of it, after it.
    let ran: BTreeSet<usize> = sessions.iter().map(|(_, ran)| *ran).collect();
    assert_eq!(ran, BTreeSet::from([0, 1]));
    sessions
}

fn failure(session: &Session) -> (String, String) {
    let entries = session.written.lock().expect("events").clone();
    let failures = entries
        .into_iter()
        .rev()
        .filter_map(|entry| match entry.event {
            Event::StepFailed { failure, .. } => Some(failure),
            _ => None,
        });
    let failure = failures.take(1).next().expect("a failure");
    (failure.message, failure.help.unwrap_or_default())
}

#[test]
fn on_unknown_stop_waits_for_a_person() {
    let desired = fleet(&[Shape {
        stop_on_unknown: true,
        ..service()
    }]);
    for (mut session, _) in killed_at_the_script(&desired) {
        for resume in [true, false] {
            let again = || session.process(&desired, &Bomb::never(), resume);
            let (summary, log) = during(&session, again);
            assert_eq!(summary.expect("the engine").totals.failed, 1);
            assert_eq!(kinds(&log), [""; 0]);
            let (message, help) = failure(&session);
            assert!(message.contains("nobody knows whether f1 ran"), "{message}");
            assert!(help.contains("phoenix apply 100 --rerun f1"), "{help}");
        }
        assert_eq!(verdicts(&session), [Verdict::AmbiguousStopped]);
        session.options.rerun = BTreeSet::from(["f1".to_owned()]);
        let (summary, log) = during(&session, || session.apply(&desired));
        assert!(all_converged(&summary), "{summary:?}");
        assert_eq!(runs_of(&log, "f1"), 1);
        assert_eq!(runs_of(&log, "f0"), 0);
        session.options = Options::default();
        no_changes(&session, &desired);
    }
}

#[test]
fn on_unknown_retry_runs_it_again_and_says_so() {
    let desired = fleet(&[service()]);
    for (session, _) in killed_at_the_script(&desired) {
        let again = || session.process(&desired, &Bomb::never(), true);
        let (summary, log) = during(&session, again);
        assert!(all_converged(&summary.expect("the engine")));
        assert_eq!(runs_of(&log, "f1"), 1);
        assert_eq!(runs_of(&log, "f0"), 0);
        assert_eq!(verdicts(&session), [Verdict::AmbiguousRetried]);
        no_changes(&session, &desired);
    }
}

#[test]
fn without_a_restart_what_needs_one_waits() {
    let mut session = Session::new(bare_host());
    session.apply(&fleet(&[service()]));
    let desired = fleet(&[Shape {
        nesting: Some(true),
        ..service()
    }]);
    session.options.no_restart = true;
    let (summary, log) = during(&session, || session.apply(&desired));
    assert!(all_converged(&summary));
    assert_eq!(kinds(&log), ["configure", "check_health"]);
    let waits = |session: &Session| {
        let world = session.world();
        world.containers[&ctid(0)]
            .pending
            .contains_key(&Key::Features)
    };
    assert!(waits(&session));
    let notes = session.plan(&desired).containers[0].notes.clone();
    assert_eq!(notes, ["waits for a restart (--no-restart): features"]);

    let (summary, log) = during(&session, || session.apply(&desired));
    assert_eq!((summary.totals.mutations, summary.totals.unchanged), (0, 1));
    assert_eq!(kinds(&log), [""; 0]);
    assert!(waits(&session));

    session.options.no_restart = false;
    assert_eq!(session.plan(&desired).changes(), 2);
    let (summary, log) = during(&session, || session.apply(&desired));
    assert!(all_converged(&summary));
    assert_eq!(kinds(&log), ["restart", "check_health"]);
    assert!(!waits(&session));
    no_changes(&session, &desired);
}

/// A script inside, and one on the host.
#[test]
fn a_script_runs_again_once_a_run() {
    for (name, place) in [("f0", Place::Container), ("f1", Place::Host)] {
        let desired = fleet(&[service()]);
        let mut session = Session::new(bare_host());
        session.apply(&desired);
        session.options.rerun = BTreeSet::from([name.to_owned()]);
        for _ in 0..2 {
            let (summary, log) = during(&session, || session.apply(&desired));
            assert_eq!(summary.totals.mutations, 1, "{place:?}");
            assert_eq!(kinds(&log), ["run_script", "check_health"]);
            assert_eq!(runs_of(&log, name), 1);
        }
        session.options = Options::default();
        no_changes(&session, &desired);
    }
}

/// A run that is killed while it runs a script again, and resumed: once, all the same.
#[test]
fn a_resumed_run_does_not_run_it_again() {
    let desired = fleet(&[service()]);
    for point in 0.. {
        let mut session = Session::new(bare_host());
        session.apply(&desired);
        session.options.rerun = BTreeSet::from(["f0".to_owned()]);
        let bomb = Bomb::at(point);
        let (_, log) = during(&session, || {
            let _ = session.process(&desired, &bomb, false);
            if session.record().resumable().is_some() {
                let resumed: Summary = session
                    .process(&desired, &Bomb::never(), true)
                    .expect("the engine");
                assert!(all_converged(&resumed), "{resumed:?}");
            } else if session.record().runs.len() == 1 {
                // Nothing of the run had reached the journal.
                session.apply(&desired);
            }
        });
        assert_eq!(runs_of(&log, "f0"), 1, "killed at {point}");
        session.options = Options::default();
        no_changes(&session, &desired);
        if !bomb.dead() {
            break;
        }
    }
}

#[test]
fn health_is_checked_again_on_request_once() {
    let one = |parent: Option<usize>| Shape {
        parent,
        ..service()
    };
    let desired = fleet(&[one(None), one(None)]);
    let mut session = Session::new(bare_host());
    session.apply(&desired);
    session.options.check_health = true;
    for _ in 0..2 {
        let (summary, log) = during(&session, || session.apply(&desired));
        assert_eq!(kinds(&log), ["check_health", "check_health"]);
        assert_ne!(log[0].ctid, log[1].ctid);
        assert_eq!(summary.totals.mutations, 0);
    }
    session.options.check_health = false;
    let (summary, log) = during(&session, || session.apply(&desired));
    assert_eq!(summary.totals.unchanged, 2);
    assert_eq!(kinds(&log), [""; 0]);
    no_changes(&session, &desired);
}
