//! A fresh convergence in virtual time: phoenix's own plan and schedule, with the latencies of
//! the simulated host's `pct` profile. Nothing waits, so the same fleet always gives the same
//! figures.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::time::Duration;

use phoenix::config;
use phoenix::domain::action::Action;
use phoenix::domain::desired::DesiredState;
use phoenix::domain::ids::{Ctid, JournalId};
use phoenix::domain::record::Record;
use phoenix::host::ObserveRequest;
use phoenix::host::sim::{Latency, SimFacts};
use phoenix::plan::{ContainerPlan, Graph, Planner, Schedule, plan_fleet};
use phoenix::steps::Options;
use uuid::Uuid;

/// What one container takes.
struct Cost {
    source: Option<Ctid>,
    /// Until nothing more is copied from its source.
    cloned: Duration,
    /// The clone alone.
    clone: Duration,
    whole: Duration,
}

/// A fleet that is yet to be made.
pub struct Fleet {
    desired: DesiredState,
    graph: Graph,
    costs: BTreeMap<Ctid, Cost>,
}

/// What no schedule can be faster than.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The longest chain of containers that need each other.
    pub path: Duration,
    /// All work, evenly on all jobs.
    pub work: Duration,
    /// The longest sum of clones of one source.
    pub clones: Duration,
    /// The same two sums, of any containers that have the same chains before and behind them:
    /// before these begin and after they end there is nothing to do beside a chain.
    pub within: Duration,
}

/// One of the bounds.
pub type Least = fn(&Bound) -> Duration;

impl Bound {
    /// The longest of the three.
    pub fn plain(&self) -> Duration {
        self.path.max(self.work).max(self.clones)
    }

    /// The longest of all.
    pub fn tight(&self) -> Duration {
        self.plain().max(self.within)
    }
}

/// Some work that cannot begin before a time, and with a time behind it.
#[derive(Clone, Copy)]
struct Piece {
    before: Duration,
    length: Duration,
    behind: Duration,
}

/// The least time in which so many can do all pieces.
fn least(pieces: &[Piece], workers: usize) -> Duration {
    let mut sorted = pieces.to_vec();
    sorted.sort_by_key(|piece| Reverse(piece.before));
    let mut behinds: Vec<Duration> = pieces.iter().map(|piece| piece.behind).collect();
    behinds.sort_unstable();
    behinds.dedup();
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    let mut longest = Duration::ZERO;
    for behind in behinds {
        let mut sum = Duration::ZERO;
        for piece in sorted.iter().filter(|piece| piece.behind >= behind) {
            sum += piece.length;
            longest = longest.max(piece.before + sum / workers + behind);
        }
    }
    longest
}

impl Fleet {
    /// Reads a configuration and plans all of it on an empty host.
    pub fn read(dir: &Path) -> Self {
        let loaded = config::load(dir).unwrap_or_else(|error| panic!("{error}"));
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        let desired = loaded.desired;
        let graph = Graph::of(&desired, &[]).unwrap_or_else(|error| panic!("{error}"));
        let world = SimFacts::offering(&desired).untouched(&ObserveRequest::all(&desired));
        let planner = Planner {
            desired: &desired,
            graph: &graph,
            record: &Record::default(),
            journal: JournalId(Uuid::from_u128(1)),
            options: &Options::default(),
        };
        let plan = plan_fleet(&planner, &world);
        assert!(!plan.has_problems());
        let costs = plan.containers.iter().map(|plan| (plan.ctid, cost(plan)));
        Self {
            costs: costs.collect(),
            graph,
            desired,
        }
    }

    /// The time from the first container's begin to the last one's end.
    pub fn makespan(&self, jobs: usize) -> Duration {
        let pending = |ctid: Ctid| self.desired.containers.get(&ctid)?.clone_source();
        let mut schedule = Schedule::new(&self.graph, &pending);
        let (mut now, mut idle, mut ended) = (Duration::ZERO, jobs, 0);
        let mut coming = BinaryHeap::new();
        loop {
            while idle > 0
                && let Some(turn) = schedule.take()
            {
                idle -= 1;
                let cost = &self.costs[&turn.ctid];
                if let Some(source) = turn.source {
                    coming.push(Reverse((now + cost.cloned, Happens::Cloned(source))));
                }
                coming.push(Reverse((now + cost.whole, Happens::Reached(turn.ctid))));
            }
            let Some(Reverse((at, happens))) = coming.pop() else {
                break;
            };
            now = at;
            match happens {
                Happens::Cloned(source) => schedule.release(source),
                Happens::Reached(ctid) => {
                    schedule.reached(ctid);
                    (idle, ended) = (idle + 1, ended + 1);
                }
            }
        }
        assert_eq!(ended, self.graph.len(), "some were never worked on");
        now
    }

    /// What no schedule can be faster than.
    pub fn bound(&self, jobs: usize) -> Bound {
        let order = self.graph.topological();
        let mut ends: BTreeMap<Ctid, Duration> = BTreeMap::new();
        for ctid in &order {
            let begin = self.graph.needs(*ctid).map(|need| ends[&need]).max();
            ends.insert(*ctid, begin.unwrap_or_default() + self.costs[ctid].whole);
        }
        let mut behind: BTreeMap<Ctid, Duration> = BTreeMap::new();
        for ctid in order.iter().rev() {
            let after = self.graph.dependents(*ctid).iter();
            let after = after.map(|other| behind[other] + self.costs[other].whole);
            behind.insert(*ctid, after.max().unwrap_or_default());
        }
        let mut whole = Vec::new();
        let mut clones: BTreeMap<Ctid, Vec<Piece>> = BTreeMap::new();
        for (ctid, cost) in &self.costs {
            let (before, behind) = (ends[ctid] - cost.whole, behind[ctid]);
            let (length, rest) = (cost.whole, cost.whole - cost.cloned);
            whole.push(Piece {
                before,
                length,
                behind,
            });
            if let Some(source) = cost.source {
                clones.entry(source).or_default().push(Piece {
                    before: before + cost.cloned - cost.clone,
                    length: cost.clone,
                    behind: rest + behind,
                });
            }
        }
        let sum = |pieces: &[Piece]| pieces.iter().map(|piece| piece.length).sum();
        let all: Duration = sum(&whole);
        let turns = clones.values().map(|pieces| least(pieces, 1)).max();
        Bound {
            path: ends.into_values().max().unwrap_or_default(),
            work: all / u32::try_from(jobs).unwrap_or(u32::MAX),
            clones: clones
                .values()
                .map(|pieces| sum(pieces))
                .max()
                .unwrap_or_default(),
            within: least(&whole, jobs).max(turns.unwrap_or_default()),
        }
    }

    /// Makespan by bound.
    pub fn ratio(&self, jobs: usize, bound: Least) -> f64 {
        self.makespan(jobs).as_secs_f64() / bound(&self.bound(jobs)).as_secs_f64()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Cloned(Ctid),
    Reached(Ctid),
}

/// The actions of each state, and a look after them; one more look before what is done to things
/// of the host itself.
fn cost(plan: &ContainerPlan) -> Cost {
    let latency = Latency::Pct(1);
    let mut cost = Cost {
        source: None,
        cloned: Duration::ZERO,
        clone: Duration::ZERO,
        whole: Duration::ZERO,
    };
    for step in &plan.steps {
        for action in &step.work.actions {
            cost.whole += latency.of(action);
            if let Action::Clone(spec) = action {
                cost.source = Some(spec.source);
                cost.cloned = cost.whole;
                cost.clone = latency.of(action);
            }
        }
        let of_the_host = |action: &Action| {
            matches!(
                action,
                Action::EnsureDirectory(_) | Action::FetchTemplate(_)
            )
        };
        let before = step.work.actions.iter().any(of_the_host);
        cost.whole += latency.of_observation() * (1 + u32::from(before));
    }
    cost
}
