//! What one container at a time may work on: things of the host itself, and the source of a clone.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use super::{Reconciler, Shared, source_of};
use crate::domain::action::Action;
use crate::domain::step::Step;
use crate::steps::{Problems, Work};

/// The things that somebody is at.
#[derive(Default)]
pub(super) struct Busy {
    things: Mutex<BTreeSet<String>>,
    freed: Condvar,
}

/// Some things, held until this is dropped.
pub(super) struct Held<'a> {
    busy: &'a Busy,
    things: BTreeSet<String>,
}

/// What of the host itself some actions work on.
fn things_of_the_host(actions: &[Action]) -> BTreeSet<String> {
    let thing = |action: &Action| match action {
        Action::FetchTemplate(template) => Some(format!("template {}", template.file)),
        Action::EnsureDirectory(spec) => Some(format!("directory {}", spec.path)),
        _ => None,
    };
    actions.iter().filter_map(thing).collect()
}

impl Busy {
    /// Waits until nobody is at any of these things, and takes them all.
    fn take(&self, things: BTreeSet<String>) -> Held<'_> {
        let guard = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = |busy: &mut BTreeSet<String>| !busy.is_disjoint(&things);
        let mut guard = self
            .freed
            .wait_while(guard, taken)
            .unwrap_or_else(PoisonError::into_inner);
        guard.extend(things.iter().cloned());
        drop(guard);
        Held { busy: self, things }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut guard = self
            .busy
            .things
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.things.iter().for_each(|thing| {
            guard.remove(thing);
        });
        self.busy.freed.notify_all();
    }
}
impl<'a> Reconciler<'a> {
    /// What is to be done to things of the host itself (a directory, a template) is done by one
    /// container at a time, and so is a clone; who waited for another looks and compares anew.
    pub(super) fn alone(
        &mut self,
        step: Step,
        work: Work,
    ) -> Result<(Work, Option<Held<'a>>), Problems> {
        let keys = things_of_the_host(&work.actions);
        // It is held already, unless the host said of an earlier clone that it was made.
        let source = work.actions.iter().find_map(source_of);
        let waited = source.is_some_and(|source| self.source.hold(source));
        if keys.is_empty() && !waited {
            return Ok((work, None));
        }
        let shared: &'a Shared<'a> = self.shared;
        let held = shared.busy.take(keys);
        if let Err(error) = self.look() {
            tracing::warn!(ctid = %self.desired.ctid, %error, "cannot look at the host");
        }
        Ok((self.compare(step)?, Some(held)))
    }
}
