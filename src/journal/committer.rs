//! The one thread that writes. Everybody queues; it takes all that is queued, writes it, syncs
//! once, and lets everybody go whose events are in it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::anchor::{Anchor, HeadFile};
use super::chain::Totals;
use super::error::JournalError;
use super::files::Paths;
use super::record::{self, Item};
use super::space::Space;
use super::store::{Store, Syncer};

/// What is queued without anybody waiting is written when it is this much: a bound on memory.
const QUEUE_BYTES: usize = 8 << 20;

/// What producers and the committer share.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Something is to be written.
    work: Condvar,
    /// Something was written, or never will be.
    done: Condvar,
}

struct Queue {
    items: Vec<Item>,
    bytes: usize,
    /// Sequence number of the last event that was queued.
    queued: u64,
    /// Up to here somebody waits.
    wanted: u64,
    /// Up to here everything is on the disk.
    totals: Totals,
    /// Batches that this handle made durable.
    batches: u64,
    /// Once set it stays: after a failed sync nobody knows what is on the disk.
    failed: Option<JournalError>,
    closing: bool,
}

impl Queue {
    fn due(&self) -> bool {
        !self.items.is_empty()
            && (self.closing || self.wanted > self.totals.head.seq || self.bytes > QUEUE_BYTES)
    }
}

impl Shared {
    pub(super) fn new(totals: Totals) -> Self {
        let queue = Queue {
            items: Vec::new(),
            bytes: 0,
            queued: totals.head.seq,
            wanted: 0,
            totals,
            batches: 0,
            failed: None,
            closing: false,
        };
        Self {
            queue: Mutex::new(queue),
            work: Condvar::new(),
            done: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock; if one did, the queue would still be whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues events, in order and next to each other; returns the first's sequence number.
    pub(super) fn enqueue(&self, items: Vec<Item>) -> Result<u64, JournalError> {
        let mut queue = self.lock();
        queue.add(items).inspect(|_| {
            if queue.due() {
                self.work.notify_one();
            }
        })
    }

    /// Queues events and waits until they are durable.
    pub(super) fn append(&self, items: Vec<Item>) -> Result<u64, JournalError> {
        let mut queue = self.lock();
        let first = queue.add(items)?;
        self.wait(queue).map(|()| first)
    }

    /// Waits until everything that is queued is durable.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        self.wait(self.lock())
    }

    /// Waits until everything that is queued now is durable.
    fn wait(&self, mut queue: MutexGuard<'_, Queue>) -> Result<(), JournalError> {
        let wanted = queue.queued;
        if wanted > queue.wanted {
            queue.wanted = wanted;
            self.work.notify_one();
        }
        while queue.totals.head.seq < wanted && queue.failed.is_none() {
            queue = self
                .done
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        match &queue.failed {
            Some(error) if queue.totals.head.seq < wanted => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Waits, without asking for anything to be written, until more than this is durable or never
    /// will be, `stop` is set, or the time is up.
    pub(super) fn wait_beyond(&self, seq: u64, stop: &AtomicBool, patience: Duration) -> u64 {
        let waits = |queue: &mut Queue| {
            let over = queue.closing || queue.failed.is_some() || stop.load(Ordering::SeqCst);
            queue.totals.head.seq <= seq && !over
        };
        let waited = self.done.wait_timeout_while(self.lock(), patience, waits);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.totals.head.seq
    }

    /// Lets everybody who waits look again at what they wait for.
    pub(super) fn wake(&self) {
        // Nobody is between looking and waiting while the lock is held.
        drop(self.lock());
        self.done.notify_all();
    }

    /// How far the journal reaches on the disk.
    pub(super) fn totals(&self) -> Totals {
        self.lock().totals
    }

    pub(super) fn batches(&self) -> u64 {
        self.lock().batches
    }

    /// What stopped the writing, if anything did.
    pub(super) fn failure(&self) -> Option<JournalError> {
        self.lock().failed.clone()
    }

    /// Asks the committer to write the rest and end.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    /// Waits for work: a batch, or none when the journal closes.
    fn next_batch(&self) -> Option<Vec<Item>> {
        let mut queue = self.lock();
        while !queue.due() && !queue.closing {
            queue = self
                .work
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.bytes = 0;
        let items = std::mem::take(&mut queue.items);
        (!items.is_empty()).then_some(items)
    }

    fn succeeded(&self, totals: Totals) {
        let mut queue = self.lock();
        queue.totals = totals;
        queue.batches += 1;
        self.done.notify_all();
    }

    fn failed(&self, error: JournalError) {
        let mut queue = self.lock();
        queue.items = Vec::new();
        queue.failed.get_or_insert(error);
        self.done.notify_all();
    }
}

impl Queue {
    fn add(&mut self, items: Vec<Item>) -> Result<u64, JournalError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let first = self.queued + 1;
        self.queued += items.len() as u64;
        self.bytes += items.iter().map(Item::bytes).sum::<usize>();
        self.items.extend(items);
        Ok(first)
    }
}

/// What the thread works with.
pub(super) struct Committer {
    pub(super) paths: Paths,
    pub(super) store: Store,
    pub(super) syncer: Box<dyn Syncer>,
    pub(super) head_file: HeadFile,
    pub(super) space: Space,
    pub(super) totals: Totals,
    /// The records when the anchor was last written, and what it says.
    pub(super) anchored: (u64, Anchor),
    pub(super) anchor_every: u64,
}

impl Committer {
    /// Runs until the journal closes or fails.
    pub(super) fn run(mut self, shared: &Arc<Shared>) {
        while let Some(items) = shared.next_batch() {
            let committed = catch_unwind(AssertUnwindSafe(|| self.commit(&items)));
            let committed = committed.unwrap_or(Err(JournalError::Closed));
            // Who waits need not wait for the anchor.
            let went_on = committed.and_then(|()| {
                shared.succeeded(self.totals);
                let due = self.totals.records - self.anchored.0 >= self.anchor_every;
                if due { self.anchor(false) } else { Ok(()) }
            });
            if let Err(error) = went_on {
                return self.give_up(shared, error);
            }
        }
        if let Err(error) = self.anchor(true) {
            self.give_up(shared, error);
        }
    }

    fn give_up(&self, shared: &Shared, error: JournalError) {
        if matches!(error, JournalError::NoSpace { .. }) {
            self.space.release();
        }
        shared.failed(error);
    }

    /// Writes a batch; when it returns, the batch is on the disk.
    fn commit(&mut self, items: &[Item]) -> Result<(), JournalError> {
        let records = record::pack(self.totals.head.seq + 1, self.totals.head.hash, items)?;
        // sled writes a page's changes more than once; eight times is more than was ever seen.
        let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
        self.space.check(8 * bytes as u64)?;
        if self.anchored.1.closed {
            // From here on the store may be ahead of the anchor.
            self.anchor(false)?;
        }
        for record in &records {
            self.store.put(record.seq, &record.bytes)?;
        }
        self.store.flush()?;
        self.syncer
            .sync()
            .map_err(|error| JournalError::io(&self.paths.store().join("db"), "synced", error))?;
        let batch = self.totals.head.seq + 1;
        for record in &records {
            self.totals.add(record.last, record.hash, batch);
        }
        self.head_file.write(self.totals.head);
        Ok(())
    }

    fn anchor(&mut self, closed: bool) -> Result<(), JournalError> {
        let anchor = Anchor {
            head: self.totals.head,
            closed,
        };
        if anchor != self.anchored.1 {
            anchor.write(&self.paths)?;
            self.anchored = (self.totals.records, anchor);
        }
        Ok(())
    }
}
