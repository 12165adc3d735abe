//! The laws, over generated worlds.

use std::collections::{BTreeMap, BTreeSet};

use phoenix::domain::action::Action;
use phoenix::domain::event::Event;
use phoenix::domain::ids::Ctid;
use phoenix::domain::record::Record;
use phoenix::engine::{ContainerOutcome, Summary};
use phoenix::plan::FleetPlan;
use proptest::prelude::*;

use crate::worlds::build::{Shape, bare_host, ctid, fleet};
use crate::worlds::generate::{Drift, drift, happen, redeclared, shapes};
use crate::worlds::host::{Logged, comparable};
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

pub fn all_converged(summary: &Summary) -> bool {
    summary.outcomes.iter().all(|(_, outcome)| {
        matches!(
            outcome,
            ContainerOutcome::Converged | ContainerOutcome::Unchanged
        )
    })
}

/// Actions by container. Those on the host itself (directories, templates) are shared: the plan
/// gives them to one container, a parallel run may do them for another.
fn by_container<'a>(
    actions: impl Iterator<Item = (Ctid, &'a Action)>,
) -> (BTreeMap<Ctid, Vec<String>>, BTreeSet<String>) {
    let mut own: BTreeMap<Ctid, Vec<String>> = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for (ctid, action) in actions {
        let text = serde_json::to_string(action).expect("JSON");
        match action {
            Action::EnsureDirectory(spec) => {
                shared.insert(spec.path.clone());
            }
            Action::FetchTemplate(_) => {
                shared.insert(text);
            }
            _ => own.entry(ctid).or_default().push(text),
        }
    }
    (own, shared)
}

fn planned(plan: &FleetPlan) -> impl Iterator<Item = (Ctid, &Action)> {
    plan.containers.iter().flat_map(|container| {
        let steps = container
            .steps
            .iter()
            .flat_map(|step| step.work.actions.iter());
        steps.map(|action| (container.ctid, action))
    })
}

fn done(log: &[Logged]) -> impl Iterator<Item = (Ctid, &Action)> {
    log.iter().map(|logged| (logged.ctid, &logged.action))
}

/// Applies, and holds what was done against what was planned before, and the end against the
/// laws of convergence and idempotence.
fn apply_by_the_laws(session: &Session, shapes: &[Shape]) -> Result<(), TestCaseError> {
    let desired = fleet(shapes);
    let plan = session.plan(&desired);
    if plan.has_problems() {
        return Ok(());
    }
    session.outside.log.lock().expect("the log").clear();
    let locked: BTreeSet<Ctid> = session
        .world()
        .containers
        .iter()
        .filter(|(_, seen)| seen.lock.is_some())
        .map(|(ctid, _)| *ctid)
        .collect();
    let summary = session.apply(&desired);
    if !all_converged(&summary) {
        // A lock of somebody else refuses everything: that is said, and only its dependents wait.
        prop_assert!(
            !locked.is_empty(),
            "{:?} {:#?}",
            summary,
            session.record().containers
        );
        return Ok(());
    }

    // Honesty.
    let log = session.outside.log.lock().expect("the log").clone();
    let (planned, planned_shared) = by_container(planned(&plan));
    let (done, done_shared) = by_container(done(&log));
    prop_assert_eq!(&planned, &done);
    prop_assert_eq!(planned_shared, done_shared);
    let mutations = log.iter().filter(|logged| logged.action.mutates()).count() as u64;
    prop_assert_eq!(summary.totals.mutations, mutations);

    // Convergence.
    let left = session.plan(&desired);
    prop_assert_eq!(left.changes(), 0, "{:#?}", left);

    // Idempotence.
    let before = comparable(&session.world());
    session.outside.log.lock().expect("the log").clear();
    let again = session.apply(&desired);
    prop_assert_eq!(again.totals.mutations, 0);
    prop_assert_eq!(again.totals.unchanged, desired.containers.len() as u64);
    prop_assert!(session.outside.log.lock().expect("the log").is_empty());
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
