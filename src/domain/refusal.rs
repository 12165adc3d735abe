//! What a host refuses, in Proxmox VE's words, and whether waiting can help.

use serde::{Deserialize, Serialize};

use super::ids::Ctid;
use super::observed::Lock;
use super::setting::Key;

/// Whether a failure can pass by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// It may pass: a lock, a time-out of a lock.
    Transient,
    /// It will not pass by itself.
    Permanent,
    /// Nobody knows whether the action took effect: it must be looked at.
    UnknownOutcome,
}

/// Why a host (and the model of it) refuses an action. The texts are those of `pct` in Proxmox
/// VE 8.4 where it has one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such container.
    #[error(
        "Configuration file 'nodes/{node}/lxc/{ctid}.conf' does not exist",
        node = "localhost"
    )]
    Missing {
        /// The container.
        ctid: Ctid,
    },
    /// The id is taken.
    #[error("CT {0} already exists on node 'localhost'")]
    Exists(Ctid),
    /// It is locked.
    #[error("CT is locked ({0})")]
    Locked(Lock),
    /// `unlock` without a lock.
    #[error("no lock found trying to remove any lock")]
    NotLocked,
    /// It runs already.
    #[error("CT {0} already running")]
    AlreadyRunning(Ctid),
    /// It does not run.
    #[error("CT {0} not running")]
    NotRunning(Ctid),
    /// Something is to run inside, and it does not run.
    #[error("container '{0}' not running!")]
    ExecNotRunning(Ctid),
    /// It runs, and must not to be destroyed.
    #[error("unable to destroy CT {0} - container is running")]
    DestroyRunning(Ctid),
    /// It is a Proxmox VE template.
    #[error("you can't start a CT if it's a template")]
    StartTemplate,
    /// It is a Proxmox VE template.
    #[error("you can't take a snapshot if it's a template")]
    SnapshotTemplate,
    /// It has snapshots.
    #[error("unable to create template, because CT contains snapshots")]
    TemplateWithSnapshots,
    /// Twice made a template.
    #[error("you can't convert a template to a template")]
    AlreadyTemplate,
    /// It runs, and must not to become a template.
    #[error("you can't convert a CT to template if the CT is running")]
    TemplateRunning,
    /// It is protected.
    #[error("can't remove CT {0} - protection mode enabled")]
    Protected(Ctid),
    /// A drive of a protected container.
    #[error("can't remove CT {ctid} drive '{drive}' - protection mode enabled")]
    ProtectedDrive {
        /// The container.
        ctid: Ctid,
        /// `mpN` or `unusedN`.
        drive: Key,
    },
    /// No key that Proxmox VE knows.
    #[error("Unknown option: {0}")]
    UnknownOption(Key),
    /// Nothing is mounted there.
    #[error("nothing is mounted at '{path}' in CT {ctid}")]
    NotMounted {
        /// The container.
        ctid: Ctid,
        /// The path in it.
        path: String,
    },
    /// A plain directory instead of a disk.
    #[error("can't resize this image format")]
    CannotResize,
    /// No such storage.
    #[error("storage '{0}' does not exist")]
    NoStorage(String),
    /// No such bridge.
    #[error("bridge '{0}' does not exist")]
    NoBridge(String),
    /// No such template archive.
    #[error("volume '{0}' does not exist")]
    NoTemplate(String),
    /// No space in the storage.
    #[error("storage '{storage}': out of space ({free} free, {wanted} wanted)")]
    OutOfSpace {
        /// The storage.
        storage: String,
        /// What is free.
        free: String,
        /// What was asked for.
        wanted: String,
    },
    /// Disks only grow.
    #[error("unable to shrink disk size")]
    Shrink,
    /// Nothing to do.
    #[error("disk is already at specified size")]
    SameSize,
    /// No such disk.
    #[error("no such disk '{0}'")]
    NoDisk(Key),
    /// A bind mount has no size.
    #[error("unable to parse volume ID '{0}'")]
    NotAVolume(String),
    /// A bind mount, or a storage that cannot.
    #[error("snapshot feature is not available")]
    NoSnapshots,
    /// The name is taken.
    #[error("snapshot name '{0}' already used")]
    SnapshotExists(String),
    /// No such snapshot.
    #[error("snapshot '{0}' does not exist")]
    NoSnapshot(String),
    /// `current` and `vzdump`.
    #[error("unable to use snapshot name '{0}' (reserved name)")]
    ReservedSnapshot(String),
    /// Not a name for a snapshot.
    #[error("snapname: invalid format - invalid configuration ID '{0}'")]
    BadSnapshotName(String),
    /// A bind mount cannot be copied.
    #[error("unable to clone mountpoint '{0}' (type bind)")]
    CloneBind(Key),
    /// Privilege is for life.
    #[error("unable to modify read-only option: 'unprivileged'")]
    ReadOnlyPrivilege,
    /// Some keys cannot be deleted.
    #[error("unable to delete required option '{0}'")]
    RequiredKey(Key),
    /// An empty change.
    #[error("no options specified")]
    NothingToSet,
    /// A value that its key cannot have.
    #[error("{key}: {message}")]
    BadValue {
        /// The key.
        key: Key,
        /// Proxmox VE's words.
        message: String,
    },
    /// Somebody else holds the configuration's lock file for longer than 10 s.
    #[error("can't lock file '/run/lock/lxc/pve-config-{0}.lock' - got timeout")]
    LockTimeout(Ctid),
    /// There is nothing half-made to discard.
    #[error("CT {0} is not half-created; it is not discarded")]
    NotHalfCreated(Ctid),
}

impl Refusal {
    /// Whether waiting can help.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Locked(_) | Self::LockTimeout(_) => FailureKind::Transient,
            _ => FailureKind::Permanent,
        }
    }
}
