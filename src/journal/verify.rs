//! `phoenix journal verify`: reads every event and says what, if anything, is wrong.

use std::path::Path;

use super::anchor::{Head, HeadFile, to_hex};
use super::chain::{self, Care, Stop, Walk};
use super::error::{JournalError, SeqRange};
use super::files::{Lock, Paths};
use super::meta::Meta;
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
    /// The records that hold them.
    pub records: u64,
    /// Hash of the last of these, in hexadecimal.
    pub head: String,
    /// Last event that the anchor vouches for.
    pub anchored: Option<u64>,
    /// Last event that is known to have been durable, by the anchor or by the head file.
    pub durable: u64,
    /// The first thing that is wrong; none: the journal is whole.
    pub problem: Option<Problem>,
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
    if !paths.dir.exists() {
        return Ok(None);
    }
    let _lock = Lock::take(&paths.dir)?;
    let Some(meta) = Meta::read(&paths)? else {
        return match paths.store().exists() {
            false => Ok(None),
            true => Err(JournalError::corrupt(
                &paths.dir,
                "meta.json is missing",
                None,
            )),
        };
    };
    if !paths.store().exists() {
        return match Head::read_anchor(&paths)? {
            // Its creation was interrupted: nothing was ever recorded.
            None => Ok(None),
            Some(_) => Err(JournalError::corrupt(
                &paths.dir,
                "the store is missing",
                None,
            )),
        };
    }
    let store = Store::open(&paths.dir, &paths.store())?;
    examine(&paths, &meta, &store).map(Some)
}

/// Verifies a store that is open.
pub(super) fn examine(
    paths: &Paths,
    meta: &Meta,
    store: &Store,
) -> Result<VerifyReport, JournalError> {
    let genesis = meta.genesis();
    let (anchor, anchor_problem) = match Head::read_anchor(paths) {
        Ok(Some(anchor)) => (Some(anchor), None),
        Ok(None) => (None, Some("anchor.json is missing".to_owned())),
        Err(JournalError::Corrupt { what, .. }) => (None, Some(what)),
        Err(error) => return Err(error),
    };
    let witnesses: Vec<Head> = anchor
        .into_iter()
        .chain(HeadFile::read(paths, &genesis))
        .collect();
    let durable = chain::durable(&witnesses);

    let walk = Walk::new(&paths.dir, store, genesis, Care::Bytes);
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
        events: totals.head.seq,
        records: totals.records,
        head: to_hex(&totals.head.hash),
        anchored: anchor.map(|anchor| anchor.seq),
        durable,
        problem: problem.or(anchor_problem),
    })
}
