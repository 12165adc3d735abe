//! Damage: bits flipped, blocks zeroed, files cut short, in every file of a journal. Each case is
//! harmless, or reported by name; none is silent, except that of a journal that was not closed
//! the end that nobody vouched for may be missing, which `verify` says.
//!
//! A checkpoint lets commands pass over old records. What such a command tells must be true
//! nevertheless, or an error: all that is known, and the history of each container. Damage that
//! it did not read is reported by whoever reads all, and by `verify`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use chrono::DateTime;
use phoenix::domain::event::{Draft, Entry, Event, Failure};
use phoenix::domain::ids::{Ctid, JournalId, RunId};
use phoenix::domain::record::Record;
use phoenix::domain::refusal::FailureKind;
use phoenix::domain::step::Step;
use phoenix::journal::{self, Journal, JournalError, OpenOptions, Repair, VerifyReport};
use uuid::Uuid;

use crate::crash_journal::{copy, directory};
use crate::witness::all;
use crate::worlds::session::started;

use super::{Dice, entries, wanted};

/// A journal, whole, and what is in it.
struct Origin {
    dir: tempfile::TempDir,
    truth: Vec<Entry>,
    closed: bool,
}

impl Origin {
    /// Long enough that the anchor was written on the way.
    fn new(closed: bool) -> Self {
        let dir = directory();
        let state = dir.path().join("writing");
        let journal = Journal::open(&OpenOptions {
            dir: &state,
            host: "node-a",
            now: DateTime::from_timestamp_millis(1_760_000_000_000).expect("a time"),
            new_id: JournalId(Uuid::from_u128(7)),
        });
        let journal = journal.expect("a journal");
        let mut dice = Dice::new(usize::from(closed));
        journal.append(&[begun()]).expect("appended");
        for n in 0..1300 {
            let many = if n % 100 == 0 { 90 } else { 1 };
            let drafts: Vec<Draft> = (0..many).map(|_| draft(&mut dice)).collect();
            journal.append(&drafts).expect("appended");
            if n == 1000 {
                // It leaves a checkpoint, behind which others follow.
                journal.known().expect("a legal history");
            }
        }
        let truth = entries(&journal).expect("it reads");
        let image = dir.path().join("image");
        if closed {
            journal.close().expect("closed");
        }
        copy(&state, &image);
        assert!(image.join("journal/checkpoint").exists());
        Self { dir, truth, closed }
    }

    fn copy(&self) -> tempfile::TempDir {
        let dir = directory();
        copy(&self.dir.path().join("image"), dir.path());
        dir
    }
}

fn begun() -> Draft {
    Draft {
        at: DateTime::from_timestamp_millis(1_760_000_000_000).expect("a time"),
        run: RunId(Uuid::from_u128(3)),
        ctid: None,
        event: Event::RunStarted(Box::new(started())),
    }
}

/// The last of a container's says what is known of it.
fn draft(dice: &mut Dice) -> Draft {
    let length = dice.below(400);
    let letter = |_| char::from(b'!' + u8::try_from(dice.below(90)).expect("small"));
    let message: String = (0..length).map(letter).collect();
    Draft {
        at: DateTime::from_timestamp_millis(1_760_000_000_000).expect("a time"),
        run: RunId(Uuid::from_u128(3)),
        ctid: Ctid::try_from(100 + u32::try_from(dice.below(9)).expect("small")).ok(),
        event: Event::StepFailed {
            step: Step::StartContainer,
            attempt: 0,
            failure: Failure {
                kind: FailureKind::Transient,
                message,
                command: None,
                exit_code: None,
                output: String::new(),
                help: None,
            },
            retry: false,
            absent: false,
        },
    }
}

/// Every file below a directory.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// What was done to which file.
fn damage(dir: &Path, dice: &mut Dice) -> String {
    let mut all = Vec::new();
    files(&dir.join("journal"), &mut all);
    all.sort();
    let store = |path: &PathBuf| path.ends_with("db");
    let path = match dice.below(2) {
        0 => all.iter().find(|path| store(path)).expect("there is one"),
        _ => &all[dice.below(all.len())],
    };
    let mut content = fs::read(path).expect("a file");
    // Most of the last segment of sled's file is empty.
    let used = content
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(1, |last| last + 1);
    let place = dice.below(used);
    let what = match dice.below(4) {
        0 => {
            let kept = dice.below(used);
            content.truncate(kept);
            format!("cut to {kept}")
        }
        1 => {
            let size = [16, 512, 4096, 65536][dice.below(4)];
            let start = place / size * size;
            let end = (start + size).min(content.len());
            content[start.min(end)..end].fill(0);
            format!("{size} bytes zeroed at {start}")
        }
        _ => {
            let flips = 1 + dice.below(3);
            let mut text = String::new();
            for _ in 0..flips {
                let (place, bit) = (dice.below(used), dice.below(8));
                if let Some(byte) = content.get_mut(place) {
                    *byte ^= 1 << bit;
                }
                text = format!("{text} {place}.{bit}");
            }
            format!("flipped{text}")
        }
    };
    fs::write(path, content).expect("written");
    let name = path.strip_prefix(dir).expect("below it");
    format!("{}: {what}", name.display())
}

#[derive(Default, Debug)]
struct Tally {
    harmless: usize,
    reported: usize,
    /// The end is missing, and `verify` had said that it may be.
    said: usize,
    /// Reported only by whoever reads what is damaged; what is known was told, and true.
    passed_over: usize,
    /// Journals made anew, of so many events; so many were kept, so many can still be read.
    repaired: usize,
    events: usize,
    kept: usize,
    readable: usize,
}

/// The error names the place and what to do; it ends phoenix with exit code 7, as every error of
/// the journal does.
fn told(error: &JournalError, dir: &Path, story: &str) {
    let named = error.to_string().contains(&*dir.to_string_lossy());
    assert!(named, "{story}: {error}");
    assert!(!error.help().is_empty(), "{story}");
    assert!(
        matches!(
            error,
            JournalError::Corrupt { .. }
                | JournalError::Sled { .. }
                | JournalError::NewerVersion { .. }
        ),
        "{story}: {error:?}"
    );
}

fn verified(dir: &Path, story: &str) -> Option<VerifyReport> {
    match journal::verify(dir) {
        Ok(Some(report)) => Some(report),
        Ok(None) => panic!("{story}: verify sees no journal"),
        Err(error) => {
            told(&error, dir, story);
            None
        }
    }
}

/// Asks for all that is known, and for each history: true, as far as the journal reaches, or
/// refused by name. Whether all that is known was told.
fn answered(origin: &Origin, journal: &Journal, dir: &Path, story: &str) -> bool {
    let durable = usize::try_from(journal.reader().durable()).expect("a number");
    let truth = &origin.truth[..durable];
    let known = journal.known();
    let answered = known.is_ok();
    match known {
        Ok(known) => {
            let true_one = Record::of(truth).expect("legal");
            assert!(
                known == true_one,
                "{story}: SILENT: something else is known"
            );
        }
        Err(error) => told(&error, dir, story),
    }
    for id in 100..109 {
        let ctid = Ctid::try_from(id).expect("an id");
        match journal.entries_of(ctid) {
            Ok(history) => {
                let of_it = |entry: &&Entry| entry.ctid.is_none_or(|found| found == ctid);
                let same = history.iter().eq(truth.iter().filter(of_it));
                assert!(same, "{story}: SILENT: another history of {id}");
            }
            Err(error) => told(&error, dir, story),
        }
    }
    answered
}

fn case(origin: &Origin, seed: usize, tally: &Mutex<Tally>) {
    let mut dice = Dice::new(seed);
    let home = origin.copy();
    let dir = home.path();
    let mut what = damage(dir, &mut dice);
    // A power cut may leave an old head or a torn one: then only the anchor knows of an end.
    if !origin.closed && dice.below(2) == 0 {
        fs::write(dir.join("journal/head"), [0; 48]).expect("written");
        what.push_str(", and a torn head");
    }
    let story = format!("case {seed} (closed: {}), {what}", origin.closed);
    // Repair before or after sled opened what is damaged: it cuts its log off there.
    let untouched = (dice.below(2) == 0).then(|| {
        let home = directory();
        copy(dir, home.path());
        home
    });
    let first = dice.below(2) == 0;
    let report = first.then(|| verified(dir, &story)).flatten();
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let journal = Journal::open_existing(dir)?;
        let journal = journal.unwrap_or_else(|| panic!("{story}: no journal any more"));
        let answered = answered(origin, &journal, dir, &story);
        Ok((answered, entries(&journal)))
    }));
    let opened = opened.unwrap_or_else(|_| panic!("{story}: a panic"));
    let (answered, read) = match opened {
        Ok((answered, read)) => (answered, read),
        Err(error) => (false, Err(error)),
    };
    if answered && read.is_err() {
        let report = verified(dir, &story);
        assert!(
            report.is_none_or(|report| report.problem.is_some()),
            "{story}: SILENT: verify calls it whole"
        );
    }
    let whole = report
        .as_ref()
        .is_some_and(|report| report.problem.is_none());
    if let Err(error) = &read {
        told(error, dir, &story);
        assert!(
            !whole,
            "{story}: verify called it whole, and it was refused: {error}"
        );
        let dir = untouched.as_ref().map_or(dir, |home| home.path());
        if dice.below(4) == 0 {
            repaired(origin, dir, &story, untouched.is_some(), tally);
        }
    }
    let mut tally = tally.lock().expect("a tally");
    match read {
        Err(_) => {
            tally.reported += 1;
            tally.passed_over += usize::from(answered);
        }
        Ok(found) if found == origin.truth => tally.harmless += 1,
        Ok(found) => {
            assert!(
                origin.truth.starts_with(&found),
                "{story}: SILENT: {} events, and they are others",
                found.len()
            );
            let lost = origin.truth.len() - found.len();
            assert!(!origin.closed, "{story}: SILENT: {lost} events lost");
            assert!(
                lost as u64 <= VerifyReport::UNSEEN,
                "{story}: SILENT: {lost} events lost, more than may be"
            );
            if let Some(report) = report {
                assert!(!report.closed, "{story}: verify does not say it");
            }
            tally.said += 1;
        }
    }
}

/// What is whole is saved, and what is not is said and kept.
fn repaired(origin: &Origin, dir: &Path, story: &str, untouched: bool, tally: &Mutex<Tally>) {
    let repair = catch_unwind(AssertUnwindSafe(|| journal::repair(dir)));
    let repair = repair.unwrap_or_else(|_| panic!("{story}: a panic in repair"));
    let repair = repair.unwrap_or_else(|error| panic!("{story}: not repaired: {error}"));
    let repair = repair.unwrap_or_else(|| panic!("{story}: repair sees no journal"));
    let report = journal::verify(dir).expect("verified").expect("a journal");
    assert_eq!(report.problem, None, "{story}");
    let journal = Journal::open_existing(dir)
        .expect("opened")
        .expect("a journal");
    let found = entries(&journal).unwrap_or_else(|error| panic!("{story}: {error}"));
    assert!(origin.truth.starts_with(&found), "{story}: wrong events");
    let Repair::Made(made) = repair else {
        assert_eq!(found.len(), origin.truth.len(), "{story}: called whole");
        return;
    };
    assert_eq!(made.kept, found.len() as u64, "{story}");
    assert!(
        made.aside.join("meta.json").exists() || story.contains("meta"),
        "{story}"
    );
    assert!(
        made.aside.join("store/db").exists(),
        "{story}: the damaged one is gone"
    );
    let lost = fs::read_to_string(made.aside.join("lost.jsonl")).expect("what was lost");
    for line in lost.lines() {
        let entry: Entry = serde_json::from_str(line).expect("an event");
        let place = usize::try_from(entry.seq).expect("a number") - 1;
        assert_eq!(
            entry, origin.truth[place],
            "{story}: a wrong event in lost.jsonl"
        );
    }
    let readable = lost.lines().count();
    assert_eq!(made.readable, readable as u64, "{story}");
    if let Some(lost) = made.lost {
        assert_eq!(lost.first, made.kept + 1, "{story}");
    }
    // A few bits cannot take more than the records that they are in.
    if untouched && story.contains("flipped") {
        let gone = origin.truth.len() - found.len() - readable;
        assert!(gone <= 3 * 64, "{story}: {gone} events are gone");
    }
    let mut tally = tally.lock().expect("a tally");
    tally.repaired += 1;
    tally.events += origin.truth.len();
    tally.kept += found.len();
    tally.readable += readable;
}

#[test]
fn no_damage_is_silent() {
    let cases = wanted("PHOENIX_TEST_DAMAGES", 500);
    let origins = [Origin::new(true), Origin::new(false)];
    let tally = Mutex::new(Tally::default());
    let seeds: Vec<usize> = (0..cases).collect();
    all(&seeds, |seed| case(&origins[seed % 2], *seed, &tally));
    let tally = tally.into_inner().expect("a tally");
    println!(
        "{cases} damages: {} harmless, {} reported, {} of a journal that was not closed with an \
         end missing, as verify says it may be; silent: 0",
        tally.harmless, tally.reported, tally.said
    );
    println!(
        "{} of the reported ones lay in what a checkpoint stands for: what was told to be \
         known was true, and whoever reads what is damaged reports it",
        tally.passed_over
    );
    println!(
        "{} journals made anew of {} events: {} kept, {} more can be read",
        tally.repaired, tally.events, tally.kept, tally.readable
    );
    assert!(tally.harmless > 0 && tally.reported > 0, "{tally:?}");
}
