//! Standard output and standard error: colours only where somebody sees them, and never a panic
//! because nobody reads.

use std::io::{self, Write as _};

use serde_json::Value;

use super::args::{Format, Global};
use super::error::CliError;
use super::veil;
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::report::findings;
use crate::report::text::harmless;

/// How to talk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    pub(super) format: Format,
    pub(super) quiet: bool,
}

impl Out {
    pub(super) fn of(global: &Global) -> Self {
        Self {
            format: global.format,
            quiet: global.quiet,
        }
    }

    pub(super) fn json(self) -> bool {
        self.format == Format::Json
    }

    /// A text for whoever asked. That nobody reads it is no error, and changes nothing about
    /// how the command ends.
    pub(super) fn text(self, text: &str) -> Result<(), CliError> {
        self.heard(text).map(drop)
    }

    /// A text, and whether somebody still reads.
    pub(super) fn heard(self, text: &str) -> Result<bool, CliError> {
        self.written(&veil::text(text))
    }

    fn written(self, text: &str) -> Result<bool, CliError> {
        let mut stdout = anstream::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(CliError::Output(error)),
        }
    }

    /// A document, indented.
    pub(super) fn document(self, document: &Value) -> Result<(), CliError> {
        let document = veil::document(document);
        self.written(&format!("{document:#}\n")).map(drop)
    }

    /// A document on one line.
    pub(super) fn line(self, document: &Value) -> Result<(), CliError> {
        let document = veil::document(document);
        self.written(&format!("{document}\n")).map(drop)
    }

    /// Documents, one a line; whether somebody still reads.
    pub(super) fn lines(self, documents: &[Value]) -> Result<bool, CliError> {
        let lines = documents.iter().map(veil::document);
        let lines = lines.map(|document| format!("{document}\n"));
        self.written(&lines.collect::<String>())
    }

    /// The document in JSON, else the text.
    pub(super) fn either(
        self,
        document: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        match self.format {
            Format::Json => self.document(&document()),
            Format::Human => self.text(&text()),
        }
    }

    /// A remark beside the output, for a person.
    pub(super) fn remark(self, text: &str) {
        if !self.quiet {
            to_stderr(&format!("{}\n", harmless(text)));
        }
    }

    /// What is wrong, or probably so.
    pub(super) fn findings(self, found: &[Diagnostic], at_least: Severity) {
        let shown = found.iter().filter(|found| found.severity <= at_least);
        to_stderr(&shown.map(findings::diagnostic).collect::<String>());
    }
}

/// Writes to standard error; when that is closed there is nobody to tell.
pub(super) fn to_stderr(text: &str) {
    let _ = anstream::stderr()
        .lock()
        .write_all(veil::text(text).as_bytes());
}
