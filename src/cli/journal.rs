//! `phoenix journal verify|export|import|repair|compact|stat`

mod transfer;

use std::path::Path;

use serde_json::{Value, json};

use super::args::{Global, JournalCommand};
use super::error::CliError;
use super::exit::Exit;
use super::out::Out;
use super::{clock, known, state};
use crate::domain::event::{Draft, Event};
use crate::domain::ids::RunId;
use crate::journal::{self, Compacted, Journal, Repair, SeqRange, Stat, VerifyReport};
use crate::report::text::{count, moment, rfc3339};

pub(super) fn run(global: &Global, out: Out, command: &JournalCommand) -> Result<Exit, CliError> {
    let dir = state::directory(global)?;
    known::unused(&dir)?;
    let found = match command {
        JournalCommand::Verify => done(journal::verify(&dir)?, |report| verified(out, report))?,
        JournalCommand::Export => transfer::export(out, &dir)?,
        JournalCommand::Import { file } => {
            transfer::import(out, &dir, file)?;
            true
        }
        JournalCommand::Repair => done(repair(&dir)?, |repair| repaired(out, repair))?,
        JournalCommand::Compact { keep } => {
            let compacted = journal::compact(&dir, *keep as usize, clock::now())?;
            done(compacted, |what| {
                out.either(|| compacted_json(what), || compacted_text(what))
            })?
        }
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

/// Shows what there is; whether there is anything.
fn done<T>(
    what: Option<T>,
    show: impl FnOnce(&T) -> Result<(), CliError>,
) -> Result<bool, CliError> {
    what.as_ref()
        .map_or(Ok(false), |what| show(what).map(|()| true))
}

/// Repairs, and notes that in the journal.
fn repair(dir: &Path) -> Result<Option<Repair>, CliError> {
    let repair = journal::repair(dir)?;
    if let Some(Repair::Made(made)) = &repair
        && let Some(journal) = Journal::open_existing(dir)?
    {
        let lost_through = made.lost.map_or(0, |lost| lost.last);
        journal.append(&[Draft {
            at: clock::now(),
            run: RunId::NONE,
            ctid: None,
            event: Event::JournalRepaired { lost_through },
        }])?;
        journal.close()?;
    }
    Ok(repair)
}

fn repaired(out: Out, repair: &Repair) -> Result<(), CliError> {
    let Repair::Made(made) = repair else {
        let whole = || "The journal is whole; nothing had to be repaired.\n".to_owned();
        return out.either(|| json!({ "repaired": false }), whole);
    };
    let aside = made.aside.display();
    let document = json!({
        "repaired": true,
        "kept": made.kept,
        "lost": range(made.lost),
        "readable": made.readable,
        "aside": aside.to_string(),
    });
    let lost = match made.lost {
        None => "nothing that anything tells of".to_owned(),
        Some(lost) if made.readable == 0 => lost.to_string(),
        Some(lost) => format!(
            "{lost}; {} of them can be read in {aside}/lost.jsonl",
            made.readable
        ),
    };
    let text = format!(
        "The journal was made anew of {} that are whole. Lost: {lost}.\nThe damaged journal is in \
         {aside}. `phoenix plan` shows how the containers stand.\n",
        count(made.kept, "event")
    );
    out.either(|| document, || text)
}

fn compacted_json(compacted: &Compacted) -> Value {
    json!({
        "compacted": compacted.through.is_some(),
        "through": compacted.through,
        "events": { "before": compacted.events.0, "after": compacted.events.1 },
        "bytes": { "before": compacted.bytes.0, "after": compacted.bytes.1 },
    })
}

fn compacted_text(compacted: &Compacted) -> String {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    match compacted.through {
        None => "There is nothing to compact: no more runs than are kept.\n".to_owned(),
        Some(through) => format!(
            "Everything up to event {through} was folded into what it came to: {} instead of {}, \
             {} KiB instead of {} KiB.\n",
            count(compacted.events.1, "event"),
            compacted.events.0,
            kib(compacted.bytes.1),
            kib(compacted.bytes.0),
        ),
    }
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
