//! Findings about the configuration, and errors, for a person.

use std::fmt::Write as _;

use anstyle::Style;

use super::text::{BAD, CHANGED, DONE, STRONG, count, harmless, indented, one_line, paint};
use crate::domain::diagnostic::{Diagnostic, Severity};

/// How many findings are of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Errors.
    pub errors: u64,
    /// Warnings.
    pub warnings: u64,
    /// Notes.
    pub notes: u64,
}

impl Tally {
    /// Of some findings.
    #[must_use]
    pub fn of(findings: &[Diagnostic]) -> Self {
        let of = |severity| {
            let found = findings.iter().filter(|found| found.severity == severity);
            found.count() as u64
        };
        Self {
            errors: of(Severity::Error),
            warnings: of(Severity::Warning),
            notes: of(Severity::Note),
        }
    }
}

fn word(severity: Severity) -> (&'static str, Style) {
    match severity {
        Severity::Error => ("error", BAD.bold()),
        Severity::Warning => ("warning", CHANGED.bold()),
        Severity::Note => ("note", DONE.bold()),
    }
}

/// One finding: where, what, and what to do.
#[must_use]
pub fn diagnostic(found: &Diagnostic) -> String {
    let (word, style) = word(found.severity);
    let shown = one_line(&found.to_string());
    let mut text = format!("{}: {shown}\n", paint(style, word));
    if let Some(help) = &found.help {
        text.push_str(&help_line(help));
    }
    text
}

/// What to do, behind its word.
#[must_use]
pub fn help_line(help: &str) -> String {
    format!("  {} {}\n", paint(STRONG, "help:"), harmless(help))
}

/// An error with its causes and what to do.
#[must_use]
pub fn error(message: &str, causes: &[String], help: Option<&str>) -> String {
    let mut text = format!("{}: {}\n", paint(BAD.bold(), "error"), harmless(message));
    for cause in causes {
        let lines = indented(&harmless(cause), "    ");
        let _ = write!(text, "  {}\n{lines}", paint(STRONG, "caused by:"));
    }
    if let Some(help) = help {
        text.push_str(&help_line(help));
    }
    text
}

/// The last line of `validate`.
#[must_use]
pub fn verdict(tally: &Tally, containers: u64) -> String {
    let counted = [
        (tally.errors, "error"),
        (tally.warnings, "warning"),
        (tally.notes, "note"),
    ];
    let parts: Vec<String> = counted
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| count(number, noun))
        .collect();
    let containers = count(containers, "container");
    let lead = if tally.errors > 0 {
        "The configuration is not valid".to_owned()
    } else {
        format!("The configuration of {containers} is valid")
    };
    if parts.is_empty() {
        format!("{lead}.")
    } else {
        format!("{lead}: {}.", parts.join(", "))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::text::plain;

    pub(in crate::report) fn found(severity: Severity) -> Diagnostic {
        Diagnostic {
            severity,
            file: "etc/a.json".to_owned(),
            line: 12,
            column: 5,
            path: "lxc_configs.950.memory_mb".to_owned(),
            message: "expected a number".to_owned(),
            help: Some("write 1024".to_owned()),
        }
    }

    #[test]
    fn a_finding_says_where_what_and_what_to_do() {
        assert_eq!(
            plain(&diagnostic(&found(Severity::Error))),
            "error: etc/a.json:12:5: lxc_configs.950.memory_mb: expected a number\n  \
             help: write 1024\n"
        );
    }

    #[test]
    fn a_finding_is_one_line_whatever_it_quotes() {
        let mut found = found(Severity::Error);
        found.message = "'a\x1b[2J\nerror: b' is no name".to_owned();
        let shown = plain(&diagnostic(&found));
        assert!(shown.contains("'a error: b' is no name\n  help"), "{shown}");
    }

    #[test]
    fn an_error_walks_its_causes() {
        let shown = error(
            "it broke",
            &["one".to_owned(), "two\nlines".to_owned()],
            None,
        );
        assert_eq!(
            plain(&shown),
            "error: it broke\n  caused by:\n    one\n  caused by:\n    two\n    lines\n"
        );
    }

    #[test]
    fn the_verdict_counts() {
        let all = [
            found(Severity::Error),
            found(Severity::Note),
            found(Severity::Note),
        ];
        assert_eq!(
            verdict(&Tally::of(&all), 3),
            "The configuration is not valid: 1 error, 2 notes."
        );
        assert_eq!(
            verdict(&Tally::of(&all[1..2]), 1),
            "The configuration of 1 container is valid: 1 note."
        );
        assert_eq!(
            verdict(&Tally::default(), 2),
            "The configuration of 2 containers is valid."
        );
    }
}
