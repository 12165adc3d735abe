//! The hosts that phoenix can work on. A driver translates; it decides nothing.

use std::collections::BTreeSet;

use crate::domain::action::Action;
use crate::domain::desired::DesiredState;
use crate::domain::ids::{Ctid, RunId};
use crate::domain::observed::ObservedWorld;
use crate::domain::refusal::{FailureKind, Refusal};
use crate::domain::secret::Secret;
use crate::domain::step::Step;

mod devices;
pub mod lxc;
pub mod pct;
pub mod process;
mod run;
pub mod sim;
mod sockets;

/// A machine with containers.
pub trait Host: Send + Sync {
    /// What distinguishes this host from every other, for as long as it lives: the journal is
    /// bound to it.
    ///
    /// # Errors
    /// When the host cannot be used at all.
    fn identity(&self) -> Result<String, HostError>;

    /// Looks at the host and at containers, in one go.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn observe(&self, request: &ObserveRequest) -> Result<ObservedWorld, HostError>;

    /// Does one thing to one container and returns when it is done.
    ///
    /// # Errors
    /// When it was refused, failed, or nobody knows.
    fn apply(&self, call: &Call<'_>, action: &Action) -> Result<Applied, HostError>;
}

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct ObserveRequest {
    /// Only these containers; none: all.
    pub containers: Option<BTreeSet<Ctid>>,
    /// Host directories whose owner and mode are wanted.
    pub directories: BTreeSet<String>,
}

impl ObserveRequest {
    /// Everything there is, as far as a declared world is concerned with it.
    #[must_use]
    pub fn all(desired: &DesiredState) -> Self {
        let binds = desired
            .containers
            .values()
            .flat_map(|container| container.binds.iter());
        let directories = binds.map(|bind| bind.host_path.clone()).collect();
        Self {
            containers: None,
            directories,
        }
    }
}

/// On whose behalf an action is done.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The run.
    pub run: RunId,
    /// The container.
    pub ctid: Ctid,
    /// The state.
    pub step: Step,
    /// The attempt.
    pub attempt: u32,
    /// Sequence number of the intent in the journal.
    pub intent: u64,
    /// The container's declaration as JSON, for its application script.
    pub document: Secret<&'a str>,
}

/// What an action that succeeded had to say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The end of its output.
    pub output: String,
}

/// What went wrong on a host.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// Whether it can pass by itself.
    pub kind: FailureKind,
    /// What went wrong.
    pub message: String,
    /// The command, where there was one.
    pub command: Option<String>,
    /// Its exit code, where it had one.
    pub exit_code: Option<i32>,
    /// The end of its output.
    pub output: String,
    /// Whether what it left undone cannot be seen from outside: that everything looks done does
    /// not make up for it.
    pub unseen: bool,
}

impl HostError {
    /// An error without a command.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            command: None,
            exit_code: None,
            output: String::new(),
            unseen: false,
        }
    }
}

impl From<Refusal> for HostError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.kind(), refusal.to_string())
    }
}
