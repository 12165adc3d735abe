//! The laws, over generated worlds.

use std::collections::BTreeSet;

use phoenix::domain::event::Event;
use phoenix::domain::ids::Ctid;
use phoenix::domain::record::Record;
use phoenix::engine::{ContainerOutcome, Summary};
use proptest::prelude::*;

use crate::foretold::apply_as_foretold;
use crate::worlds::build::{Shape, bare_host, ctid, fleet};
use crate::worlds::generate::{
    Drift, Lack, drift, happen, lack, lacking, redeclared, shapes, trouble,
};
use crate::worlds::host::comparable;
use crate::worlds::session::Session;

fn cases(number: u32) -> ProptestConfig {
    ProptestConfig {
        cases: number,
        ..ProptestConfig::default()
    }
}

/// A fleet, what happens to it, and how it is declared afterwards.
#[derive(Clone, Debug)]
struct Story {
    first: Vec<Shape>,
    drifts: Vec<Drift>,
    then: Vec<Shape>,
}

fn story() -> impl Strategy<Value = Story> {
    shapes()
        .prop_flat_map(redeclared)
        .prop_flat_map(|(first, then)| {
            let drifts = proptest::collection::vec(drift(first.len()), 0..6);
            (Just(first), drifts, Just(then)).prop_map(|(first, drifts, then)| Story {
                first,
                drifts,
                then,
            })
        })
}

/// A fleet of which some are there already, what people do to it that no action cures, what its
/// host lacks until it has it, and how it is declared afterwards.
#[derive(Clone, Debug)]
struct Troubled {
    first: Vec<Shape>,
    there: usize,
    drifts: Vec<Drift>,
    lack: Lack,
    then: Vec<Shape>,
    jobs: u32,
}

fn troubled() -> impl Strategy<Value = Troubled> {
    (shapes(), any::<bool>())
        .prop_map(|(shapes, family)| if family { related(shapes) } else { shapes })
        .prop_flat_map(redeclared)
        .prop_flat_map(|(first, then)| {
            let count = first.len();
            let people = prop_oneof![
                4 => drift(count),
                8 => trouble(count),
                1 => (0..count).prop_map(Drift::BindInSnapshot),
            ];
            let lack = prop_oneof![3 => Just(Lack::Nothing), 1 => lack()];
            let drifts = proptest::collection::vec(people, 1..5);
            let all = (Just(first), 0..=count, drifts, lack, Just(then), 1..4_u32);
            all.prop_map(|(first, there, drifts, lack, then, jobs)| Troubled {
                first,
                there,
                drifts,
                lack,
                then,
                jobs,
            })
        })
        .prop_map(undisputed)
}

/// All are made from another, if there is one: trouble is handed down.
fn related(shapes: Vec<Shape>) -> Vec<Shape> {
    let shapes = shapes.into_iter().enumerate();
    let shape = |(index, shape): (usize, Shape)| Shape {
        parent: shape.parent.or(index.checked_sub(1)),
        snapshot: true,
        ..shape
    };
    shapes.map(shape).collect()
}

/// Who gets the last of the space is as planned only where one goes after the other, and none of
/// them is kept from taking what the plan gave it.
fn undisputed(mut story: Troubled) -> Troubled {
    if matches!(story.lack, Lack::Space(_)) {
        story.jobs = 1;
        let lock = |drift: &Drift| matches!(drift, Drift::Lock(..));
        story.drifts.retain(|drift| !lock(drift));
    }
    story
}

pub fn all_converged(summary: &Summary) -> bool {
    summary.outcomes.iter().all(|(_, outcome)| {
        matches!(
            outcome,
            ContainerOutcome::Converged | ContainerOutcome::Unchanged
        )
    })
}

/// Applies, and holds what was done against what was planned before, and the end against the
/// laws of convergence and idempotence. What the plan calls impossible is applied all the same:
/// the command would refuse to begin, but it may become so after that.
fn apply_by_the_laws(session: &Session, shapes: &[Shape]) -> Result<(), TestCaseError> {
    let desired = fleet(shapes);
    let told = apply_as_foretold(session, &desired)?;
    let before = comparable(&session.world());
    let again = apply_as_foretold(session, &desired)?;
    for ((ctid, outcome), (_, later)) in told.summary.outcomes.iter().zip(&again.summary.outcomes) {
        if outcome.reached() {
            // Convergence.
            let left = again.plan_of(*ctid);
            prop_assert_eq!(left.changes(), 0, "{:#?}", left);
            prop_assert_eq!(later, &ContainerOutcome::Unchanged, "{}", ctid);
        } else {
            // Of two that failed either may be the one it is skipped for.
            let same = std::mem::discriminant(later) == std::mem::discriminant(outcome);
            prop_assert!(same, "{ctid}: {outcome:?} {later:?}");
        }
    }
    // Idempotence.
    prop_assert_eq!(again.summary.totals.mutations, 0);
    prop_assert!(again.log.is_empty(), "{:#?}", again.log);
    prop_assert_eq!(before, comparable(&session.world()));
    Ok(())
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn any_world_converges_and_stays(story in story(), jobs in 1..4_u32) {
        let session = Session { jobs, ..Session::new(bare_host()) };
        apply_by_the_laws(&session, &story.first)?;
        for drift in &story.drifts {
            happen(&mut session.outside.world.lock().expect("the world"), drift);
        }
        apply_by_the_laws(&session, &story.first)?;
        apply_by_the_laws(&session, &story.then)?;
    }

    #[test]
    fn what_is_impossible_stops_what_needs_it_and_nothing_else(story in troubled()) {
        let session = Session { jobs: story.jobs, ..Session::new(bare_host()) };
        let lacks = |lack| {
            let mut world = session.outside.world.lock().expect("the world");
            lacking(&mut world.host, lack);
        };
        apply_by_the_laws(&session, &story.first[..story.there])?;
        for drift in &story.drifts {
            happen(&mut session.outside.world.lock().expect("the world"), drift);
        }
        lacks(story.lack);
        apply_by_the_laws(&session, &story.first)?;
        apply_by_the_laws(&session, &story.then)?;
        lacks(Lack::Nothing);
        apply_by_the_laws(&session, &story.then)?;
    }

    #[test]
    fn folding_in_two_halves_is_folding_once(story in story(), share in 0..=100_usize) {
        let session = Session::new(bare_host());
        session.apply(&fleet(&story.first));
        story.drifts.iter().for_each(|drift| {
            happen(&mut session.outside.world.lock().expect("the world"), drift);
        });
        session.apply(&fleet(&story.then));
        let entries = session.written.lock().expect("events").clone();
        let whole = Record::of(&entries).expect("legal");
        let cut = entries.len() * share / 100;
        let mut halves = Record::of(&entries[..cut]).expect("legal");
        for entry in &entries[cut..] {
            halves.fold(entry).expect("legal");
        }
        prop_assert_eq!(&whole, &halves);
        // Out of its place, an event is refused.
        if let [first, .., last] = entries.as_slice() {
            prop_assert!(whole.clone().fold(first).is_err());
            prop_assert!(Record::default().fold(last).is_err());
        }
    }

    #[test]
    fn nobody_starts_before_what_he_needs(shapes in shapes(), jobs in 1..5_u32) {
        let session = Session { jobs, ..Session::new(bare_host()) };
        let desired = fleet(&shapes);
        session.apply(&desired);
        let mut converged = BTreeSet::new();
        for entry in session.written.lock().expect("events").iter() {
            let Some(ctid) = entry.ctid else { continue };
            match &entry.event {
                Event::ContainerConverged { .. } | Event::ContainerUnchanged => {
                    converged.insert(ctid);
                }
                Event::StepStarted { .. } => {
                    for need in desired.containers[&ctid].needs() {
                        prop_assert!(converged.contains(&need), "{ctid} began before {need}");
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_failure_stops_its_dependents_only(shapes in shapes(), broken in 0..5_usize) {
        let broken = ctid(broken % shapes.len());
        let session = Session::new(bare_host());
        let desired = fleet(&shapes);
        prop_assume!(!session.plan(&desired).has_problems());
        // Somebody else has begun to make it: phoenix keeps its hands off.
        session.apply(&desired);
        happen_lock(&session, broken);
        let summary = session.apply(&desired);
        let mut downstream = BTreeSet::from([broken]);
        for (ctid, container) in &desired.containers {
            if container.needs().any(|need| downstream.contains(&need)) {
                downstream.insert(*ctid);
            }
        }
        for (ctid, outcome) in &summary.outcomes {
            let expected = match outcome {
                ContainerOutcome::Failed => *ctid == broken,
                ContainerOutcome::Skipped { because } => {
                    *ctid != broken && downstream.contains(ctid) && *because == broken
                }
                _ => !downstream.contains(ctid),
            };
            prop_assert!(expected, "{ctid}: {outcome:?}");
        }
    }
}

/// Makes a container look as if somebody else were in the middle of creating it.
fn happen_lock(session: &Session, who: Ctid) {
    let mut world = session.outside.world.lock().expect("the world");
    crate::worlds::host::change(&mut world, who, |container| {
        container.lock = Some(phoenix::domain::observed::Lock::Create);
        container.settings.clear();
    });
}

/// What other people added stays, whatever is declared.
#[test]
fn what_is_not_ours_is_left() {
    let shape = Shape {
        memory: 512,
        disk: 1,
        nesting: Some(true),
        ..Shape::default()
    };
    let session = Session::new(bare_host());
    session.apply(&fleet(std::slice::from_ref(&shape)));
    for (key, value) in [
        ("mp9", "/srv/foreign,mp=/foreign"),
        ("features", "nesting=1,fuse=1"),
        ("lxc.cap.drop", "mac_admin"),
    ] {
        let mut world = session.outside.world.lock().expect("the world");
        happen(&mut world, &Drift::Set(0, key, value));
    }
    let desired = fleet(&[Shape {
        nesting: None,
        ..shape
    }]);
    session.apply(&desired);
    let world = session.world();
    let seen = &world.containers[&ctid(0)];
    let shown: Vec<String> = seen
        .eventual_settings()
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    assert!(
        shown.contains(&"mp9: /srv/foreign,mp=/foreign".to_owned()),
        "{shown:?}"
    );
    assert!(shown.contains(&"features: fuse=1".to_owned()), "{shown:?}");
    assert!(
        shown.contains(&"lxc.cap.drop: mac_admin".to_owned()),
        "{shown:?}"
    );
    let notes = &session.plan(&desired).containers[0].notes;
    assert_eq!(
        notes
            .iter()
            .filter(|note| note.contains("unmanaged"))
            .count(),
        3,
        "{notes:?}"
    );
}
