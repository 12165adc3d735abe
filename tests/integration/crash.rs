//! The process ends at every point there is, alone and in pairs, and goes on in another.

use std::collections::BTreeMap;

use phoenix::domain::action::Action;
use phoenix::domain::desired::{DesiredState, Place};
use phoenix::domain::event::Event;
use phoenix::domain::record::Outcome;
use phoenix::engine::Summary;
use proptest::prelude::*;

use crate::worlds::build::{Shape, bare_host, fleet};
use crate::worlds::generate::shapes;
use crate::worlds::host::{Bomb, Logged, comparable};
use crate::worlds::session::Session;

/// Every kind of action, in two containers.
pub fn small_world() -> DesiredState {
    let base = Shape {
        memory: 512,
        disk: 1,
        downloads: true,
        lines: vec![0, 3],
        features: vec![(0, false), (1, true)],
        snapshot: true,
        health: true,
        ..Shape::default()
    };
    let service = Shape {
        parent: Some(0),
        memory: 1024,
        disk: 2,
        nesting: Some(true),
        binds: vec![(0, 1)],
        volumes: vec![(0, 1)],
        features: vec![(0, false), (2, true), (1, false)],
        application: Some(0),
        health: true,
        ..Shape::default()
    };
    fleet(&[base, service])
}

fn on_host(action: &Action) -> bool {
    matches!(action, Action::RunScript(script) if script.place == Place::Host)
}

/// Repeatable without harm: asking, and what is found right already.
fn counts(logged: &Logged) -> bool {
    logged.action.mutates() && !on_host(&logged.action)
}

/// No effect twice: what was done to a container is what was done without a crash, beside the
/// cure of what a killed action left half-done.
fn effects(log: &[Logged]) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    for logged in log.iter().filter(|logged| counts(logged)) {
        if matches!(logged.action, Action::Discard { .. } | Action::Unlock) {
            continue;
        }
        let text = serde_json::to_string(&logged.action).expect("JSON");
        match logged.action {
            // Of the host, not of a container: who comes first does it, who comes second finds
            // it right.
            Action::EnsureDirectory(ref spec) => {
                effects.insert(spec.path.clone(), 1);
            }
            Action::FetchTemplate(_) => {
                effects.insert(text, 1);
            }
            _ => {
                *effects
                    .entry(format!("{} {text}", logged.ctid))
                    .or_insert(0) += 1
            }
        }
    }
    effects
}

pub struct Expected {
    pub world: String,
    pub effects: BTreeMap<String, usize>,
    pub points: u64,
}

pub fn uninterrupted(desired: &DesiredState) -> Expected {
    let session = Session::new(bare_host());
    let bomb = Bomb::never();
    session.process(desired, &bomb, false).expect("the engine");
    let log = session.outside.log.lock().expect("the log").clone();
    Expected {
        world: comparable(&session.world()),
        effects: effects(&log),
        points: bomb.points(),
    }
}

pub fn check(
    session: &Session,
    desired: &DesiredState,
    expected: &Expected,
    summary: &Summary,
    points: &[u64],
) {
    let when = format!("crash points {points:?}");
    assert_eq!(
        summary.totals.failed + summary.totals.skipped,
        0,
        "{when}: {:#?}",
        session.record().containers
    );
    assert_eq!(comparable(&session.world()), expected.world, "{when}");
    let log = session.outside.log.lock().expect("the log").clone();
    assert_eq!(effects(&log), expected.effects, "{when}");
    assert_eq!(session.plan(desired).changes(), 0, "{when}");

    // Every effect had its intent on the disk, with that very action in it, but for its secrets.
    let entries = session.written.lock().expect("events").clone();
    for logged in &log {
        let intent = entries
            .iter()
            .find(|entry| entry.seq == logged.intent)
            .expect("an intent");
        let Event::StepStarted {
            actions,
            step,
            attempt,
            ..
        } = &intent.event
        else {
            panic!("{when}: {:?} is no intent", intent.event);
        };
        let mut action = [logged.action.clone()];
        desired.secrets.redact_actions(&mut action);
        assert!(actions.contains(&action[0]), "{when}");
        assert_eq!(
            (intent.ctid, *step, *attempt),
            (Some(logged.ctid), logged.step, logged.attempt)
        );
    }
    // A script on the host that ran twice is recorded as ambiguous.
    let twice = log.iter().filter(|logged| on_host(&logged.action)).count();
    let once = desired
        .containers
        .values()
        .flat_map(|container| container.features.iter());
    let once = once.filter(|script| script.place == Place::Host).count();
    let ambiguous = entries.iter().filter(|entry| {
        matches!(
            entry.event,
            Event::IntentInspected {
                verdict: phoenix::domain::event::Verdict::AmbiguousRetried,
                ..
            }
        )
    });
    assert!(twice <= once + ambiguous.count(), "{when}");
}

/// The small world is made, then destroyed by processes that end at these points.
fn destroyed_through(points: &[u64], keeps_queued: bool) -> u64 {
    let when = format!("crash points {points:?}");
    let desired = small_world();
    let session = Session {
        keeps_queued,
        ..Session::new(bare_host())
    };
    session.apply(&desired);
    let before = session.outside.log.lock().expect("the log").len();
    let targets = desired.containers.keys().copied().collect();
    let gone = session.removal(&desired, &targets).expect("nobody stays");
    let mut ends = points.iter().map(|point| Bomb::at(*point));
    let passed = loop {
        let bomb = ends.next().unwrap_or_else(Bomb::never);
        let done = session.process(&gone, &bomb, true);
        if !bomb.dead() {
            let totals = done.expect("the engine").totals;
            assert_eq!((totals.failed, totals.skipped), (0, 0), "{when}");
            break bomb.points();
        }
    };
    assert!(session.world().containers.is_empty(), "{when}");
    let log = session.outside.log.lock().expect("the log");
    let kinds: Vec<_> = log[before..]
        .iter()
        .map(|logged| (logged.ctid.get(), logged.action.kind()))
        .collect();
    // The clone goes before what it was cloned from, and nothing goes twice.
    assert_eq!(kinds, [(101, "destroy"), (100, "destroy")], "{when}");
    let record = session.record();
    for container in record.containers.values() {
        assert_eq!(container.outcome, Some(Outcome::Destroyed), "{when}");
        assert!(!container.created && container.owned.is_empty(), "{when}");
        assert!(container.scripts.is_empty(), "{when}");
    }
    passed
}

#[test]
fn destruction_at_every_pair_of_points() {
    let points = destroyed_through(&[], false);
    assert!(points > 8, "{points} points");
    for first in 0..points {
        for second in 0..points {
            destroyed_through(&[first, second], (first + second) % 2 == 0);
        }
    }
}

/// Who applies instead of going on with a destruction gets what is declared.
#[test]
fn apply_after_a_destruction_that_died() {
    let desired = small_world();
    let expected = uninterrupted(&desired);
    for point in 0..destroyed_through(&[], false) {
        let session = Session::new(bare_host());
        session.apply(&desired);
        let targets = desired.containers.keys().copied().collect();
        let gone = session.removal(&desired, &targets).expect("nobody stays");
        let bomb = Bomb::at(point);
        let _ = session.process(&gone, &bomb, false);
        let summary = session.apply(&desired);
        assert_eq!(summary.totals.failed + summary.totals.skipped, 0, "{point}");
        assert_eq!(comparable(&session.world()), expected.world, "{point}");
        assert_eq!(session.plan(&desired).changes(), 0, "{point}");
    }
}

fn crash_at(desired: &DesiredState, expected: &Expected, points: &[u64], keeps_queued: bool) {
    let session = Session {
        keeps_queued,
        ..Session::new(bare_host())
    };
    let (_, summary) = session.through(desired, points);
    check(&session, desired, expected, &summary, points);
}

#[test]
fn every_single_point() {
    let desired = small_world();
    let expected = uninterrupted(&desired);
    assert!(expected.points > 60, "{} points", expected.points);
    for point in 0..expected.points {
        for keeps_queued in [false, true] {
            crash_at(&desired, &expected, &[point], keeps_queued);
        }
    }
}

#[test]
fn every_ordered_pair_of_points() {
    let desired = small_world();
    let expected = uninterrupted(&desired);
    for first in 0..expected.points {
        for second in 0..expected.points {
            crash_at(
                &desired,
                &expected,
                &[first, second],
                (first + second) % 2 == 0,
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_fleet_at_any_points(
        shapes in shapes(),
        points in proptest::collection::vec(0..120_u64, 1..6),
        jobs in 1..4_u32,
        keeps_queued: bool,
    ) {
        let desired = fleet(&shapes);
        prop_assume!(!Session::new(bare_host()).plan(&desired).has_problems());
        let expected = uninterrupted(&desired);
        let session = Session { jobs, keeps_queued, ..Session::new(bare_host()) };
        let (_, summary) = session.through(&desired, &points);
        check(&session, &desired, &expected, &summary, &points);
    }

    /// Somebody types `apply` where he could have typed `resume`.
    #[test]
    fn apply_goes_on_as_well(shapes in shapes(), point in 0..80_u64) {
        let desired = fleet(&shapes);
        prop_assume!(!Session::new(bare_host()).plan(&desired).has_problems());
        let expected = uninterrupted(&desired);
        let session = Session::new(bare_host());
        let _ = session.process(&desired, &Bomb::at(point), false);
        let summary = session.apply(&desired);
        check(&session, &desired, &expected, &summary, &[point]);
    }
}
