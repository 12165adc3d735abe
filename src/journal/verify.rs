//! `phoenix journal verify`: reads every event and says what, if anything, is wrong.

use std::path::Path;

use super::anchor::{ANCHOR_EVERY, Anchor, Head, HeadFile, to_hex};
use super::chain::{self, Care, Origin, Stop, Walk};
use super::error::{JournalError, SeqRange};
use super::files::{self, Lock, Paths};
use super::meta::Meta;
use super::open::nothing_there;
use super::space::{MIN_FREE, Space};
use super::store::Store;
use crate::domain::ids::JournalId;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyReport {
    /// The journal.
    pub id: JournalId,
    /// The host it belongs to.
    pub host: String,
    /// Its format.
    pub format: u32,
    /// Events that are whole and in their place, counted from the first up to the first problem.
    pub events: u64,
    /// Sequence number of the first; later than 1 after compaction.
    pub first: u64,
    /// The records that hold them.
    pub records: u64,
    /// Hash of the last of these, in hexadecimal.
    pub head: String,
    /// Last event that the anchor vouches for.
    pub anchored: Option<u64>,
    /// Last event that is known to have been durable, by the anchor or by the head file.
    pub durable: u64,
    /// Whether the journal was closed, so that it is known where it ends. Otherwise the process
    /// that wrote it was killed or the power failed: if the disk lost what it had confirmed, up to
    /// [`VerifyReport::UNSEEN`] records may be missing behind `durable`, and nobody can tell.
    pub closed: bool,
    /// The first thing that is wrong; none: the journal is whole.
    pub problem: Option<Problem>,
}

impl VerifyReport {
    /// How many records may be lost unseen from the end of a journal that was not closed.
    pub const UNSEEN: u64 = ANCHOR_EVERY;
}

/// Something wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The events it is about.
    pub seqs: Option<SeqRange>,
    /// What it is.
    pub what: String,
    /// Whether it is only what a crash left of events that were never acknowledged; the next
    /// command that opens the journal removes it.
    pub repairable: bool,
}

/// Verifies the journal of a state directory, and repairs nothing; none: there is none.
///
/// # Errors
/// When it is held by another process, is of a newer format, or cannot be looked at. What is
/// wrong with its content is in the report.
pub fn verify(dir: &Path) -> Result<Option<VerifyReport>, JournalError> {
    let paths = Paths::new(dir);
    if !files::is_there(&paths.dir)? {
        return Ok(None);
    }
    let _lock = Lock::take(&paths.dir)?;
    let Some(meta) = Meta::read(&paths)? else {
        return nothing_there(&paths).map(|()| None);
    };
    let paths = paths.at(meta.generation);
    let origin = meta.origin(&paths)?;
    if !files::is_there(&paths.store())? {
        return match Anchor::read(&paths)? {
            // Its creation was interrupted: nothing was ever recorded.
            None if paths.generation == 0 => Ok(None),
            _ => Err(JournalError::corrupt(
                &paths.dir,
                "the store is missing",
                None,
            )),
        };
    }
    opened_copy(&paths, |store| examine(&paths, &meta, origin, &store?)).map(Some)
}

/// Opens a copy of the store: sled changes what it opens, and cuts its log off where that is
/// damaged, and with it what could still be read behind.
pub(super) fn opened_copy<T>(
    paths: &Paths,
    look: impl FnOnce(Result<Store, JournalError>) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    on_copy(paths, |copy| {
        look(match Store::open(&paths.dir, copy) {
            // Its snapshots may be what is damaged. The copy is not what it was any more.
            Err(JournalError::Corrupt { .. }) => files::remove_dir(copy)
                .and_then(|()| files::copy_tree(&paths.store(), copy))
                .and_then(|()| Store::open_by_its_log(&paths.dir, copy)),
            opened => opened,
        })
    })
}

/// Does something with a copy of the store's directory.
pub(super) fn on_copy<T>(
    paths: &Paths,
    f: impl FnOnce(&Path) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    let copy = paths.dir.join("store.copy");
    files::remove_dir(&copy)?;
    let done = Space::new(&paths.dir, MIN_FREE)
        .check(files::disk_usage(&paths.store())?)
        .and_then(|()| files::copy_tree(&paths.store(), &copy))
        .and_then(|()| f(&copy));
    files::remove_dir(&copy)?;
    done
}

/// Verifies a store that is open.
pub(super) fn examine(
    paths: &Paths,
    meta: &Meta,
    origin: Origin,
    store: &Store,
) -> Result<VerifyReport, JournalError> {
    let (anchor, anchor_problem) = match Anchor::read(paths) {
        Ok(Some(anchor)) => (Some(anchor), None),
        Ok(None) => (None, Some("anchor.json is missing".to_owned())),
        Err(JournalError::Corrupt { what, .. }) => (None, Some(what)),
        Err(error) => return Err(error),
    };
    let witnesses: Vec<Head> = anchor
        .map(|anchor| anchor.head)
        .into_iter()
        .chain(HeadFile::read(paths, &origin.genesis))
        .collect();
    let durable = chain::durable(&witnesses);

    let walk = Walk::new(&paths.dir, store, origin, Care::Bytes);
    let (totals, result) = chain::scan(walk, &witnesses, &mut |frame| frame.entries().map(drop));
    let problem = match result {
        Ok(()) => None,
        Err(Stop::Broken(found)) => Some(Problem {
            repairable: found.torn && found.seqs.first > durable,
            seqs: Some(found.seqs),
            what: found.what,
        }),
        Err(Stop::Failed(JournalError::Corrupt { what, seqs, .. })) => Some(Problem {
            seqs,
            what,
            repairable: false,
        }),
        Err(Stop::Failed(error)) => return Err(error),
    };
    let anchor_problem = anchor_problem.map(|what| Problem {
        seqs: None,
        what,
        repairable: totals.records == 0,
    });
    Ok(VerifyReport {
        id: meta.id,
        host: meta.host.clone(),
        format: meta.format,
        events: totals.head.seq - origin.start.seq,
        first: origin.start.seq + 1,
        records: totals.records,
        head: to_hex(&totals.head.hash),
        anchored: anchor.map(|anchor| anchor.head.seq),
        durable,
        closed: anchor.is_some_and(|anchor| anchor.closed && anchor.head == totals.head),
        problem: problem.or(anchor_problem),
    })
}
