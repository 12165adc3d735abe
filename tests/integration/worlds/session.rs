//! Processes of phoenix, one after another, over one outside world.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use phoenix::domain::desired::DesiredState;
use phoenix::domain::event::{Entry, RunResumed, RunStarted};
use phoenix::domain::ids::{Ctid, Digest, JournalId, RunId};
use phoenix::domain::record::Record;
use phoenix::engine::{Begin, EngineError, Env, Limits, Recorder, Run, Summary, converge};
use phoenix::host::{Host, ObserveRequest};
use phoenix::plan::{
    FleetPlan, Graph, Known, Needed, Planner, plan_fleet, problems_of_fleet, removal,
};
use phoenix::steps::Options;
use uuid::Uuid;

use super::host::{Bomb, MemoryRecorder, ModelClock, ModelHost, Nobody, Outside};

pub const JOURNAL: JournalId = JournalId(Uuid::from_u128(0x1234));

pub fn limits() -> Limits {
    Limits {
        attempts: 4,
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(100),
    }
}

pub fn started() -> RunStarted {
    RunStarted {
        operator: "tester".to_owned(),
        version: "0".to_owned(),
        boot_id: "boot-0".to_owned(),
        pid: 1,
        desired: Digest::of(b""),
        targets: Vec::new(),
        jobs: 1,
        rerun: Vec::new(),
        no_restart: false,
        check_health: false,
        destroy: false,
    }
}

pub fn resumed() -> RunResumed {
    let RunStarted {
        operator,
        version,
        boot_id,
        pid,
        desired,
        jobs,
        ..
    } = started();
    RunResumed {
        operator,
        version,
        boot_id,
        pid,
        desired,
        jobs,
    }
}

/// The outside world with the journal on its disk.
#[derive(Default)]
pub struct Session {
    pub outside: Outside,
    pub written: Mutex<Vec<Entry>>,
    pub clock: ModelClock,
    pub runs: AtomicU64,
    pub jobs: u32,
    pub options: Options,
    pub keeps_queued: bool,
    /// Durable batches of the last process.
    pub batches: AtomicU64,
}

impl Session {
    pub fn new(world: phoenix::domain::observed::ObservedWorld) -> Self {
        let outside = Outside {
            world: Mutex::new(world),
            ..Outside::default()
        };
        Self {
            outside,
            jobs: 1,
            ..Self::default()
        }
    }

    pub fn record(&self) -> Record {
        Record::of(self.written.lock().expect("events").iter()).expect("a legal journal")
    }

    pub fn world(&self) -> phoenix::domain::observed::ObservedWorld {
        self.outside.world.lock().expect("the world").clone()
    }

    pub fn plan(&self, desired: &DesiredState) -> FleetPlan {
        let bomb = Bomb::never();
        let host = ModelHost {
            outside: &self.outside,
            bomb: &bomb,
        };
        let seen = host.observe(&ObserveRequest::all(desired)).expect("a look");
        let graph = Graph::of(desired, &[]).expect("a graph");
        let planner = Planner {
            desired,
            graph: &graph,
            record: &self.record(),
            journal: JOURNAL,
            options: &self.options,
        };
        let plan = plan_fleet(&planner, &seen);
        let with_problems = plan.containers.iter();
        let with_problems = with_problems.filter(|plan| !plan.problems.is_empty());
        let asked = problems_of_fleet(&planner, &seen);
        assert!(
            with_problems
                .map(|plan| (plan.ctid, &plan.problems))
                .eq(asked
                    .containers
                    .iter()
                    .map(|plan| (plan.ctid, &plan.problems))),
            "what a run asks before it begins is what a plan says: {plan:#?} {asked:#?}"
        );
        plan
    }

    /// The world in which these are not to be.
    pub fn removal(
        &self,
        desired: &DesiredState,
        targets: &BTreeSet<Ctid>,
    ) -> Result<DesiredState, Vec<Needed>> {
        let known = Known {
            desired,
            world: &self.world(),
            record: &self.record(),
            journal: JOURNAL,
        };
        removal(&known, targets)
    }

    /// One process: `apply`, or `resume` if there is something to go on with and it is asked for.
    pub fn process(
        &self,
        desired: &DesiredState,
        bomb: &Bomb,
        resume: bool,
    ) -> Result<Summary, EngineError> {
        let recorder = MemoryRecorder::new(bomb, &self.written, self.keeps_queued);
        let result = self.process_on(desired, bomb, resume, &recorder, &self.record());
        self.batches
            .store(recorder.batches.load(Ordering::SeqCst), Ordering::SeqCst);
        result
    }

    /// The same on a journal of somebody else's.
    pub fn process_on(
        &self,
        desired: &DesiredState,
        bomb: &Bomb,
        resume: bool,
        recorder: &dyn Recorder,
        record: &Record,
    ) -> Result<Summary, EngineError> {
        let unfinished = record.resumable().filter(|_| resume).map(|run| run.id);
        let number = self.runs.fetch_add(1, Ordering::SeqCst);
        let fresh = RunId(Uuid::from_u128(u128::from(number) + 1));
        let run = Run {
            id: unfinished.unwrap_or(fresh),
            begin: match unfinished {
                Some(_) => Begin::Resume(resumed()),
                None => Begin::Start(started()),
            },
            targets: Vec::new(),
            jobs: self.jobs,
            options: self.options.clone(),
        };
        let host = ModelHost {
            outside: &self.outside,
            bomb,
        };
        let stop = AtomicBool::new(false);
        let env = Env {
            host: &host,
            recorder,
            clock: &self.clock,
            watcher: &Nobody,
            stop: &stop,
            desired,
            journal: JOURNAL,
            limits: limits(),
        };
        let seen = host.observe(&ObserveRequest::all(desired)).expect("a look");
        converge(&env, &run, record, seen)
    }

    /// `apply` that comes to its end.
    pub fn apply(&self, desired: &DesiredState) -> Summary {
        self.process(desired, &Bomb::never(), false)
            .expect("the engine")
    }

    /// Ends a process at each of the given points, then lets one come to its end. Returns how
    /// many of them died.
    pub fn through(&self, desired: &DesiredState, points: &[u64]) -> (usize, Summary) {
        let mut died = 0;
        for point in points {
            let bomb = Bomb::at(*point);
            match self.process(desired, &bomb, true) {
                Ok(summary) if !bomb.dead() => return (died, summary),
                _ => died += 1,
            }
        }
        let summary = self
            .process(desired, &Bomb::never(), true)
            .expect("the engine");
        (died, summary)
    }
}
