//! What ends a command early, how it is shown, and with which exit code.

use std::io;

use serde_json::Value;

use super::exit::Exit;
use crate::beside::AskError;
use crate::config::ConfigError;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::record::IllegalTransition;
use crate::engine::EngineError;
use crate::host::HostError;
use crate::host::sim::SimError;
use crate::host::{lxc, pct};
use crate::journal::JournalError;
use crate::report::findings::Tally;
use crate::report::text::count;

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The command line asks for something that there is not.
    #[error("{message}")]
    Usage {
        message: String,
        help: Option<String>,
    },
    /// The files cannot be had.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The files, or what they want of this host, are wrong.
    #[error("{}", invalid(diagnostics))]
    Invalid {
        diagnostics: Vec<Diagnostic>,
        /// What the command would have said otherwise, the findings included.
        document: Option<Value>,
    },
    /// What is asked for would do harm; nothing was changed.
    #[error("refused, and nothing was changed: {}", problems.join("; "))]
    Refused { problems: Vec<String>, help: String },
    /// The host cannot be used.
    #[error("the host cannot be looked at")]
    Host(#[from] HostError),
    /// The simulated host cannot be used, or refuses.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// Real containers cannot be worked on here.
    #[error(transparent)]
    Lxc(#[from] lxc::Unusable),
    #[error(transparent)]
    Pct(#[from] pct::Unusable),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A run has the journal.
    #[error("{message}")]
    InUse { message: String, help: String },
    /// Somebody else could have written into the state directory.
    #[error("{message}")]
    NotOurs { message: String, help: String },
    /// The phoenix that has the journal was asked in vain.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The journal was read to its end, and is not whole.
    #[error("{message}")]
    Damaged { message: String, document: Value },
    /// What is to be imported is no export.
    #[error("line {line} is not what `phoenix journal export` writes: {what}")]
    Import { line: usize, what: String },
    /// The journal's events contradict each other.
    #[error("the journal's events do not fit together")]
    Illegal(#[from] IllegalTransition),
    /// A run could not go on.
    #[error(transparent)]
    Engine(EngineError),
    /// A file of the state directory cannot be written.
    #[error("cannot write {path}")]
    State { path: String, source: io::Error },
    /// A signal came before anything began.
    #[error("stopped by a signal before anything began; nothing was changed")]
    Stopped,
    /// The person was asked, and did not say yes.
    #[error("not confirmed; nothing was changed")]
    Declined,
    /// What is printed cannot be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// Something of the operating system did not work.
    #[error("{what}")]
    System {
        what: &'static str,
        source: io::Error,
    },
}

fn invalid(diagnostics: &[Diagnostic]) -> String {
    let errors = Tally::of(diagnostics).errors;
    format!(
        "the configuration cannot be applied: {}",
        count(errors, "error")
    )
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Target(target) => Self::usage(target.to_string(), ""),
            EngineError::Illegal(illegal) => Self::Illegal(illegal),
            error => Self::Engine(error),
        }
    }
}

impl CliError {
    /// The command line asks for something that there is not; an empty help is none.
    pub(super) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        Self::Usage {
            message: message.into(),
            help,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::Import { .. } => Exit::Usage,
            Self::Config(_) | Self::Invalid { .. } | Self::Refused { .. } => Exit::Configuration,
            Self::Sim(SimError::Refused(_)) => Exit::Failed,
            Self::Host(_) | Self::Sim(_) | Self::Lxc(_) | Self::Pct(_) => Exit::Host,
            Self::Journal(_)
            | Self::InUse { .. }
            | Self::NotOurs { .. }
            | Self::Ask(_)
            | Self::Damaged { .. }
            | Self::Illegal(_)
            | Self::Engine(_)
            | Self::State { .. } => Exit::Journal,
            Self::Stopped | Self::Declined => Exit::Interrupted,
            Self::Output(_) | Self::System { .. } => Exit::Unexpected,
        }
    }

    /// What to do about it.
    pub(super) fn help(&self) -> Option<String> {
        let text = match self {
            Self::Usage { help, .. } => return help.clone(),
            Self::Refused { help, .. } | Self::InUse { help, .. } | Self::NotOurs { help, .. } => {
                help.clone()
            }
            Self::Ask(_) => "try again; `fuser` on `journal/LOCK` in the state directory tells \
                 which process has the journal"
                .to_owned(),
            Self::Lxc(error) => error.help(),
            Self::Pct(error) => error.help(),
            Self::Journal(error) | Self::Engine(EngineError::Journal(error)) => error.help(),
            Self::Engine(_) | Self::Illegal(_) => {
                "run `phoenix journal verify`; if it finds nothing wrong, this is a defect of \
                 phoenix: please report it with the output of `phoenix journal export`"
                    .to_owned()
            }
            Self::Host(_) => "cure that, then run the same command again; the journal knows how \
                 far it came"
                .to_owned(),
            Self::Sim(SimError::Io { .. }) => {
                "name a directory that can be written to with `--host sim:DIR`, or another state \
                 directory with --state"
                    .to_owned()
            }
            Self::Damaged { .. } => "restore the state directory from a backup, or run `phoenix \
                 journal repair`: it makes a new journal of all that is whole, keeps the damaged \
                 one aside and says what was lost"
                .to_owned(),
            Self::Import { .. } => {
                "write it with `phoenix journal export`; nothing was imported".to_owned()
            }
            Self::Stopped => "run the same command again".to_owned(),
            Self::State { .. } => "make room, or name another state directory with --state".into(),
            _ => return None,
        };
        Some(text)
    }

    pub(super) fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Invalid { diagnostics, .. } => diagnostics,
            _ => &[],
        }
    }

    /// The document that the error is added to.
    pub(super) fn document(&self) -> Option<&Value> {
        match self {
            Self::Invalid { document, .. } => document.as_ref(),
            Self::Damaged { document, .. } => Some(document),
            _ => None,
        }
    }

    /// The causes, outermost first.
    pub(super) fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            causes.push(error.to_string());
            source = error.source();
        }
        causes
    }
}
