//! What the journal says: read from the journal, or told by the phoenix that has it open.

use std::path::Path;
use std::time::{Duration, Instant};

use super::clock;
use super::error::CliError;
use super::state;
use crate::beside::{About, Answer, Ask, AskError, Reply, Server, ask};
use crate::domain::event::Entry;
use crate::domain::ids::{Ctid, JournalId};
use crate::domain::record::Record;
use crate::journal::{Journal, JournalError, OpenOptions};
use crate::report::text::moment;

/// How long one waits for somebody who has the journal and answers nobody: another reader, most
/// likely, or a run that is just beginning or ending.
const MOMENT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// Everything that is known, and whose journal says it.
pub(super) struct Known {
    pub(super) record: Record,
    pub(super) journal: JournalId,
    pub(super) host: String,
}

/// Everything that is known; none: there is no journal.
pub(super) fn everything(dir: &Path) -> Result<Option<Known>, CliError> {
    let own = |journal: &Journal| {
        Ok(Known {
            record: journal.known()?,
            journal: journal.id(),
            host: journal.host().to_owned(),
        })
    };
    let told = |answer: Answer| {
        let (journal, host) = (answer.about.journal, answer.about.host.clone());
        let mut record = Record::default();
        answer.each(|reply| {
            if let Reply::Record(told) = reply {
                record = *told;
            }
        })?;
        Ok(Known {
            record,
            journal,
            host,
        })
    };
    whoever(dir, &Ask::Record, own, told)
}

/// The events of a container and of the runs; none: there is no journal.
pub(super) fn entries_of(dir: &Path, ctid: Ctid) -> Result<Option<Vec<Entry>>, CliError> {
    let wanted = Ask::Entries {
        ctid: Some(ctid),
        after: 0,
        follow: false,
    };
    let told = |answer: Answer| {
        let mut entries = Vec::new();
        answer.each(|reply| {
            if let Reply::Entry(entry) = reply {
                entries.push(*entry);
            }
        })?;
        Ok(entries)
    };
    whoever(dir, &wanted, |journal| Ok(journal.entries_of(ctid)?), told)
}

/// Asks the phoenix that has the journal, or opens it where none has.
fn whoever<T>(
    dir: &Path,
    wanted: &Ask,
    own: impl Fn(&Journal) -> Result<T, CliError>,
    told: impl Fn(Answer) -> Result<T, AskError>,
) -> Result<Option<T>, CliError> {
    let began = Instant::now();
    loop {
        let answered = ask(dir, wanted.clone()).and_then(|answer| answer.map(&told).transpose());
        let trouble = match answered {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => match Journal::open_existing(dir) {
                Ok(None) => return Ok(None),
                Ok(Some(journal)) => {
                    let found = own(&journal)?;
                    journal.close()?;
                    return Ok(Some(found));
                }
                Err(error @ JournalError::Held { .. }) => CliError::Journal(error),
                Err(error) => return Err(error.into()),
            },
            Err(error @ AskError::BrokeOff(_)) => error.into(),
            Err(error) => return Err(error.into()),
        };
        if began.elapsed() > MOMENT {
            return Err(trouble);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Opens the journal to work on it, and makes it where it is missing.
pub(super) fn open(options: &OpenOptions<'_>) -> Result<Journal, CliError> {
    alone(options.dir, || Journal::open(options))
}

/// Opens the journal to work on it; none: there is none.
pub(super) fn open_existing(dir: &Path) -> Result<Option<Journal>, CliError> {
    alone(dir, || Journal::open_existing(dir))
}

/// Opens it as soon as a reader who has it lets go; where a run has it, says which.
fn alone<T>(dir: &Path, open: impl Fn() -> Result<T, JournalError>) -> Result<T, CliError> {
    let began = Instant::now();
    loop {
        match open() {
            Err(error @ JournalError::Held { .. }) => {
                unused(dir)?;
                if began.elapsed() > MOMENT {
                    return Err(error.into());
                }
                std::thread::sleep(PAUSE);
            }
            opened => {
                state::make_private(&dir.join("journal"));
                return Ok(opened?);
            }
        }
    }
}

/// Refuses while a run has the journal, and says which.
pub(super) fn unused(dir: &Path) -> Result<(), CliError> {
    match ask(dir, Ask::Who) {
        Ok(None) | Err(AskError::BrokeOff(_)) => Ok(()),
        Ok(Some(answer)) => Err(in_use(dir, &answer.about)),
        Err(error) => Err(error.into()),
    }
}

fn in_use(dir: &Path, about: &About) -> CliError {
    let run = about.run.map_or_else(
        || "which is about to begin".to_owned(),
        |run| format!("run {run}"),
    );
    CliError::InUse {
        message: format!(
            "the journal in {} is in use by process {}: `phoenix {}` of {}, {run}, since {}",
            dir.join("journal").display(),
            about.pid,
            about.command,
            about.operator,
            moment(about.since),
        ),
        help: format!(
            "wait until it has ended, or end it with `kill {}` (it finishes what it is doing); \
             `phoenix status` and `phoenix history CTID --follow` show meanwhile how far it is",
            about.pid
        ),
    }
}

/// Answers those who look on; none, where the state directory cannot have a socket: the run goes
/// on without being looked at.
pub(super) fn serve(
    dir: &Path,
    journal: &Journal,
    command: &str,
    operator: String,
) -> Option<Server> {
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        command: command.to_owned(),
        operator,
        since: clock::now(),
        run: None,
        journal: journal.id(),
        host: journal.host().to_owned(),
        durable: 0,
    };
    Server::start(dir, journal.reader(), about)
        .inspect_err(|error| tracing::warn!(%error, "others cannot look on while this runs"))
        .ok()
}
