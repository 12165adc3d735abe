//! Reading what is durable while another thread writes: for those who look on beside a run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::anchor::Head;
use super::chain::Origin;
use super::checkpoint::Checkpoint;
use super::committer::Shared;
use super::error::{JournalError, SeqRange};
use super::record::{FORMAT, Flaw, Frame};
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
    pub(super) origin: Origin,
    pub(super) base: Arc<Checkpoint>,
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
        if until <= after {
            return Ok(());
        }
        let known = self.base.totals.head.seq;
        let of_it = ctid.filter(|_| after < known);
        let indexed = of_it.and_then(|ctid| Some((ctid, self.base.records_of(ctid)?)));
        let mut next = match indexed {
            Some((ctid, records)) => {
                for seq in records.into_iter().filter(|seq| *seq <= until) {
                    self.read_one(seq, (after, until), ctid, f)?;
                }
                known + 1
            }
            None => {
                let first = self.store.last_until(after + 1)?;
                first.as_ref().map_or(0, |(seq, _)| *seq)
            }
        };
        for record in self.store.records(next) {
            if next > until {
                break;
            }
            let (seq, value) = record?;
            // After compaction a journal begins later than with its first event.
            if next != 0 && seq != next {
                let what = Flaw::Senseless(format!("event {seq} follows"));
                return Err(self.altered((next, until), what).into());
            }
            let frame = Frame::new(seq, &value).map_err(|flaw| self.altered((seq, until), flaw))?;
            next = seq + frame.events();
            if next > after + 1 && ctid.is_none_or(|ctid| frame.concerns(ctid)) {
                self.tell(seq, &frame, (after, until), ctid, f)?;
            }
        }
        if next <= until {
            let what = Flaw::Senseless("no longer there".to_owned());
            return Err(self.altered((next, until), what).into());
        }
        Ok(())
    }

    /// Reads a record on its own, and looks whether it follows the one before it.
    fn read_one<E: From<JournalError>>(
        &self,
        seq: u64,
        range: (u64, u64),
        ctid: Ctid,
        f: &mut dyn FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let altered = |flaw| self.altered((seq, seq), flaw);
        let value = self.store.get(seq)?;
        let value = value.ok_or_else(|| altered(Flaw::Senseless("no longer there".to_owned())))?;
        let frame = Frame::new(seq, &value).map_err(altered)?;
        let before = self.store.last_until(seq - 1)?;
        let end = match &before {
            None => Some(self.origin.start),
            Some((first, value)) => {
                let before = Frame::new(*first, value).map_err(altered)?;
                let end = Head {
                    seq: first + before.events() - 1,
                    hash: before.hash(),
                };
                self.origin.after(*first, end)
            }
        };
        let expected = Head {
            seq: seq - 1,
            hash: frame.prev(),
        };
        if end != Some(expected) {
            let what = "does not follow what stands before".to_owned();
            return Err(altered(Flaw::Senseless(what)).into());
        }
        self.tell(seq, &frame, range, Some(ctid), f)
    }

    fn tell<E: From<JournalError>>(
        &self,
        seq: u64,
        frame: &Frame<'_>,
        (after, until): (u64, u64),
        ctid: Option<Ctid>,
        f: &mut dyn FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let last = seq + frame.events() - 1;
        let entries = frame
            .entries()
            .map_err(|flaw| self.altered((seq, last), flaw))?;
        let wanted = |entry: &Entry| {
            let of_it = entry.ctid.is_none() || ctid.is_none_or(|id| entry.ctid == Some(id));
            of_it && (after + 1..=until).contains(&entry.seq)
        };
        entries.into_iter().filter(wanted).try_for_each(f)
    }

    fn altered(&self, (first, last): (u64, u64), flaw: Flaw) -> JournalError {
        let seqs = Some(SeqRange {
            first,
            last: last.max(first),
        });
        let what = match flaw {
            Flaw::Altered => "altered".to_owned(),
            Flaw::Senseless(what) => what,
            Flaw::Newer(found) => {
                return JournalError::NewerVersion {
                    dir: self.dir.clone(),
                    found: found.into(),
                    known: FORMAT.into(),
                };
            }
        };
        JournalError::corrupt(&self.dir, what, seqs)
    }
}
