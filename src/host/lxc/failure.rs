//! Errors of files, in words for a person.

use std::fmt::Display;
use std::io;
use std::path::Path;

use super::super::HostError;
use crate::domain::refusal::FailureKind;

/// Something about a path did not work.
pub(super) fn at(what: &str, path: &Path, error: &io::Error) -> HostError {
    io(format!("{what} {}", path.display()), error)
}

/// Something did not work.
pub(super) fn io(what: impl Display, error: &io::Error) -> HostError {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "; free space there and run the same command again",
        _ => "",
    };
    permanent(format!("{what}: {error}{hint}"))
}

/// What will not pass by itself.
pub(super) fn permanent(message: impl Into<String>) -> HostError {
    HostError::new(FailureKind::Permanent, message)
}

/// What may pass by itself.
pub(super) fn transient(message: impl Into<String>) -> HostError {
    HostError::new(FailureKind::Transient, message)
}
