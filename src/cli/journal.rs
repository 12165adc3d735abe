//! `phoenix journal verify|export|stat`

use serde_json::{Value, json};

use super::args::{Global, JournalCommand};
use super::error::CliError;
use super::exit::Exit;
use super::out::Out;
use super::state;
use crate::journal::{self, Journal, SeqRange, Stat, VerifyReport};
use crate::report::history;
use crate::report::text::{count, moment, rfc3339};

pub(super) fn run(global: &Global, out: Out, command: &JournalCommand) -> Result<Exit, CliError> {
    let dir = state::directory(global)?;
    let found = match command {
        JournalCommand::Verify => match journal::verify(&dir)? {
            Some(report) => {
                verified(out, &report)?;
                true
            }
            None => false,
        },
        JournalCommand::Export => export(out, &dir)?,
        JournalCommand::Stat => match Journal::open_existing(&dir)? {
            Some(journal) => {
                let stat = journal.stat()?;
                journal.close()?;
                out.either(|| stat_json(&stat), || stat_text(&stat))?;
                true
            }
            None => false,
        },
    };
    if !found {
        out.remark(&format!("There is no journal in {} yet.", dir.display()));
        if out.json() && !matches!(command, JournalCommand::Export) {
            out.document(&Value::Null)?;
        }
    }
    Ok(Exit::Done)
}

fn export(out: Out, dir: &std::path::Path) -> Result<bool, CliError> {
    /// Events that are written at a time.
    const PIECE: usize = 1024;
    let Some(journal) = Journal::open_existing(dir)? else {
        return Ok(false);
    };
    let mut lines = Vec::new();
    let mut heard = Ok(true);
    journal.for_each(&mut |entry| {
        if let Ok(true) = heard {
            lines.push(history::line(&entry));
            if lines.len() >= PIECE {
                heard = out.lines(&lines);
                lines.clear();
            }
        }
        Ok(())
    })?;
    journal.close()?;
    if heard? {
        out.lines(&lines)?;
    }
    Ok(true)
}

fn range(seqs: Option<SeqRange>) -> Value {
    seqs.map_or(
        Value::Null,
        |seqs| json!({ "first": seqs.first, "last": seqs.last }),
    )
}

fn verified(out: Out, report: &VerifyReport) -> Result<(), CliError> {
    let problem = report.problem.as_ref();
    let document = json!({
        "whole": problem.is_none(),
        "id": report.id,
        "host": report.host,
        "format": report.format,
        "events": report.events,
        "first": report.first,
        "records": report.records,
        "head": report.head,
        "anchored": report.anchored,
        "durable": report.durable,
        "closed": report.closed,
        "problem": problem.map(|problem| json!({
            "events": range(problem.seqs),
            "what": problem.what,
            "repairable": problem.repairable,
        })),
    });
    let sizes = format!(
        "{} in {}",
        count(report.events, "event"),
        count(report.records, "record")
    );
    let text = match problem {
        None => {
            let text = format!("The journal is whole: {sizes}, head {}.\n", report.head);
            let end = if report.closed {
                ""
            } else {
                &not_closed(report)
            };
            text + end
        }
        Some(problem) if problem.repairable => format!(
            "The journal is whole: {sizes}. Behind them lies what a crash left of events that \
             were never acknowledged ({}); the next command that opens the journal removes it.\n",
            problem.what
        ),
        Some(problem) => {
            let place = problem
                .seqs
                .map_or_else(String::new, |seqs| format!(" at {seqs}"));
            return Err(CliError::Damaged {
                message: format!(
                    "the journal is damaged{place}: {}; {sizes} before that are whole",
                    problem.what
                ),
                document,
            });
        }
    };
    out.either(|| document, || text)
}

fn not_closed(report: &VerifyReport) -> String {
    format!(
        "It was not closed: a phoenix was killed, or the power failed. Up to event {} it is vouched \
         for. If the disk lost more than a disk should, up to {} records behind that may be \
         missing, and nobody can tell; the next command that opens the journal closes it.\n",
        report.durable,
        VerifyReport::UNSEEN
    )
}

fn stat_json(stat: &Stat) -> Value {
    json!({
        "id": stat.id,
        "host": stat.host,
        "created_at": rfc3339(stat.created_at),
        "format": stat.format,
        "events": stat.events,
        "first": stat.first,
        "records": stat.records,
        "batches": stat.batches,
        "bytes": stat.bytes,
        "first_at": stat.first_at.map(rfc3339),
        "last_at": stat.last_at.map(rfc3339),
    })
}

fn stat_text(stat: &Stat) -> String {
    let when = |at: Option<_>| at.map_or_else(|| "-".to_owned(), moment);
    format!(
        "Journal    {}\nHost       {}\nFormat     {}\nCreated    {}\nFirst      {}\nLast       {}\n\
         Events     {}\nRecords    {}\nBatches    {}\nOn disk    {} KiB\n",
        stat.id,
        stat.host,
        stat.format,
        moment(stat.created_at),
        when(stat.first_at),
        when(stat.last_at),
        stat.events,
        stat.records,
        stat.batches,
        stat.bytes.div_ceil(1024),
    )
}
