//! What the journal knows of a container.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::super::action::Action;
use super::super::desired::Place;
use super::super::event::{Entry, Event, Owned, Seen, Verdict};
use super::super::ids::{Ctid, Digest, RunId};
use super::super::observed::{Receipt, ReceiptKey};
use super::super::secret::covers;
use super::super::step::Step;
use super::{IllegalTransition, illegal};

/// What the journal knows of one container.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRecord {
    /// An intent whose outcome is not recorded.
    pub open: Option<OpenIntent>,
    /// What phoenix put into its configuration.
    pub owned: BTreeSet<Owned>,
    /// Whether phoenix made it (or was about to, and saw that it did not exist before).
    pub created: bool,
    /// What phoenix made it from.
    pub origin: Option<Made>,
    /// The last intended actions that are not known to have had their whole effect: what a
    /// killed action left behind is ours to cure only if it was one of these.
    pub unsettled: Vec<Action>,
    /// Scripts on the host of which nobody knows whether they ran, and which the configuration
    /// says not to run again.
    pub ambiguous: BTreeSet<ReceiptKey>,
    /// The scripts that ran to their end, since it was made.
    pub scripts: BTreeMap<ReceiptKey, Receipt>,
    /// The health check that passed last and the run it passed in, if nothing was changed since.
    pub healthy: Option<(Digest, RunId)>,
    /// Attempts at each state in the run that last worked on it.
    pub attempts: BTreeMap<Step, u32>,
    /// The run that last worked on it.
    pub run: Option<RunId>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// When that was.
    pub at: Option<DateTime<Utc>>,
}

/// What came of the last work on a container.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Work had begun on this state.
    Working(Step),
    /// All states held.
    Converged,
    /// A state could not be reached.
    Failed {
        /// The state.
        step: Step,
        /// Why.
        message: String,
    },
    /// It was skipped.
    Skipped {
        /// Because of this one.
        because: Ctid,
    },
    /// It is no more.
    Destroyed,
}

/// An intent whose outcome is not recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]

pub struct OpenIntent {
    /// The run.
    pub run: RunId,
    /// The state.
    pub step: Step,
    /// The attempt.
    pub attempt: u32,
    /// What was about to be done.
    pub actions: Vec<Action>,
    /// The actions, by index, that are known to have come to their end.
    pub done: BTreeSet<u32>,
    /// What was seen before.
    pub seen: Seen,
    /// Its sequence number.
    pub seq: u64,
}

/// What a container was made from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// The template archive of this name.
    Template(String),
    /// A snapshot of another container.
    Clone(Ctid, String),
}

impl Made {
    fn by(action: &Action) -> Option<Self> {
        match action {
            Action::Create(spec) => Some(Self::Template(spec.template.file.clone())),
            Action::Clone(spec) => Some(Self::Clone(spec.source, spec.snapshot.clone())),
            _ => None,
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(file) => write!(f, "template {file}"),
            Self::Clone(source, snapshot) => write!(f, "a clone of {source}@{snapshot}"),
        }
    }
}

impl OpenIntent {
    /// The script on the host of which nobody knows whether it ran: the first action that is not
    /// known to have come to its end, if it is such a script. Those after it never began.
    #[must_use]
    pub fn unknown_script(&self) -> Option<ReceiptKey> {
        let mut actions = self.actions.iter().zip(0_u32..);
        let (first, _) = actions.find(|(_, index)| !self.done.contains(index))?;
        match first {
            Action::RunScript(script) if script.place == Place::Host => {
                Some(ReceiptKey::of(script))
            }
            _ => None,
        }
    }
}

impl ContainerRecord {
    /// The number of the next attempt at a state in a run.
    #[must_use]
    pub fn next_attempt(&self, run: RunId, step: Step) -> u32 {
        let same_run = self.run == Some(run);
        let before = self.attempts.get(&step).filter(|_| same_run);
        before.copied().unwrap_or(0) + 1
    }

    /// Takes in the next event of this container.
    ///
    /// # Errors
    /// When it cannot have happened now.
    pub fn fold(&mut self, entry: &Entry, ctid: Ctid) -> Result<(), IllegalTransition> {
        if self.run != Some(entry.run) {
            self.run = Some(entry.run);
            self.attempts.clear();
        }
        self.at = Some(entry.at);
        match &entry.event {
            Event::StepStarted { .. } => self.start(entry)?,
            Event::ActionDone { index, .. } => {
                self.matching(entry)?.done.insert(*index);
                self.note_script(ctid, entry.run, *index);
            }
            Event::StepConverged { .. } => {
                let intent = self.close(entry)?;
                self.settle(&intent, ctid, entry.run);
            }
            Event::StepFailed {
                step,
                attempt,
                failure,
                retry,
                absent,
            } => {
                if *absent {
                    self.unsettled.clear();
                }
                if *attempt > 0 {
                    self.close(entry)?;
                } else if self.open.is_some() {
                    return Err(illegal(entry, "an intent is open"));
                }
                if !retry {
                    let message = failure.message.clone();
                    self.outcome = Some(Outcome::Failed {
                        step: *step,
                        message,
                    });
                }
            }
            Event::IntentInspected { verdict, .. } => {
                let intent = self.close(entry)?;
                match verdict {
                    Verdict::Adopted => self.settle(&intent, ctid, intent.run),
                    Verdict::AmbiguousStopped => self.ambiguous.extend(intent.unknown_script()),
                    Verdict::Retried | Verdict::AmbiguousRetried => {}
                }
            }
            Event::ContainerUnchanged | Event::ContainerConverged { .. } => {
                self.must_be_idle(entry)?;
                self.outcome = Some(Outcome::Converged);
            }
            Event::ContainerDestroyed { .. } => {
                self.must_be_idle(entry)?;
                self.forget();
                self.outcome = Some(Outcome::Destroyed);
            }
            Event::ContainerFailed { .. } => self.must_be_idle(entry)?,
            // What a dead run left open stays so: nothing was looked at.
            Event::ContainerSkipped { because } => {
                self.outcome = Some(Outcome::Skipped { because: *because });
            }
            Event::StepsHeld { .. } => self.must_be_idle(entry)?,
            Event::OwnershipReleased { owned } => {
                owned.iter().for_each(|released| self.release(released));
            }
            _ => return Err(illegal(entry, "it is about no container")),
        }
        Ok(())
    }

    /// What an older phoenix claimed with its secrets is released without them.
    fn release(&mut self, released: &Owned) {
        let exactly = self.owned.remove(released);
        if let Owned::Line(key, recorded) = released
            && !exactly
        {
            self.owned.retain(|owned| {
                !matches!(owned, Owned::Line(of, line) if of == key && covers(recorded, line))
            });
        }
    }

    fn must_be_idle(&self, entry: &Entry) -> Result<(), IllegalTransition> {
        match &self.open {
            None => Ok(()),
            Some(open) => Err(illegal(entry, format!("intent {} is open", open.seq))),
        }
    }

    fn start(&mut self, entry: &Entry) -> Result<(), IllegalTransition> {
        self.must_be_idle(entry)?;
        let Event::StepStarted {
            step,
            attempt,
            actions,
            claims,
            seen,
        } = &entry.event
        else {
            return Err(illegal(entry, "it is no intent"));
        };
        let next = self.next_attempt(entry.run, *step);
        if *attempt != next {
            return Err(illegal(entry, format!("attempt {next} comes next")));
        }
        self.attempts.insert(*step, *attempt);
        if actions.iter().any(Action::disturbs) {
            self.healthy = None;
        }
        self.unsettled.clone_from(actions);
        if actions
            .iter()
            .any(|action| matches!(action, Action::Create(_) | Action::Clone(_)))
        {
            self.forget();
            self.created = true;
            self.origin = actions.iter().find_map(Made::by);
        }
        self.owned.extend(claims.iter().cloned());
        self.outcome = Some(Outcome::Working(*step));
        self.open = Some(OpenIntent {
            run: entry.run,
            step: *step,
            attempt: *attempt,
            actions: actions.clone(),
            done: BTreeSet::new(),
            seen: seen.clone(),
            seq: entry.seq,
        });
        Ok(())
    }

    /// What was known of a container that is no more.
    fn forget(&mut self) {
        self.created = false;
        self.origin = None;
        self.owned.clear();
        self.scripts.clear();
        self.ambiguous.clear();
        self.healthy = None;
    }

    fn matching(&mut self, entry: &Entry) -> Result<&mut OpenIntent, IllegalTransition> {
        let (step, attempt) = (entry.event.step(), entry.event.attempt());
        let open = self
            .open
            .as_mut()
            .ok_or_else(|| illegal(entry, "no intent is open"))?;
        if Some(open.step) == step && Some(open.attempt) == attempt {
            return Ok(open);
        }
        let (seq, step, attempt) = (open.seq, open.step, open.attempt);
        Err(illegal(
            entry,
            format!("the open intent is {seq} of {step}, attempt {attempt}"),
        ))
    }

    fn close(&mut self, entry: &Entry) -> Result<OpenIntent, IllegalTransition> {
        self.matching(entry)?;
        self.open
            .take()
            .ok_or_else(|| illegal(entry, "no intent is open"))
    }

    fn settle(&mut self, intent: &OpenIntent, ctid: Ctid, run: RunId) {
        for index in 0..intent.actions.len() {
            self.note_done(intent, index, ctid, run);
        }
        self.unsettled.clear();
    }

    fn note_script(&mut self, ctid: Ctid, run: RunId, index: u32) {
        if let Some(open) = self.open.clone() {
            self.note_done(&open, index as usize, ctid, run);
        }
    }

    fn note_done(&mut self, intent: &OpenIntent, index: usize, ctid: Ctid, run: RunId) {
        match intent.actions.get(index) {
            Some(Action::RunScript(script)) => {
                let key = ReceiptKey::of(script);
                let receipt = Receipt {
                    ctid,
                    content: script.content,
                    inputs: script.inputs,
                    run,
                };
                self.ambiguous.remove(&key);
                self.scripts.insert(key, receipt);
            }
            Some(Action::CheckHealth(check)) => self.healthy = Some((check.digest(), run)),
            Some(Action::Destroy) => self.forget(),
            _ => {}
        }
    }
}
