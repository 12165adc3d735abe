//! `phoenix history` and `phoenix runs`

use super::args::{Global, HistoryArgs};
use super::error::CliError;
use super::exit::Exit;
use super::out::Out;
use super::{clock, state};
use crate::journal::Journal;
use crate::report::history::{self, Filter};
use crate::report::overview;

pub(super) fn run(global: &Global, out: Out, args: &HistoryArgs) -> Result<Exit, CliError> {
    let dir = state::directory(global)?;
    let Some(journal) = Journal::open_existing(&dir)? else {
        out.remark(&format!("There is no journal in {} yet.", dir.display()));
        return Ok(Exit::Done);
    };
    let entries = journal.entries_of(args.ctid)?;
    journal.close()?;
    let filter = Filter {
        run: args.run.clone(),
        since: args.since.map(|since| since.moment(clock::now())),
        step: args.step,
    };
    let entries = filter.select(entries);
    if entries.is_empty() {
        out.remark(&format!(
            "The journal has nothing about container {}{}.",
            args.ctid,
            if filter.narrows() { " that fits" } else { "" }
        ));
    }
    if out.json() {
        out.lines(&history::documents(&entries, &filter))?;
    } else {
        out.text(&history::human(&entries, &filter))?;
    }
    Ok(Exit::Done)
}

pub(super) fn runs(global: &Global, out: Out) -> Result<Exit, CliError> {
    let dir = state::directory(global)?;
    let runs = match Journal::open_existing(&dir)? {
        Some(journal) => {
            let record = state::fold(&journal)?;
            journal.close()?;
            record.runs
        }
        None => {
            out.remark(&format!("There is no journal in {} yet.", dir.display()));
            Vec::new()
        }
    };
    out.either(
        || overview::runs_json(&runs),
        || overview::runs_table(&runs),
    )?;
    Ok(Exit::Done)
}
