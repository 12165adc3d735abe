//! Makes the world what is declared: composes plan, host and journal. The only loop; `apply` and
//! `resume` are both this.

mod look;
mod pool;
mod reconcile;
mod recorder;
mod run;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::desired::DesiredState;
use crate::domain::event::{Draft, Event, RunResumed, RunStarted, RunTotals};
use crate::domain::ids::{Ctid, JournalId, RunId};
use crate::domain::record::IllegalTransition;
use crate::host::Host;
use crate::journal::JournalError;
use crate::steps::Options;

pub use look::observe;
pub use run::converge;

/// Where events go. The journal is one; tests have others.
pub trait Recorder: Sync {
    /// Writes events; they are on the disk when it returns. Returns the first one's sequence
    /// number; the others follow it without a gap.
    ///
    /// # Errors
    /// When they are not. Nothing may be done on the strength of them then.
    fn append(&self, drafts: &[Draft]) -> Result<u64, JournalError>;

    /// Hands events over, to be written before any that are handed over later.
    ///
    /// # Errors
    /// When the recorder has failed before.
    fn enqueue(&self, drafts: &[Draft]) -> Result<u64, JournalError>;
}

/// Time, as the engine needs it.
pub trait Clock: Sync {
    /// Now.
    fn now(&self) -> DateTime<Utc>;

    /// Lets time pass.
    fn pause(&self, duration: Duration);
}

/// Somebody who watches the events as they are written.
pub trait Watcher: Sync {
    /// An event was written.
    fn recorded(&self, draft: &Draft);
}

/// Limits of what is tried.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attempts at one state of one container before it counts as failed.
    pub attempts: u32,
    /// The pause after the first attempt; each later one is twice as long, with jitter.
    pub first_pause: Duration,
    /// No pause is longer than this.
    pub longest_pause: Duration,
}

impl Default for Limits {
    /// Six attempts, with pauses of 1, 2, 4, 8 and 16 s: a lock that Proxmox VE holds while it
    /// clones a container lasts seconds.
    fn default() -> Self {
        Self {
            attempts: 6,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// Everything a run works with.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// Where events go.
    pub recorder: &'a dyn Recorder,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Who watches.
    pub watcher: &'a dyn Watcher,
    /// Set when the person wants it to stop: what is being done is finished, nothing new begins.
    pub stop: &'a AtomicBool,
    /// The declared world.
    pub desired: &'a DesiredState,
    /// The journal's id.
    pub journal: JournalId,
    /// Limits of what is tried.
    pub limits: Limits,
}

impl Env<'_> {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// An event. None is made here in any other way, so none holds a secret.
    fn draft(&self, at: DateTime<Utc>, run: RunId, ctid: Option<Ctid>, mut event: Event) -> Draft {
        self.desired.secrets.redact(&mut event);
        Draft {
            at,
            run,
            ctid,
            event,
        }
    }
}

/// How a run begins.
#[derive(Clone, Debug)]
pub enum Begin {
    /// Anew.
    Start(RunStarted),
    /// Where an earlier process left it.
    Resume(RunResumed),
}

/// A run to make.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// How it begins.
    pub begin: Begin,
    /// The containers asked for; empty: all.
    pub targets: Vec<Ctid>,
    /// How many containers at a time.
    pub jobs: u32,
    /// What a person asked for.
    pub options: Options,
}

/// What came of one container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContainerOutcome {
    /// All states held at the start.
    Unchanged,
    /// All states hold now.
    Converged,
    /// A state could not be reached.
    Failed,
    /// Something it depends on did not converge.
    Skipped {
        /// The one that did not.
        because: Ctid,
    },
    /// The run was stopped before it was done.
    Interrupted,
}

impl ContainerOutcome {
    /// Whether it is as it is to be.
    #[must_use]
    pub fn reached(&self) -> bool {
        matches!(self, Self::Unchanged | Self::Converged)
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The run.
    pub run: RunId,
    /// Counts.
    pub totals: RunTotals,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Each container.
    pub outcomes: Vec<(Ctid, ContainerOutcome)>,
}

/// Why a run could not go on at all.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal cannot be written: without it nothing is done.
    #[error("the journal cannot be written, so nothing more is done")]
    Journal(#[from] JournalError),
    /// The events do not fit together: a defect of phoenix, or a damaged journal.
    #[error("the journal's events do not fit together")]
    Illegal(#[from] IllegalTransition),
    /// A container that was asked for is not declared.
    #[error(transparent)]
    Target(#[from] crate::plan::UnknownTarget),
}
