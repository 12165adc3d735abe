//! Things of the host itself that one container at a time may work on.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::domain::action::Action;

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
pub(super) fn things_of_the_host(actions: &[Action]) -> BTreeSet<String> {
    let thing = |action: &Action| match action {
        Action::FetchTemplate(template) => Some(format!("template {}", template.file)),
        Action::EnsureDirectory(spec) => Some(format!("directory {}", spec.path)),
        _ => None,
    };
    actions.iter().filter_map(thing).collect()
}

impl Busy {
    /// Waits until nobody is at any of these things, and takes them all.
    pub(super) fn take(&self, things: BTreeSet<String>) -> Held<'_> {
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
