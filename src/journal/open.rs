//! Opening and creating a journal.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Journal;
use super::anchor::{ANCHOR_EVERY, Head, HeadFile};
use super::chain;
use super::committer::{Committer, Shared};
use super::error::JournalError;
use super::files::{self, Lock, Paths};
use super::meta::Meta;
use super::space::{MIN_FREE, Space};
use super::store::{FileSyncer, Store, Syncer};
use crate::domain::ids::JournalId;

/// Which journal to open, and what it becomes if it is created.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions<'a> {
    /// The state directory; the journal lives in `journal` below it.
    pub dir: &'a Path,
    /// The host's identity, to which a new journal is bound for life.
    pub host: &'a str,
    /// The time, for a new journal.
    pub now: DateTime<Utc>,
    /// The id of a new journal.
    pub new_id: JournalId,
}

/// Wraps the syncer of a journal.
pub(super) type Wrap = Box<dyn FnOnce(Box<dyn Syncer>) -> Box<dyn Syncer>>;

/// What tests set otherwise.
pub(super) struct Tuning {
    pub(super) anchor_every: u64,
    pub(super) min_free: u64,
    pub(super) wrap: Wrap,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            anchor_every: ANCHOR_EVERY,
            min_free: MIN_FREE,
            wrap: Box::new(|syncer| syncer),
        }
    }
}

pub(super) fn open(options: &OpenOptions<'_>, tuning: Tuning) -> Result<Journal, JournalError> {
    let paths = Paths::new(options.dir);
    if !paths.dir.exists() {
        files::make_dir(&paths.dir)?;
        files::sync_dir(options.dir)?;
        options.dir.parent().map_or(Ok(()), files::sync_dir)?;
    }
    let lock = Lock::take(&paths.dir)?;
    let meta = match Meta::read(&paths)? {
        Some(meta) => meta,
        None => create(&paths, options)?,
    };
    if meta.host != options.host {
        return Err(JournalError::OtherHost {
            dir: paths.dir,
            journal: meta.host,
            host: options.host.to_owned(),
        });
    }
    start(paths, lock, meta, tuning)
}

pub(super) fn open_existing(dir: &Path, tuning: Tuning) -> Result<Option<Journal>, JournalError> {
    let paths = Paths::new(dir);
    if !paths.dir.exists() {
        return Ok(None);
    }
    let lock = Lock::take(&paths.dir)?;
    match Meta::read(&paths)? {
        Some(meta) => start(paths, lock, meta, tuning).map(Some),
        None => nothing_there(&paths).map(|()| None),
    }
}

/// Without `meta.json` there must be nothing else: it is the first that is written.
fn nothing_there(paths: &Paths) -> Result<(), JournalError> {
    if paths.store().exists() || Head::read_anchor(paths)?.is_some() {
        return Err(JournalError::corrupt(
            &paths.dir,
            "meta.json is missing",
            None,
        ));
    }
    Ok(())
}

fn create(paths: &Paths, options: &OpenOptions<'_>) -> Result<Meta, JournalError> {
    nothing_there(paths)?;
    Space::new(&paths.dir, MIN_FREE).check(0)?;
    let meta = Meta::new(options.new_id, options.host, options.now);
    meta.write(paths)?;
    Ok(meta)
}

/// Creation goes in this order: `meta.json`, the store, the anchor. Only then is anything
/// recorded, so that without an anchor the store is empty, and without a store there is no anchor.
fn finish_creation(paths: &Paths, meta: &Meta) -> Result<Store, JournalError> {
    if !paths.store().exists() {
        Store::create(&paths.dir, &paths.new_store(), &paths.store())?;
    }
    let store = Store::open(&paths.dir, &paths.store())?;
    if store.last()?.is_some() {
        return Err(JournalError::corrupt(
            &paths.dir,
            "anchor.json is missing",
            None,
        ));
    }
    Head {
        seq: 0,
        hash: meta.genesis(),
    }
    .write_anchor(paths)?;
    Ok(store)
}

fn start(paths: Paths, lock: Lock, meta: Meta, tuning: Tuning) -> Result<Journal, JournalError> {
    let space = Space::new(&paths.dir, tuning.min_free);
    space.settle()?;
    let genesis = meta.genesis();
    let anchor = Head::read_anchor(&paths)?;
    let store = match anchor {
        None => finish_creation(&paths, &meta)?,
        Some(_) if !paths.store().exists() => {
            return Err(JournalError::corrupt(
                &paths.dir,
                "the store is missing",
                None,
            ));
        }
        Some(_) => Store::open(&paths.dir, &paths.store())?,
    };
    let witnesses: Vec<Head> = anchor
        .into_iter()
        .chain(HeadFile::read(&paths, &genesis))
        .collect();
    let (totals, repaired) = chain::recover(&paths.dir, &store, genesis, &witnesses)?;

    let mut syncer = (tuning.wrap)(Box::new(FileSyncer::open(&paths.store())?));
    // What a killed phoenix wrote and did not sync is about to be believed.
    store.flush()?;
    syncer
        .sync()
        .map_err(|error| JournalError::io(&paths.store().join("db"), "synced", error))?;

    // A phoenix that is killed again and again must not leave the anchor behind for ever.
    let mut anchored = anchor.unwrap_or(Head {
        seq: 0,
        hash: genesis,
    });
    if anchored != totals.head {
        match totals.head.write_anchor(&paths) {
            Ok(()) => anchored = totals.head,
            Err(error) => tracing::warn!(%error, "the journal was not anchored"),
        }
    }

    let shared = Arc::new(Shared::new(totals));
    let committer = Committer {
        store: store.clone(),
        syncer,
        head_file: HeadFile::open(&paths, genesis),
        space,
        totals,
        anchored: (totals.records, anchored),
        anchor_every: tuning.anchor_every,
        paths: paths.clone(),
    };
    let thread = {
        let shared = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || committer.run(&shared))
            .map_err(|error| JournalError::io(&paths.dir, "served by a thread", error))?
    };
    Ok(Journal {
        paths,
        meta,
        repaired,
        shared,
        committer: Some(thread),
        store,
        _lock: lock,
    })
}
