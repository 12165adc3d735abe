//! Full and failing disks: at every point at which a run writes, the disk is full from there on;
//! at every sync, the sync fails once. The run stops before the next effect, says why, loses
//! nothing that was acknowledged, and goes on when there is room.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::Done;
use crate::witness::{Fleet, Site, all, vouched_for};

use super::{able, shim, wanted};

/// Runs the whole fleet on a disk that fails so; returns how many operations were counted.
fn apply(site: &Site<'_>, mode: &str) -> (Done, usize) {
    let trace = site.dir.path().join("count");
    let mut command = site.command(0, site.next(0));
    shim::put(&mut command, &site.state, mode).env("DISK_TRACE", &trace);
    let done = Done::of(&command.output().expect("it starts"));
    let count = fs::read_to_string(&trace).unwrap_or_default();
    (done, count.trim().parse().unwrap_or(0))
}

/// One run that meets the failure, and the next one, that does not.
fn fails(fleet: &Fleet, mode: &str, words: &[&str]) -> bool {
    let site = Site::new(fleet);
    let (done, _) = apply(&site, mode);
    let failed = done.code != Some(0);
    if failed {
        let said = words.iter().any(|words| done.err.contains(words));
        assert!(said, "{mode}: {}", done.err);
        done.says("help: ").code(7);
    }
    let log = match site.host().join("log.jsonl").exists() {
        true => site.log(),
        false => Vec::new(),
    };
    site.json(&["journal", "verify"]);
    let journal = site.json(&["journal", "export"]).lines();
    vouched_for(&log, &journal, mode);
    site.done(0, site.next(0)).code(0);
    site.check(0, mode);
    failed
}

/// Points spread over a run, of which there are so many.
fn points(all: usize, wanted: usize) -> Vec<usize> {
    (0..wanted.min(all))
        .map(|n| 1 + n * all / wanted.min(all))
        .collect()
}

fn campaign(test: &str, mode: &str, default: usize, words: &[&str]) {
    if !able(test, shim::obstacle()) {
        return;
    }
    let fleet = Fleet::new();
    let (done, operations) = apply(&Site::new(&fleet), &format!("{mode}:1000000"));
    done.code(0);
    assert!(operations > 50, "{operations} operations");
    let points = points(operations, wanted("PHOENIX_TEST_FAILURES", default));
    let failed = AtomicUsize::new(0);
    all(&points, |point| {
        let stopped = fails(&fleet, &format!("{mode}:{point}"), words);
        failed.fetch_add(usize::from(stopped), Ordering::SeqCst);
    });
    let failed = failed.into_inner();
    println!(
        "{mode} at {} of {operations} points: {failed} runs stopped; lost: 0",
        points.len()
    );
    assert!(failed * 2 > points.len(), "only {failed} runs stopped");
}

#[test]
fn a_disk_that_is_full_at_any_point_stops_the_run() {
    let words = ["the disk is full", "too little space", "No space left"];
    campaign(
        "a_disk_that_is_full_at_any_point_stops_the_run",
        "enospc",
        60,
        &words,
    );
}

#[test]
fn a_sync_that_fails_stops_the_run() {
    let words = ["Input/output error"];
    campaign("a_sync_that_fails_stops_the_run", "eio", 40, &words);
}
