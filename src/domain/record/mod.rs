//! What the journal knows: events folded into a state.
//!
//! Folding is pure, and refuses, by name, what cannot have happened.

mod carry;
mod container;
mod run;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::event::{Entry, Event};
use super::ids::Ctid;

pub use container::{ContainerRecord, Made, OpenIntent, Outcome};
pub use run::{Phase, RunRecord};

/// Everything a journal says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The runs, oldest first.
    pub runs: Vec<RunRecord>,
    /// The containers that were ever worked on.
    pub containers: BTreeMap<Ctid, ContainerRecord>,
    /// Sequence number of the last event; 0 before the first.
    pub last_seq: u64,
    /// Up to here events were folded into ones that carry what they said; 0: none were.
    pub carried: u64,
}
/// An event that cannot have happened after the ones before it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("event {seq} ({kind}) cannot follow: {why}")]
pub struct IllegalTransition {
    /// The event.
    pub seq: u64,
    /// Its kind.
    pub kind: &'static str,
    /// What speaks against it.
    pub why: String,
}
impl Record {
    /// Folds events, in order.
    ///
    /// # Errors
    /// The first one that cannot have happened.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, IllegalTransition> {
        let mut record = Self::default();
        entries
            .into_iter()
            .try_for_each(|entry| record.fold(entry))?;
        Ok(record)
    }

    /// Takes in the next event.
    ///
    /// # Errors
    /// When it cannot have happened now.
    pub fn fold(&mut self, entry: &Entry) -> Result<(), IllegalTransition> {
        let begins = self.last_seq == 0 && matches!(entry.event, Event::JournalCompacted { .. });
        if !begins && entry.seq != self.last_seq + 1 {
            return Err(illegal(
                entry,
                format!("the event before it is {}", self.last_seq),
            ));
        }
        match (entry.ctid, &entry.event) {
            (
                _,
                Event::JournalCompacted { .. }
                | Event::RunCarried { .. }
                | Event::ContainerCarried { .. },
            ) => self.take_up(entry)?,
            (None, Event::JournalRepaired { .. }) => {}
            (None, _) => self.fold_run(entry)?,
            (Some(ctid), _) => {
                let known = self.runs.iter_mut().rev().find(|run| run.id == entry.run);
                let run = known.ok_or_else(|| illegal(entry, "its run never started"))?;
                if run.phase != Phase::Working {
                    return Err(illegal(entry, "its run is not being worked on"));
                }
                run.last_at = entry.at;
                self.containers.entry(ctid).or_default().fold(entry, ctid)?;
            }
        }
        self.last_seq = entry.seq;
        Ok(())
    }

    fn fold_run(&mut self, entry: &Entry) -> Result<(), IllegalTransition> {
        if let Event::RunStarted(started) = &entry.event {
            if self.runs.iter().any(|run| run.id == entry.run) {
                return Err(illegal(entry, "the run has started before"));
            }
            self.runs.push(RunRecord::new(entry, started));
            return Ok(());
        }
        let known = self.runs.iter_mut().rev().find(|run| run.id == entry.run);
        let run = known.ok_or_else(|| illegal(entry, "its run never started"))?;
        run.fold(entry)
    }

    /// The run that `resume` goes on with: the last one, if there is something left to do.
    #[must_use]
    pub fn resumable(&self) -> Option<&RunRecord> {
        self.runs.last().filter(|run| run.resumable())
    }

    /// The containers of which a clone of ours broke off, so that they may still carry its lock.
    #[must_use]
    pub fn sources_of_broken_clones(&self) -> BTreeSet<Ctid> {
        let unsettled = self
            .containers
            .values()
            .flat_map(|container| &container.unsettled);
        let clones = unsettled.filter_map(|action| match action {
            Action::Clone(spec) => Some(spec.source),
            _ => None,
        });
        clones.collect()
    }

    /// What the journal knows of a container; of one it never heard of: nothing.
    #[must_use]
    pub fn container(&self, ctid: Ctid) -> ContainerRecord {
        self.containers.get(&ctid).cloned().unwrap_or_default()
    }
}
fn illegal(entry: &Entry, why: impl Into<String>) -> IllegalTransition {
    IllegalTransition {
        seq: entry.seq,
        kind: entry.event.kind(),
        why: why.into(),
    }
}
