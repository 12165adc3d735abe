//! Looking at the host, and what is made of what is seen.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Clock, Env, Limits};
use crate::domain::action::Action;
use crate::domain::desired::DesiredContainer;
use crate::domain::diagnostic::Problem;
use crate::domain::event::{Failure, Seen};
use crate::domain::ids::{Ctid, Digest};
use crate::domain::observed::{ObservedContainer, ObservedWorld, Status};
use crate::domain::refusal::FailureKind;
use crate::domain::secret::{CUT, Secrets};
use crate::host::{Host, HostError, ObserveRequest};

/// A short account of what a container looks like.
pub(super) fn seen(container: &ObservedContainer, secrets: &Secrets) -> Seen {
    if container.half_created() || container.half_destroyed() {
        return Seen::HalfCreated;
    }
    let bytes = if secrets.is_empty() {
        serde_json::to_vec(container)
    } else {
        serde_json::to_vec(&secrets.redacted_seen(container))
    };
    let digest = Digest::of(&bytes.unwrap_or_default());
    match container.status {
        Status::Running => Seen::Running(digest),
        Status::Stopped => Seen::Stopped(digest),
    }
}

/// Looks, again and again while the trouble may pass, with longer and longer pauses, and not
/// when the person wants to stop.
///
/// # Errors
/// The last one of the host.
pub fn observe(
    host: &dyn Host,
    request: &ObserveRequest,
    limits: &Limits,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> Result<ObservedWorld, HostError> {
    let mut pause = limits.first_pause;
    let mut tries = 0;
    loop {
        tries += 1;
        match host.observe(request) {
            Err(error)
                if error.kind != FailureKind::Permanent
                    && tries < limits.attempts
                    && !stop.load(Ordering::SeqCst) =>
            {
                tracing::warn!(%error, "looking at the host again");
                clock.pause(pause);
                pause = pause.saturating_mul(2).min(limits.longest_pause);
            }
            result => return result,
        }
    }
}

/// Looks as patiently within a run. What is in flight is finished, so the person's wish to stop
/// does not count here.
pub(super) fn observe_patiently(
    env: &Env<'_>,
    request: &ObserveRequest,
) -> Result<ObservedWorld, HostError> {
    let never = AtomicBool::new(false);
    observe(env.host, request, &env.limits, env.clock, &never)
}

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

/// The container that a container is about to be cloned from, if it is yet to be made.
pub(super) fn pending_source(world: &ObservedWorld, desired: &DesiredContainer) -> Option<Ctid> {
    let exists = world
        .containers
        .get(&desired.ctid)
        .is_some_and(|seen| !seen.half_created());
    desired.clone_source().filter(|_| !exists)
}
