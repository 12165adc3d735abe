//! Journals to play with, and events to put into them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chrono::DateTime;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::Journal;
use super::super::error::JournalError;
use super::super::open::{self, OpenOptions, Tuning};
use super::super::store::{Store, Syncer};
use crate::domain::action::Action;
use crate::domain::event::{
    Draft, Entry, Event, Failure, Owned, RunStarted, RunTotals, Seen, Verdict,
};
use crate::domain::ids::{Ctid, Digest, JournalId, RunId};
use crate::domain::refusal::FailureKind;
use crate::domain::step::Step;

pub(super) fn options(dir: &Path) -> OpenOptions<'_> {
    OpenOptions {
        dir,
        host: "node-a",
        now: DateTime::from_timestamp_millis(1_760_000_000_000).unwrap(),
        new_id: JournalId(Uuid::from_u128(7)),
    }
}

pub(super) fn open(dir: &Path) -> Journal {
    Journal::open(&options(dir)).unwrap()
}

pub(super) fn open_tuned(dir: &Path, tuning: Tuning) -> Journal {
    open::open(&options(dir), tuning).unwrap()
}

pub(super) fn ctid(n: u32) -> Ctid {
    Ctid::try_from(n).unwrap()
}

/// The n-th event: it says its number, so that order can be seen.
pub(super) fn numbered(n: u64) -> Draft {
    Draft {
        at: DateTime::from_timestamp_millis(1_760_000_000_000 + n as i64).unwrap(),
        run: RunId(Uuid::from_u128(3)),
        ctid: Some(ctid(100 + (n % 7) as u32)),
        event: Event::ContainerConverged { took_ms: n },
    }
}

pub(super) fn many(numbers: std::ops::Range<u64>) -> Vec<Draft> {
    numbers.map(numbered).collect()
}

pub(super) fn number(entry: &Entry) -> u64 {
    match &entry.event {
        Event::ContainerConverged { took_ms } => *took_ms,
        other => panic!("{other:?}"),
    }
}

pub(super) fn entries(journal: &Journal) -> Vec<Entry> {
    let mut entries = Vec::new();
    journal
        .for_each(&mut |entry| {
            entries.push(entry);
            Ok(())
        })
        .unwrap();
    entries
}

/// What entries must have come of these drafts, the first of which is number `first`.
pub(super) fn as_entries(first: u64, drafts: &[Draft]) -> Vec<Entry> {
    (first..)
        .zip(drafts)
        .map(|(seq, draft)| Entry {
            seq,
            at: draft.at,
            run: draft.run,
            ctid: draft.ctid,
            event: draft.event.clone(),
        })
        .collect()
}

/// A journal of `events` numbered events, one record each, closed.
pub(super) fn closed_journal(dir: &Path, events: u64) {
    let journal = open(dir);
    for n in 1..=events {
        assert_eq!(journal.append(&[numbered(n)]).unwrap(), n);
    }
    journal.close().unwrap();
}

/// Opens sled underneath a closed journal.
pub(super) fn with_store<T>(dir: &Path, f: impl FnOnce(&Store) -> T) -> T {
    let journal = dir.join("journal");
    let store = Store::open(&journal, &journal.join("store")).unwrap();
    let result = f(&store);
    store.flush().unwrap();
    result
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// Counts syncs, and fails when told to.
#[derive(Clone, Default)]
pub(super) struct Probe {
    syncs: Arc<AtomicU64>,
    fail: Arc<AtomicBool>,
}

impl Probe {
    pub(super) fn tuning(&self) -> Tuning {
        let probe = self.clone();
        Tuning {
            wrap: Box::new(|inner| Box::new(Probed { probe, inner })),
            ..Tuning::default()
        }
    }

    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    pub(super) fn fail(&self, fail: bool) {
        self.fail.store(fail, Ordering::SeqCst);
    }
}

struct Probed {
    probe: Probe,
    inner: Box<dyn Syncer>,
}

impl Syncer for Probed {
    fn sync(&mut self) -> std::io::Result<()> {
        self.probe.syncs.fetch_add(1, Ordering::SeqCst);
        if self.probe.fail.load(Ordering::SeqCst) {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        self.inner.sync()
    }
}

pub(super) fn what(error: &JournalError) -> (String, Option<(u64, u64)>) {
    match error {
        JournalError::Corrupt { what, seqs, .. } => {
            (what.clone(), seqs.map(|seqs| (seqs.first, seqs.last)))
        }
        other => panic!("not damage: {other:?}"),
    }
}

fn arb_step() -> impl Strategy<Value = Step> {
    proptest::sample::select(&Step::ALL[..])
}

fn arb_seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        Just(Seen::Absent),
        Just(Seen::HalfCreated),
        any::<u64>().prop_map(|n| Seen::Stopped(Digest::of(&n.to_be_bytes()))),
        any::<u64>().prop_map(|n| Seen::Running(Digest::of(&n.to_be_bytes()))),
    ]
}

fn arb_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Start),
        Just(Action::Discard { source: None }),
        "[a-z]{1,12}".prop_map(|name| Action::Snapshot { name }),
    ]
}

fn arb_failure() -> impl Strategy<Value = Failure> {
    (
        "\\PC{0,60}",
        proptest::option::of(any::<i32>()),
        "(?s).{0,3000}",
    )
        .prop_map(|(message, exit_code, output)| Failure {
            kind: FailureKind::Transient,
            message,
            command: Some("pct start 100".to_owned()),
            exit_code,
            output,
            help: None,
        })
}

fn arb_event() -> impl Strategy<Value = Event> {
    let started = (
        "\\PC{0,20}",
        any::<u32>(),
        proptest::collection::vec(100u32..200, 0..5),
    );
    prop_oneof![
        Just(Event::ContainerUnchanged),
        started.prop_map(|(operator, pid, targets)| {
            Event::RunStarted(Box::new(RunStarted {
                operator,
                version: "0.1.0".to_owned(),
                boot_id: "b".to_owned(),
                pid,
                desired: Digest::of(&[1]),
                targets: targets.into_iter().map(ctid).collect(),
                jobs: 4,
                rerun: Vec::new(),
                no_restart: false,
                check_health: false,
                destroy: false,
            }))
        }),
        any::<u64>().prop_map(|mutations| Event::RunFinished(RunTotals {
            mutations,
            ..RunTotals::default()
        })),
        proptest::collection::vec(arb_step(), 0..11).prop_map(|steps| Event::StepsHeld { steps }),
        (
            arb_step(),
            any::<u32>(),
            proptest::collection::vec(arb_action(), 0..4),
            arb_seen()
        )
            .prop_map(|(step, attempt, actions, seen)| Event::StepStarted {
                step,
                attempt,
                actions,
                claims: vec![Owned::Mount("/data".to_owned())],
                seen,
            }),
        (arb_step(), any::<u64>(), arb_seen()).prop_map(|(step, took_ms, seen)| {
            Event::StepConverged {
                step,
                attempt: 1,
                took_ms,
                seen,
            }
        }),
        (arb_step(), arb_failure(), any::<bool>()).prop_map(|(step, failure, retry)| {
            Event::StepFailed {
                step,
                attempt: 1,
                failure,
                retry,
                absent: false,
            }
        }),
        arb_step().prop_map(|step| Event::IntentInspected {
            step,
            attempt: 2,
            verdict: Verdict::Adopted
        }),
        (100u32..1_000_000_000).prop_map(|id| Event::ContainerSkipped { because: ctid(id) }),
    ]
}

/// Any event, at any time that can be stored, of a few runs and containers or the run itself.
pub(super) fn arb_draft() -> impl Strategy<Value = Draft> {
    let ids = prop_oneof![2 => 100u32..105, 1 => 100u32..1_000_000_000];
    (
        -1_000_000_000_000i64..4_000_000_000_000,
        0u128..3,
        proptest::option::weighted(0.8, ids),
        arb_event(),
    )
        .prop_map(|(millis, run, id, event)| Draft {
            at: DateTime::from_timestamp_millis(millis).unwrap(),
            run: RunId(Uuid::from_u128(run)),
            ctid: id.map(ctid),
            event,
        })
}
