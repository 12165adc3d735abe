//! What can be wrong with a simulated host.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::domain::refusal::{FailureKind, Refusal};
use crate::host::HostError;

/// Why the simulated host cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The operating system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file says what it cannot say.
    #[error("{what}: {}: {problem}", path.display())]
    Invalid {
        /// What the file is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The host refused, in Proxmox VE's words.
    #[error(transparent)]
    Refused(Refusal),
}

impl SimError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

impl From<SimError> for HostError {
    fn from(error: SimError) -> Self {
        match error {
            SimError::Refused(refusal) => refusal.into(),
            SimError::Io { ref source, .. } => {
                Self::new(FailureKind::Permanent, format!("{error}: {source}"))
            }
            SimError::Invalid { .. } => Self::new(FailureKind::Permanent, error.to_string()),
        }
    }
}

/// Reads a JSON file.
pub(super) fn read_json<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
) -> Result<T, SimError> {
    let bytes = std::fs::read(path).map_err(SimError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|error| SimError::Invalid {
        what,
        path: path.to_owned(),
        problem: error.to_string(),
    })
}
