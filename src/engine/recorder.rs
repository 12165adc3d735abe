//! One container's pen: writes its events, folds them into what is known of it, shows them.

use super::{EngineError, Env, Recorder};
use crate::domain::event::{Draft, Entry, Event};
use crate::domain::ids::{Ctid, RunId};
use crate::domain::record::ContainerRecord;
use crate::journal::{Journal, JournalError};

/// Writes the events of one container in one run.
pub(super) struct Pen<'a> {
    env: &'a Env<'a>,
    run: RunId,
    ctid: Ctid,
    /// What is known of the container, the last event included.
    pub(super) record: ContainerRecord,
}

impl<'a> Pen<'a> {
    pub(super) fn new(env: &'a Env<'a>, run: RunId, ctid: Ctid, record: ContainerRecord) -> Self {
        Self {
            env,
            run,
            ctid,
            record,
        }
    }

    /// Writes events that must be on the disk before anything else is done; returns the sequence
    /// number of the last.
    pub(super) fn write(&mut self, events: Vec<Event>) -> Result<u64, EngineError> {
        let drafts = self.drafts(events);
        let first = self.env.recorder.append(&drafts)?;
        self.fold(first, drafts)
    }

    /// Writes events that need not be on the disk before those that follow them.
    pub(super) fn note(&mut self, events: Vec<Event>) -> Result<u64, EngineError> {
        let drafts = self.drafts(events);
        let first = self.env.recorder.enqueue(&drafts)?;
        self.fold(first, drafts)
    }

    fn drafts(&self, events: Vec<Event>) -> Vec<Draft> {
        let at = self.env.clock.now();
        let draft = |event| self.env.draft(at, self.run, Some(self.ctid), event);
        events.into_iter().map(draft).collect()
    }

    fn fold(&mut self, first: u64, drafts: Vec<Draft>) -> Result<u64, EngineError> {
        let mut seq = first;
        for (draft, number) in drafts.into_iter().zip(first..) {
            self.env.watcher.recorded(&draft);
            let Draft {
                at,
                run,
                ctid,
                event,
            } = draft;
            self.record.fold(
                &Entry {
                    seq: number,
                    at,
                    run,
                    ctid,
                    event,
                },
                self.ctid,
            )?;
            seq = number;
        }
        Ok(seq)
    }
}

impl Recorder for Journal {
    fn append(&self, drafts: &[Draft]) -> Result<u64, JournalError> {
        Journal::append(self, drafts)
    }

    fn enqueue(&self, drafts: &[Draft]) -> Result<u64, JournalError> {
        Journal::enqueue(self, drafts)
    }
}
