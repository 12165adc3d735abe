//! What the journal knows: events folded into a state.
//!
//! Folding is pure, and refuses, by name, what cannot have happened.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::action::Action;
use super::desired::Place;
use super::event::{Entry, Event, Owned, RunStarted, RunTotals, Seen, Verdict};
use super::ids::{Ctid, Digest, RunId};
use super::observed::{Receipt, ReceiptKey};
use super::step::Step;

/// Everything a journal says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// The runs, oldest first.
    pub runs: Vec<RunRecord>,
    /// The containers that were ever worked on.
    pub containers: BTreeMap<Ctid, ContainerRecord>,
    /// Sequence number of the last event; 0 before the first.
    pub last_seq: u64,
}

/// One run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// How it began.
    pub started: RunStarted,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When its last event so far happened.
    pub last_at: DateTime<Utc>,
    /// How often it was resumed.
    pub resumed: u32,
    /// The boot of the host when it last went on.
    pub boot_id: String,
    /// The process that last worked on it.
    pub pid: u32,
    /// How it stands.
    pub phase: Phase,
}

/// How a run stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Somebody works on it, or died while doing so.
    Working,
    /// It was interrupted, and that was noted.
    Interrupted {
        /// Why.
        reason: String,
    },
    /// It came to its end.
    Finished(RunTotals),
    /// Another run took its place.
    Superseded {
        /// The one that did.
        by: RunId,
    },
}

impl RunRecord {
    /// Whether `resume` has something to do: it was interrupted, or something failed in it.
    #[must_use]
    pub fn resumable(&self) -> bool {
        match &self.phase {
            Phase::Working | Phase::Interrupted { .. } => true,
            Phase::Finished(totals) => totals.failed + totals.skipped > 0,
            Phase::Superseded { .. } => false,
        }
    }
}

/// What the journal knows of one container.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ContainerRecord {
    /// An intent whose outcome is not recorded.
    pub open: Option<OpenIntent>,
    /// What phoenix put into its configuration.
    pub owned: BTreeSet<Owned>,
    /// Whether phoenix made it (or was about to, and saw that it did not exist before).
    pub created: bool,
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
#[derive(Clone, PartialEq, Eq, Debug)]
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
}

/// An intent whose outcome is not recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// What stops being ours when it converges.
    pub releases: Vec<Owned>,
    /// What was seen before.
    pub seen: Seen,
    /// Its sequence number.
    pub seq: u64,
}

impl OpenIntent {
    /// The script on the host of which nobody knows whether it ran: the first action that is not
    /// known to have come to its end, if it is such a script. Those after it never began.
    #[must_use]
    pub fn unknown_script(&self) -> Option<ReceiptKey> {
        let mut actions = self.actions.iter().zip(0_u32..);
        let (first, _) = actions.find(|(_, index)| !self.done.contains(index))?;
        match first {
            Action::RunScript(script) if script.place == Place::Host => Some(ReceiptKey {
                kind: script.kind,
                name: script.name.clone(),
            }),
            _ => None,
        }
    }
}

/// An event that cannot have happened after the ones before it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("event {seq} ({kind}) cannot follow: {why}")]
pub struct IllegalTransition {
    /// The event.
    pub seq: u64,
    /// Its kind.
    pub kind: &'static str,
    /// What speaks against it.
    pub why: String,
}

impl Record {
    /// Folds events, in order.
    ///
    /// # Errors
    /// The first one that cannot have happened.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, IllegalTransition> {
        let mut record = Self::default();
        entries
            .into_iter()
            .try_for_each(|entry| record.fold(entry))?;
        Ok(record)
    }

    /// Takes in the next event.
    ///
    /// # Errors
    /// When it cannot have happened now.
    pub fn fold(&mut self, entry: &Entry) -> Result<(), IllegalTransition> {
        if entry.seq != self.last_seq + 1 {
            return Err(illegal(
                entry,
                format!("the event before it is {}", self.last_seq),
            ));
        }
        match entry.ctid {
            None => self.fold_run(entry)?,
            Some(ctid) => {
                let known = self.runs.iter_mut().rev().find(|run| run.id == entry.run);
                let run = known.ok_or_else(|| illegal(entry, "its run never started"))?;
                if run.phase != Phase::Working {
                    return Err(illegal(entry, "its run is not being worked on"));
                }
                run.last_at = entry.at;
                self.containers.entry(ctid).or_default().fold(entry, ctid)?;
            }
        }
        self.last_seq = entry.seq;
        Ok(())
    }

    fn fold_run(&mut self, entry: &Entry) -> Result<(), IllegalTransition> {
        if let Event::RunStarted(started) = &entry.event {
            if self.runs.iter().any(|run| run.id == entry.run) {
                return Err(illegal(entry, "the run has started before"));
            }
            self.runs.push(RunRecord {
                id: entry.run,
                started: (**started).clone(),
                started_at: entry.at,
                last_at: entry.at,
                resumed: 0,
                boot_id: started.boot_id.clone(),
                pid: started.pid,
                phase: Phase::Working,
            });
            return Ok(());
        }
        let known = self.runs.iter_mut().rev().find(|run| run.id == entry.run);
        let run = known.ok_or_else(|| illegal(entry, "its run never started"))?;
        run.fold(entry)
    }

    /// The run that `resume` goes on with: the last one, if there is something left to do.
    #[must_use]
    pub fn resumable(&self) -> Option<&RunRecord> {
        self.runs.last().filter(|run| run.resumable())
    }

    /// What the journal knows of a container; of one it never heard of: nothing.
    #[must_use]
    pub fn container(&self, ctid: Ctid) -> ContainerRecord {
        self.containers.get(&ctid).cloned().unwrap_or_default()
    }
}

fn illegal(entry: &Entry, why: impl Into<String>) -> IllegalTransition {
    IllegalTransition {
        seq: entry.seq,
        kind: entry.event.kind(),
        why: why.into(),
    }
}

impl RunRecord {
    fn fold(&mut self, entry: &Entry) -> Result<(), IllegalTransition> {
        let working = self.phase == Phase::Working;
        self.phase = match &entry.event {
            Event::RunInterrupted { reason } if working => Phase::Interrupted {
                reason: reason.clone(),
            },
            Event::RunFinished(totals) if working => Phase::Finished(*totals),
            Event::RunResumed(resumed) if !working && self.resumable() => {
                self.resumed += 1;
                self.boot_id.clone_from(&resumed.boot_id);
                self.pid = resumed.pid;
                Phase::Working
            }
            Event::RunSuperseded { by } if matches!(self.phase, Phase::Interrupted { .. }) => {
                Phase::Superseded { by: *by }
            }
            _ => return Err(illegal(entry, format!("the run is {}", self.phase.name()))),
        };
        self.last_at = entry.at;
        Ok(())
    }
}

impl Phase {
    /// One word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Interrupted { .. } => "interrupted",
            Self::Finished(totals) if totals.failed + totals.skipped > 0 => "failed",
            Self::Finished(_) => "converged",
            Self::Superseded { .. } => "superseded",
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
            } => {
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
            Event::ContainerFailed { .. } => self.must_be_idle(entry)?,
            // What a dead run left open stays so: nothing was looked at.
            Event::ContainerSkipped { because } => {
                self.outcome = Some(Outcome::Skipped { because: *because });
            }
            Event::StepsHeld { .. } => self.must_be_idle(entry)?,
            _ => return Err(illegal(entry, "it is about no container")),
        }
        Ok(())
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
            releases,
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
            self.created = true;
            self.owned.clear();
            self.scripts.clear();
            self.ambiguous.clear();
        }
        self.owned.extend(claims.iter().cloned());
        self.outcome = Some(Outcome::Working(*step));
        self.open = Some(OpenIntent {
            run: entry.run,
            step: *step,
            attempt: *attempt,
            actions: actions.clone(),
            done: BTreeSet::new(),
            releases: releases.clone(),
            seen: seen.clone(),
            seq: entry.seq,
        });
        Ok(())
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
        for released in &intent.releases {
            self.owned.remove(released);
        }
    }

    fn note_script(&mut self, ctid: Ctid, run: RunId, index: u32) {
        if let Some(open) = self.open.clone() {
            self.note_done(&open, index as usize, ctid, run);
        }
    }

    fn note_done(&mut self, intent: &OpenIntent, index: usize, ctid: Ctid, run: RunId) {
        match intent.actions.get(index) {
            Some(Action::RunScript(script)) => {
                let key = ReceiptKey {
                    kind: script.kind,
                    name: script.name.clone(),
                };
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
            _ => {}
        }
    }
}
