//! Compaction, export and import: what is known stays, the space comes back, and a process that
//! is killed in the middle leaves one journal or the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use chrono::DateTime;
use phoenix::domain::event::{Draft, Event, RunTotals};
use phoenix::domain::ids::{Ctid, JournalId, RunId};
use phoenix::domain::record::Record;
use phoenix::journal::{self, Journal, OpenOptions};
use serde_json::Value;
use uuid::Uuid;

use crate::crash_journal::{copy, directory};
use crate::support::Done;
use crate::witness::{Fleet, LATENCY, Site};
use crate::worlds::session::started;

use super::{Dice, entries};

/// Lines by their number; the last line of an export has none.
fn by_seq(lines: Vec<Value>) -> BTreeMap<u64, Value> {
    let seq = |line: Value| Some((line["seq"].as_u64()?, line));
    lines.into_iter().filter_map(seq).collect()
}

fn exported(site: &Site<'_>) -> BTreeMap<u64, Value> {
    by_seq(site.json(&["journal", "export"]).lines())
}

/// Both declarations, one after the other, and some runs that find nothing to do.
fn long_life(fleet: &Fleet) -> Site<'_> {
    let site = Site::new(fleet);
    site.done(0, &["apply"]).code(0);
    for arguments in [
        &["apply"][..],
        &["apply"],
        &["apply", "--check-health"],
        &["apply"],
    ] {
        site.done(1, arguments).code(0);
    }
    site
}

#[test]
fn compaction_forgets_events_and_nothing_of_what_they_come_to() {
    let fleet = Fleet::new();
    let site = long_life(&fleet);
    let (before, known) = (exported(&site), site.record());
    let views = |site: &Site<'_>| {
        let status = site.done(1, &["status", "--format", "json"]).code(0);
        (site.json(&["runs"]).out, status.out)
    };
    let shown = views(&site);
    let compact = ["journal", "compact", "--keep", "2"];
    let compacted = site.json(&compact).json();
    let through = compacted["through"].as_u64().expect("it gained something");
    assert_eq!(site.json(&["journal", "verify"]).json()["whole"], true);

    let after = exported(&site);
    assert!(
        after.len() * 2 < before.len(),
        "{} of {}",
        after.len(),
        before.len()
    );
    for (seq, line) in before.range(through + 1..) {
        assert_eq!(Some(line), after.get(seq), "what is kept is kept as it was");
    }
    assert!(after.range(through + 1..).count() > 4);
    let now = site.record();
    assert!(
        now.runs == known.runs && now.containers == known.containers,
        "what is known changed"
    );
    assert_eq!(views(&site), shown);
    site.done(0, &["history", "121"])
        .code(0)
        .prints("compacted away");

    // Again there is nothing to gain; and it goes on.
    assert_eq!(site.json(&compact).json()["compacted"], false);
    site.check(1, "after compaction");
    let known = site.record();
    assert_eq!(
        site.json(&["journal", "compact", "--keep", "1"]).json()["compacted"],
        true
    );
    assert!(
        site.record().containers == known.containers,
        "what is known changed"
    );
    site.check(1, "after two compactions");
}

#[test]
fn an_interrupted_run_is_resumed_after_compaction() {
    let fleet = Fleet::new();
    let site = Site::new(&fleet);
    site.done(0, &["apply"]).code(0);
    let mut child = site.start(1, &["apply"], LATENCY, None);
    site.await_effects(&mut child, fleet.expected[0].lines + 1);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    let known = site.record();
    assert!(known.resumable().is_some());
    assert_eq!(
        site.json(&["journal", "compact", "--keep", "1"]).json()["compacted"],
        true
    );
    assert!(
        site.record().containers == known.containers,
        "what is known changed"
    );
    site.done(1, &["resume"]).code(0);
    assert_eq!(site.record().runs.len(), 2);
}

#[test]
fn killed_anywhere_compaction_leaves_a_whole_journal() {
    let fleet = Fleet::new();
    let site = long_life(&fleet);
    let known = site.record();
    let origin = directory();
    copy(&site.state, &origin.path().join("state"));
    let mut dice = Dice::new(1);
    let (mut killed, mut compacted) = (0, 0);
    for _ in 0..40 {
        std::fs::remove_dir_all(&site.state).expect("removed");
        copy(&origin.path().join("state"), &site.state);
        let mut command = site.command(0, &["journal", "compact", "--keep", "1"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let micros = dice.below(60_000) as u64;
        std::thread::sleep(Duration::from_micros(micros));
        killed += usize::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("killed");
        child.wait().expect("it ends");
        assert_eq!(
            site.json(&["journal", "verify"]).json()["whole"],
            true,
            "{micros}"
        );
        let now = site.record();
        assert!(
            now.runs == known.runs && now.containers == known.containers,
            "what is known changed"
        );
        compacted += usize::from(now.carried > 0);
        let again = site.done(1, &["apply", "--format", "json"]).code(0);
        assert_eq!(again.json()["mutations"], 0);
        let journal = std::fs::read_dir(site.state.join("journal")).expect("a directory");
        let stores = journal.filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            name.to_string_lossy().starts_with("store")
        });
        assert_eq!(stores.count(), 1, "nothing is left lying about");
    }
    println!("{killed} of 40 compactions killed, {compacted} had taken effect");
    assert!(killed > 5, "only {killed} were killed");
}

/// A journal of many runs over one container.
fn many_runs(dir: &Path, runs: u128) {
    let at = DateTime::from_timestamp_millis(1_760_000_000_000).expect("a time");
    let journal = Journal::open(&OpenOptions {
        dir,
        host: "node-a",
        now: at,
        new_id: JournalId(Uuid::from_u128(7)),
    });
    let journal = journal.expect("a journal");
    let ctid = Ctid::try_from(100).expect("an id");
    for run in 1..=runs {
        let draft = |ctid, event| Draft {
            at,
            run: RunId(Uuid::from_u128(run)),
            ctid,
            event,
        };
        journal
            .append(&[draft(None, Event::RunStarted(Box::new(started())))])
            .expect("appended");
        for took_ms in 0..20 {
            let event = Event::ContainerConverged { took_ms };
            journal
                .append(&[draft(Some(ctid), event)])
                .expect("appended");
        }
        let finished = Event::RunFinished(RunTotals::default());
        journal.append(&[draft(None, finished)]).expect("appended");
    }
    journal.close().expect("closed");
}

#[test]
fn compaction_gives_the_space_back() {
    let home = directory();
    many_runs(home.path(), 150);
    let now = DateTime::from_timestamp_millis(1_770_000_000_000).expect("a time");
    let compacted = journal::compact(home.path(), 10, now).expect("compacted");
    let compacted = compacted.expect("there is a journal");
    assert_eq!(compacted.events, (150 * 22, 140 + 1 + 1 + 220));
    assert!(
        compacted.bytes.1 * 2 < compacted.bytes.0,
        "{:?} bytes",
        compacted.bytes
    );
    let journal = Journal::open_existing(home.path())
        .expect("opened")
        .expect("one");
    let record = Record::of(&entries(&journal).expect("it reads")).expect("legal");
    assert_eq!(record.runs.len(), 150);
}

fn import(site: &Site<'_>, file: &Path) -> Done {
    let file = file.to_str().expect("UTF-8");
    site.done(0, &["journal", "import", file])
}

#[test]
fn an_export_becomes_the_same_journal_again() {
    let fleet = Fleet::new();
    let mut site = long_life(&fleet);
    let first = site.state.clone();
    for compacted in [false, true] {
        site.state.clone_from(&first);
        if compacted {
            site.json(&["journal", "compact", "--keep", "2"]);
        }
        let text = site.json(&["journal", "export"]).out;
        let known = site.record();
        let file = site.dir.path().join("export.jsonl");
        std::fs::write(&file, &text).expect("written");
        import(&site, &file).code(7).says("already");

        site.state = site.dir.path().join(format!("other-{compacted}"));
        import(&site, &file).code(0).prints("imported");
        assert_eq!(site.json(&["journal", "export"]).out, text);
        assert_eq!(site.json(&["journal", "verify"]).json()["whole"], true);
        assert!(site.record() == known, "what is known changed");
        // The containers are still its own.
        site.check(1, "after import");
        site.done(0, &["journal", "compact", "--keep", "1"]).code(0);
        site.json(&["journal", "verify"]);
    }
}

#[test]
fn what_is_no_export_is_not_imported() {
    let fleet = Fleet::new();
    let mut site = Site::new(&fleet);
    site.done(0, &["apply"]).code(0);
    let text = site.json(&["journal", "export"]).out;
    site.state = site.dir.path().join("other");
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len() - 1;
    let without = |n: usize| [&lines[..n], &lines[n + 1..]].concat().join("\n");
    let mut turned = lines.clone();
    turned.swap(2, 3);
    let behind = format!("line {} is not", lines.len() + 1);
    for (text, line, words) in [
        (lines[..last].join("\n"), "line ", "the last line"),
        (without(4), "line ", "should stand before it"),
        (turned.join("\n"), "line 3 is not", "cannot follow"),
        (
            text.replacen("\"seq\":3,", "\"seq\":33,", 1),
            "line 3 is not",
            "cannot follow",
        ),
        (text.repeat(2), &behind, "it stands behind the last line"),
        (
            format!("{text}nonsense\n"),
            &behind,
            "it stands behind the last line",
        ),
        (
            text.replacen("run_started", "run_dreamt", 1),
            "line 1 is not",
            "run_dreamt",
        ),
        ("nonsense".to_owned(), "line 1 is not", "expected"),
    ] {
        let file = site.dir.path().join("export.jsonl");
        std::fs::write(&file, text).expect("written");
        let done = import(&site, &file).code(2).says(line).says(words);
        done.says("nothing was imported");
        assert!(!site.state.join("journal").exists(), "{words}");
    }
}
