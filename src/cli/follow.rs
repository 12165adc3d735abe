//! `phoenix history CTID --follow`: what has happened, and then what happens, as it becomes
//! durable; through the end of a run into the next, until somebody interrupts it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::args::HistoryArgs;
use super::error::CliError;
use super::exit::Exit;
use super::history;
use super::out::Out;
use crate::beside::{Answer, Ask, AskError, End, Reply, ask};
use crate::domain::event::Entry;
use crate::domain::ids::{Ctid, RunId};
use crate::journal::{Journal, JournalError};
use crate::report::history::{Filter, documents, human};

/// How often one looks whether a run has begun.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn run(out: Out, dir: &Path, args: &HistoryArgs) -> Result<Exit, CliError> {
    let mut follower = Follower {
        out,
        ctid: args.ctid,
        filter: history::filter(args),
        seen: 0,
        runs: BTreeSet::new(),
        waiting: Vec::new(),
        shown: None,
        heard: true,
    };
    let mut changed = None;
    while follower.heard {
        let wanted = Ask::Entries {
            ctid: Some(args.ctid),
            after: follower.seen,
            follow: true,
        };
        let followed = match ask(dir, wanted) {
            Ok(Some(answer)) => follower.told(answer)?,
            Ok(None) | Err(AskError::BrokeOff(_)) => false,
            Err(error) => return Err(error.into()),
        };
        if !followed {
            if touched(dir) != changed && follower.read(dir)? {
                // Reading leaves its own traces.
                changed = touched(dir);
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(Exit::Done)
}

/// When the journal was last written to. It is opened only when that changes: while it is open
/// nobody else can work.
fn touched(dir: &Path) -> Option<SystemTime> {
    let of = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|facts| facts.modified())
            .ok()
    };
    let journal = dir.join("journal");
    let files = std::fs::read_dir(&journal).ok()?;
    let times = files.filter_map(|file| of(&file.ok()?.path()));
    times.max().max(of(&journal))
}

struct Follower {
    out: Out,
    ctid: Ctid,
    filter: Filter,
    /// The last event of the journal that was looked at.
    seen: u64,
    /// The runs in which the container takes part, as far as is known.
    runs: BTreeSet<RunId>,
    /// Events of the last run itself, while it is not known whether the container takes part.
    waiting: Vec<Entry>,
    /// The run of what was shown last.
    shown: Option<RunId>,
    /// Whether somebody still reads.
    heard: bool,
}

impl Follower {
    /// Follows a run to its end; whether it could be followed at all.
    fn told(&mut self, answer: Answer) -> Result<bool, CliError> {
        let pid = answer.about.pid;
        let Ok(mut answer) = answer.patiently() else {
            return Ok(false);
        };
        while self.heard {
            match answer.line() {
                Ok(Reply::Entry(entry)) => self.take(*entry)?,
                Ok(Reply::Upto(seq)) => self.seen = seq,
                Ok(Reply::End(End::Over | End::Complete)) => {
                    self.out.remark(&format!(
                        "Process {pid} has ended its work; waiting for the next run."
                    ));
                    break;
                }
                Ok(_) => {}
                Err(AskError::BrokeOff(_)) => {
                    self.out.remark(&format!(
                        "Process {pid} was killed; waiting for the next run."
                    ));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Reads what nobody told; whether that was possible.
    fn read(&mut self, dir: &Path) -> Result<bool, CliError> {
        let journal = match Journal::open_existing(dir) {
            Ok(Some(journal)) => journal,
            // Somebody is about to answer, or to let go.
            Err(JournalError::Held { .. }) => return Ok(false),
            Ok(None) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let entries = journal.entries_of(self.ctid)?;
        let last = journal.reader().durable();
        journal.close()?;
        let seen = self.seen;
        for entry in entries.into_iter().filter(|entry| entry.seq > seen) {
            self.take(entry)?;
        }
        self.seen = self.seen.max(last);
        Ok(true)
    }

    /// Shows an event, if it is of a run in which the container takes part: an event of the run
    /// itself waits until that is known.
    fn take(&mut self, entry: Entry) -> Result<(), CliError> {
        self.seen = entry.seq;
        let run = entry.run;
        if entry.ctid.is_none() && !self.runs.contains(&run) {
            self.waiting.retain(|waiting| waiting.run == run);
            self.waiting.push(entry);
            return Ok(());
        }
        let mut entries = Vec::new();
        if self.runs.insert(run) {
            let waiting = std::mem::take(&mut self.waiting);
            entries.extend(waiting.into_iter().filter(|waiting| waiting.run == run));
        }
        entries.push(entry);
        self.show(entries)
    }

    fn show(&mut self, entries: Vec<Entry>) -> Result<(), CliError> {
        let entries: Vec<Entry> = entries
            .into_iter()
            .filter(|entry| self.filter.wants(entry))
            .collect();
        let Some(run) = entries.first().map(|entry| entry.run) else {
            return Ok(());
        };
        if self.out.json() {
            self.heard = self.out.lines(&documents(&entries, &self.filter))?;
            return Ok(());
        }
        let text = human(&entries, &self.filter);
        // The run's name stands above its first event only.
        let text = match text.split_once('\n') {
            Some((_, rest)) if self.shown == Some(run) => rest.to_owned(),
            _ => text,
        };
        self.shown = Some(run);
        self.heard = self.out.heard(&text)?;
        Ok(())
    }
}
