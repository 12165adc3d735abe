//! The same crashes on a real journal, which is opened again after each.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use chrono::DateTime;
use phoenix::domain::desired::DesiredState;
use phoenix::domain::event::{Draft, Entry};
use phoenix::domain::record::Record;
use phoenix::engine::{EngineError, Recorder, Summary};
use phoenix::journal::{Journal, JournalError, OpenOptions};

use crate::crash::{Expected, check, small_world, uninterrupted};
use crate::worlds::build::{Shape, bare_host, fleet};
use crate::worlds::host::Bomb;
use crate::worlds::session::{JOURNAL, Session};

/// A journal whose process can end before and after each of its writes.
struct Mortal<'a> {
    journal: &'a Journal,
    bomb: &'a Bomb,
    keeps_queued: bool,
    /// Handed over and not yet written, with the number of the last event that is.
    queued: Mutex<(Vec<Draft>, u64)>,
}

impl Recorder for Mortal<'_> {
    fn append(&self, drafts: &[Draft]) -> Result<u64, JournalError> {
        let mut guard = self.queued.lock().expect("events");
        let (queued, last) = &mut *guard;
        if !self.bomb.pass() {
            if self.keeps_queued && !queued.is_empty() {
                self.journal.append(&std::mem::take(queued))?;
            }
            return Err(JournalError::Closed);
        }
        let waiting = queued.len() as u64;
        let mut all = std::mem::take(queued);
        all.extend_from_slice(drafts);
        let count = all.len() as u64;
        let first = self.journal.append(&all)?;
        assert_eq!(first, *last + 1, "a gap");
        *last += count;
        if self.bomb.pass() {
            Ok(first + waiting)
        } else {
            Err(JournalError::Closed)
        }
    }

    fn enqueue(&self, drafts: &[Draft]) -> Result<u64, JournalError> {
        if self.bomb.dead() {
            return Err(JournalError::Closed);
        }
        let mut guard = self.queued.lock().expect("events");
        let (queued, last) = &mut *guard;
        let first = *last + queued.len() as u64 + 1;
        queued.extend_from_slice(drafts);
        Ok(first)
    }
}

fn open(dir: &Path) -> Journal {
    Journal::open(&OpenOptions {
        dir,
        host: "model",
        now: DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time"),
        new_id: JOURNAL,
    })
    .expect("a journal that opens")
}

fn entries(journal: &Journal) -> Vec<Entry> {
    let mut all = Vec::new();
    journal
        .for_each(&mut |entry| {
            all.push(entry);
            Ok(())
        })
        .expect("a journal that reads");
    all
}

/// What is left of the process's journal when it ends.
#[derive(Clone, Copy)]
enum Remains {
    /// The directory as it is closed.
    Closed,
    /// The directory as it was at that moment, without any closing.
    Image,
}

struct Process<'a> {
    desired: &'a DesiredState,
    session: &'a Session,
    remains: Remains,
}

impl Process<'_> {
    /// One process over the journal in `dir`; returns where the next one finds it.
    fn run(&self, dir: PathBuf, bomb: &Bomb) -> (PathBuf, Result<Summary, EngineError>) {
        let journal = open(&dir);
        let before = entries(&journal);
        let record = Record::of(&before).expect("a legal journal");
        let mortal = Mortal {
            journal: &journal,
            bomb,
            keeps_queued: self.session.keeps_queued,
            queued: Mutex::new((Vec::new(), record.last_seq)),
        };
        let result = self
            .session
            .process_on(self.desired, bomb, true, &mortal, &record);
        let next = match self.remains {
            Remains::Image if bomb.dead() => {
                let image = dir.with_extension("image");
                copy(&dir, &image);
                image
            }
            _ => dir,
        };
        drop(journal);
        (next, result)
    }
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// In memory where that is possible: processes end here, not machines, and a sync to a disk is
/// what these tests would spend all their time on.
pub fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a directory")
}

/// A world for the pairs, whose number grows with the square.
fn smaller_world() -> DesiredState {
    let base = Shape {
        memory: 512,
        disk: 1,
        features: vec![(1, true)],
        snapshot: true,
        ..Shape::default()
    };
    let service = Shape {
        parent: Some(0),
        memory: 1024,
        disk: 1,
        application: Some(0),
        ..Shape::default()
    };
    fleet(&[base, service])
}

fn crash_at(desired: &DesiredState, expected: &Expected, points: &[u64], remains: Remains) {
    let keeps_queued = points.iter().sum::<u64>() % 2 == 0;
    let session = Session {
        keeps_queued,
        ..Session::new(bare_host())
    };
    let home = directory();
    let mut dir = home.path().join("state");
    let process = Process {
        desired,
        session: &session,
        remains,
    };
    for point in points {
        let bomb = Bomb::at(*point);
        let (next, _) = process.run(dir, &bomb);
        dir = next;
        if !bomb.dead() {
            break;
        }
    }
    let (dir, result) = process.run(dir, &Bomb::never());
    let journal = open(&dir);
    *session.written.lock().expect("events") = entries(&journal);
    check(
        &session,
        desired,
        expected,
        &result.expect("the engine"),
        points,
    );
    let report = journal.verify().expect("a journal that verifies");
    assert!(
        report.problem.is_none(),
        "crash points {points:?}: {report:?}"
    );
}

#[test]
fn every_single_point() {
    let desired = small_world();
    let expected = uninterrupted(&desired);
    for point in 0..expected.points {
        crash_at(&desired, &expected, &[point], Remains::Closed);
        crash_at(&desired, &expected, &[point], Remains::Image);
    }
}

/// All of them, shared among threads: each pair has a world and a journal of its own.
#[test]
fn every_ordered_pair_of_points() {
    let desired = smaller_world();
    let expected = uninterrupted(&desired);
    assert!(expected.points > 40, "{} points", expected.points);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (desired, expected) = (&desired, &expected);
            scope.spawn(move || {
                for first in (thread..expected.points).step_by(4) {
                    for second in 0..expected.points {
                        crash_at(desired, expected, &[first, second], Remains::Closed);
                    }
                }
            });
        }
    });
}
