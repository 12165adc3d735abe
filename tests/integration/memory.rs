//! What phoenix remembers, and what it must not: locks that its killed clones left, checks that
//! failed, things that are its own no more.

use phoenix::domain::action::Action;
use phoenix::domain::event::{Event, Verdict};
use phoenix::domain::ids::JournalId;
use phoenix::domain::observed::Lock;
use phoenix::domain::setting::{Key, Value};
use phoenix::engine::Summary;
use uuid::Uuid;

use crate::worlds::build::{SNAPSHOT, Shape, bare_host, ctid, fleet};
use crate::worlds::generate::{Drift, happen};
use crate::worlds::host::{Bomb, change};
use crate::worlds::session::Session;

fn base() -> Shape {
    Shape {
        memory: 512,
        disk: 1,
        snapshot: true,
        ..Shape::default()
    }
}

fn service() -> Shape {
    Shape {
        parent: Some(0),
        memory: 512,
        disk: 1,
        binds: vec![(0, 1)],
        volumes: vec![(0, 1)],
        health: true,
        ..Shape::default()
    }
}

fn converged(summary: &Summary) {
    assert_eq!(
        summary.totals.failed + summary.totals.skipped,
        0,
        "{summary:?}"
    );
}

fn drift(session: &Session, drift: &Drift) {
    happen(&mut session.outside.world.lock().expect("the world"), drift);
}

fn shown(session: &Session, index: usize) -> Vec<String> {
    let world = session.world();
    let settings = world.containers[&ctid(index)].eventual_settings();
    settings
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect()
}

/// Ends the process at each point in turn until one leaves what is looked for.
fn killed_until(
    desired: &phoenix::domain::desired::DesiredState,
    found: fn(&Session) -> bool,
) -> Session {
    for point in 0..200 {
        let session = Session::new(bare_host());
        let bomb = Bomb::at(point);
        let _ = session.process(desired, &bomb, false);
        if bomb.dead() && found(&session) {
            return session;
        }
    }
    panic!("no point leaves that");
}

#[test]
fn the_lock_that_a_killed_clone_left_on_its_source_is_cured_there() {
    let desired = fleet(&[base(), service()]);
    let locked = |session: &Session| {
        let source = session.world().containers.get(&ctid(0)).cloned();
        source.is_some_and(|source| source.lock == Some(Lock::Disk))
    };
    // The source has work of its own, and the clone waits for it.
    let session = killed_until(&desired, locked);
    drift(&session, &Drift::Reboot);
    converged(&session.apply(&desired));

    // Even when nobody declares the clone any more.
    let session = killed_until(&desired, locked);
    let alone = fleet(&[Shape {
        memory: 1024,
        ..base()
    }]);
    converged(&session.apply(&alone));
}

#[test]
fn a_lock_that_passes_is_no_problem_of_the_plan() {
    let desired = fleet(&[base(), service()]);
    let session = Session::new(bare_host());
    session.apply(&desired);
    drift(&session, &Drift::Destroy(1));
    drift(&session, &Drift::Lock(0, Lock::Backup));
    let plan = session.plan(&desired);
    assert!(!plan.has_problems(), "{plan:#?}");
    assert!(plan.changes() > 2, "{plan:#?}");
}

#[test]
fn a_mount_whose_removal_waits_is_kept_and_not_covered() {
    let desired = fleet(&[base(), service()]);
    let session = Session::new(bare_host());
    session.apply(&desired);
    let before = shown(&session, 1);
    drift(&session, &Drift::Unmount(1, "/v0".to_owned()));
    drift(&session, &Drift::Unmount(1, "/b0".to_owned()));
    assert_ne!(shown(&session, 1), before);
    converged(&session.apply(&desired));
    assert_eq!(shown(&session, 1), before);
}

#[test]
fn a_kept_volume_grows_in_the_same_go() {
    let session = Session::new(bare_host());
    session.apply(&fleet(&[base(), service()]));
    drift(&session, &Drift::Unmount(1, "/v0".to_owned()));
    let larger = fleet(&[
        base(),
        Shape {
            volumes: vec![(0, 3)],
            ..service()
        },
    ]);
    let planned = session.plan(&larger).changes();
    let summary = session.apply(&larger);
    converged(&summary);
    // The health check is planned too, and changes nothing.
    assert_eq!(summary.totals.mutations + 1, planned as u64);
}

#[test]
fn a_health_check_that_fails_is_not_forgotten() {
    use crate::worlds::host::Mischief;
    let desired = fleet(&[Shape {
        health: true,
        ..base()
    }]);
    let mut session = Session::new(bare_host());
    session.apply(&desired);
    session.options.check_health = true;
    session
        .outside
        .mischief
        .begin(&[Mischief::Permanent, Mischief::None, Mischief::None]);
    assert_eq!(session.apply(&desired).totals.failed, 1);
    session.outside.mischief.begin(&[]);
    session.options.check_health = false;
    assert_eq!(session.plan(&desired).changes(), 1);
    converged(&session.apply(&desired));
    assert_eq!(session.plan(&desired).changes(), 0);
}

#[test]
fn an_intent_is_judged_by_its_own_actions() {
    let desired = fleet(&[base()]);
    let session = killed_until(&desired, |session| {
        let open = session.record().container(ctid(0)).open;
        let snapshot = |action: &Action| matches!(action, Action::Snapshot { .. });
        open.is_some_and(|open| open.actions.iter().any(snapshot))
            && session.world().containers[&ctid(0)]
                .snapshot(SNAPSHOT)
                .is_none()
    });
    // Nobody declares the snapshot any more: that it is not there says nothing of the intent.
    converged(&session.apply(&fleet(&[Shape {
        snapshot: false,
        ..base()
    }])));
    let entries = session.written.lock().expect("events").clone();
    let verdicts: Vec<Verdict> = entries
        .iter()
        .filter_map(|entry| match entry.event {
            Event::IntentInspected { verdict, .. } => Some(verdict),
            _ => None,
        })
        .collect();
    assert_eq!(verdicts, [Verdict::Retried]);
}

#[test]
fn what_is_gone_is_ours_no_more() {
    let session = Session::new(bare_host());
    session.apply(&fleet(&[base(), service()]));
    // A person takes the mount away, and out of the declaration too.
    drift(&session, &Drift::Unmount(1, "/b0".to_owned()));
    drift(&session, &Drift::Reboot);
    let without = fleet(&[
        base(),
        Shape {
            binds: Vec::new(),
            ..service()
        },
    ]);
    converged(&session.apply(&without));
    // Later somebody mounts something of his own there.
    drift(&session, &Drift::Set(1, "mp7", "/srv/foreign,mp=/b0"));
    let plan = session.plan(&without);
    assert_eq!(plan.changes(), 0, "{plan:#?}");
}

#[test]
fn what_another_journal_made_is_not_ours() {
    let session = Session::new(bare_host());
    session.apply(&fleet(&[base(), service()]));
    let mut world = session.outside.world.lock().expect("the world").clone();
    change(&mut world, ctid(1), |container| {
        let mark = container.mark.as_mut().expect("a mark");
        mark.journal = JournalId(Uuid::from_u128(99));
    });
    *session.outside.world.lock().expect("the world") = world;
    let without = fleet(&[
        base(),
        Shape {
            binds: Vec::new(),
            ..service()
        },
    ]);
    let plan = session.plan(&without);
    assert_eq!(plan.changes(), 0, "{plan:#?}");
    let notes = &plan
        .containers
        .iter()
        .find(|plan| plan.ctid == ctid(1))
        .expect("a plan")
        .notes;
    assert!(
        notes.iter().any(|note| note.contains("another journal")),
        "{notes:?}"
    );
}

#[test]
fn options_that_the_snapshot_gave_are_removed_with_their_declaration() {
    let nesting = |nesting| {
        let base = Shape {
            nesting,
            lines: if nesting.is_some() {
                vec![1]
            } else {
                Vec::new()
            },
            ..base()
        };
        let service = Shape {
            nesting,
            lines: base.lines.clone(),
            ..service()
        };
        fleet(&[base, service])
    };
    let session = Session::new(bare_host());
    session.apply(&nesting(Some(true)));
    converged(&session.apply(&nesting(None)));
    let world = session.world();
    let settings = world.containers[&ctid(1)].eventual_settings();
    assert!(!settings.contains_key(&Key::Features), "{settings:?}");
    assert!(!matches!(
        settings.get(&Key::Lxc("lxc.cap.drop".to_owned())),
        Some(Value::Lines(_))
    ));
}

#[test]
fn the_application_that_ran_last_has_set_the_container_up() {
    let app = |content| {
        fleet(&[Shape {
            application: Some(content),
            ..base()
        }])
    };
    let session = Session::new(bare_host());
    session.apply(&app(0));
    session.apply(&app(1));
    assert_eq!(session.apply(&app(0)).totals.mutations, 1);
    assert_eq!(session.apply(&app(0)).totals.mutations, 0);
}
