//! Signals, crashes, and going on after them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Done, Site, phoenix};

/// Runs `apply` until the program kills itself.
fn killed(site: &Site, faults: &Value) {
    let output = site.with_faults(&["apply"], faults).output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), None, "{output:?}");
}

/// No effect of this kind twice on one container.
fn assert_once(site: &Site, kinds: &[&str]) {
    let mut seen: BTreeMap<(Option<u64>, String), u32> = BTreeMap::new();
    for effect in site.effects() {
        *seen.entry(effect).or_default() += 1;
    }
    for ((ctid, kind), times) in seen {
        assert!(
            times == 1 || !kinds.contains(&kind.as_str()),
            "{kind} of {ctid:?}: {times} times"
        );
    }
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let whole = Site::new();
    whole.apply();
    for (kind, fault) in [
        ("create", "exit-before"),
        ("create", "exit-middle"),
        ("clone", "exit-after"),
        ("clone", "exit-middle"),
        ("start", "exit-after"),
        ("run_script", "exit-after"),
        ("snapshot", "exit-middle"),
    ] {
        let site = Site::new();
        killed(&site, &json!([{ "kind": kind, "fault": fault }]));
        let runs = site.ok(&["runs", "--format", "json"]).json();
        assert_eq!(runs[0]["resumable"], true);
        let resumed = site.ok(&["resume", "--format", "json"]).json();
        assert_eq!(resumed["run"], runs[0]["run"], "{kind} {fault}");
        assert_eq!(resumed["converged"], 4);
        assert_eq!(site.world(), whole.world(), "{kind} {fault}");
        assert_once(&site, &["start"]);
        site.ok(&["plan", "--exit-code"]);
        site.ok(&["journal", "verify"]);
        let history = site.ok(&["history", "900", "--format", "json"]).lines();
        for wanted in ["run_interrupted", "run_resumed", "run_finished"] {
            let found = history.iter().any(|line| line["kind"] == wanted);
            assert!(found, "{kind} {fault}: {wanted}");
        }
        let nothing = site.ok(&["resume", "--format", "json"]).json();
        assert_eq!(nothing["run"], Value::Null);
    }
}

#[test]
fn apply_takes_the_place_of_an_interrupted_run_and_says_so() {
    let site = Site::new();
    killed(&site, &json!([{ "kind": "clone", "fault": "exit-after" }]));
    site.ok(&["apply"])
        .says("was interrupted; this one takes its place");
    let runs = site.ok(&["runs", "--format", "json"]).json();
    assert_eq!(runs[0]["outcome"], "superseded");
    assert_eq!(runs[0]["superseded_by"], runs[1]["run"]);
    assert_eq!(runs[1]["outcome"], "converged");
    assert_once(&site, &["create", "clone", "start", "snapshot"]);
}

#[test]
fn a_run_goes_on_with_the_files_as_they_are_now() {
    let mut site = Site::new();
    killed(&site, &json!([{ "kind": "clone", "fault": "exit-after" }]));
    site.change(902, "memory_mb", json!(512));
    let done = site
        .ok(&["resume", "--format", "json"])
        .says("The configuration has changed since run ")
        .says("began (902 changed)");
    assert_eq!(done.json()["converged"], 4);
    site.ok(&["sim", "show", "902"]).prints("512");
}

/// `resume` of one site's run with the files of another.
fn resumed_with(site: &Site, files: &Site) -> Done {
    let mut command = phoenix();
    command.args(["resume", "--format", "json", "--host", "sim", "--config"]);
    command.arg(files.dir.path()).arg("--state");
    let output = command.arg(site.state()).output();
    Done::of(&output.expect("it starts")).code(0)
}

#[test]
fn a_run_goes_on_with_a_copy_of_its_files_elsewhere() {
    let faults = json!([{ "kind": "run_script", "fault": "exit-after" }]);
    let site = Site::new();
    killed(&site, &faults);
    let done = resumed_with(&site, &Site::new());
    assert!(!done.err.contains("has changed"), "{}", done.err);
    assert_eq!(done.json()["converged"], 4);
    assert_once(&site, &["run_script"]);

    let (site, mut files) = (Site::new(), Site::new());
    killed(&site, &faults);
    files.change(903, "memory_mb", json!(512));
    let changed = resumed_with(&site, &files);
    let changed = changed.says("began (903 changed);");
    assert_eq!(changed.json()["converged"], 4);
}

#[test]
fn a_run_for_what_is_declared_no_more_says_the_way_out() {
    let mut site = Site::new();
    let faults = json!([{ "kind": "start", "ctid": 903, "fault": "exit-after" }]);
    let output = site.with_faults(&["apply", "903"], &faults).output();
    assert_eq!(output.expect("it starts").status.code(), None);
    site.remove(&[903]);
    site.write();
    site.run(&["resume"])
        .code(2)
        .says("container 903 is not declared")
        .says("declared are 900, 901, 902; `phoenix apply` begins another run");
    site.ok(&["apply"]).says("this one takes its place");
    let plan = site.run(&["plan", "903"]).code(2);
    assert!(!plan.err.contains("takes its place"), "{}", plan.err);
}

#[test]
fn only_the_last_run_can_go_on() {
    let site = Site::new();
    site.run(&["resume", "0123"])
        .code(2)
        .says("run 0123 is not in the journal");
    let first = site.apply()["run"].as_str().expect("a run").to_owned();
    site.run(&["resume", &first])
        .code(2)
        .says("cannot be resumed: it is converged");
    site.ok(&["sim", "stop", "903"]);
    let faults = json!([{ "kind": "start", "fault": "permanent" }]);
    let output = site.with_faults(&["apply"], &faults).output();
    Done::of(&output.expect("it starts")).code(5);
    let runs = site.ok(&["runs", "--format", "json"]).json();
    let last = runs[1]["run"].as_str().expect("a run").to_owned();
    site.run(&["resume", &first])
        .code(2)
        .says(&format!("the run that can go on is {last}"));
    let done = site.ok(&["resume", &last, "--format", "json"]).json();
    assert_eq!(done["run"], last.as_str());
}

/// `apply`, which is sent signals while it clones; all but the first once it has heard the first.
/// What SIGHUP does when it is started is not left to how the tests were started.
#[expect(
    clippy::disallowed_methods,
    reason = "no other way to start a program with an ignored signal, as `nohup` does"
)]
fn signalled(site: &Site, hangup: &str, signals: &[Signal]) -> Done {
    let faults = json!([{ "kind": "clone", "fault": "hang", "seconds": 2 }]);
    let apply = site.with_faults(&["apply", "--jobs", "1"], &faults);
    let mut command = Command::new("env");
    command
        .arg(format!("--{hangup}-signal=HUP"))
        .arg(apply.get_program())
        .args(apply.get_args());
    for (name, value) in apply.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut told = BufReader::new(child.stderr.take().expect("a pipe"));
    let (mut out, mut err) = (String::new(), String::new());
    // The clone of 900, which has the longest chain behind it, is next.
    while !out.contains("900 base  converged") {
        assert_ne!(lines.read_line(&mut out).expect("a line"), 0, "it ended");
    }
    for (number, signal) in signals.iter().enumerate() {
        while number > 0 && !err.contains("Stopping: ") {
            assert_ne!(told.read_line(&mut err).expect("a line"), 0, "it ended");
        }
        send(&child, *signal);
    }
    lines.read_to_string(&mut out).expect("text");
    told.read_to_string(&mut err).expect("text");
    let code = child.wait().expect("it ends").code();
    Done { code, out, err }
}

#[test]
fn the_first_signal_finishes_what_is_being_done() {
    // A session that is lost may send more than one.
    for signals in [&[Signal::TERM][..], &[Signal::INT], &[Signal::HUP; 2]] {
        let site = Site::new();
        signalled(&site, "default", signals)
            .code(130)
            .says("Stopping: ")
            .prints("Interrupted. ")
            .prints("Go on with `phoenix resume`.");
        let runs = site.ok(&["runs", "--format", "json"]).json();
        assert_eq!(runs[0]["outcome"], "interrupted");
        assert_eq!(runs[0]["reason"], "stopped by a signal");
        let resumed = site.ok(&["resume", "--format", "json"]).json();
        assert_eq!(resumed["converged"], 4);
        assert_once(
            &site,
            &["create", "clone", "start", "run_script", "snapshot"],
        );
    }
}

#[test]
fn the_second_signal_ends_it() {
    for first in [Signal::HUP, Signal::INT] {
        let done = signalled(&Site::new(), "default", &[first, Signal::TERM]);
        assert_eq!(done.code, None, "{done:?}");
    }
}

#[test]
fn a_run_that_is_to_outlive_its_session_does() {
    let done = signalled(&Site::new(), "ignore", &[Signal::HUP]).code(0);
    assert!(!done.err.contains("Stopping"), "{}", done.err);
}

/// Starts `apply`, whose first look at the host takes a while, and waits until it has begun.
fn looking(site: &Site, begun: &Path) -> Child {
    let faults = json!([{ "kind": "observe", "fault": "hang", "seconds": 2 }]);
    let mut command = site.with_faults(&["apply", "--format", "json"], &faults);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    while !begun.exists() {
        assert_eq!(child.try_wait().expect("a child"), None, "it ended");
        std::thread::yield_now();
    }
    child
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("sent");
}

#[test]
fn a_signal_before_the_run_begins_leaves_none() {
    let site = Site::new();
    let child = looking(&site, &site.state().join("journal"));
    send(&child, Signal::INT);
    let output = child.wait_with_output().expect("it ends");
    let done = Done::of(&output).code(130);
    assert_eq!(done.json()["error"]["kind"], "interrupted");
    let runs = site.ok(&["runs", "--format", "json"]).json();
    assert_eq!(runs, json!([]));
    assert!(site.effects().is_empty());
}

#[test]
fn an_apply_that_was_killed_before_its_run_began_is_not_forgotten() {
    let site = Site::new();
    let begun = site.state().join("begun");
    let child = looking(&site, &begun);
    send(&child, Signal::KILL);
    let pid = child.id();
    child.wait_with_output().expect("it ends");
    assert!(begun.exists());
    let words = format!("An apply (pid {pid}, ");
    let resumed = site.ok(&["resume", "--format", "json"]).says(&words);
    assert_eq!(resumed.json()["run"], Value::Null);
    site.ok(&["resume"])
        .says("ended before it began to change anything: run `phoenix apply`")
        .prints("Nothing to resume: there was no run yet.");
    site.apply();
    assert!(!begun.exists(), "the run is in the journal");
    assert!(!site.ok(&["resume"]).err.contains("An apply"));
}

#[test]
fn an_apply_that_ends_by_itself_leaves_no_trace() {
    let mut site = Site::new();
    let begun = site.state().join("begun");
    let faults = json!([{ "kind": "observe", "fault": "permanent" }]);
    let output = site.with_faults(&["apply"], &faults).output();
    Done::of(&output.expect("it starts")).code(6);
    assert!(!begun.exists());
    site.apply();
    site.change(903, "storage_size_gb", json!(1));
    site.run(&["apply"]).code(3);
    assert!(!begun.exists());
    // Killed later, what counts is in the journal.
    site.change(903, "storage_size_gb", json!(5));
    killed(
        &site,
        &json!([{ "kind": "resize", "fault": "exit-before" }]),
    );
    assert!(!begun.exists());
}

#[test]
fn a_script_of_unknown_outcome_can_be_run_again_by_resume() {
    let mut site = Site::new();
    site.change(901, "on_unknown", json!("stop"));
    killed(
        &site,
        &json!([{ "kind": "run_script", "ctid": 901, "fault": "exit-after" }]),
    );
    let stopped = site.run(&["resume"]).code(5);
    let last = stopped.out.lines().last().expect("a line");
    assert!(
        last.contains("`phoenix apply 901 --rerun server`"),
        "{last}"
    );
    assert!(!last.contains("`phoenix resume`"), "{last}");
    site.run(&["resume"]).code(3);
    site.run(&["resume", "--rerun", "sevrer"]).code(2);
    let done = site.ok(&["resume", "--rerun", "server", "--format", "json"]);
    assert_eq!(done.json()["converged"], 4);
    site.ok(&["plan", "--exit-code"]);
}
