//! What phoenix can do to a container. A driver translates an action; it decides nothing.

use serde::{Deserialize, Serialize};

use super::desired::{HealthCheck, Place, Script, Template};
use super::ids::{Ctid, JournalId};
use super::setting::{Changes, Key, Settings};
use super::units::DiskSize;

/// What phoenix writes into the configuration of a container it makes. It names the container,
/// so that a copy made by hand, which inherits it, is not taken for phoenix's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// The journal that knows of the creation.
    pub journal: JournalId,
    /// The container that was made.
    pub ctid: Ctid,
}

/// One thing to do to one container. Serialised, it is what the journal keeps as the intent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// Download a template archive.
    FetchTemplate(Template),
    /// Make the container from a template.
    Create(Box<CreateSpec>),
    /// Make the container from a snapshot of another.
    Clone(Box<CloneSpec>),
    /// Remove what a killed creation of ours left behind: unlock, destroy, free the disk.
    Discard {
        /// The source of a killed clone, if that still carries the clone's lock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Ctid>,
    },
    /// Take away a lock that a killed action of ours left behind, and, for a snapshot, its
    /// unfinished entry.
    Unlock,
    /// Create a host directory, or give it its declared owner and mode; never recursive.
    EnsureDirectory(DirectorySpec),
    /// Set and delete keys, all in one change. A mount of a volume without a name allocates it.
    Configure {
        /// The new values.
        changes: Changes,
        /// What the keys had before, for whoever reads the plan or the history.
        #[serde(default, skip_serializing_if = "Settings::is_empty")]
        was: Settings,
    },
    /// Grow a disk to a size.
    Resize {
        /// `rootfs` or `mpN`.
        disk: Key,
        /// The new size.
        size: DiskSize,
        /// The size before, for whoever reads the plan or the history.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<DiskSize>,
    },
    /// Start it and wait until its init answers.
    Start,
    /// Shut it down (its init is asked first, and stopped hard after a while), then start it,
    /// for these keys, whose values wait for it.
    Restart {
        /// The keys.
        keys: Vec<Key>,
    },
    /// Run a script.
    RunScript(Box<Script>),
    /// Run the health check.
    CheckHealth(Box<HealthCheck>),
    /// Take a snapshot.
    Snapshot {
        /// Its name.
        name: String,
    },
    /// Stop it, if it runs, and destroy it with its volumes and snapshots.
    Destroy,
}

/// How to make a container from a template.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CreateSpec {
    /// The archive.
    pub template: Template,
    /// Storage of the root disk.
    pub storage: String,
    /// Size of the root disk.
    pub disk: DiskSize,
    /// Whether its root is an ordinary user of the host.
    pub unprivileged: bool,
    /// Settings that the creation itself can make.
    pub settings: Settings,
    /// What says that it is ours.
    pub mark: Mark,
}

/// How to make a container from a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CloneSpec {
    /// The container to copy.
    pub source: Ctid,
    /// Its snapshot.
    pub snapshot: String,
    /// Host name of the copy.
    pub hostname: String,
    /// Storage of the copy's root disk.
    pub storage: String,
    /// What says that it is ours.
    pub mark: Mark,
}

/// A host directory as it must be. What is absent here is left as it is found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DirectorySpec {
    /// The directory.
    pub path: String,
    /// Owner (uid, gid) on the host, where it is to be given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
    /// Permission bits, where it is to be given any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

impl Action {
    /// Whether it changes anything on the host; a health check only asks.
    #[must_use]
    pub fn mutates(&self) -> bool {
        !matches!(self, Self::CheckHealth(_))
    }

    /// Whether its effect can be seen on the host afterwards. Of what cannot, only the journal
    /// knows whether it was done.
    #[must_use]
    pub fn leaves_a_trace(&self) -> bool {
        match self {
            Self::RunScript(script) => script.place == Place::Container,
            Self::CheckHealth(_) => false,
            _ => true,
        }
    }

    /// Whether the last passed health check says nothing any more once this has begun: the
    /// container may be changed by it, or is being asked again.
    #[must_use]
    pub fn disturbs(&self) -> bool {
        !matches!(self, Self::Snapshot { .. } | Self::FetchTemplate(_))
    }

    /// The name of its kind, as in the journal, the simulated host's log and a fault plan.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::FetchTemplate(_) => "fetch_template",
            Self::Create(_) => "create",
            Self::Clone(_) => "clone",
            Self::Discard { .. } => "discard",
            Self::Unlock => "unlock",
            Self::EnsureDirectory(_) => "ensure_directory",
            Self::Configure { .. } => "configure",
            Self::Resize { .. } => "resize",
            Self::Start => "start",
            Self::Restart { .. } => "restart",
            Self::RunScript(_) => "run_script",
            Self::CheckHealth(_) => "check_health",
            Self::Snapshot { .. } => "snapshot",
            Self::Destroy => "destroy",
        }
    }

    /// The kinds of all actions.
    pub const KINDS: [&str; 14] = [
        "fetch_template",
        "create",
        "clone",
        "discard",
        "unlock",
        "ensure_directory",
        "configure",
        "resize",
        "start",
        "restart",
        "run_script",
        "check_health",
        "snapshot",
        "destroy",
    ];
}
