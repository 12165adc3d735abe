//! A journal of format 1, as the first phoenix wrote it: every later one must read it.

use std::path::Path;

use super::super::store::Store;
use super::super::{Journal, files, verify};
use super::support::*;
use crate::domain::event::Entry;
use crate::domain::record::Record;

fn fixture(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/journal/tests/format1");
    std::fs::read_to_string(dir.join(name)).unwrap()
}

/// Key and value of each record, in hexadecimal; sled's own files change with nothing that is
/// ours, and half a megabyte of zeros is no part of a source tree.
fn records() -> Vec<(u64, Vec<u8>)> {
    let record = |line: &str| {
        let (seq, hex) = line.split_once(' ').unwrap();
        let byte = |place| u8::from_str_radix(&hex[place..place + 2], 16).unwrap();
        let bytes = (0..hex.len()).step_by(2).map(byte).collect();
        (seq.parse().unwrap(), bytes)
    };
    fixture("records.txt").lines().map(record).collect()
}

fn laid_out(dir: &Path) {
    let journal = dir.join("journal");
    files::make_dir(&journal).unwrap();
    for name in ["meta.json", "anchor.json"] {
        std::fs::write(journal.join(name), fixture(name)).unwrap();
    }
    let (new, store) = (journal.join("store.new"), journal.join("store"));
    let fill = |store: &Store| {
        let all = records();
        all.iter()
            .try_for_each(|(seq, bytes)| store.put(*seq, bytes))
    };
    Store::create(&journal, &new, &store, fill).unwrap();
}

#[test]
fn a_journal_of_format_1_is_read_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    laid_out(dir.path());
    let expected: Vec<Entry> = fixture("events.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(expected.len() > 100);
    let report = verify(dir.path()).unwrap().unwrap();
    assert_eq!((report.problem, report.format), (None, 1));
    assert_eq!(report.anchored, Some(expected.len() as u64));
    let journal = Journal::open_existing(dir.path()).unwrap().unwrap();
    assert_eq!(entries(&journal), expected);
    assert!(Record::of(&expected).is_ok());
    let next = journal.append(&[numbered(1)]).unwrap();
    assert_eq!(next, expected.len() as u64 + 1);
    journal.close().unwrap();
    assert_eq!(verify(dir.path()).unwrap().unwrap().problem, None);
}

/// How the fixture was made, from the state directory of a phoenix of that format.
#[test]
#[ignore = "writes the fixture anew from the state directory that PHOENIX_TEST_STATE names"]
fn write_the_fixture() {
    let state = std::env::var("PHOENIX_TEST_STATE").unwrap();
    let state = Path::new(&state);
    let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/journal/tests/format1");
    for name in ["meta.json", "anchor.json"] {
        std::fs::copy(state.join("journal").join(name), to.join(name)).unwrap();
    }
    let records: Vec<String> = with_store(state, |store| {
        let records = store.records(0).map(Result::unwrap);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        records
            .map(|(seq, value)| {
                let hex: String = hex(&value);
                format!("{seq} {hex}\n")
            })
            .collect()
    });
    std::fs::write(to.join("records.txt"), records.concat()).unwrap();
    let journal = Journal::open_existing(state).unwrap().unwrap();
    let line = |entry: &Entry| format!("{}\n", serde_json::to_string(entry).unwrap());
    let lines: Vec<String> = entries(&journal).iter().map(line).collect();
    std::fs::write(to.join("events.jsonl"), lines.concat()).unwrap();
}
