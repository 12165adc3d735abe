//! A host and a recorder in memory, and a bomb that ends the "process" at a chosen point.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use phoenix::domain::action::Action;
use phoenix::domain::event::{Draft, Entry};
use phoenix::domain::ids::Ctid;
use phoenix::domain::model;
use phoenix::domain::observed::{ObservedContainer, ObservedWorld};
use phoenix::domain::refusal::FailureKind;
use phoenix::domain::step::Step;
use phoenix::engine::{Clock, Recorder, Watcher};
use phoenix::host::{Applied, Call, Host, HostError, ObserveRequest};
use phoenix::journal::JournalError;

/// Ends the "process" at the n-th point: from then on nothing it does has any effect.
#[derive(Default)]
pub struct Bomb {
    at: Option<u64>,
    passed: AtomicU64,
    dead: AtomicBool,
}

impl Bomb {
    pub fn at(point: u64) -> Self {
        Self {
            at: Some(point),
            ..Self::default()
        }
    }

    pub fn never() -> Self {
        Self::default()
    }

    /// Passes a point; false: the process ends here, or has ended before.
    pub fn pass(&self) -> bool {
        if self.dead() {
            return false;
        }
        let number = self.passed.fetch_add(1, Ordering::SeqCst);
        if self.at == Some(number) {
            self.dead.store(true, Ordering::SeqCst);
        }
        !self.dead()
    }

    pub fn dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// How many points were passed.
    pub fn points(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

/// One effect on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub ctid: Ctid,
    pub step: Step,
    pub attempt: u32,
    pub intent: u64,
    pub action: Action,
}

/// What a host does to one call instead of doing as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// It behaves.
    None,
    /// It refuses, and would not the next time.
    Transient,
    /// It refuses for good.
    Permanent,
    /// Nobody knows whether it did it; it did not.
    UnknownBefore,
    /// Nobody knows whether it did it; it did.
    UnknownAfter,
    /// Nobody knows, and half of it is there: the tool was killed, phoenix was not.
    Middle,
    /// It reports success and has done nothing, as `pct` can.
    Lie,
    /// It does it, and somebody destroys the container right after.
    Vanish,
}

/// The mischief of a host: over and over again, a call each.
#[derive(Default)]
pub struct Mischiefs {
    pub cycle: Mutex<Vec<Mischief>>,
    pub calls: AtomicU64,
}

/// No run of a few containers makes so many calls: who does will never come to an end.
const ENDLESS: u64 = 3000;

impl Mischiefs {
    pub fn begin(&self, cycle: &[Mischief]) {
        *self.cycle.lock().expect("mischief") = cycle.to_vec();
        self.calls.store(0, Ordering::SeqCst);
    }

    fn next(&self) -> Mischief {
        let cycle = self.cycle.lock().expect("mischief").clone();
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(cycle.is_empty() || call < ENDLESS, "a run without an end");
        let at = usize::try_from(call).expect("a small number");
        cycle
            .get(at % cycle.len().max(1))
            .copied()
            .unwrap_or(Mischief::None)
    }
}

/// The world outside of the process: what survives its end.
#[derive(Default)]
pub struct Outside {
    pub world: Mutex<ObservedWorld>,
    pub log: Mutex<Vec<Logged>>,
    pub observations: AtomicU64,
    pub refusals: Mutex<Vec<String>>,
    pub mischief: Mischiefs,
}

/// A host that is the pure model.
pub struct ModelHost<'a> {
    pub outside: &'a Outside,
    pub bomb: &'a Bomb,
}

fn gone() -> HostError {
    HostError::new(FailureKind::Permanent, "the process has ended")
}

/// The refusals of a host that misbehaves.
fn refused(mischief: Mischief) -> Result<(), HostError> {
    let (kind, text) = match mischief {
        Mischief::Transient => (FailureKind::Transient, "can't lock file - got timeout"),
        Mischief::Permanent => (FailureKind::Permanent, "disk on fire"),
        Mischief::UnknownBefore => (FailureKind::UnknownOutcome, "connection lost"),
        _ => return Ok(()),
    };
    Err(HostError::new(kind, text))
}

impl ModelHost<'_> {
    /// What a misbehaving host answers although, or because, something happened.
    fn afterwards(
        &self,
        world: &mut ObservedWorld,
        ctid: Ctid,
        mischief: Mischief,
    ) -> Result<(), HostError> {
        match mischief {
            Mischief::UnknownAfter => {
                let text = "connection lost on the way back";
                return Err(HostError::new(FailureKind::UnknownOutcome, text));
            }
            Mischief::Vanish if world.containers.contains_key(&ctid) => {
                world.absorb(ctid, model::Effect::Gone);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Host for ModelHost<'_> {
    fn identity(&self) -> Result<String, HostError> {
        Ok("model".to_owned())
    }

    fn observe(&self, request: &ObserveRequest) -> Result<ObservedWorld, HostError> {
        self.outside.observations.fetch_add(1, Ordering::SeqCst);
        // The first look of a process is not the engine's: without it there is no run.
        if request.containers.is_some() {
            refused(self.outside.mischief.next())?;
        }
        let mut world = self.outside.world.lock().expect("the world").clone();
        if let Some(only) = &request.containers {
            world.containers.retain(|ctid, _| only.contains(ctid));
        }
        world
            .host
            .directories
            .retain(|path, _| request.directories.contains(path));
        Ok(world)
    }

    fn apply(&self, call: &Call<'_>, action: &Action) -> Result<Applied, HostError> {
        if !self.bomb.pass() {
            return Err(gone());
        }
        let mischief = self.outside.mischief.next();
        refused(mischief)?;
        if mischief == Mischief::Lie {
            return Ok(Applied::default());
        }
        let mut world = self.outside.world.lock().expect("the world");
        let effect = model::after(&world, call.ctid, action, call.run).inspect_err(|refusal| {
            self.outside
                .refusals
                .lock()
                .expect("refusals")
                .push(refusal.to_string());
        })?;
        let half = model::killed(&world, call.ctid, action).unwrap_or_default();
        if mischief == Mischief::Middle {
            half.into_iter()
                .for_each(|(ctid, effect)| world.absorb(ctid, effect));
            return Err(HostError::new(FailureKind::UnknownOutcome, "killed"));
        }
        if !half.is_empty() && !self.bomb.pass() {
            half.into_iter()
                .for_each(|(ctid, effect)| world.absorb(ctid, effect));
            return Err(gone());
        }
        world.absorb(call.ctid, effect);
        self.outside.log.lock().expect("the log").push(Logged {
            ctid: call.ctid,
            step: call.step,
            attempt: call.attempt,
            intent: call.intent,
            action: action.clone(),
        });
        self.afterwards(&mut world, call.ctid, mischief)?;
        if self.bomb.pass() {
            Ok(Applied::default())
        } else {
            Err(gone())
        }
    }
}

/// Events in memory. What was only enqueued when the process ended is lost, or not: both happen.
pub struct MemoryRecorder<'a> {
    pub bomb: &'a Bomb,
    pub written: &'a Mutex<Vec<Entry>>,
    queued: Mutex<Vec<Entry>>,
    pub keeps_queued: bool,
    pub batches: AtomicU64,
}

impl<'a> MemoryRecorder<'a> {
    pub fn new(bomb: &'a Bomb, written: &'a Mutex<Vec<Entry>>, keeps_queued: bool) -> Self {
        Self {
            bomb,
            written,
            queued: Mutex::default(),
            keeps_queued,
            batches: AtomicU64::new(0),
        }
    }

    fn number(&self, queued: &mut Vec<Entry>, drafts: &[Draft]) -> u64 {
        let written = self.written.lock().expect("events");
        let last = queued
            .last()
            .or(written.last())
            .map_or(0, |entry| entry.seq);
        for (draft, seq) in drafts.iter().cloned().zip(last + 1..) {
            let Draft {
                at,
                run,
                ctid,
                event,
            } = draft;
            queued.push(Entry {
                seq,
                at,
                run,
                ctid,
                event,
            });
        }
        last + 1
    }
}

impl Recorder for MemoryRecorder<'_> {
    fn append(&self, drafts: &[Draft]) -> Result<u64, JournalError> {
        let mut queued = self.queued.lock().expect("events");
        if !self.bomb.pass() {
            if self.keeps_queued {
                self.written.lock().expect("events").append(&mut queued);
            }
            return Err(JournalError::Closed);
        }
        let first = self.number(&mut queued, drafts);
        // Half of it may be on the disk although nothing was acknowledged.
        if !self.bomb.pass() {
            let half = queued.len() / 2;
            self.written
                .lock()
                .expect("events")
                .extend(queued.drain(..).take(half));
            return Err(JournalError::Closed);
        }
        self.written.lock().expect("events").append(&mut queued);
        self.batches.fetch_add(1, Ordering::SeqCst);
        if self.bomb.pass() {
            Ok(first)
        } else {
            Err(JournalError::Closed)
        }
    }

    fn enqueue(&self, drafts: &[Draft]) -> Result<u64, JournalError> {
        if self.bomb.dead() {
            return Err(JournalError::Closed);
        }
        let mut queued = self.queued.lock().expect("events");
        Ok(self.number(&mut queued, drafts))
    }
}

/// Time that passes only when somebody asks for it.
#[derive(Default)]
pub struct ModelClock(AtomicI64);

impl Clock for ModelClock {
    fn now(&self) -> DateTime<Utc> {
        let millis = self.0.fetch_add(1, Ordering::SeqCst);
        DateTime::from_timestamp_millis(1_700_000_000_000 + millis).expect("a time")
    }

    fn pause(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).expect("a short pause");
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

pub struct Nobody;

impl Watcher for Nobody {
    fn recorded(&self, _: &Draft) {}
}

/// A world as it can be compared: without run ids.
pub fn comparable(world: &ObservedWorld) -> String {
    let mut plain = BTreeMap::new();
    for (ctid, container) in &world.containers {
        let mut container: ObservedContainer = (**container).clone();
        forget_runs(&mut container);
        plain.insert(*ctid, container);
    }
    let host = serde_json::to_string_pretty(&world.host).expect("JSON");
    format!(
        "{}\n{host}",
        serde_json::to_string_pretty(&plain).expect("JSON")
    )
}

fn forget_runs(container: &mut ObservedContainer) {
    let snapshots = container
        .snapshots
        .iter_mut()
        .map(|snapshot| &mut snapshot.receipts);
    for receipts in container.receipts.iter_mut().chain(snapshots) {
        for receipt in receipts.values_mut() {
            receipt.run = phoenix::domain::ids::RunId::NONE;
        }
    }
}

pub fn change(world: &mut ObservedWorld, ctid: Ctid, f: impl FnOnce(&mut ObservedContainer)) {
    if let Some(container) = world.containers.get_mut(&ctid) {
        f(Arc::make_mut(container));
    }
}
