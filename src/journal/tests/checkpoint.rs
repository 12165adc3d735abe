//! A checkpoint says what the records say, or is not believed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::{Journal, compact, verify};
use super::support::*;
use crate::domain::action::Action;
use crate::domain::event::{Draft, Entry, Event, Failure, RunStarted, RunTotals, Seen};
use crate::domain::ids::{Digest, RunId};
use crate::domain::record::Record;
use crate::domain::refusal::FailureKind;
use crate::domain::step::Step;

fn started() -> Event {
    Event::RunStarted(Box::new(RunStarted {
        operator: "root".to_owned(),
        version: "0.1.0".to_owned(),
        boot_id: "b".to_owned(),
        pid: 1,
        desired: Digest::of(b""),
        targets: Vec::new(),
        jobs: 1,
        rerun: Vec::new(),
        no_restart: false,
        check_health: false,
        destroy: false,
    }))
}

/// Makes histories that can have happened of any numbers.
struct Author {
    record: Record,
    runs: u128,
}

impl Author {
    fn knowing(record: Record) -> Self {
        let runs = record.runs.len() as u128;
        Self { record, runs }
    }

    fn event(&mut self, what: u64, ctid: crate::domain::ids::Ctid, step: Step) -> (bool, Event) {
        let known = self.record.container(ctid);
        let run = RunId(Uuid::from_u128(self.runs));
        let attempt = known.next_attempt(run, step);
        let (open, its_attempt) = known
            .open
            .map_or((step, attempt), |open| (open.step, open.attempt));
        match what {
            0 if self.record.runs.last().is_none_or(|run| !run.resumable()) => {
                self.runs += 1;
                (false, started())
            }
            1 => (false, Event::RunFinished(RunTotals::default())),
            2..=8 => {
                let actions = vec![Action::Snapshot {
                    name: format!("s{attempt}"),
                }];
                let event = Event::StepStarted {
                    step,
                    attempt,
                    actions,
                    claims: Vec::new(),
                    seen: Seen::Absent,
                };
                (true, event)
            }
            9..=14 => {
                let event = Event::StepConverged {
                    step: open,
                    attempt: its_attempt,
                    took_ms: what,
                    seen: Seen::Absent,
                };
                (true, event)
            }
            15..=17 => {
                let failure = Failure {
                    kind: FailureKind::Transient,
                    message: format!("{what} and {attempt}"),
                    command: None,
                    exit_code: None,
                    output: String::new(),
                    help: None,
                };
                let event = Event::StepFailed {
                    step: open,
                    attempt: its_attempt,
                    failure,
                    retry: what == 15,
                    absent: false,
                };
                (true, event)
            }
            _ => (true, Event::ContainerConverged { took_ms: what }),
        }
    }

    /// At least so many events.
    fn write(&mut self, mut seed: u64, events: usize) -> Vec<Draft> {
        let mut drafts = Vec::new();
        let mut dice = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        while drafts.len() < events {
            let working = self
                .record
                .runs
                .last()
                .is_some_and(|run| run.outcome() == "working");
            let what = if working { 1 + dice(60) } else { 0 };
            let ctid = ctid(100 + dice(5) as u32);
            let (of_it, event) = self.event(what, ctid, Step::ALL[dice(11) as usize]);
            let seq = self.record.last_seq + 1;
            let draft = Draft {
                at: DateTime::from_timestamp_millis(1_760_000_000_000 + seq as i64).unwrap(),
                run: RunId(Uuid::from_u128(self.runs)),
                ctid: of_it.then_some(ctid),
                event,
            };
            let entry = as_entries(seq, std::slice::from_ref(&draft)).remove(0);
            let mut next = self.record.clone();
            if next.fold(&entry).is_ok() {
                self.record = next;
                drafts.push(draft);
            }
        }
        drafts
    }
}

fn checkpoints(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(dir.join("journal")).unwrap();
    let paths = files.map(|file| file.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("checkpoint")
    });
    paths
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// What is known by way of a checkpoint is what all records say.
fn right(journal: &Journal) {
    let all = entries(journal);
    let expected = Record::of(&all).unwrap();
    for id in 99..106 {
        let of_it: Vec<Entry> = all
            .iter()
            .filter(|entry| entry.ctid.is_none_or(|found| found == ctid(id.max(100))))
            .cloned()
            .collect();
        assert_eq!(journal.entries_of(ctid(id.max(100))).unwrap(), of_it);
    }
    assert!(journal.known().unwrap() == expected);
    let (stat, report) = (journal.stat().unwrap(), journal.verify().unwrap());
    assert_eq!(report.problem, None);
    assert_eq!((stat.events, stat.records), (report.events, report.records));
}

#[derive(Clone, Debug)]
enum Deed {
    Write(u64),
    /// Closed, and opened again.
    Again,
    /// The process is killed.
    Kill,
    Compact,
    /// Some bits of the checkpoint are flipped.
    Flip(Vec<prop::sample::Index>),
    Cut(prop::sample::Index),
    Remove,
    /// One that was there at an earlier time is there again.
    Old(prop::sample::Index),
    /// The process is killed while it writes one.
    Half(prop::sample::Index),
}

fn deed() -> impl Strategy<Value = Deed> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        4 => any::<u64>().prop_map(Deed::Write),
        2 => Just(Deed::Again),
        1 => Just(Deed::Kill),
        1 => Just(Deed::Compact),
        1 => proptest::collection::vec(place(), 1..4).prop_map(Deed::Flip),
        1 => place().prop_map(Deed::Cut),
        1 => Just(Deed::Remove),
        1 => place().prop_map(Deed::Old),
        1 => place().prop_map(Deed::Half),
    ]
}

fn change(dir: &Path, deed: &Deed, old: &[Vec<u8>]) {
    for (path, mut content) in checkpoints(dir) {
        let path = match deed {
            Deed::Flip(places) => {
                for place in places {
                    let bit = place.index(8 * content.len());
                    content[bit / 8] ^= 1 << (bit % 8);
                }
                path
            }
            Deed::Cut(place) => {
                content.truncate(place.index(content.len()));
                path
            }
            Deed::Old(which) => {
                content.clone_from(&old[which.index(old.len())]);
                path
            }
            Deed::Half(place) => {
                content.truncate(place.index(content.len()));
                path.with_file_name("checkpoint.new")
            }
            _ => {
                std::fs::remove_file(path).unwrap();
                continue;
            }
        };
        std::fs::write(path, content).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happens_what_is_known_is_what_the_records_say(
        deeds in proptest::collection::vec(deed(), 3..14),
    ) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut old = vec![b"nonsense".to_vec()];
        let mut journal = open(dir.path());
        journal.append(&Author::knowing(Record::default()).write(1, 300)).unwrap();
        for deed in deeds {
            match deed {
                Deed::Write(seed) => {
                    let mut author = Author::knowing(journal.known().unwrap());
                    for drafts in author.write(seed, 150).chunks(20) {
                        journal.append(drafts).unwrap();
                    }
                }
                Deed::Kill => {
                    let killed = tempfile::tempdir().unwrap();
                    copy(dir.path(), killed.path());
                    drop(journal);
                    dir = killed;
                    journal = open(dir.path());
                }
                deed => {
                    journal.close().unwrap();
                    old.extend(checkpoints(dir.path()).into_values());
                    match &deed {
                        Deed::Again => {}
                        Deed::Compact => {
                            let now = DateTime::from_timestamp_millis(1_770_000_000_000).unwrap();
                            compact(dir.path(), 2, now).unwrap().unwrap();
                        }
                        deed => change(dir.path(), deed, &old),
                    }
                    journal = open(dir.path());
                }
            }
            right(&journal);
        }
    }
}

/// A journal of records of ten events each, closed, and what is in it.
fn long(dir: &Path, seed: u64) -> Vec<Entry> {
    let journal = open(dir);
    let drafts = Author::knowing(Record::default()).write(seed, 3000);
    for drafts in drafts.chunks(10) {
        journal.append(drafts).unwrap();
    }
    journal.close().unwrap();
    as_entries(1, &drafts)
}

#[test]
fn only_what_no_checkpoint_stands_for_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = long(dir.path(), 5);
    let journal = open(dir.path());
    // The one it ends with.
    assert_eq!(journal.records_read(), 1);
    let known = journal.known().unwrap();
    assert_eq!(journal.records_read(), 1);

    let mut author = Author::knowing(known);
    for _ in 0..7 {
        let drafts = author.write(3, 1);
        all.extend(as_entries(all.len() as u64 + 1, &drafts));
        journal.append(&drafts).unwrap();
    }
    journal.close().unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.records_read(), 1 + 7);
    assert!(journal.known().unwrap() == Record::of(&all).unwrap());
    assert_eq!(journal.records_read(), 1 + 7 + 7);

    let before = journal.records_read();
    let entries = journal.entries_of(ctid(104)).unwrap();
    let own = entries.iter().map(|entry| (entry.seq - 1) / 10);
    let own = own.collect::<std::collections::BTreeSet<_>>().len() as u64;
    let read = journal.records_read() - before;
    // Each of its records and the one before it, and those behind the checkpoint.
    assert!(read <= 2 * own + 7, "{read} records read for {own}");
}

#[test]
fn a_checkpoint_of_another_history_is_not_believed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = long(dir.path(), 5);
    assert_ne!(long(other.path(), 6), all);
    for (path, content) in checkpoints(other.path()) {
        let name = path.file_name().unwrap();
        std::fs::write(dir.path().join("journal").join(name), content).unwrap();
    }
    let journal = open(dir.path());
    assert!(journal.records_read() > 300);
    right(&journal);
}

/// Puts something else in the place of a record that the checkpoint stands for.
fn altered(dir: &Path, victim: u64, bytes: &[u8]) {
    with_store(dir, |store| store.put(victim, bytes)).unwrap();
}

#[test]
fn damage_in_an_old_record_is_told_by_whoever_reads_it() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = long(dir.path(), 5);
    long(other.path(), 6);
    let victim = 501;
    let get = |dir: &Path| with_store(dir, |store| store.get(victim).unwrap().unwrap().to_vec());
    let (mut flipped, foreign) = (get(dir.path()), get(other.path()));
    let place = flipped.len() / 2;
    flipped[place] ^= 4;
    // What does not belong there is told by who reads it or what stood behind it.
    let told_at = victim..victim + 11;
    for bytes in [flipped, foreign] {
        altered(dir.path(), victim, &bytes);
        let journal = open(dir.path());
        assert!(journal.known().unwrap() == Record::of(&all).unwrap());
        let mut told = 0;
        for id in 100..105 {
            let truth: Vec<&Entry> = all
                .iter()
                .filter(|entry| entry.ctid.is_none_or(|found| found == ctid(id)))
                .collect();
            match journal.entries_of(ctid(id)) {
                Ok(entries) => assert_eq!(entries.iter().collect::<Vec<_>>(), truth),
                Err(error) => {
                    let first = what(&error).1.unwrap().0;
                    assert!(told_at.contains(&first), "{first}");
                    told += 1;
                }
            }
        }
        assert!(told > 0, "nobody read it");
        assert!(journal.for_each(&mut |_| Ok(())).is_err());
        journal.close().unwrap();
        let problem = verify(dir.path()).unwrap().unwrap().problem.unwrap();
        let first = problem.seqs.unwrap().first;
        assert!(told_at.contains(&first), "{first}");
    }
}

#[test]
fn an_altered_anchor_behind_a_checkpoint_is_found() {
    let dir = tempfile::tempdir().unwrap();
    long(dir.path(), 5);
    let anchor = dir.path().join("journal/anchor.json");
    let text = std::fs::read_to_string(&anchor).unwrap();
    let (_, rest) = text.split_once("\"head\"").unwrap();
    std::fs::write(
        &anchor,
        format!("{{\"format\":1,\"seq\":500,\"head\"{rest}"),
    )
    .unwrap();
    let error = Journal::open(&options(dir.path()))
        .err()
        .expect("it was believed");
    assert_eq!(what(&error).0, "not what was recorded as durable");
}

#[test]
fn an_anchor_that_names_another_record_where_the_checkpoint_ends_is_found() {
    let dir = tempfile::tempdir().unwrap();
    long(dir.path(), 5);
    // There the checkpoint ends, too.
    let journal = open(dir.path());
    assert_eq!(journal.records_read(), 1);
    journal.close().unwrap();
    let anchor = dir.path().join("journal/anchor.json");
    let text = std::fs::read_to_string(&anchor).unwrap();
    let (before, hash) = text.split_once("\"head\":\"").unwrap();
    let other = if hash.starts_with('0') { "1" } else { "0" };
    let altered = format!("{before}\"head\":\"{other}{}", &hash[1..]);
    std::fs::write(&anchor, altered).unwrap();
    let error = Journal::open(&options(dir.path()))
        .err()
        .expect("it was believed");
    assert_eq!(what(&error).0, "not what was recorded as durable");
}
