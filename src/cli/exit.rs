//! Exit codes: what a script may rely on.

use std::process::ExitCode;

/// How phoenix ends. `docs/exit-codes.md` says what to do about each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something that should not happen.
    Unexpected = 1,
    /// The command line asks for something that there is not.
    Usage = 2,
    /// The configuration is invalid, by itself or on this host; nothing was changed.
    Configuration = 3,
    /// `plan --exit-code`: there is something to do.
    Pending = 4,
    /// Some containers failed.
    Failed = 5,
    /// The host cannot be used.
    Host = 6,
    /// The journal cannot be used.
    Journal = 7,
    /// Stopped by a signal.
    Interrupted = 130,
}

impl Exit {
    /// One word for it, as in an error's document.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Configuration => "configuration",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Host => "host",
            Self::Journal => "journal",
            Self::Interrupted => "interrupted",
        }
    }

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
