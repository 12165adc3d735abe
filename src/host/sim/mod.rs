//! The simulated host: the pure model of a host, kept in a directory and shared by processes.
//!
//! The log of effects is the truth; the world is its fold through the model. A refusal is the
//! model's, a lock is one of an action under way, a fault is one of the plan. Scripts are not
//! run: their receipts are written as if they had succeeded.

mod error;
mod facts;
mod faults;
mod fold;
mod inflight;
mod latency;
mod log;
mod show;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use self::error::read_json;
use self::faults::OBSERVE;
use self::inflight::{Held, InFlight, locks_of};
use self::store::Store;
use super::{Applied, Call, Host, HostError, ObserveRequest};
use crate::domain::action::Action;
use crate::domain::ids::Ctid;
use crate::domain::model::{Operation, unfinished};
use crate::domain::observed::{Lock, ObservedContainer, ObservedWorld};
use crate::domain::refusal::{FailureKind, Refusal};

pub use self::error::SimError;
pub use self::facts::{SimDirectory, SimFacts, SimStorage};
pub use self::faults::{Fault, FaultKind, FaultPlan};
pub use self::latency::{InvalidLatency, Latency};
pub use self::log::LogEntry;

/// How to open a simulated host.
#[derive(Debug)]
pub struct SimOptions {
    /// Its directory; made where it is missing.
    pub dir: PathBuf,
    /// What it has.
    pub facts: SimFacts,
    /// How long it takes.
    pub latency: Latency,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// Its identity, if it has none yet.
    pub new_identity: Uuid,
}

/// Something done by hand on the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HandOperation {
    /// To one container.
    Container {
        /// The container.
        ctid: Ctid,
        /// What.
        operation: Operation,
    },
    /// Boot the host again.
    Reboot,
    /// Forget all containers, directories and downloads. The identity stays.
    Reset,
}

/// A simulated host.
#[derive(Debug)]
pub struct SimHost {
    identity: String,
    facts: SimFacts,
    latency: Latency,
    faults: FaultPlan,
    in_flight: InFlight,
    store: Mutex<Store>,
    observations: AtomicU64,
    /// The next look at the host is the last.
    doomed: AtomicBool,
    /// How this process ends when the plan says so.
    die: fn(),
}

impl SimHost {
    /// Opens the host in a directory.
    ///
    /// # Errors
    /// When the directory cannot be used, or its log is not one.
    pub fn open(options: SimOptions) -> Result<Self, SimError> {
        let mut store = Store::open(&options.dir)?;
        let identity =
            store.exclusively(|_| store::identity(&options.dir, options.new_identity))?;
        Ok(Self {
            identity,
            facts: options.facts,
            latency: options.latency,
            faults: options.faults,
            in_flight: InFlight::new(options.dir.join("locks")),
            store: Mutex::new(store),
            observations: AtomicU64::new(0),
            doomed: AtomicBool::new(false),
            die: kill_this_process,
        })
    }

    /// Does something by hand, beside every run.
    ///
    /// # Errors
    /// When the host refuses it, or cannot write it down.
    pub fn hand(&self, operation: HandOperation) -> Result<(), SimError> {
        self.store().exclusively(|store| {
            let n = store.fold.entries + 1;
            let entry = match operation {
                HandOperation::Reset => return store.reset(),
                HandOperation::Reboot => LogEntry::reboot(n),
                HandOperation::Container { ctid, operation } => {
                    self.in_flight.check([ctid].into_iter())?;
                    LogEntry::by_hand(n, ctid, operation)
                }
            };
            self.write(store, &entry)
        })
    }

    /// The world, or one container, as JSON that is the same for equal worlds.
    ///
    /// # Errors
    /// When there is no such container, or the log cannot be read.
    pub fn show(&self, ctid: Option<Ctid>) -> Result<serde_json::Value, SimError> {
        self.store().exclusively(|store| match ctid {
            None => Ok(show::world(&store.fold)),
            Some(ctid) => match store.fold.world.containers.get(&ctid) {
                Some(container) => Ok(show::container(container)),
                None => Err(SimError::Refused(Refusal::Missing { ctid })),
            },
        })
    }

    /// Every effect on this host, in order.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<Vec<LogEntry>, SimError> {
        self.store().exclusively(Store::entries)
    }

    /// How often this process looked at the host.
    #[must_use]
    pub fn observations(&self) -> u64 {
        self.observations.load(Ordering::SeqCst)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // The store is whole between two entries, whatever a thread died of.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides an entry by the model and writes it.
    fn write(&self, store: &mut Store, entry: &LogEntry) -> Result<(), SimError> {
        store.use_facts(&self.facts)?;
        let effects = store.effects(entry).map_err(SimError::Refused)?;
        store.commit(entry, effects)
    }

    /// Does an action, or, if it is to be killed in its middle, the half of it.
    fn perform(&self, call: &Call<'_>, action: &Action, partial: bool) -> Result<(), SimError> {
        let locks = locks_of(call.ctid, action);
        let held = self.begin(call, action, &locks)?;
        self.store().exclusively(|store| {
            if held.is_empty() {
                self.in_flight.check(locks.iter().map(|(ctid, _)| *ctid))?;
            }
            let entry = LogEntry {
                n: store.fold.entries + 1,
                run: Some(call.run),
                ctid: Some(call.ctid),
                step: Some(call.step),
                attempt: Some(call.attempt),
                intent: Some(call.intent),
                kind: action.kind().to_owned(),
                action: Some(action.clone()),
                operation: None,
                partial,
            };
            if action.mutates() {
                return self.write(store, &entry);
            }
            store.use_facts(&self.facts)?;
            store.effects(&entry).map(drop).map_err(SimError::Refused)
        })
    }

    /// Waits as long as the real tool takes, with the containers locked. What would be refused
    /// is refused before.
    fn begin(
        &self,
        call: &Call<'_>,
        action: &Action,
        locks: &[(Ctid, Option<Lock>)],
    ) -> Result<Vec<Held>, SimError> {
        let duration = self.latency.of(action);
        if duration.is_zero() {
            return Ok(Vec::new());
        }
        let held = self.store().exclusively(|store| {
            store.use_facts(&self.facts)?;
            let held = self.in_flight.take(locks)?;
            let world = &store.fold.world;
            crate::domain::model::after(world, call.ctid, action, call.run)
                .map(|_| held)
                .map_err(SimError::Refused)
        })?;
        std::thread::sleep(duration);
        Ok(held)
    }

    /// What a fault does before the effect.
    fn before(&self, fault: &Fault, ctid: Option<Ctid>) -> Result<(), HostError> {
        let say = |usual: String| fault.message.clone().unwrap_or(usual);
        let kind = &fault.kind;
        match fault.fault {
            FaultKind::Transient => {
                let usual = match ctid {
                    Some(ctid) => Refusal::LockTimeout(ctid).to_string(),
                    None => format!("{kind}: got timeout"),
                };
                Err(HostError::new(FailureKind::Transient, say(usual)))
            }
            FaultKind::Permanent => {
                let usual = format!("{kind} failed: the fault plan says so");
                Err(HostError::new(FailureKind::Permanent, say(usual)))
            }
            FaultKind::UnknownBefore => Err(unknown(fault)),
            FaultKind::Hang => {
                std::thread::sleep(Duration::from_secs(fault.seconds.unwrap_or(0)));
                Ok(())
            }
            FaultKind::ExitBefore => {
                (self.die)();
                Ok(())
            }
            FaultKind::UnknownAfter
            | FaultKind::ExitAfter
            | FaultKind::ExitSeen
            | FaultKind::ExitMiddle => Ok(()),
        }
    }

    /// What a fault does after the effect.
    fn afterwards(&self, fault: &Fault) -> Result<(), HostError> {
        match fault.fault {
            FaultKind::UnknownAfter => return Err(unknown(fault)),
            FaultKind::ExitAfter | FaultKind::ExitMiddle => (self.die)(),
            FaultKind::ExitSeen => self.doomed.store(true, Ordering::SeqCst),
            _ => {}
        }
        Ok(())
    }

    /// The world as these facts make it, with the locks of what is under way.
    fn look(&self, request: &ObserveRequest) -> Result<ObservedWorld, SimError> {
        let (mut world, locks) = self.store().exclusively(|store| {
            let all = &store.fold.world.containers;
            let containers = match &request.containers {
                None => all.clone(),
                Some(wanted) => {
                    let found = |ctid: &Ctid| Some((*ctid, Arc::clone(all.get(ctid)?)));
                    wanted.iter().filter_map(found).collect()
                }
            };
            let host = store.fold.host_by(&self.facts, &request.directories);
            Ok((ObservedWorld { host, containers }, self.in_flight.shown()?))
        })?;
        for (ctid, lock) in locks {
            let wanted = request
                .containers
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&ctid));
            if wanted {
                show_lock(&mut world, ctid, lock);
            }
        }
        Ok(world)
    }
}

/// Adds the lock of an action under way to what is seen of a container.
fn show_lock(world: &mut ObservedWorld, ctid: Ctid, lock: Lock) {
    match world.containers.get(&ctid) {
        Some(container) if container.lock.is_none() => {
            let locked = ObservedContainer {
                lock: Some(lock),
                ..container.as_ref().clone()
            };
            world.containers.insert(ctid, Arc::new(locked));
        }
        None if lock == Lock::Create => {
            world.containers.insert(ctid, Arc::new(unfinished()));
        }
        _ => {}
    }
}

fn unknown(fault: &Fault) -> HostError {
    let usual = || {
        format!(
            "{}: the connection was lost; nobody knows what came of it",
            fault.kind
        )
    };
    let message = fault.message.clone().unwrap_or_else(usual);
    HostError::new(FailureKind::UnknownOutcome, message)
}

/// Ends this process as a power failure would: nothing is cleaned up.
fn kill_this_process() {
    let me = rustix::process::getpid();
    let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

impl Host for SimHost {
    fn identity(&self) -> Result<String, HostError> {
        Ok(self.identity.clone())
    }

    fn observe(&self, request: &ObserveRequest) -> Result<ObservedWorld, HostError> {
        self.observations.fetch_add(1, Ordering::SeqCst);
        let fault = self.faults.next(OBSERVE, None);
        if let Some(fault) = fault {
            self.before(fault, None)?;
        }
        std::thread::sleep(self.latency.of_observation());
        let world = self.look(request)?;
        if let Some(fault) = fault {
            self.afterwards(fault)?;
        }
        if self.doomed.load(Ordering::SeqCst) {
            (self.die)();
        }
        Ok(world)
    }

    fn apply(&self, call: &Call<'_>, action: &Action) -> Result<Applied, HostError> {
        let fault = self.faults.next(action.kind(), Some(call.ctid));
        if let Some(fault) = fault {
            self.before(fault, Some(call.ctid))?;
        }
        let partial = fault.is_some_and(|fault| fault.fault == FaultKind::ExitMiddle);
        if partial && !has_middle(action) {
            (self.die)();
        }
        self.perform(call, action, partial)?;
        if let Some(fault) = fault {
            self.afterwards(fault)?;
        }
        let output = match action {
            Action::RunScript(script) => format!("simulated: {} was not run", script.name),
            _ => String::new(),
        };
        Ok(Applied { output })
    }
}

/// Whether a killed one leaves something half done.
fn has_middle(action: &Action) -> bool {
    matches!(
        action,
        Action::Create(_) | Action::Clone(_) | Action::Snapshot { .. } | Action::Destroy
    )
}

impl Drop for SimHost {
    fn drop(&mut self) {
        // Without a checkpoint the next process reads a longer piece of the log; no more is lost.
        let _ = self.store().close();
    }
}
