//! Journals as lines of JSON.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::CliError;
use super::super::out::Out;
use crate::domain::event::Entry;
use crate::domain::ids::JournalId;
use crate::domain::record::{IllegalTransition, Record};
use crate::journal::{self, Identity, Journal};
use crate::report::history;
use crate::report::text::{count, rfc3339};

/// The last line of an export: whose journal it is, and that nothing is missing before it.
#[derive(Debug, Serialize, Deserialize)]
struct Closing {
    kind: String,
    id: JournalId,
    host: String,
    created_at: String,
    /// How many lines stand before this one.
    events: u64,
}

const CLOSING: &str = "journal";

/// Events that are written at a time.
const PIECE: usize = 1024;

/// Whether there is a journal.
pub(super) fn export(out: Out, dir: &Path) -> Result<bool, CliError> {
    let Some(journal) = Journal::open_existing(dir)? else {
        return Ok(false);
    };
    let mut lines = Vec::new();
    let mut heard = Ok(true);
    let mut events = 0;
    journal.for_each(&mut |entry| {
        if let Ok(true) = heard {
            events += 1;
            lines.push(history::line(&entry));
            if lines.len() >= PIECE {
                heard = out.lines(&lines);
                lines.clear();
            }
        }
        Ok(())
    })?;
    let closing = Closing {
        kind: CLOSING.to_owned(),
        id: journal.id(),
        host: journal.host().to_owned(),
        created_at: rfc3339(journal.created_at()),
        events,
    };
    journal.close()?;
    if heard? {
        lines.extend(serde_json::to_value(&closing));
        out.lines(&lines)?;
    }
    Ok(true)
}

pub(super) fn import(out: Out, dir: &Path, file: &Path) -> Result<(), CliError> {
    let (entries, closing) = if file == Path::new("-") {
        read(io::stdin().lock())?
    } else {
        let opened = File::open(file).map_err(|error| {
            let message = format!("{} cannot be opened: {error}", file.display());
            CliError::usage(message, "name a file that `phoenix journal export` wrote")
        })?;
        read(BufReader::new(opened))?
    };
    let wrong = |what: String| CliError::Import {
        line: entries.len() + 1,
        what,
    };
    if closing.events != entries.len() as u64 {
        let expected = count(closing.events, "event");
        return Err(wrong(format!("{expected} should stand before it")));
    }
    let created_at = closing.created_at.parse();
    let identity = Identity {
        id: closing.id,
        host: closing.host.clone(),
        created_at: created_at.map_err(|_| wrong("no usable `created_at`".to_owned()))?,
    };
    fit_together(&entries)?;
    journal::import(dir, &identity, &entries)?;
    out.either(
        || serde_json::json!({ "imported": entries.len(), "id": identity.id }),
        || {
            let events = count(entries.len() as u64, "event");
            format!(
                "{events} of the journal of host '{}' imported.\n",
                identity.host
            )
        },
    )
}

/// What phoenix wrote fits together: if this does not, somebody changed it since.
fn fit_together(entries: &[Entry]) -> Result<(), CliError> {
    let mut record = Record::default();
    for (entry, line) in entries.iter().zip(1..) {
        let wrong = |illegal: IllegalTransition| CliError::Import {
            line,
            what: illegal.to_string(),
        };
        record.fold(entry).map_err(wrong)?;
    }
    Ok(())
}

fn read(lines: impl BufRead) -> Result<(Vec<Entry>, Closing), CliError> {
    let mut entries = Vec::new();
    let mut closing = None;
    for (line, number) in lines.lines().zip(1..) {
        let wrong = |what| CliError::Import { line: number, what };
        let line = line.map_err(|error| wrong(error.to_string()))?;
        if closing.is_some() {
            let what = "it stands behind the last line, which says whose journal it is";
            return Err(wrong(what.to_owned()));
        }
        let value: Value = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        if value["kind"] == CLOSING {
            let read = serde_json::from_value(value);
            closing = Some(read.map_err(|error| wrong(error.to_string()))?);
        } else {
            entries.push(history::entry(value).map_err(wrong)?);
        }
    }
    let missing = CliError::Import {
        line: entries.len() + 1,
        what: "the last line, which says whose journal it is, is missing".to_owned(),
    };
    Ok((entries, closing.ok_or(missing)?))
}
