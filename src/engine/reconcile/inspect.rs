//! The open intent of a dead process: what came of it.

use super::Reconciler;
use crate::domain::desired::OnUnknown;
use crate::domain::event::{Event, Verdict};
use crate::domain::model;
use crate::domain::record::OpenIntent;
use crate::engine::EngineError;

impl Reconciler<'_> {
    /// An intent that a dead process left: what came of it is looked at, never assumed.
    pub(super) fn inspect_open_intent(&mut self) -> Result<(), EngineError> {
        let Some(open) = self.pen.record.open.clone() else {
            return Ok(());
        };
        let verdict = self.verdict(&open);
        self.pen.write(vec![Event::IntentInspected {
            step: open.step,
            attempt: open.attempt,
            verdict,
        }])?;
        Ok(())
    }

    fn verdict(&self, open: &OpenIntent) -> Verdict {
        if open.unknown_script().is_some() {
            return match self.desired.on_unknown {
                OnUnknown::Retry => Verdict::AmbiguousRetried,
                OnUnknown::Stop => Verdict::AmbiguousStopped,
            };
        }
        let world = self.shared.world();
        let ctid = self.desired.ctid;
        let secrets = &self.shared.env.desired.secrets;
        let seen = world.containers.get(&ctid).map(|seen| &**seen);
        let actions = secrets.restored(&open.actions, self.desired, seen);
        let mut actions = actions.iter().zip(0..);
        let had_effect = actions.all(|(action, index)| match action.leaves_a_trace() {
            true => model::shows(&world, ctid, action, open.run),
            false => open.done.contains(&index),
        });
        match had_effect {
            true => Verdict::Adopted,
            false => Verdict::Retried,
        }
    }
}
