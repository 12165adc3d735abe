//! Clones of one source take turns, and no turn is longer than the copy.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use phoenix::config;
use phoenix::domain::action::Action;
use phoenix::domain::desired::DesiredState;
use phoenix::domain::ids::{Ctid, RunId};
use phoenix::domain::observed::ObservedWorld;
use phoenix::domain::record::Record;
use phoenix::engine::{Begin, Env, Run, Summary, converge};
use phoenix::host::sim::SimFacts;
use phoenix::host::{Applied, Call, Host, HostError, ObserveRequest};
use phoenix::steps::Options;
use uuid::Uuid;

use crate::laws::all_converged;
use crate::schedule::fleets::{self, Shape};
use crate::worlds::host::{Bomb, MemoryRecorder, ModelClock, ModelHost, Nobody, Outside};
use crate::worlds::session::{JOURNAL, limits, started};

/// What was seen of the clones.
#[derive(Default)]
struct Turns {
    begun: u32,
    now: u32,
    most: u32,
    first: Option<Ctid>,
    /// What the first one looked at after its clone, and whether the next began meanwhile.
    looked_at: BTreeSet<Ctid>,
    overtaken: Option<bool>,
}

/// A host that holds things up where somebody might be early.
struct Held<'a> {
    model: ModelHost<'a>,
    turns: Mutex<Turns>,
    changed: Condvar,
    /// Whether the first clone is only said to be made.
    lies: bool,
}

impl Host for Held<'_> {
    fn identity(&self) -> Result<String, HostError> {
        self.model.identity()
    }

    /// The first look of the first clone ends when the next clone has begun.
    fn observe(&self, request: &ObserveRequest) -> Result<ObservedWorld, HostError> {
        let mut turns = self.turns.lock().expect("the turns");
        let wanted = request.containers.clone().unwrap_or_default();
        let first = turns.first.filter(|first| wanted.contains(first));
        if first.is_some() && turns.now == 0 && turns.overtaken.is_none() {
            turns.looked_at = wanted;
            let patience = Duration::from_secs(20);
            let alone = |turns: &mut Turns| turns.begun < 2;
            let (mut later, waited) = self
                .changed
                .wait_timeout_while(turns, patience, alone)
                .expect("the turns");
            later.overtaken = Some(!waited.timed_out());
            turns = later;
        }
        drop(turns);
        self.model.observe(request)
    }

    fn apply(&self, call: &Call<'_>, action: &Action) -> Result<Applied, HostError> {
        if !matches!(action, Action::Clone(_)) {
            return self.model.apply(call, action);
        }
        let mut turns = self.turns.lock().expect("the turns");
        turns.begun += 1;
        turns.now += 1;
        turns.most = turns.most.max(turns.now);
        let first = turns.begun == 1;
        if first {
            turns.first = Some(call.ctid);
        }
        self.changed.notify_all();
        drop(turns);
        // Whoever would come too early has the time to.
        if self.lies && !first {
            std::thread::sleep(Duration::from_millis(200));
        }
        let applied = match self.lies && first {
            true => Ok(Applied::default()),
            false => self.model.apply(call, action),
        };
        self.turns.lock().expect("the turns").now -= 1;
        applied
    }
}

fn two_clones() -> DesiredState {
    let dir = tempfile::tempdir().expect("a directory");
    fleets::write(Shape::Clones, 3, dir.path()).expect("written");
    config::load(dir.path()).expect("a configuration").desired
}

/// A base and two clones of it, made by two jobs.
fn made(desired: &DesiredState, lies: bool) -> (Summary, Turns) {
    let request = ObserveRequest::all(desired);
    let outside = Outside {
        world: Mutex::new(SimFacts::offering(desired).untouched(&request)),
        ..Outside::default()
    };
    let (bomb, written, clock) = (Bomb::never(), Mutex::default(), ModelClock::default());
    let host = Held {
        model: ModelHost {
            outside: &outside,
            bomb: &bomb,
        },
        turns: Mutex::default(),
        changed: Condvar::new(),
        lies,
    };
    let env = Env {
        host: &host,
        recorder: &MemoryRecorder::new(&bomb, &written, true),
        clock: &clock,
        watcher: &Nobody,
        stop: &AtomicBool::new(false),
        desired,
        journal: JOURNAL,
        limits: limits(),
    };
    let run = Run {
        id: RunId(Uuid::from_u128(1)),
        begin: Begin::Start(started()),
        targets: Vec::new(),
        jobs: 2,
        options: Options::default(),
    };
    let seen = host.observe(&request).expect("a look");
    let summary = converge(&env, &run, &Record::default(), seen).expect("a run");
    (summary, host.turns.into_inner().expect("the turns"))
}

#[test]
fn the_next_clone_begins_as_soon_as_the_copy_is_made() {
    let desired = two_clones();
    let (summary, turns) = made(&desired, false);
    assert!(all_converged(&summary), "{summary:?}");
    assert_eq!(turns.overtaken, Some(true), "it waited for the look");
    // What locks the source then is the other clone: nothing is to be made of it.
    assert_eq!(turns.looked_at, BTreeSet::from_iter(turns.first));
    assert_eq!((turns.begun, turns.most), (2, 1));
}

#[test]
fn a_clone_that_is_made_again_waits_for_its_turn() {
    let desired = two_clones();
    let (summary, turns) = made(&desired, true);
    assert!(all_converged(&summary), "{summary:?}");
    assert_eq!((turns.begun, turns.most), (3, 1));
}
