//! `phoenix journal repair`: makes a journal of everything that is whole, and keeps the damaged one.

use std::path::{Path, PathBuf};

use super::anchor::{Anchor, Head, HeadFile};
use super::chain::{self, Origin};
use super::error::{JournalError, SeqRange};
use super::files::{self, Lock, Paths};
use super::meta::Meta;
use super::open::nothing_there;
use super::record::Frame;
use super::salvage::{self, Candidate, Salvage};
use super::store::Store;
use super::verify::{VerifyReport, examine, opened_copy};
use super::{Care, Walk};

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Repair {
    /// Nothing had to be.
    Whole,
    /// Another store was made.
    Made(Repairing),
}

/// What is left and what is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repairing {
    /// Events that the journal holds now.
    pub kept: u64,
    /// Events that it holds no more, as far as anything tells of them.
    pub lost: Option<SeqRange>,
    /// Of these, the ones that are whole: they stand in `lost.jsonl` in `aside`. They cannot be
    /// part of the journal, since what led to them is missing.
    pub readable: u64,
    /// Where the damaged journal is.
    pub aside: PathBuf,
}

/// Repairs the journal of a state directory; none: there is none.
///
/// # Errors
/// When it is held by another process, is of a newer format, or the disk refuses. Nothing is lost
/// by that: the journal is as it was, and repair can be run again.
pub fn repair(dir: &Path) -> Result<Option<Repair>, JournalError> {
    let paths = Paths::new(dir);
    if !files::is_there(&paths.dir)? {
        return Ok(None);
    }
    let _lock = Lock::take(&paths.dir)?;
    let (meta, readable) = match Meta::read(&paths) {
        Ok(Some(meta)) => (meta, true),
        Err(error @ JournalError::NewerVersion { .. }) => return Err(error),
        unreadable => match (Meta::read_copy(&paths), unreadable) {
            (Some(copy), _) => (copy, false),
            (None, Ok(_)) => return nothing_there(&paths).map(|()| None),
            (None, Err(error)) => return Err(error),
        },
    };
    let whole = match salvaged(&paths, &meta)? {
        Found::Whole if readable => return Ok(Some(Repair::Whole)),
        Found::Whole => None,
        Found::Damaged(salvage) => Some(salvage),
    };
    match whole {
        // Only the small file was.
        None => meta.write(&paths).map(|()| Some(Repair::Whole)),
        Some(salvage) => {
            remake(&paths.at(meta.generation), &meta, &salvage).map(|made| Some(Repair::Made(made)))
        }
    }
}

enum Found {
    Whole,
    Damaged(Salvage),
}

fn salvaged(paths: &Paths, meta: &Meta) -> Result<Found, JournalError> {
    let paths = paths.at(meta.generation);
    let origin = meta.origin(&paths)?;
    let mut candidates = Vec::new();
    if files::is_there(&paths.store())? {
        let whole = opened_copy(&paths, |store| {
            let Ok(store) = store else { return Ok(false) };
            let report = examine(&paths, meta, origin, &store);
            let usable =
                |report: VerifyReport| report.problem.is_none_or(|problem| problem.repairable);
            if report.is_ok_and(usable) {
                return Ok(true);
            }
            let records = store.records(0).map_while(Result::ok);
            candidates.extend(records.map(|(seq, value)| Candidate {
                seq: Some(seq),
                bytes: value.to_vec(),
            }));
            Ok(false)
        })?;
        if whole {
            return Ok(Found::Whole);
        }
    }
    let raw = files::read(&paths.store().join("db"))?.unwrap_or_default();
    candidates.extend(salvage::scan(&raw));
    Ok(Found::Damaged(salvage::order(origin, candidates)))
}

/// Makes the next store of what was salvaged; the damaged one goes aside when it is replaced.
fn remake(paths: &Paths, meta: &Meta, salvage: &Salvage) -> Result<Repairing, JournalError> {
    let origin = meta.origin(paths)?;
    let aside = paths.aside();
    let known = witnessed(paths, &origin);
    let events = |records: &[(u64, Vec<u8>)]| -> u64 {
        let frames = records
            .iter()
            .filter_map(|(seq, bytes)| Frame::new(*seq, bytes).ok());
        frames.map(|frame| frame.events()).sum()
    };
    let end = |records: &[(u64, Vec<u8>)]| {
        let (seq, bytes) = records.last()?;
        Some(seq + Frame::new(*seq, bytes).ok()?.events() - 1)
    };
    let (kept, readable) = (events(&salvage.chain), events(&salvage.strays));
    let through = origin.start.seq + kept;
    let known = end(&salvage.strays).unwrap_or(0).max(known);
    let lost = (known > through).then_some(SeqRange {
        first: through + 1,
        last: known,
    });

    files::make_dir(&aside)?;
    for path in [paths.meta(), paths.meta_copy()] {
        if let (Some(content), Some(name)) = (files::read(&path)?, path.file_name()) {
            files::replace(&aside.join(name), &content)?;
        }
    }
    files::replace(&aside.join("lost.jsonl"), &lines(&salvage.strays)?)?;
    files::sync_dir(&paths.dir)?;

    let next = meta.next(None);
    let new = paths.at(next.generation);
    install(&new, &next, None, |store| {
        let mut records = salvage.chain.iter();
        records.try_for_each(|(seq, bytes)| store.put(*seq, bytes))
    })?;
    files::remove_other_generations(&new)?;
    Ok(Repairing {
        kept,
        lost,
        readable,
        aside,
    })
}

/// Makes a store, checks it, anchors it, and makes it the journal's: until the last of these
/// nothing is changed. It must end at `expected`, where that is said.
pub(super) fn install(
    paths: &Paths,
    meta: &Meta,
    expected: Option<Head>,
    fill: impl FnOnce(&Store) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    files::remove_dir(&paths.store())?;
    Store::create(&paths.dir, &paths.new_store(), &paths.store(), fill)?;
    let store = Store::open(&paths.dir, &paths.store())?;
    let walk = Walk::new(&paths.dir, &store, meta.origin(paths)?, Care::Bytes);
    let each = &mut |frame: &Frame<'_>| frame.entries().map(drop);
    let (totals, result) = chain::scan(walk, expected.as_slice(), each);
    result.map_err(|stop| stop.into_error(&paths.dir))?;
    let anchor = Anchor {
        head: totals.head,
        closed: true,
    };
    anchor.write(paths)?;
    meta.write(paths)
}

/// The last event that anchor and head know of.
fn witnessed(paths: &Paths, origin: &Origin) -> u64 {
    let anchor = Anchor::read(paths).ok().flatten().map(|anchor| anchor.head);
    let head = HeadFile::read(paths, &origin.genesis);
    let all: Vec<Head> = anchor.into_iter().chain(head).collect();
    chain::durable(&all)
}

/// The events of records, one a line.
fn lines(records: &[(u64, Vec<u8>)]) -> Result<Vec<u8>, JournalError> {
    let mut text = Vec::new();
    for (seq, bytes) in records {
        let entries = Frame::new(*seq, bytes).and_then(|frame| frame.entries());
        for entry in entries.unwrap_or_default() {
            let line = serde_json::to_vec(&entry);
            text.extend(line.map_err(|source| JournalError::Unstorable {
                source: source.into(),
            })?);
            text.push(b'\n');
        }
    }
    Ok(text)
}
