//! A state that was not reached: tried again after a pause, or given up.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::failure::{failure_by, failure_of};
use super::{Reconciler, StepEnd};
use crate::domain::desired::OnUnknown;
use crate::domain::event::{Event, Failure, Seen, Verdict};
use crate::domain::refusal::FailureKind;
use crate::domain::step::Step;
use crate::engine::EngineError;
use crate::host::HostError;
use crate::steps::{Options, Problems};

impl Reconciler<'_> {
    /// No action cures it, so none is tried.
    pub(super) fn impossible(
        &mut self,
        step: Step,
        problems: &Problems,
    ) -> Result<StepEnd, EngineError> {
        let failure = failure_of(problems);
        let mut events = self.held_events();
        events.push(self.failed(step, 0, failure, false));
        events.push(Event::ContainerFailed { step });
        self.pen.note(events)?;
        Ok(StepEnd::Failed)
    }

    /// An attempt failed that another one may mend. Nothing is returned when it is to follow.
    pub(super) fn fail(
        &mut self,
        step: Step,
        attempt: u32,
        tries: u32,
        error: &HostError,
    ) -> Result<Option<StepEnd>, EngineError> {
        let stopping = self.shared.env.stopping();
        let unknown_script = error.kind == FailureKind::UnknownOutcome
            && self.desired.on_unknown == OnUnknown::Stop
            && self
                .pen
                .record
                .open
                .as_ref()
                .is_some_and(|open| open.unknown_script().is_some());
        if unknown_script {
            return self.stop_at_unknown(step, attempt);
        }
        let retry = error.kind != FailureKind::Permanent
            && tries < self.shared.env.limits.attempts
            && !stopping;
        let failure = failure_by(error);
        if stopping && error.kind != FailureKind::Permanent {
            let failed = self.failed(step, attempt, failure, true);
            self.pen.note(vec![failed])?;
            return Ok(Some(StepEnd::Interrupted));
        }
        let mut events = vec![self.failed(step, attempt, failure, retry)];
        if !retry {
            events.push(Event::ContainerFailed { step });
            self.pen.note(events)?;
            return Ok(Some(StepEnd::Failed));
        }
        self.pen.note(events)?;
        self.shared.env.clock.pause(self.pause(step, tries));
        if let Err(error) = self.look() {
            tracing::warn!(ctid = %self.desired.ctid, %error, "cannot look at the container");
        }
        Ok(None)
    }

    /// That an attempt failed; and if the container is not there, nothing half-done is left.
    pub(super) fn failed(
        &mut self,
        step: Step,
        attempt: u32,
        failure: Failure,
        retry: bool,
    ) -> Event {
        let absent = attempt > 0 && !self.blind && self.seen() == Seen::Absent;
        Event::StepFailed {
            step,
            attempt,
            failure,
            retry,
            absent,
        }
    }

    /// Nobody knows whether a script on the host ran, and the configuration says: stop.
    fn stop_at_unknown(
        &mut self,
        step: Step,
        attempt: u32,
    ) -> Result<Option<StepEnd>, EngineError> {
        let verdict = Verdict::AmbiguousStopped;
        self.pen.write(vec![Event::IntentInspected {
            step,
            attempt,
            verdict,
        }])?;
        // Closed as what it is; a comparison refuses to go on then. Whoever asked for the script
        // to run again has been heard, once.
        let heard = Options {
            rerun: BTreeSet::new(),
            ..self.shared.options.clone()
        };
        match self.compare_as(step, &heard) {
            Err(problems) => self.impossible(step, &problems).map(Some),
            Ok(_) => Ok(None),
        }
    }

    /// Twice as long each time, up to a limit, and shortened by up to a quarter so that
    /// containers that met each other once do not meet again.
    fn pause(&self, step: Step, tries: u32) -> Duration {
        let limits = &self.shared.env.limits;
        let doubled = limits.first_pause.saturating_mul(1 << (tries - 1).min(16));
        let whole = doubled.min(limits.longest_pause);
        let mut hasher = DefaultHasher::new();
        (self.shared.run, self.desired.ctid, step, tries).hash(&mut hasher);
        let share = u32::try_from(hasher.finish() % 256).unwrap_or(0);
        whole.saturating_sub(whole / 4 * share / 256)
    }
}
