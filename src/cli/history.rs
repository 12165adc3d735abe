//! `phoenix history` and `phoenix runs`

use super::args::{Global, HistoryArgs};
use super::error::CliError;
use super::exit::Exit;
use super::out::Out;
use super::{clock, follow, known, state};
use crate::domain::ids::{Ctid, RunId};
use crate::report::history::{self, Filter};
use crate::report::overview;

pub(super) fn run(global: &Global, out: Out, args: &HistoryArgs) -> Result<Exit, CliError> {
    let dir = state::directory(global)?;
    if args.follow {
        return follow::run(out, &dir, args);
    }
    let Some(entries) = known::entries_of(&dir, args.ctid)? else {
        if let Some(wanted) = &args.run {
            return Err(unknown_run(args.ctid, wanted, &[]));
        }
        out.remark(&format!("There is no journal in {} yet.", dir.display()));
        return Ok(Exit::Done);
    };
    let filter = filter(args);
    if let Some(wanted) = &filter.run {
        let known = history::runs(&entries);
        if !known.iter().any(|run| run.to_string().starts_with(wanted)) {
            return Err(unknown_run(args.ctid, wanted, &known));
        }
    }
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

/// What is wanted of it.
pub(super) fn filter(args: &HistoryArgs) -> Filter {
    Filter {
        run: args.run.as_ref().map(|run| run.to_lowercase()),
        since: args.since.map(|since| since.moment(clock::now())),
        step: args.step,
    }
}

/// A run in which the container did not take part, with those in which it did.
fn unknown_run(ctid: Ctid, wanted: &str, known: &[RunId]) -> CliError {
    /// At most this many are named, the last ones.
    const NAMED: usize = 5;
    let message = format!("no run that begins with '{wanted}' worked on container {ctid}");
    if known.is_empty() {
        let help = format!("the journal has nothing about container {ctid}");
        return CliError::usage(message, help);
    }
    let last: Vec<String> = known
        .iter()
        .rev()
        .take(NAMED)
        .map(RunId::to_string)
        .collect();
    let more = match known.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} before them"),
    };
    let help = format!("those that did are {}{more}", last.join(", "));
    CliError::usage(message, help)
}

pub(super) fn runs(global: &Global, out: Out) -> Result<Exit, CliError> {
    let dir = state::directory(global)?;
    let runs = match known::everything(&dir)? {
        Some(known) => known.record.runs,
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
