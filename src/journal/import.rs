//! `phoenix journal import`: a journal made of exported events.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::anchor::Head;
use super::chain::{Joint, Origin};
use super::encode;
use super::error::JournalError;
use super::files::{self, Lock, Paths};
use super::meta::Meta;
use super::record;
use super::repair::install;
use crate::domain::event::{Draft, Entry, Event};
use crate::domain::ids::JournalId;

/// Whose journal it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its id, by which containers are known to be its own.
    pub id: JournalId,
    /// Its host.
    pub host: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// Makes the journal of a state directory of events that follow each other. It is built beside
/// and takes its place when it is whole.
///
/// # Errors
/// When there is a journal, the events do not follow each other, or the disk refuses.
pub fn import(dir: &Path, identity: &Identity, entries: &[Entry]) -> Result<(), JournalError> {
    let paths = Paths::new(dir);
    if files::is_there(&paths.dir)? {
        return Err(JournalError::Exists { dir: paths.dir });
    }
    let new = Paths {
        dir: dir.join("journal.new"),
        generation: 0,
    };
    files::make_dir(dir)?;
    files::remove_dir(&new.dir)?;
    files::make_dir(&new.dir)?;
    let _lock = Lock::take(&new.dir)?;
    fill(&new, identity, entries)?;
    files::sync_dir(&new.dir)?;
    std::fs::rename(&new.dir, &paths.dir)
        .map_err(|error| JournalError::io(&paths.dir, "created", error))?;
    files::sync_dir(dir)
}

fn fill(paths: &Paths, identity: &Identity, entries: &[Entry]) -> Result<(), JournalError> {
    let plain = Meta::new(identity.id, &identity.host, identity.created_at);
    let genesis = plain.genesis();
    let before = entries
        .first()
        .map_or(0, |entry| entry.seq.saturating_sub(1));
    for (entry, seq) in entries.iter().zip(before + 1..) {
        if entry.seq != seq {
            return Err(JournalError::Gap { seq });
        }
    }
    let through = match entries.first().map(|entry| &entry.event) {
        Some(Event::JournalCompacted { through, .. }) => *through,
        _ if before > 0 => return Err(JournalError::Gap { seq: 1 }),
        _ => 0,
    };
    let split = entries.partition_point(|entry| entry.seq <= through);
    let (carried, kept) = entries.split_at(split);
    let pack = |first, prev, entries: &[Entry]| {
        record::pack(
            first,
            prev,
            &encode(&entries.iter().map(draft).collect::<Vec<_>>())?,
        )
    };
    let start = Origin::carrying(&genesis, before, through, &genesis);
    let mut records = pack(before + 1, start, carried)?;
    let joint = records.last().map(|last| Joint {
        seq: through,
        expected: last.hash,
        becomes: genesis,
    });
    records.extend(pack(through + 1, genesis, kept)?);
    let last = records.last();
    let head = last.map(|last| Head {
        seq: last.last,
        // What is carried ends as if nothing had been before it.
        hash: if last.last == through {
            genesis
        } else {
            last.hash
        },
    });
    let (meta, paths) = match joint {
        None => (plain, paths.clone()),
        Some(joint) => {
            let meta = plain.next(Some((before, joint)));
            let paths = paths.at(meta.generation);
            (meta, paths)
        }
    };
    install(&paths, &meta, head, |store| {
        records
            .iter()
            .try_for_each(|record| store.put(record.seq, &record.bytes))
    })
}

fn draft(entry: &Entry) -> Draft {
    Draft {
        at: entry.at,
        run: entry.run,
        ctid: entry.ctid,
        event: entry.event.clone(),
    }
}
