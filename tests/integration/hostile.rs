//! Hosts that misbehave: a run comes to its end, says what failed, and the next one is well.

use std::collections::{BTreeMap, BTreeSet};

use phoenix::domain::desired::DesiredState;
use phoenix::domain::event::Event;
use phoenix::domain::ids::{Ctid, RunId};
use phoenix::domain::step::Step;
use phoenix::engine::{ContainerOutcome, Summary};
use phoenix::steps::Options;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::crash::small_world;
use crate::laws::all_converged;
use crate::worlds::build::{Shape, bare_host, fleet};
use crate::worlds::generate::{mischief, shapes};
use crate::worlds::host::{Mischief, comparable};
use crate::worlds::session::{Session, limits};

/// No state of a container was tried more often in one run than the limits say.
fn bounded(session: &Session) -> Result<(), TestCaseError> {
    let mut attempts: BTreeMap<(RunId, Ctid, Step), u32> = BTreeMap::new();
    for entry in session.written.lock().expect("events").iter() {
        if let (Event::StepStarted { step, .. }, Some(ctid)) = (&entry.event, entry.ctid) {
            *attempts.entry((entry.run, ctid, *step)).or_insert(0) += 1;
        }
    }
    let most = attempts.values().max().copied().unwrap_or(0);
    prop_assert!(most <= limits().attempts, "{attempts:?}");
    Ok(())
}

/// What failed is named, and what needs it was skipped, and nothing else was.
pub fn honest(
    session: &Session,
    desired: &DesiredState,
    summary: &Summary,
) -> Result<(), TestCaseError> {
    let entries = session.written.lock().expect("events").clone();
    prop_assert_eq!(summary.outcomes.len(), desired.containers.len());
    prop_assert!(!summary.interrupted);
    let mut down: BTreeSet<Ctid> = BTreeSet::new();
    for (ctid, outcome) in &summary.outcomes {
        let mine = entries.iter().filter(|entry| entry.ctid == Some(*ctid));
        let events: Vec<&Event> = mine.map(|entry| &entry.event).collect();
        match (outcome, events.as_slice()) {
            (ContainerOutcome::Failed, [.., why, Event::ContainerFailed { step }]) => {
                let Event::StepFailed {
                    step: failed,
                    failure,
                    retry: false,
                    ..
                } = why
                else {
                    return Err(TestCaseError::fail(format!("{ctid}: {why:?}")));
                };
                prop_assert_eq!(failed, step);
                prop_assert!(!failure.message.is_empty());
                down.insert(*ctid);
            }
            (ContainerOutcome::Skipped { because }, [.., Event::ContainerSkipped { .. }]) => {
                prop_assert!(
                    down.contains(because) || because > ctid,
                    "{ctid}: {because}"
                );
                down.insert(*ctid);
            }
            (ContainerOutcome::Converged | ContainerOutcome::Unchanged, _) => {}
            _ => {
                return Err(TestCaseError::fail(format!(
                    "{ctid}: {outcome:?} {events:?}"
                )));
            }
        }
    }
    for (ctid, outcome) in &summary.outcomes {
        let waits = desired.containers[ctid]
            .needs()
            .any(|need| down.contains(&need));
        let skipped = matches!(outcome, ContainerOutcome::Skipped { .. });
        prop_assert_eq!(waits, skipped, "{}: {:?}", ctid, outcome);
    }
    Ok(())
}

/// A run on a host that misbehaves, and one on a host that does not any more.
fn survive(
    session: &mut Session,
    desired: &DesiredState,
    cycle: &[Mischief],
) -> Result<(), TestCaseError> {
    session.outside.mischief.begin(cycle);
    let summary = session.apply(desired);
    session.outside.mischief.begin(&[]);
    bounded(session)?;
    honest(session, desired, &summary)?;

    // A person has looked, and says: run it again.
    let record = session.record();
    let containers = record.containers.values();
    let unknown = containers.flat_map(|container| &container.ambiguous);
    session.options.rerun = unknown.map(|key| key.name.clone()).collect();
    let calm = session.apply(desired);
    prop_assert!(
        all_converged(&calm),
        "{:?} {:#?}\n{}",
        calm.outcomes,
        session.record().containers,
        comparable(&session.world())
    );
    session.options = Options::default();
    let left = session.plan(desired);
    prop_assert_eq!(left.changes(), 0, "{:#?}", left);
    prop_assert!(!left.has_problems());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_hostile_host_does_no_lasting_harm(
        shapes in shapes(),
        cycle in vec(mischief(), 1..8),
        jobs in 1..3_u32,
        stop_on_unknown: bool,
        rerun: bool,
    ) {
        let shapes: Vec<Shape> = shapes
            .into_iter()
            .map(|shape| Shape { stop_on_unknown, ..shape })
            .collect();
        let rerun = rerun.then(|| "f0".to_owned()).into_iter().collect();
        let options = Options { rerun, ..Options::default() };
        let mut session = Session { jobs, options, ..Session::new(bare_host()) };
        let desired = fleet(&shapes);
        prop_assume!(!session.plan(&desired).has_problems());

        survive(&mut session, &desired, &cycle)?;
    }
}

/// Each kind of mischief at each call there is, alone and twice in a row.
#[test]
fn every_mischief_at_every_call() {
    let desired = small_world();
    for mischief in [
        Mischief::Transient,
        Mischief::Permanent,
        Mischief::UnknownBefore,
        Mischief::UnknownAfter,
        Mischief::Middle,
        Mischief::Lie,
        Mischief::Vanish,
    ] {
        for times in 1..=2 {
            for call in 0..60 {
                let mut session = Session::new(bare_host());
                let mut cycle = vec![Mischief::None; call];
                cycle.extend(vec![mischief; times]);
                cycle.extend(vec![Mischief::None; 1000]);
                let result = survive(&mut session, &desired, &cycle);
                assert!(
                    result.is_ok(),
                    "{mischief:?} {times} times at call {call}: {}",
                    result.expect_err("a failure")
                );
            }
        }
    }
}

/// The worst there is, everywhere and always: each kind alone.
#[test]
fn a_host_that_never_does_anything_right_is_given_up() {
    let base = Shape {
        memory: 512,
        disk: 1,
        features: vec![(0, true), (1, false)],
        snapshot: true,
        ..Shape::default()
    };
    for mischief in [
        Mischief::Transient,
        Mischief::Permanent,
        Mischief::UnknownBefore,
        Mischief::Middle,
        Mischief::Lie,
    ] {
        let session = Session::new(bare_host());
        session.outside.mischief.begin(&[mischief]);
        let summary = session.apply(&fleet(std::slice::from_ref(&base)));
        assert_eq!(summary.totals.failed, 1, "{mischief:?}");
        bounded(&session).expect("an end");
    }
}
