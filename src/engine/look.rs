//! Looking at the host, as patiently as it takes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Clock, Env, Limits};
use crate::domain::observed::ObservedWorld;
use crate::domain::refusal::FailureKind;
use crate::host::{Host, HostError, ObserveRequest};

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
