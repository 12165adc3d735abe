//! What the journal knows of a run.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::super::event::{Entry, Event, RunStarted, RunTotals};
use super::super::ids::RunId;
use super::{IllegalTransition, illegal};

/// One run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// How it began.
    pub started: RunStarted,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When its last event so far happened.
    pub last_at: DateTime<Utc>,
    /// How often it was resumed.
    pub resumed: u32,
    /// The boot of the host when it last went on.
    pub boot_id: String,
    /// The process that last worked on it.
    pub pid: u32,
    /// How it stands.
    pub phase: Phase,
}

/// How a run stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Somebody works on it, or died while doing so.
    Working,
    /// It was interrupted, and that was noted.
    Interrupted {
        /// Why.
        reason: String,
    },
    /// It came to its end.
    Finished(RunTotals),
    /// Another run took its place.
    Superseded {
        /// The one that did.
        by: RunId,
    },
}

impl RunRecord {
    /// Whether `resume` has something to do: it was interrupted, or something failed in it.
    #[must_use]
    pub fn resumable(&self) -> bool {
        match &self.phase {
            Phase::Working | Phase::Interrupted { .. } => true,
            Phase::Finished(totals) => totals.failed + totals.skipped > 0,
            Phase::Superseded { .. } => false,
        }
    }

    /// One word for what came of it so far.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match &self.phase {
            Phase::Finished(_) if self.started.destroy && !self.resumable() => "destroyed",
            phase => phase.name(),
        }
    }
}
impl RunRecord {
    /// A run that has just begun.
    pub(super) fn new(entry: &Entry, started: &RunStarted) -> Self {
        Self {
            id: entry.run,
            started: started.clone(),
            started_at: entry.at,
            last_at: entry.at,
            resumed: 0,
            boot_id: started.boot_id.clone(),
            pid: started.pid,
            phase: Phase::Working,
        }
    }

    pub(super) fn fold(&mut self, entry: &Entry) -> Result<(), IllegalTransition> {
        let working = self.phase == Phase::Working;
        self.phase = match &entry.event {
            Event::RunInterrupted { reason } if working => Phase::Interrupted {
                reason: reason.clone(),
            },
            Event::RunFinished(totals) if working => Phase::Finished(*totals),
            Event::RunResumed(resumed) if !working && self.resumable() => {
                self.resumed += 1;
                self.boot_id.clone_from(&resumed.boot_id);
                self.pid = resumed.pid;
                Phase::Working
            }
            Event::RunSuperseded { by } if matches!(self.phase, Phase::Interrupted { .. }) => {
                Phase::Superseded { by: *by }
            }
            _ => return Err(illegal(entry, format!("the run is {}", self.phase.name()))),
        };
        self.last_at = entry.at;
        Ok(())
    }
}

impl Phase {
    /// One word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Interrupted { .. } => "interrupted",
            Self::Finished(totals) if totals.failed + totals.skipped > 0 => "failed",
            Self::Finished(_) => "converged",
            Self::Superseded { .. } => "superseded",
        }
    }
}
