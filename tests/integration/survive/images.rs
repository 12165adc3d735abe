//! Crash images: every write and sync of a journal's life is noted, and from the notes the states
//! are built that a crash at any moment could leave on a disk that keeps no order: what was not
//! synced is there, or not, or half. Each must open with everything that was acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::DateTime;
use phoenix::domain::event::{Draft, Entry, Event};
use phoenix::domain::ids::{JournalId, RunId};
use phoenix::domain::record::Record;
use phoenix::journal::{Journal, OpenOptions};
use serde_json::Value;
use uuid::Uuid;

use crate::crash_journal::{copy, directory};
use crate::witness::{Fleet, Site, all};

use super::remembered::{Disk, Fate, Note};
use super::{Dice, able, entries, shim, wanted};

/// A journal's life, and what is true of it.
struct Life {
    notes: Vec<Note>,
    /// The last event that was acknowledged before each note, and after the last.
    acknowledged: Vec<u64>,
    /// Every event there ever was.
    truth: BTreeMap<u64, Entry>,
    host: String,
    /// Whether compaction had something to do.
    carried: bool,
}

/// What a person types, in a life of a journal: which declaration, and the command.
const LIFE: [(usize, &[&str]); 8] = [
    (0, &["apply"]),
    (1, &["apply"]),
    (1, &["apply", "127"]),
    (1, &["journal", "compact", "--keep", "2"]),
    (1, &["apply", "--check-health"]),
    (1, &["apply"]),
    (1, &["journal", "compact", "--keep", "1"]),
    (1, &["apply", "--check-health"]),
];

impl Life {
    fn record(fleet: &Fleet) -> Self {
        let site = Site::new(fleet);
        let trace = site.dir.path().join("trace");
        let mut life = Self {
            notes: Vec::new(),
            acknowledged: Vec::new(),
            truth: BTreeMap::new(),
            host: String::new(),
            carried: false,
        };
        for (declared, arguments) in LIFE {
            let mut command = site.command(declared, arguments);
            shim::put(&mut command, &site.state, "record")
                .env("DISK_TRACE", &trace)
                .env("DISK_MARKS", site.host().join("log.jsonl"));
            let output = command.output().expect("it starts");
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            life.learn(&site.state);
        }
        assert!(life.carried, "nothing was compacted");
        life.notes = Note::all(&fs::read(&trace).expect("a trace"));
        let checkpoint = |note: &&Note| match note {
            Note::Create { name, .. } => name.starts_with("checkpoint"),
            _ => false,
        };
        let checkpoints = life.notes.iter().filter(checkpoint).count();
        assert!(checkpoints > 0, "no checkpoint was written");
        life.acknowledge();
        life
    }

    /// The events that there are now.
    fn learn(&mut self, state: &Path) {
        let image = directory();
        copy(state, image.path());
        let journal = Journal::open_existing(image.path()).expect("a journal");
        let journal = journal.expect("there is one");
        journal.host().clone_into(&mut self.host);
        for entry in entries(&journal).expect("it reads") {
            let seq = entry.seq;
            if is_carried(&entry) {
                self.carried = true;
                continue;
            }
            let known = self.truth.entry(seq).or_insert_with(|| entry.clone());
            assert_eq!(*known, entry, "event {seq} changed");
        }
    }

    /// An effect on the host says that its intent was acknowledged; the file `head` is written
    /// when a batch is, and a process that ended well has acknowledged all.
    fn acknowledge(&mut self) {
        let mut heads = Vec::new();
        let mut last = 0;
        self.acknowledged.push(0);
        for note in &self.notes {
            match note {
                Note::Create { inode, name, .. } if name.starts_with("head") => heads.push(*inode),
                Note::Write { inode, bytes, .. } if heads.contains(inode) => {
                    let seq = bytes[..8].try_into().expect("eight bytes");
                    last = last.max(u64::from_be_bytes(seq));
                }
                Note::Mark { text } => {
                    let lines = text.lines().filter_map(|line| {
                        let line: Value = serde_json::from_str(line).ok()?;
                        line["intent"].as_u64()
                    });
                    last = lines.fold(last, u64::max);
                }
                _ => {}
            }
            self.acknowledged.push(last);
        }
        let events = self.truth.keys().next_back().copied();
        assert_eq!(Some(last), events, "all of it was acknowledged");
    }

    /// What one image was found to be; panics when it is not what it should be.
    fn check(&self, moment: usize, seed: usize) -> Found {
        let home = directory();
        let state = home.path().join("state");
        let fate = &mut Chance::new(seed);
        Disk::after(&self.notes[..moment]).write(&state, fate);
        let story = format!("image {seed} after {moment} operations ({:?})", fate.way);
        let opened = catch_unwind(AssertUnwindSafe(|| Journal::open(&self.options(&state))));
        let Ok(opened) = opened else {
            panic!("{story}: a panic")
        };
        let journal = opened.unwrap_or_else(|error| panic!("{story}: {error}"));
        let found = entries(&journal).unwrap_or_else(|error| panic!("{story}: {error}"));
        let acknowledged = self.acknowledged[moment];
        let last = found.last().map_or(0, |entry| entry.seq);
        assert!(
            last >= acknowledged,
            "{story}: {last} of {acknowledged} events"
        );
        for entry in found.iter().filter(|entry| !is_carried(entry)) {
            assert_eq!(
                Some(entry),
                self.truth.get(&entry.seq),
                "{story}: a wrong event"
            );
        }
        // Compaction forgets events, and nothing of what they come to.
        let truth = self.truth.range(..=last).map(|(_, entry)| entry);
        let expected = Record::of(truth).expect("a legal history");
        let known = Record::of(&found).unwrap_or_else(|error| panic!("{story}: {error}"));
        assert_eq!(known.runs, expected.runs, "{story}: the runs");
        assert_eq!(
            known.containers, expected.containers,
            "{story}: the containers"
        );
        let told = journal.known();
        let told = told.unwrap_or_else(|error| panic!("{story}: {error}"));
        assert!(told == known, "{story}: a checkpoint says something else");
        let repaired = journal.tail_repaired().is_some();
        // It goes on.
        let next = journal.append(&[draft()]);
        assert_eq!(
            next.unwrap_or_else(|error| panic!("{story}: {error}")),
            last + 1
        );
        let report = journal
            .verify()
            .unwrap_or_else(|error| panic!("{story}: {error}"));
        assert_eq!(report.problem, None, "{story}");
        journal
            .close()
            .unwrap_or_else(|error| panic!("{story}: {error}"));
        Found {
            repaired,
            more: last > acknowledged,
        }
    }

    fn options<'a>(&'a self, dir: &'a Path) -> OpenOptions<'a> {
        OpenOptions {
            dir,
            host: &self.host,
            now: DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time"),
            new_id: JournalId(Uuid::from_u128(9)),
        }
    }
}

struct Found {
    /// Something torn was cut off.
    repaired: bool,
    /// There was more than had been acknowledged.
    more: bool,
}

/// Whether it stands for others.
fn is_carried(entry: &Entry) -> bool {
    matches!(
        entry.event,
        Event::JournalCompacted { .. } | Event::RunCarried { .. } | Event::ContainerCarried { .. }
    )
}

fn draft() -> Draft {
    Draft {
        at: DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time"),
        run: RunId::NONE,
        ctid: None,
        event: Event::RunInterrupted {
            reason: "a crash".to_owned(),
        },
    }
}

/// How what is not synced fares.
#[derive(Clone, Copy, Debug)]
enum Way {
    Nothing,
    Everything,
    /// In order, up to somewhere.
    Beginning,
    /// Any of it, in any order.
    Some,
    /// Content in any order, names all.
    SomeContent,
    /// Names in any order, content all.
    SomeNames,
}

struct Chance {
    way: Way,
    torn: bool,
    dice: Dice,
}

impl Chance {
    fn new(seed: usize) -> Self {
        let ways = [
            Way::Nothing,
            Way::Everything,
            Way::Beginning,
            Way::Some,
            Way::SomeContent,
            Way::SomeNames,
        ];
        let mut dice = Dice::new(seed);
        Self {
            way: ways[dice.below(ways.len())],
            torn: dice.below(2) == 1,
            dice,
        }
    }

    fn any(&mut self, changes: usize) -> Vec<bool> {
        (0..changes).map(|_| self.dice.below(2) == 1).collect()
    }

    fn some(&mut self, changes: usize) -> Vec<bool> {
        match self.way {
            Way::Nothing => vec![false; changes],
            Way::Beginning => {
                let until = self.dice.below(changes + 1);
                (0..changes).map(|n| n < until).collect()
            }
            _ => vec![true; changes],
        }
    }
}

impl Fate for Chance {
    fn content(&mut self, changes: usize) -> Vec<bool> {
        match self.way {
            Way::Some | Way::SomeContent => self.any(changes),
            _ => self.some(changes),
        }
    }

    fn names(&mut self, changes: usize) -> Vec<bool> {
        match self.way {
            Way::Some | Way::SomeNames => self.any(changes),
            _ => self.some(changes),
        }
    }

    fn torn(&mut self, length: usize) -> usize {
        if self.torn {
            self.dice.below(length + 1)
        } else {
            length
        }
    }
}

#[test]
fn whatever_a_crash_leaves_opens_with_all_that_was_acknowledged() {
    let test = "whatever_a_crash_leaves_opens_with_all_that_was_acknowledged";
    if !able(test, shim::obstacle()) {
        return;
    }
    let life = Life::record(&Fleet::new());
    let images = wanted("PHOENIX_TEST_IMAGES", 1500);
    let (repaired, more) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let seeds: Vec<usize> = (0..images).collect();
    all(&seeds, |seed| {
        // Every moment, as often as there are images for it.
        let moments = life.notes.len();
        let moment = if images < moments {
            seed * moments / images
        } else {
            seed % moments
        };
        let found = life.check(moment + 1, *seed);
        repaired.fetch_add(usize::from(found.repaired), Ordering::SeqCst);
        more.fetch_add(usize::from(found.more), Ordering::SeqCst);
    });
    let (repaired, more) = (repaired.into_inner(), more.into_inner());
    println!(
        "{images} crash images of a life of {} operations and {} events: {repaired} with a torn \
         end, {more} with more than was acknowledged; acknowledged events lost: 0",
        life.notes.len(),
        life.truth.len()
    );
    assert!(more > 0, "no image had anything unacknowledged in it");
}
