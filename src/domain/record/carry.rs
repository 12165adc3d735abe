//! What is known, as events that carry it: compaction puts them in the place of all that led to it.

use chrono::{DateTime, Utc};

use super::super::event::{Draft, Entry, Event};
use super::super::ids::RunId;
use super::{IllegalTransition, Record, illegal};

impl Record {
    /// The events that say all of this again, to begin a journal with.
    #[must_use]
    pub fn carry(&self, at: DateTime<Utc>, events: u64) -> Vec<Draft> {
        let through = self.last_seq;
        let compacted = Draft {
            at,
            run: RunId::NONE,
            ctid: None,
            event: Event::JournalCompacted { through, events },
        };
        let runs = self.runs.iter().map(|run| Draft {
            at: run.last_at,
            run: run.id,
            ctid: None,
            event: Event::RunCarried {
                known: Box::new(run.clone()),
            },
        });
        let containers = self.containers.iter().map(|(ctid, known)| Draft {
            at: known.at.unwrap_or(at),
            run: known.run.unwrap_or(RunId::NONE),
            ctid: Some(*ctid),
            event: Event::ContainerCarried {
                known: Box::new(known.clone()),
            },
        });
        [compacted]
            .into_iter()
            .chain(runs)
            .chain(containers)
            .collect()
    }

    /// Takes in an event that carries what was known.
    pub(super) fn take_up(&mut self, entry: &Entry) -> Result<(), IllegalTransition> {
        match &entry.event {
            Event::JournalCompacted { through, .. } => {
                if self.last_seq != 0 || *through < entry.seq {
                    return Err(illegal(entry, "a journal begins with it"));
                }
                self.carried = *through;
            }
            _ if entry.seq > self.carried => {
                return Err(illegal(entry, "what is carried has ended"));
            }
            Event::RunCarried { known } => {
                if known.id != entry.run || self.runs.iter().any(|run| run.id == known.id) {
                    return Err(illegal(entry, "the run is known"));
                }
                self.runs.push((**known).clone());
            }
            Event::ContainerCarried { known } => {
                let ctid = entry
                    .ctid
                    .ok_or_else(|| illegal(entry, "it is about no container"))?;
                if self.containers.insert(ctid, (**known).clone()).is_some() {
                    return Err(illegal(entry, "the container is known"));
                }
            }
            _ => return Err(illegal(entry, "it carries nothing")),
        }
        Ok(())
    }
}
