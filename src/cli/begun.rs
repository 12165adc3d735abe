//! The trace of an `apply` that has not begun a run yet: if it is killed before that, the journal
//! knows nothing of it, and a person should hear of it all the same.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::clock;
use super::error::CliError;
use super::state;
use crate::domain::event::{Draft, Event};
use crate::engine::Watcher;

const BEGUN: &str = "begun";

/// Who began, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Its process.
    pub(super) pid: u32,
    /// When that was.
    pub(super) at: DateTime<Utc>,
}

impl Begun {
    /// The one that a dead process left. Only whoever holds the journal may ask: while its
    /// process lives, that one holds it.
    pub(super) fn left(state: &Path) -> Option<Self> {
        let bytes = std::fs::read(state.join(BEGUN)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// The trace of this process. It goes when the run is in the journal, or when the process ends
/// by itself.
#[derive(Debug)]
pub(super) struct Trace {
    path: PathBuf,
}

impl Trace {
    /// Leaves it. Only whoever holds the journal may.
    pub(super) fn leave(state: &Path) -> Result<Self, CliError> {
        let begun = Begun {
            pid: std::process::id(),
            at: clock::now(),
        };
        state::keep(state, BEGUN, &begun)?;
        Ok(Self {
            path: state.join(BEGUN),
        })
    }

    fn remove(&self) {
        // Left behind it would only tell a person to run `apply`, which does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A watcher that takes the trace away as soon as the run is in the journal.
pub(super) struct Traced<'a> {
    /// The trace, if there is one.
    pub(super) trace: Option<&'a Trace>,
    /// Who watches besides.
    pub(super) inner: &'a dyn Watcher,
}

impl Watcher for Traced<'_> {
    fn recorded(&self, draft: &Draft) {
        if let (Event::RunStarted(_), Some(trace)) = (&draft.event, self.trace) {
            trace.remove();
        }
        self.inner.recorded(draft);
    }
}
