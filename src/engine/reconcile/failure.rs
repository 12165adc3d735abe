//! Why a state was not reached, as the journal keeps it.

use crate::domain::action::Action;
use crate::domain::diagnostic::Problem;
use crate::domain::event::Failure;
use crate::domain::refusal::FailureKind;
use crate::domain::secret::CUT;
use crate::host::HostError;

/// More than this of a message or of an output says nothing more to a person.
const LONGEST_TEXT: usize = 4096;

/// Why an action failed, as the journal keeps it: of a message the beginning, of an output the
/// end.
pub(super) fn failure_by(error: &HostError) -> Failure {
    Failure {
        kind: error.kind,
        message: beginning(&error.message),
        command: error.command.as_deref().map(beginning),
        exit_code: error.exit_code,
        output: end(&error.output),
        help: None,
    }
}

/// What is cut says so where it is: there a piece of a secret may be left, which goes then, too.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((at, _)) => format!("{}{CUT}", &text[..at]),
        None => text.to_owned(),
    }
}

pub(super) fn end(text: &str) -> String {
    match text.char_indices().rev().nth(LONGEST_TEXT - 1) {
        Some((at, _)) if at > 0 => format!("{CUT}{}", &text[at..]),
        _ => text.to_owned(),
    }
}

/// What no action can cure, as the journal keeps it.
pub(super) fn failure_of(problems: &[Problem]) -> Failure {
    let messages: Vec<&str> = problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    let helps: Vec<&str> = problems
        .iter()
        .map(|problem| problem.help.as_str())
        .collect();
    Failure {
        kind: FailureKind::Permanent,
        message: messages.join("; "),
        command: None,
        exit_code: None,
        output: String::new(),
        help: Some(helps.join("; ")),
    }
}

/// The host said that it did it, and it is not to be seen.
pub(super) fn without_effect(left: &[Action]) -> HostError {
    let kinds: Vec<&str> = left.iter().map(Action::kind).collect();
    HostError::new(
        FailureKind::Transient,
        format!(
            "the host reported success, but this is still to be done: {}",
            kinds.join(", ")
        ),
    )
}
