//! What happened. Events are in the past tense, small, and never change their meaning.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::ids::{Ctid, Digest, RunId};
use super::record::{ContainerRecord, RunRecord};
use super::refusal::FailureKind;
use super::setting::Key;
use super::step::Step;

/// An event with where and when it happened. Its sequence number is its place in the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Place in the journal, from 1, without gaps.
    pub seq: u64,
    /// When, to the millisecond.
    pub at: DateTime<Utc>,
    /// The run it belongs to.
    pub run: RunId,
    /// The container it is about; none: the run itself.
    pub ctid: Option<Ctid>,
    /// What happened.
    pub event: Event,
}

/// An event that has no sequence number yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// When.
    pub at: DateTime<Utc>,
    /// The run it belongs to.
    pub run: RunId,
    /// The container it is about; none: the run itself.
    pub ctid: Option<Ctid>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A run began.
    RunStarted(Box<RunStarted>),
    /// A run was found, or made, to have stopped before its end.
    RunInterrupted {
        /// Why, as far as it is known.
        reason: String,
    },
    /// An interrupted or failed run goes on in another process.
    RunResumed(Box<RunResumed>),
    /// A run came to its end.
    RunFinished(RunTotals),
    /// A run that had been interrupted will not go on: another took its place.
    RunSuperseded {
        /// The one that did.
        by: RunId,
    },

    /// The events up to here were folded into the ones that follow, which carry what they said.
    JournalCompacted {
        /// The last event that is carried.
        through: u64,
        /// How many were.
        events: u64,
    },
    /// Carried by compaction: what was known of a run.
    RunCarried {
        /// That.
        known: Box<RunRecord>,
    },
    /// Carried by compaction: what was known of a container.
    ContainerCarried {
        /// That.
        known: Box<ContainerRecord>,
    },
    /// The journal had been damaged; what had followed the event before this one is lost.
    JournalRepaired {
        /// The last event that had been known to be durable, as far as that could be told.
        lost_through: u64,
    },

    /// All eleven states held; nothing was done.
    ContainerUnchanged,
    /// These states held; nothing was done for them.
    StepsHeld {
        /// The states.
        steps: Vec<Step>,
    },
    /// Work on a state begins: these exact actions are about to be done (write-ahead intent).
    StepStarted {
        /// The state.
        step: Step,
        /// From 1, counted anew in each run.
        attempt: u32,
        /// The actions, in order.
        actions: Vec<Action>,
        /// What becomes ours by them: only what is ours is removed when it is declared no more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        claims: Vec<Owned>,
        /// What was seen before.
        seen: Seen,
    },
    /// One action that leaves nothing to look at from outside came to its end.
    ActionDone {
        /// The state.
        step: Step,
        /// From 1.
        attempt: u32,
        /// Which of the intended actions, from 0.
        index: u32,
        /// How long it took, in milliseconds.
        took_ms: u64,
        /// The end of its output, as it was.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        output: String,
    },
    /// The intended actions were done, and were seen to have had their effect.
    StepConverged {
        /// The state.
        step: Step,
        /// From 1.
        attempt: u32,
        /// How long it took, in milliseconds.
        took_ms: u64,
        /// What was seen after.
        seen: Seen,
    },
    /// The attempt failed.
    StepFailed {
        /// The state.
        step: Step,
        /// From 1; 0: the state was refused before any attempt.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// Whether another attempt follows.
        retry: bool,
        /// Whether the container was looked for afterwards and does not exist: then nothing of
        /// ours is left half-done.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        absent: bool,
    },
    /// What was ours is declared no more, and is not there any more either.
    OwnershipReleased {
        /// What it was.
        owned: Vec<Owned>,
    },
    /// An intent whose outcome was unknown, left by a run that died, was looked at.
    IntentInspected {
        /// The state.
        step: Step,
        /// Of the intent.
        attempt: u32,
        /// What was found.
        verdict: Verdict,
    },
    /// All eleven states hold now.
    ContainerConverged {
        /// Since work on it began, in milliseconds.
        took_ms: u64,
    },
    /// The container is no more, as a person asked.
    ContainerDestroyed {
        /// Since work on it began, in milliseconds.
        took_ms: u64,
    },
    /// A state could not be reached; nothing more is done for this container in this run.
    ContainerFailed {
        /// The state.
        step: Step,
    },
    /// Nothing was done because something it depends on did not converge.
    ContainerSkipped {
        /// The container that did not.
        because: Ctid,
    },
}

/// Something in a container's configuration that phoenix put there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owned {
    /// A key as a whole.
    Key(Key),
    /// One option of `features`.
    Feature(String),
    /// One line of an `lxc.*` key.
    Line(Key, String),
    /// The mount at this path.
    Mount(String),
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key}"),
            Self::Feature(name) => write!(f, "features {name}"),
            Self::Line(key, value) => write!(f, "{key}: {value}"),
            Self::Mount(path) => write!(f, "mount {path}"),
        }
    }
}

/// How a run began.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunStarted {
    /// The login name of who asked.
    pub operator: String,
    /// phoenix's version.
    pub version: String,
    /// The host's boot.
    pub boot_id: String,
    /// The process.
    pub pid: u32,
    /// Digest of the declared world.
    pub desired: Digest,
    /// The containers asked for by name; empty: all.
    pub targets: Vec<Ctid>,
    /// How many containers at a time.
    pub jobs: u32,
    /// Scripts to run again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rerun: Vec<String>,
    /// Whether changes that need a restart are left waiting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_restart: bool,
    /// Whether health checks run even where nothing was changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check_health: bool,
    /// Whether the containers asked for are to be destroyed, not converged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroy: bool,
}

/// How a run went on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunResumed {
    /// The login name of who asked.
    pub operator: String,
    /// phoenix's version.
    pub version: String,
    /// The host's boot.
    pub boot_id: String,
    /// The process.
    pub pid: u32,
    /// Digest of the declared world now.
    pub desired: Digest,
    /// How many containers at a time.
    pub jobs: u32,
}

/// What came of a run, in containers and in changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RunTotals {
    /// Containers in the declared state at the end, unchanged ones included.
    pub converged: u64,
    /// Of these, the ones for which nothing had to be done.
    pub unchanged: u64,
    /// Containers that failed.
    pub failed: u64,
    /// Containers that were skipped because of others.
    pub skipped: u64,
    /// Actions that changed the host.
    pub mutations: u64,
}

/// A short account of what a container looked like.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It did not exist.
    Absent,
    /// It existed, whole and stopped; with a digest of all that was seen.
    Stopped(Digest),
    /// It ran; with a digest of all that was seen.
    Running(Digest),
    /// It was half-created.
    HalfCreated,
}

/// Why an attempt failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Whether it can pass by itself.
    pub kind: FailureKind,
    /// What went wrong.
    pub message: String,
    /// The command, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its exit code, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The end of its output, as it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// What a person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What was found when an intent of unknown outcome was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It had had its effect: nothing is done again.
    Adopted,
    /// It had not, or not all of it: what is missing is done.
    Retried,
    /// It leaves nothing to look at (a script on the host): it is run again.
    AmbiguousRetried,
    /// It leaves nothing to look at, and the configuration says: stop.
    AmbiguousStopped,
}

impl Event {
    /// Its kind, as serialised.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RunStarted(_) => "run_started",
            Self::RunInterrupted { .. } => "run_interrupted",
            Self::RunResumed(_) => "run_resumed",
            Self::RunFinished(_) => "run_finished",
            Self::RunSuperseded { .. } => "run_superseded",
            Self::JournalCompacted { .. } => "journal_compacted",
            Self::RunCarried { .. } => "run_carried",
            Self::ContainerCarried { .. } => "container_carried",
            Self::JournalRepaired { .. } => "journal_repaired",
            Self::ContainerUnchanged => "container_unchanged",
            Self::StepsHeld { .. } => "steps_held",
            Self::StepStarted { .. } => "step_started",
            Self::ActionDone { .. } => "action_done",
            Self::StepConverged { .. } => "step_converged",
            Self::StepFailed { .. } => "step_failed",
            Self::OwnershipReleased { .. } => "ownership_released",
            Self::IntentInspected { .. } => "intent_inspected",
            Self::ContainerDestroyed { .. } => "container_destroyed",
            Self::ContainerConverged { .. } => "container_converged",
            Self::ContainerFailed { .. } => "container_failed",
            Self::ContainerSkipped { .. } => "container_skipped",
        }
    }

    /// The state it is about, where it is about one.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        match self {
            Self::StepStarted { step, .. }
            | Self::ActionDone { step, .. }
            | Self::StepConverged { step, .. }
            | Self::StepFailed { step, .. }
            | Self::IntentInspected { step, .. }
            | Self::ContainerFailed { step } => Some(*step),
            _ => None,
        }
    }

    /// The attempt it belongs to, where it belongs to one.
    #[must_use]
    pub fn attempt(&self) -> Option<u32> {
        match self {
            Self::StepStarted { attempt, .. }
            | Self::ActionDone { attempt, .. }
            | Self::StepConverged { attempt, .. }
            | Self::StepFailed { attempt, .. }
            | Self::IntentInspected { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }
}
