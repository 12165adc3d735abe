use std::sync::Barrier;

use proptest::prelude::*;

use super::super::error::JournalError;
use super::super::open::{self, Tuning};
use super::super::record::MAX_EVENT;
use super::super::{Journal, verify};
use super::support::*;
use crate::domain::event::Event;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_appended_is_read_back(
        batches in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(arb_draft(), 0..40)),
            0..8,
        ),
        reopen in 0usize..8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(dir.path());
        let mut expected = Vec::new();
        for (index, (wait, drafts)) in batches.into_iter().enumerate() {
            if index == reopen {
                journal.close().unwrap();
                journal = open(dir.path());
            }
            let first = expected.len() as u64 + 1;
            expected.extend(as_entries(first, &drafts));
            let seq = if wait { journal.append(&drafts) } else { journal.enqueue(&drafts) };
            prop_assert_eq!(seq.unwrap(), first);
        }
        prop_assert_eq!(&entries(&journal), &expected);
        prop_assert!(journal.verify().unwrap().problem.is_none());
        journal.close().unwrap();

        let journal = open(dir.path());
        prop_assert_eq!(&entries(&journal), &expected);
        for id in [100, 101, 104] {
            let of_it: Vec<_> = expected
                .iter()
                .filter(|entry| entry.ctid.is_none_or(|found| found == ctid(id)))
                .cloned()
                .collect();
            prop_assert_eq!(journal.entries_of(ctid(id)).unwrap(), of_it);
        }
        let stat = journal.stat().unwrap();
        prop_assert_eq!(stat.events, expected.len() as u64);
        prop_assert_eq!(stat.first_at, expected.first().map(|entry| entry.at));
        prop_assert_eq!(stat.last_at, expected.last().map(|entry| entry.at));
        drop(journal);
        let report = verify(dir.path()).unwrap().unwrap();
        prop_assert_eq!(report.problem, None);
        prop_assert_eq!(report.anchored, Some(expected.len() as u64));
    }
}

#[test]
fn nothing_is_acknowledged_before_a_real_sync() {
    let dir = tempfile::tempdir().unwrap();
    let probe = Probe::default();
    let journal = open_tuned(dir.path(), probe.tuning());
    let at_open = probe.syncs();
    for n in 1..=5 {
        journal.append(&[numbered(n)]).unwrap();
        assert_eq!(probe.syncs(), at_open + n);
        assert_eq!(journal.durable_batches(), n);
    }
    journal.enqueue(&[numbered(6)]).unwrap();
    journal.enqueue(&[numbered(7)]).unwrap();
    assert_eq!(probe.syncs(), at_open + 5, "enqueue waits for company");
    journal.sync().unwrap();
    journal.sync().unwrap();
    assert_eq!(probe.syncs(), at_open + 6);
    assert_eq!(journal.durable_batches(), 6);
}

#[test]
fn what_a_killed_process_wrote_is_believed_after_a_sync() {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = open(dir.path());
    journal.append(&[numbered(1)]).unwrap();
    copy(dir.path(), killed.path());
    journal.close().unwrap();
    // One that was opened again, and whose process was killed in its first batch.
    let reopened = tempfile::tempdir().unwrap();
    copy(dir.path(), reopened.path());
    let anchor = reopened.path().join("journal/anchor.json");
    let text = std::fs::read_to_string(&anchor).unwrap();
    assert!(text.contains("\"closed\":true"), "{text}");
    std::fs::write(&anchor, text.replace(":true", ":false")).unwrap();
    // Only who closed it is known to have synced all.
    for (dir, syncs) in [(&killed, 1), (&reopened, 1), (&dir, 0)] {
        let probe = Probe::default();
        let journal = open_tuned(dir.path(), probe.tuning());
        assert_eq!((probe.syncs(), entries(&journal).len()), (syncs, 1));
    }
}

#[test]
fn a_failed_sync_is_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let probe = Probe::default();
    let journal = open_tuned(dir.path(), probe.tuning());
    journal.append(&[numbered(1)]).unwrap();
    probe.fail(true);
    journal.enqueue(&[numbered(2)]).unwrap();
    let error = journal.append(&[numbered(3)]).unwrap_err();
    assert!(
        matches!(
            &error,
            JournalError::Io {
                doing: "synced",
                ..
            }
        ),
        "{error}"
    );
    // The disk works again, but what the failed sync should have written may be gone.
    probe.fail(false);
    let syncs = probe.syncs();
    assert!(journal.append(&[numbered(4)]).is_err());
    assert!(journal.enqueue(&[numbered(5)]).is_err());
    assert!(journal.sync().is_err());
    assert_eq!(probe.syncs(), syncs);
    // What was acknowledged can be read.
    assert_eq!(entries(&journal), as_entries(1, &[numbered(1)]));
    assert!(journal.close().is_err());
    let journal = open(dir.path());
    assert_eq!(number(&entries(&journal)[0]), 1);
}

#[test]
fn many_producers_share_syncs_and_keep_their_order() {
    const THREADS: u64 = 64;
    const EACH: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let barrier = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (journal, barrier) = (&journal, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for n in 0..EACH {
                    let n = 1000 * thread + 2 * n;
                    journal.append(&[numbered(n), numbered(n + 1)]).unwrap();
                }
            });
        }
    });
    let entries = entries(&journal);
    assert_eq!(entries.len() as u64, 2 * THREADS * EACH);
    let mut next = vec![0; THREADS as usize];
    for (entry, seq) in entries.iter().zip(1..) {
        assert_eq!(entry.seq, seq);
        let (thread, n) = (number(entry) / 1000, number(entry) % 1000);
        assert_eq!(n, next[thread as usize], "order within thread {thread}");
        next[thread as usize] += 1;
    }
    for pair in entries.chunks(2) {
        assert_eq!(
            number(&pair[0]) + 1,
            number(&pair[1]),
            "one call's events stay together"
        );
    }
    let batches = journal.durable_batches();
    assert!(
        batches * 4 < THREADS * EACH,
        "{batches} syncs for {} appends",
        THREADS * EACH
    );
}

#[test]
fn ten_thousand_queued_events_are_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for n in 1..=10_000 {
        let draft = crate::domain::event::Draft {
            event: Event::ContainerUnchanged,
            ..numbered(n)
        };
        assert_eq!(journal.enqueue(&[draft]).unwrap(), n);
    }
    journal.sync().unwrap();
    assert_eq!(journal.durable_batches(), 1);
    let stat = journal.stat().unwrap();
    assert_eq!((stat.events, stat.batches), (10_000, 1));
    assert!(stat.records < 300, "{} records", stat.records);
}

#[test]
fn a_second_opening_is_told_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let pid = std::process::id();
    let held =
        |error: JournalError| matches!(error, JournalError::Held { pid: Some(p), .. } if p == pid);
    assert!(held(Journal::open(&options(dir.path())).err().unwrap()));
    assert!(held(Journal::open_existing(dir.path()).err().unwrap()));
    assert!(held(verify(dir.path()).unwrap_err()));
    drop(journal);
    open(dir.path());
}

#[test]
fn a_journal_belongs_to_one_host() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let id = journal.id();
    drop(journal);
    let other = open::OpenOptions {
        host: "node-b",
        ..options(dir.path())
    };
    let error = Journal::open(&other).err().unwrap();
    assert!(matches!(&error, JournalError::OtherHost { journal, .. } if journal == "node-a"));
    let journal = Journal::open_existing(dir.path()).unwrap().unwrap();
    assert_eq!((journal.host(), journal.id()), ("node-a", id));
    assert_eq!(journal.created_at(), options(dir.path()).now);
}

#[test]
fn no_journal_is_no_error_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    assert!(Journal::open_existing(&state).unwrap().is_none());
    assert!(verify(&state).unwrap().is_none());
    assert!(!state.exists());
}

#[test]
fn an_unwritable_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let state = file.join("state");
    let error = Journal::open(&options(&state)).err().unwrap();
    assert!(matches!(&error, JournalError::NotWritable { path, .. } if path.starts_with(&state)));
    assert!(error.help().contains("--state"));
}

#[test]
fn the_directory_and_all_in_it_are_private() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/state");
    let journal = open(&state);
    journal.append(&[numbered(1)]).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for inner in ["", "journal", "journal/store", "journal/store/blobs"] {
        assert_eq!(mode(&state.join(inner)), 0o700, "{inner}");
    }
    for inner in [
        "LOCK",
        "meta.json",
        "anchor.json",
        "head",
        "ballast",
        "store/db",
        "store/conf",
    ] {
        assert_eq!(mode(&state.join("journal").join(inner)), 0o600, "{inner}");
    }
}

#[test]
fn events_up_to_the_limit_are_kept_and_larger_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let of_length = |length: usize| {
        let noise = (0..length)
            .map(|n| char::from(b'a' + (n * n / 7 % 26) as u8))
            .collect();
        crate::domain::event::Draft {
            event: Event::RunInterrupted { reason: noise },
            ..numbered(1)
        }
    };
    let frame = serde_json::to_string(&of_length(0).event).unwrap().len();
    let largest = of_length(MAX_EVENT - frame);
    let mixed = vec![numbered(1), largest.clone(), numbered(2), largest];
    journal.append(&mixed).unwrap();
    let error = journal
        .append(&[numbered(3), of_length(MAX_EVENT - frame + 1)])
        .unwrap_err();
    assert!(
        matches!(
            error,
            JournalError::TooLarge {
                limit: MAX_EVENT,
                ..
            }
        ),
        "{error}"
    );
    // A refused event costs no number.
    assert_eq!(journal.append(&[numbered(4)]).unwrap(), 5);
    drop(journal);
    assert_eq!(entries(&open(dir.path()))[..4], as_entries(1, &mixed));
    assert_eq!(
        std::fs::read_dir(dir.path().join("journal/store/blobs"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn the_anchor_follows_at_its_interval() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning {
        anchor_every: 3,
        ..Tuning::default()
    };
    let journal = open_tuned(dir.path(), tuning);
    for (n, anchored) in (1..=7).zip([0, 0, 3, 3, 3, 6, 6]) {
        journal.append(&[numbered(n)]).unwrap();
        // The anchor is written after the batch is acknowledged and before the next one.
        journal.enqueue(&[]).unwrap();
        let report = journal.verify().unwrap();
        let found = report.anchored.unwrap();
        assert!(
            found == anchored || found + 3 == anchored,
            "{found} after {n}"
        );
        assert_eq!(report.durable, n);
    }
    journal.close().unwrap();
    assert_eq!(verify(dir.path()).unwrap().unwrap().anchored, Some(7));
}

#[test]
fn an_error_of_the_reader_ends_the_reading() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.append(&many(1..10)).unwrap();
    let mut seen = 0;
    let result = journal.for_each(&mut |_| {
        seen += 1;
        if seen == 4 {
            Err(JournalError::Closed)
        } else {
            Ok(())
        }
    });
    assert!(matches!(result, Err(JournalError::Closed)));
    assert_eq!(seen, 4);
}
