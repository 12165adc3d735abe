//! One attempt at a state: intend, do, look again, say what came of it.

use super::failure::{end, failure_of, without_effect};
use super::{Reconciler, StepEnd, source_of};
use crate::domain::action::Action;
use crate::domain::desired::Place;
use crate::domain::event::Event;
use crate::domain::refusal::FailureKind;
use crate::domain::step::Step;
use crate::engine::EngineError;
use crate::host::{Call, HostError};
use crate::steps::Work;

/// What came of the actions of one attempt.
enum Attempt {
    Done,
    /// Why, and whether the action that was refused changes anything.
    Refused(HostError, bool),
}

impl Reconciler<'_> {
    /// One attempt: the intent is on the disk before the first action, and the container is
    /// looked at after the last. Nothing is returned when another attempt is to follow.
    pub(super) fn attempt(
        &mut self,
        step: Step,
        work: Work,
        tries: u32,
    ) -> Result<Option<StepEnd>, EngineError> {
        let attempt = self.pen.record.next_attempt(self.shared.run, step);
        let began = self.shared.env.clock.now();
        let Work { actions, claims } = work;
        let mut events = self.held_events();
        let seen = self.seen();
        events.push(Event::StepStarted {
            step,
            attempt,
            actions: actions.clone(),
            claims,
            seen,
        });
        let intent = self.pen.write(events)?;
        let outcome = self.act(step, attempt, intent, &actions)?;
        let looked = self.look();
        self.blind = looked.is_err();
        let left = match looked {
            Ok(()) => self.compare(step),
            Err(error) => return self.fail(step, attempt, tries, &error),
        };
        match (outcome, left) {
            (_, Err(problems)) => {
                let failure = failure_of(&problems);
                let failed = self.failed(step, attempt, failure, false);
                self.pen
                    .note(vec![failed, Event::ContainerFailed { step }])?;
                Ok(Some(StepEnd::Failed))
            }
            (Attempt::Refused(error, _), Ok(left)) if !left.actions.is_empty() => {
                self.fail(step, attempt, tries, &error)
            }
            (Attempt::Done, Ok(left)) if !left.actions.is_empty() => {
                self.fail(step, attempt, tries, &without_effect(&left.actions))
            }
            (Attempt::Refused(error, _), Ok(_)) if error.unseen => {
                self.fail(step, attempt, tries, &error)
            }
            (outcome, Ok(_)) => {
                // What the host did not own up to, and did all the same.
                if let Attempt::Refused(_, mutates) = outcome {
                    self.mutations += u64::from(mutates);
                }
                let (took_ms, seen) = (self.since(began), self.seen());
                self.pen.note(vec![Event::StepConverged {
                    step,
                    attempt,
                    took_ms,
                    seen,
                }])?;
                Ok(Some(StepEnd::Holds))
            }
        }
    }

    /// Does the actions one after another, until one is refused.
    fn act(
        &mut self,
        step: Step,
        attempt: u32,
        intent: u64,
        actions: &[Action],
    ) -> Result<Attempt, EngineError> {
        for (action, index) in actions.iter().zip(0_u32..) {
            // An interrupted run stops between two scripts too; the rest of a state is quick.
            if index > 0 && self.shared.env.stopping() {
                let stopped = HostError::new(FailureKind::Transient, "interrupted");
                return Ok(Attempt::Refused(stopped, false));
            }
            let call = Call {
                run: self.shared.run,
                ctid: self.desired.ctid,
                step,
                attempt,
                intent,
                document: self.desired.document.borrowed(),
            };
            let began = self.shared.env.clock.now();
            let applied = match self.shared.env.host.apply(&call, action) {
                Ok(applied) => applied,
                Err(error) => return Ok(Attempt::Refused(error, action.mutates())),
            };
            self.mutations += u64::from(action.mutates());
            if source_of(action).is_some() {
                self.source.release();
            }
            let took_ms = self.since(began);
            let done = Event::ActionDone {
                step,
                attempt,
                index,
                took_ms,
                output: end(&applied.output),
            };
            // Of a script on the host the journal alone knows that it ran, and that those before
            // it had ended when it began: that is on the disk before anything else is done.
            let next = actions.get(index as usize + 1);
            if on_host(action) || next.is_some_and(on_host) {
                self.pen.write(vec![done])?;
            } else if matches!(action, Action::RunScript(_) | Action::CheckHealth(_)) {
                self.pen.note(vec![done])?;
            }
        }
        Ok(Attempt::Done)
    }
}

fn on_host(action: &Action) -> bool {
    matches!(action, Action::RunScript(script) if script.place == Place::Host)
}
