//! Reading what is durable while another thread writes: for those who look on beside a run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::committer::Shared;
use super::error::{JournalError, SeqRange};
use super::record::{Flaw, Frame};
use super::store::Store;
use crate::domain::event::Entry;
use crate::domain::ids::{Ctid, JournalId};

/// Reads a journal that is open, without asking it to write anything. It must be dropped before
/// the journal is closed.
#[derive(Clone)]
pub struct Reader {
    pub(super) dir: PathBuf,
    pub(super) id: JournalId,
    pub(super) host: String,
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
}

impl Reader {
    /// What identifies the journal.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.id
    }

    /// The host it belongs to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The last durable event.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.totals().head.seq
    }

    /// Waits until more than these events are durable, `stop` is set (and [`Reader::wake`]
    /// called), nothing more will be, or the time is up. Returns the last durable event.
    pub fn wait_beyond(&self, seq: u64, stop: &AtomicBool, patience: Duration) -> u64 {
        self.shared.wait_beyond(seq, stop, patience)
    }

    /// Lets everybody look at their `stop` who waits.
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// Hands out the events after `after` up to `until`, which must be durable, in order; of one
    /// container (and the runs themselves), or all.
    ///
    /// # Errors
    /// When something cannot be read, or `f` returns an error.
    pub fn read<E: From<JournalError>>(
        &self,
        (after, until): (u64, u64),
        ctid: Option<Ctid>,
        f: &mut dyn FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let first = self.store.last_until(after + 1)?;
        let mut next = first.as_ref().map_or(0, |(seq, _)| *seq);
        let altered = |seq: u64, flaw: Flaw| {
            let seqs = Some(SeqRange {
                first: seq,
                last: until,
            });
            JournalError::corrupt(&self.dir, format!("{flaw:?}"), seqs)
        };
        for record in self.store.records(next) {
            if next > until {
                break;
            }
            let (seq, value) = record?;
            // After compaction a journal begins later than with its first event.
            if next != 0 && seq != next {
                let what = Flaw::Senseless(format!("event {seq} follows"));
                return Err(altered(next, what).into());
            }
            let frame = Frame::new(seq, &value).map_err(|flaw| altered(seq, flaw))?;
            next = seq + frame.events();
            if next <= after + 1 || !ctid.is_none_or(|ctid| frame.concerns(ctid)) {
                continue;
            }
            let entries = frame.entries().map_err(|flaw| altered(seq, flaw))?;
            let wanted = |entry: &Entry| {
                let of_it = entry.ctid.is_none() || ctid.is_none_or(|id| entry.ctid == Some(id));
                of_it && (after + 1..=until).contains(&entry.seq)
            };
            entries.into_iter().filter(wanted).try_for_each(&mut *f)?;
        }
        if next <= until {
            let what = Flaw::Senseless("no longer there".to_owned());
            return Err(altered(next, what).into());
        }
        Ok(())
    }
}
