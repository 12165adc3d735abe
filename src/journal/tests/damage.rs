use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;

use super::super::error::JournalError;
use super::super::meta;
use super::super::record::{FORMAT, Frame};
use super::super::{Journal, Repair, VerifyReport, repair, verify};
use super::support::*;

fn refused(dir: &Path) -> JournalError {
    Journal::open(&options(dir))
        .err()
        .expect("the damage was not seen")
}

fn report(dir: &Path) -> VerifyReport {
    verify(dir).unwrap().unwrap()
}

fn record(dir: &Path, seq: u64) -> Vec<u8> {
    with_store(dir, |store| {
        let (found, value) = store.records(seq).next().unwrap().unwrap();
        assert_eq!(found, seq);
        value.to_vec()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_altered_byte_of_any_record_is_found(
        victim in 1u64..=9, place in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let dir = tempfile::tempdir().unwrap();
        closed_journal(dir.path(), 9);
        let mut bytes = record(dir.path(), victim);
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        with_store(dir.path(), |store| store.put(victim, &bytes)).unwrap();

        let (_, seqs) = what(&refused(dir.path()));
        prop_assert_eq!(seqs.unwrap().0, victim);
        let report = report(dir.path());
        prop_assert_eq!(report.events, victim - 1);
        let problem = report.problem.unwrap();
        prop_assert_eq!(problem.seqs.unwrap().first, victim);
        prop_assert!(!problem.repairable);
    }

    /// The store's own file is altered or cut short: all events or an error, never fewer events
    /// and never a panic.
    #[test]
    fn a_damaged_store_is_whole_or_refused(
        cut in any::<bool>(), places in proptest::collection::vec(any::<prop::sample::Index>(), 1..9),
    ) {
        const EVENTS: u64 = 60;
        let dir = tempfile::tempdir().unwrap();
        closed_journal(dir.path(), EVENTS);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.path().join("journal/store/db"))
            .unwrap();
        let mut content = std::fs::read(dir.path().join("journal/store/db")).unwrap();
        // Most of sled's first segment is empty.
        let used = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        if cut {
            file.set_len(places[0].index(used) as u64).unwrap();
        } else {
            for place in places {
                let place = place.index(used);
                content[place] ^= 0x41;
                file.write_all_at(&content[place..=place], place as u64).unwrap();
            }
        }
        match Journal::open(&options(dir.path())) {
            Err(JournalError::Corrupt { .. } | JournalError::Sled { .. }) => {}
            Err(other) => prop_assert!(false, "{:?}", other),
            Ok(journal) => prop_assert_eq!(entries(&journal).len() as u64, EVENTS),
        }
    }
}

#[test]
fn exchanged_records_are_found() {
    let dir = tempfile::tempdir().unwrap();
    closed_journal(dir.path(), 5);
    let (two, four) = (record(dir.path(), 2), record(dir.path(), 4));
    with_store(dir.path(), |store| {
        store.put(2, &four).unwrap();
        store.put(4, &two).unwrap();
    });
    assert_eq!(
        what(&refused(dir.path())),
        ("altered".to_owned(), Some((2, 2)))
    );
}

#[test]
fn a_record_from_another_journal_is_found() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    closed_journal(dir.path(), 3);
    let journal = open(other.path());
    for n in [1, 99, 3] {
        journal.append(&[numbered(n)]).unwrap();
    }
    journal.close().unwrap();
    // It is whole in itself, and stood at the same place there.
    let foreign = record(other.path(), 2);
    with_store(dir.path(), |store| store.put(2, &foreign)).unwrap();
    let (what, seqs) = what(&refused(dir.path()));
    assert_eq!(
        (what.as_str(), seqs),
        ("does not follow what stands before", Some((3, 3)))
    );
}

#[test]
fn a_missing_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    closed_journal(dir.path(), 6);
    with_store(dir.path(), |store| store.remove(3)).unwrap();
    let error = refused(dir.path());
    assert_eq!(what(&error).1, Some((3, 3)));
    assert!(error.help().contains("journal verify"));
    let problem = report(dir.path()).problem.unwrap();
    assert!(!problem.repairable);
}

#[test]
fn a_lost_end_is_found_by_the_anchor() {
    let dir = tempfile::tempdir().unwrap();
    closed_journal(dir.path(), 6);
    with_store(dir.path(), |store| {
        store.remove(5).unwrap();
        store.remove(6).unwrap();
    });
    std::fs::remove_file(dir.path().join("journal/head")).unwrap();
    assert_eq!(
        what(&refused(dir.path())),
        ("lost from the end".to_owned(), Some((5, 6)))
    );
}

/// Copies a journal while it is open: what a killed process leaves.
fn crashed(from: &Path, events: u64) -> tempfile::TempDir {
    let journal = open(from);
    for n in 1..=events {
        journal.append(&[numbered(n)]).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    copy(from, dir.path());
    dir
}

#[test]
fn a_lost_end_that_the_anchor_does_not_know_is_found_by_the_head() {
    let origin = tempfile::tempdir().unwrap();
    let dir = crashed(origin.path(), 6);
    assert_eq!(report(dir.path()).anchored, Some(0));
    with_store(dir.path(), |store| store.remove(6)).unwrap();
    assert_eq!(
        what(&refused(dir.path())),
        ("lost from the end".to_owned(), Some((6, 6)))
    );
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let origin = tempfile::tempdir().unwrap();
    let dir = crashed(origin.path(), 20);
    let journal = open(dir.path());
    assert_eq!(
        entries(&journal),
        as_entries(1, &(1..=20).map(numbered).collect::<Vec<_>>())
    );
    assert_eq!(journal.tail_repaired(), None);
    assert_eq!(journal.append(&[numbered(21)]).unwrap(), 21);
    let report = journal.verify().unwrap();
    assert_eq!((report.problem, report.anchored), (None, Some(20)));
}

/// A batch of several records, of which the middle one did not reach the disk.
fn torn(origin: &Path) -> (tempfile::TempDir, u64) {
    let journal = open(origin);
    journal.append(&many(1..4)).unwrap();
    let before = tempfile::tempdir().unwrap();
    copy(origin, before.path());
    journal.append(&many(4..401)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(origin, dir.path());
    // A kill before the batch was acknowledged: the head is the one before.
    std::fs::copy(
        before.path().join("journal/head"),
        dir.path().join("journal/head"),
    )
    .unwrap();
    let keys = with_store(dir.path(), |store| {
        store
            .records(4)
            .map(|record| record.unwrap().0)
            .collect::<Vec<_>>()
    });
    assert!(keys.len() > 3, "{keys:?}");
    (dir, keys[1])
}

#[test]
fn an_unacknowledged_torn_end_is_cut_off_and_work_goes_on() {
    let origin = tempfile::tempdir().unwrap();
    let (dir, hole) = torn(origin.path());
    with_store(dir.path(), |store| store.remove(hole)).unwrap();
    let problem = report(dir.path()).problem.unwrap();
    assert!(problem.repairable, "{problem:?}");
    assert_eq!(problem.seqs.unwrap().first, hole);

    let journal = open(dir.path());
    let repaired = journal.tail_repaired().unwrap();
    assert_eq!(repaired.from_seq, hole);
    assert!(repaired.records > 0);
    assert_eq!(entries(&journal).len() as u64, hole - 1);
    assert_eq!(journal.append(&[numbered(7)]).unwrap(), hole);
    journal.close().unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.tail_repaired(), None);
    assert_eq!(entries(&journal).len() as u64, hole);
}

#[test]
fn a_hole_with_a_later_batch_behind_it_is_no_torn_end() {
    let origin = tempfile::tempdir().unwrap();
    let journal = open(origin.path());
    for n in 1..=4 {
        journal.append(&[numbered(n)]).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    copy(origin.path(), dir.path());
    // Neither the anchor nor the head knows of it, but batch 3 began after batch 2 was synced.
    std::fs::remove_file(dir.path().join("journal/head")).unwrap();
    with_store(dir.path(), |store| store.remove(2)).unwrap();
    assert_eq!(what(&refused(dir.path())).1, Some((2, 2)));
}

#[test]
fn a_newer_format_is_said_to_be_newer() {
    let dir = tempfile::tempdir().unwrap();
    closed_journal(dir.path(), 2);
    let path = dir.path().join("journal/meta.json");
    let meta = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, meta.replace("\"format\": 1", "\"format\": 9")).unwrap();
    let newer = |error| matches!(error, JournalError::NewerVersion { found: 9, known, .. } if known == meta::KNOWN);
    assert!(newer(refused(dir.path())));
    assert!(newer(Journal::open_existing(dir.path()).err().unwrap()));
    assert!(newer(verify(dir.path()).unwrap_err()));
}

#[test]
fn altered_small_files_are_found() {
    let origin = tempfile::tempdir().unwrap();
    closed_journal(origin.path(), 4);
    let alter = |name: &str, change: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        copy(origin.path(), dir.path());
        change(&dir.path().join("journal").join(name));
        what(&Journal::open_existing(dir.path()).err().expect(name)).0
    };
    let remove = |path: &Path| {
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    };
    assert_eq!(alter("meta.json", &remove), "meta.json is missing");
    assert_eq!(alter("anchor.json", &remove), "anchor.json is missing");
    assert_eq!(alter("store", &remove), "the store is missing");
    let host = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, text.replace("node-a", "node-b")).unwrap();
    };
    assert_eq!(
        alter("meta.json", &host),
        "does not follow what stands before"
    );
    let hash = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let (start, _) = text.split_once("\"head\":\"").unwrap();
        std::fs::write(path, format!("{start}\"head\":\"{}\"}}", "0".repeat(64))).unwrap();
    };
    assert_eq!(
        alter("anchor.json", &hash),
        "not what was recorded as durable"
    );
    assert!(alter("anchor.json", &|path| std::fs::write(path, "{").unwrap()).ends_with("anchor"));
    assert!(alter("meta.json", &|path| std::fs::write(path, "{").unwrap()).contains("meta.json"));
}

#[test]
fn an_interrupted_creation_is_finished() {
    let origin = tempfile::tempdir().unwrap();
    drop(open(origin.path()));
    for missing in [&["anchor.json"][..], &["anchor.json", "store"]] {
        let dir = tempfile::tempdir().unwrap();
        copy(origin.path(), dir.path());
        let journal = dir.path().join("journal");
        std::fs::remove_file(journal.join("head")).unwrap();
        std::fs::remove_file(journal.join("anchor.json")).unwrap();
        if missing.contains(&"store") {
            std::fs::rename(journal.join("store"), journal.join("store.new")).unwrap();
        }
        let problem = verify(dir.path())
            .unwrap()
            .and_then(|report| report.problem);
        assert!(problem.is_none_or(|problem| problem.repairable));
        let journal = open(dir.path());
        assert_eq!(journal.append(&[numbered(1)]).unwrap(), 1);
        journal.close().unwrap();
        assert_eq!(report(dir.path()).problem, None);
    }
}

#[test]
fn records_carry_the_format() {
    let dir = tempfile::tempdir().unwrap();
    closed_journal(dir.path(), 1);
    let bytes = record(dir.path(), 1);
    assert_eq!(bytes[0], FORMAT);
    assert_eq!(
        Frame::new(1, &bytes).unwrap().entries().unwrap(),
        as_entries(1, &[numbered(1)])
    );
}

/// Looking at a damaged journal must not make it worse: sled, when it opens its log, fills with
/// zeros what stands behind a damage.
#[test]
fn a_store_that_is_refused_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for n in 0..60 {
        journal.append(&many(10 * n + 1..10 * n + 11)).unwrap();
    }
    journal.close().unwrap();
    let used = std::fs::read(dir.path().join("journal/store/db")).unwrap();
    let used = used.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let mut refusals = 0;
    for part in 1..16 {
        let damaged = tempfile::tempdir().unwrap();
        copy(dir.path(), damaged.path());
        let path = damaged.path().join("journal/store/db");
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let (file, place) = (file.unwrap(), part * used / 16);
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).unwrap();
        file.write_all_at(&[byte[0] ^ 1], place).unwrap();
        let before = std::fs::read(&path).unwrap();
        let Err(JournalError::Corrupt { .. }) = Journal::open_existing(damaged.path()) else {
            continue;
        };
        refusals += 1;
        assert!(std::fs::read(&path).unwrap() == before, "byte {place}");
        let Repair::Made(made) = repair(damaged.path()).unwrap().unwrap() else {
            panic!("byte {place} is no damage")
        };
        // One record at most is in that place.
        assert!(made.kept + made.readable >= 590, "byte {place}: {made:?}");
    }
    assert!(refusals > 5, "{refusals} of 15 were refused");
}

#[test]
fn what_cannot_be_looked_at_is_not_taken_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    closed_journal(dir.path(), 3);
    let (journal, elsewhere) = (dir.path().join("journal"), dir.path().join("unmounted"));
    std::fs::rename(&journal, &elsewhere).unwrap();
    for target in ["unmounted", "nowhere", "journal"] {
        let _ = std::fs::remove_file(&journal);
        std::os::unix::fs::symlink(target, &journal).unwrap();
        let there = target == "unmounted";
        assert_eq!(Journal::open(&options(dir.path())).is_ok(), there);
        assert_eq!(Journal::open_existing(dir.path()).is_ok(), there);
        assert_eq!(verify(dir.path()).is_ok(), there);
        assert_eq!(repair(dir.path()).is_ok(), there);
    }
}

#[test]
fn nobody_waits_for_a_pipe_in_the_place_of_a_file() {
    let names = ["checkpoint", "head", "LOCK", "anchor.json", "meta.json"];
    for (place, name) in names.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        closed_journal(dir.path(), 3);
        let path = dir.path().join("journal").join(name);
        // Of events that cannot have happened there is no checkpoint.
        assert!(std::fs::remove_file(&path).is_ok() || name == "checkpoint");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        // The first three are no loss.
        let opened = Journal::open(&options(dir.path()));
        assert_eq!(opened.is_ok(), place < 3, "{name}");
    }
}

/// A journal whose creation was interrupted has no anchor and an empty store; but no event either.
#[test]
fn a_head_without_anchor_and_store_is_no_journal_that_is_being_made() {
    let dir = tempfile::tempdir().unwrap();
    closed_journal(dir.path(), 3);
    let journal = dir.path().join("journal");
    std::fs::remove_file(journal.join("anchor.json")).unwrap();
    std::fs::remove_dir_all(journal.join("store")).unwrap();
    assert_eq!(what(&refused(dir.path())).1, Some((1, 3)));
}
