//! The eleven states: one file each, what it inspects and how it compares. All pure.

mod application;
mod configurations;
mod dedicated_volumes;
mod defined;
mod destroyed;
mod disk_size;
mod features;
mod foreign;
mod health_check;
mod mounts;
mod shared_volumes;
mod start;
mod template_snapshot;
mod validate;

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::domain::action::{Action, Mark};
use crate::domain::desired::DesiredContainer;
use crate::domain::diagnostic::Problem;
use crate::domain::event::Owned;
use crate::domain::ids::{Ctid, JournalId, RunId};
use crate::domain::observed::{ObservedContainer, ObservedWorld};
use crate::domain::record::ContainerRecord;
use crate::domain::secret::covers;
use crate::domain::setting::{Changes, Key, Settings};
use crate::domain::step::Step;

pub use configurations::stale;
pub use foreign::notes;

/// What a person asked for beside the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Changes that need a restart are left waiting.
    pub no_restart: bool,
    /// Health checks run even where nothing was changed.
    pub check_health: bool,
    /// Scripts, by name, that run again even where they have run.
    pub rerun: BTreeSet<String>,
    /// Where they run again; empty: wherever they are declared.
    pub rerun_in: BTreeSet<Ctid>,
}

impl Options {
    /// Whether a person wants a script of a container to run again.
    #[must_use]
    pub fn reruns(&self, ctid: Ctid, script: &str) -> bool {
        let here = self.rerun_in.is_empty() || self.rerun_in.contains(&ctid);
        here && self.rerun.contains(script)
    }
}

/// Everything that a comparison may look at.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What is declared.
    pub desired: &'a DesiredContainer,
    /// What is seen of the container; none: it does not exist.
    pub observed: Option<&'a ObservedContainer>,
    /// What is seen of the host and of other containers.
    pub world: &'a ObservedWorld,
    /// What the journal knows of the container.
    pub record: &'a ContainerRecord,
    /// The run on whose behalf it is compared.
    pub run: RunId,
    /// The journal that this phoenix writes.
    pub journal: JournalId,
    /// Whether a clone of this container, made by us, broke off.
    pub lent: bool,
    /// Whether something that can disturb the container is planned before this state. The
    /// engine leaves it false: there the record says so.
    pub disturbed: bool,
    /// What a person asked for.
    pub options: &'a Options,
}

/// What is to be done for one state; nothing when it holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Work {
    /// In order.
    pub actions: Vec<Action>,
    /// What becomes ours by them.
    pub claims: Vec<Owned>,
}

impl Work {
    fn of(actions: Vec<Action>) -> Self {
        Self {
            actions,
            ..Self::default()
        }
    }

    /// One combined change, if there is anything to change.
    fn configure(&mut self, seen: &ObservedContainer, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        let before = seen.eventual_settings();
        let was = changes
            .keys()
            .filter_map(|key| Some((key.clone(), before.get(key)?.clone())));
        let was = was.collect();
        self.actions.push(Action::Configure { changes, was });
    }

    /// Without an action nothing becomes ours and nothing stops being so.
    fn settled(self) -> Self {
        if self.actions.is_empty() {
            Self::default()
        } else {
            self
        }
    }
}

/// Why a state cannot be reached by any action.
pub type Problems = Vec<Problem>;

/// Compares one state of a container with its declaration.
///
/// # Errors
/// What no action can cure.
pub fn compare(step: Step, cx: &Context<'_>) -> Result<Work, Problems> {
    match step {
        Step::ValidateInputs => validate::compare(cx),
        Step::EnsureContainerDefined => defined::compare(cx),
        Step::ApplyConfigurations => configurations::compare(cx),
        Step::ApplySharedVolumes => shared_volumes::compare(cx),
        Step::ApplyDedicatedVolumes => dedicated_volumes::compare(cx),
        Step::EnsureContainerDiskSize => disk_size::compare(cx),
        Step::StartContainer => start::compare(cx),
        Step::ApplyFeatures => features::compare(cx),
        Step::RunApplicationScript => application::compare(cx),
        Step::RunHealthCheck => health_check::compare(cx),
        Step::CreateTemplateSnapshot => template_snapshot::compare(cx),
        Step::DestroyContainer => destroyed::compare(cx),
    }
}

impl<'a> Context<'a> {
    /// The container, where an earlier state has made sure that it exists.
    fn existing(&self) -> Result<&'a ObservedContainer, Problems> {
        self.observed.ok_or_else(|| {
            vec![Problem::new(
                "",
                format!(
                    "container {} has gone while it was worked on",
                    self.desired.ctid
                ),
                "somebody removed it: run `phoenix apply` again to make it anew",
            )]
        })
    }

    /// What a container of this journal's making carries.
    fn own_mark(&self) -> Mark {
        Mark {
            journal: self.journal,
            ctid: self.desired.ctid,
        }
    }

    /// What is ours in it. Of a container that somebody else made in the place of ours, or that
    /// another journal's phoenix made, nothing is.
    fn owned(&self) -> &'a BTreeSet<Owned> {
        static NOTHING: BTreeSet<Owned> = BTreeSet::new();
        let mark = self.observed.and_then(|seen| seen.mark);
        if mark.is_some_and(|mark| mark != self.own_mark()) {
            &NOTHING
        } else {
            &self.record.owned
        }
    }

    /// Whether a line of an `lxc.*` key is ours, as far as the journal keeps what it says.
    fn owns_line(&self, key: &Key, line: &str) -> bool {
        let mut owned = self.owned().iter();
        owned.any(|owned| {
            matches!(owned, Owned::Line(of, recorded) if of == key && covers(recorded, line))
        })
    }

    /// The declared settings with what facts of the host complete.
    fn settings(&self) -> Cow<'a, Settings> {
        configurations::declared(self)
    }
}
