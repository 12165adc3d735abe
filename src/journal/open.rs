//! Opening and creating a journal.

use std::path::Path;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};

use super::Journal;
use super::anchor::{ANCHOR_EVERY, Anchor, Head, HeadFile};
use super::before::Before;
use super::chain::{self, Origin, Repaired, Totals};
use super::checkpoint::Checkpoint;
use super::committer::{Committer, Shared};
use super::error::JournalError;
use super::files::{self, Lock, Paths};
use super::meta::Meta;
use super::space::{MIN_FREE, Space};
use super::store::{FileSyncer, Store, Syncer};
use super::verify::on_copy;
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
    if !files::is_there(&paths.dir)? {
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
    if !files::is_there(&paths.dir)? {
        return Ok(None);
    }
    let lock = Lock::take(&paths.dir)?;
    match Meta::read(&paths)? {
        Some(meta) => start(paths, lock, meta, tuning).map(Some),
        None => nothing_there(&paths).map(|()| None),
    }
}

/// Without `meta.json` there must be nothing else: it is the first that is written.
pub(super) fn nothing_there(paths: &Paths) -> Result<(), JournalError> {
    let failed = |error| JournalError::io(&paths.dir, "read", error);
    for entry in std::fs::read_dir(&paths.dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if files::generation_of(&name).is_some() || name.starts_with("meta.copy.") {
            let what = "meta.json is missing";
            return Err(JournalError::corrupt(&paths.dir, what, None));
        }
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
fn finish_creation(paths: &Paths, origin: &Origin) -> Result<(Store, Anchor), JournalError> {
    if !files::is_there(&paths.store())? {
        Store::create(&paths.dir, &paths.new_store(), &paths.store(), |_| Ok(()))?;
    }
    let store = Store::open(&paths.dir, &paths.store())?;
    if store.last()?.is_some() {
        return Err(missing_anchor(paths));
    }
    let anchor = Anchor {
        head: origin.start,
        closed: false,
    };
    anchor.write(paths)?;
    Ok((store, anchor))
}

fn missing_anchor(paths: &Paths) -> JournalError {
    JournalError::corrupt(&paths.dir, "anchor.json is missing", None)
}

fn start(paths: Paths, lock: Lock, meta: Meta, tuning: Tuning) -> Result<Journal, JournalError> {
    let paths = paths.at(meta.generation);
    let space = Space::new(&paths.dir, tuning.min_free);
    space.settle()?;
    let origin = meta.origin(&paths)?;
    let head = HeadFile::read(&paths, &origin.genesis);
    let witnesses =
        |anchor: Anchor| -> Vec<Head> { [anchor.head].into_iter().chain(head).collect() };
    let (mut anchor, opened) = match Anchor::read(&paths)? {
        // Only the first store is made in steps; every other is whole before it is ours.
        None if paths.generation == 0 => {
            let (store, anchor) = finish_creation(&paths, &origin)?;
            (anchor, believe(&paths, store, origin, &witnesses(anchor))?)
        }
        None => return Err(missing_anchor(&paths)),
        Some(_) if !files::is_there(&paths.store())? => {
            let what = "the store is missing";
            return Err(JournalError::corrupt(&paths.dir, what, None));
        }
        Some(anchor) => (anchor, open_store(&paths, origin, &witnesses(anchor))?),
    };
    let Opened {
        store,
        base,
        totals,
        repaired,
    } = opened;

    let mut syncer = (tuning.wrap)(Box::new(FileSyncer::open(&paths.store())?));
    // What a killed phoenix wrote and did not sync is about to be believed. One that closed the
    // journal had synced all before it said so.
    let closed = Anchor {
        head: totals.head,
        closed: true,
    };
    if anchor != closed || repaired.is_some() {
        store.flush()?;
        syncer
            .sync()
            .map_err(|error| JournalError::io(&paths.store().join("db"), "synced", error))?;
    }

    // A phoenix that is killed again and again must not leave the anchor behind for ever.
    if anchor.head != totals.head {
        let found = Anchor {
            head: totals.head,
            closed: false,
        };
        match found.write(&paths) {
            Ok(()) => anchor = found,
            Err(error) => tracing::warn!(%error, "the journal was not anchored"),
        }
    }
    tidy(&paths, &meta);

    let shared = Arc::new(Shared::new(totals));
    let committer = Committer {
        store: store.clone(),
        syncer,
        head_file: HeadFile::open(&paths, origin.genesis),
        space,
        totals,
        anchored: (totals.records, anchor),
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
        origin,
        repaired,
        base: Mutex::new(Arc::new(base)),
        opened: totals,
        shared,
        committer: Some(thread),
        store,
        _lock: lock,
    })
}

/// A store of which it is known how far it can be believed.
struct Opened {
    store: Store,
    base: Checkpoint,
    totals: Totals,
    repaired: Option<Repaired>,
}

/// Opens the store. One that is found damaged is left as it was.
fn open_store(paths: &Paths, origin: Origin, witnesses: &[Head]) -> Result<Opened, JournalError> {
    let (dir, store) = (&paths.dir, paths.store());
    let before = Before::of(&store)?;
    let opened = Store::open(dir, &store);
    let opens = opened.is_ok();
    let damage = match opened.and_then(|store| believe(paths, store, origin, witnesses)) {
        Err(damage @ JournalError::Corrupt { .. }) => damage,
        believed => return believed,
    };
    if let Err(error) = before.restore() {
        tracing::warn!(%error, store = %store.display(), "not put back as it was");
        return Err(damage);
    }
    // Where sled gave up its snapshots may be what is damaged. Without them it believes what its
    // log says, and cuts that off at the first damage: so that is tried on a copy.
    let whole = |copy: &Path| {
        let copy = Store::open_by_its_log(dir, copy)?;
        believe(paths, copy, origin, witnesses).map(drop)
    };
    if opens || on_copy(paths, whole).is_err() {
        return Err(damage);
    }
    tracing::warn!(store = %store.display(), "opened without the store's snapshots");
    let store = Store::open_by_its_log(dir, &store)?;
    believe(paths, store, origin, witnesses)
}

/// Holds a store against what is known of it.
fn believe(
    paths: &Paths,
    store: Store,
    origin: Origin,
    witnesses: &[Head],
) -> Result<Opened, JournalError> {
    let base = Checkpoint::read(paths, &store, origin, witnesses)
        .unwrap_or_else(|| Checkpoint::none(origin));
    let (totals, repaired) = chain::recover(&paths.dir, &store, origin, base.totals, witnesses)?;
    Ok(Opened {
        store,
        base,
        totals,
        repaired,
    })
}

/// What an interrupted compaction or repair left is finished, now that the journal is known to be
/// whole without it. Nothing depends on it.
fn tidy(paths: &Paths, meta: &Meta) {
    let tidied = meta
        .keep_copy(paths)
        .and_then(|()| files::remove_other_generations(paths));
    if let Err(error) = tidied {
        tracing::debug!(%error, "the journal's directory is not tidy");
    }
}
