//! Looking on beside a run, and being in its way.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Done, Site};

/// An `apply` in which something of 901 hangs: it is begun, and lasts until it is killed or the
/// hanging ends.
struct Running {
    child: Child,
}

impl Running {
    fn start(site: &Site, seconds: u64) -> Self {
        let faults = json!([{ "kind": "clone", "fault": "hang", "seconds": seconds }]);
        let mut command = site.with_faults(&["apply"], &faults);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let running = Self { child };
        // The intent of the clone is durable when it begins.
        let begun = |line: &Value| line["kind"] == "step_started" && line["ctid"] == 901;
        until(|| {
            let history = site.run(&["history", "901", "--format", "json"]);
            history.code == Some(0) && history.lines().iter().any(begun)
        });
        running
    }

    fn ended(mut self) -> i32 {
        self.child.wait().expect("it ends").code().expect("a code")
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("it ends");
    }
}

/// Waits for something that comes; far longer than it takes.
fn until(mut what: impl FnMut() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never comes");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn socket(site: &Site) -> PathBuf {
    site.state().join("run.sock")
}

fn seqs(lines: &[Value]) -> Vec<u64> {
    lines
        .iter()
        .filter_map(|line| line["seq"].as_u64())
        .collect()
}

#[test]
fn readers_beside_a_run_see_what_the_journal_says() {
    let site = Site::new();
    let running = Running::start(&site, 3);
    let history = site.ok(&["history", "901", "--format", "json"]).lines();
    let runs = site.ok(&["runs", "--format", "json"]).json();
    assert_eq!(runs[0]["outcome"], "working");
    let status = site.ok(&["status", "--format", "json"]).json();
    let rows = status["containers"].as_array().expect("rows");
    let outcome = |ctid: u64| {
        let row = rows.iter().find(|row| row["ctid"] == ctid);
        row.expect("a row")["outcome"].clone()
    };
    assert_eq!(outcome(901), "unfinished");
    assert_eq!(outcome(902), Value::Null);
    site.ok(&["plan"]);
    // All of that was told while the run went on.
    let facts = std::fs::metadata(socket(&site)).expect("a socket");
    assert_eq!(facts.mode() & 0o777, 0o600);
    assert_eq!(running.ended(), 0);
    assert!(!socket(&site).exists(), "the socket goes with the run");
    let after = site.ok(&["history", "901", "--format", "json"]).lines();
    assert!(history.len() < after.len());
    assert_eq!(history, after[..history.len()]);
    let ended = site.ok(&["runs", "--format", "json"]).json();
    assert_eq!(ended[0]["run"], runs[0]["run"]);
    assert_eq!(ended[0]["outcome"], "converged");
    site.ok(&["journal", "verify"]);
}

#[test]
fn a_second_run_is_refused_by_name() {
    let site = Site::new();
    let running = Running::start(&site, 4);
    let run = site.ok(&["runs", "--format", "json"]).json()[0]["run"].clone();
    let run = run.as_str().expect("a run").to_owned();
    let before = site.effects();
    for command in [
        &["apply"][..],
        &["resume"],
        &["destroy", "903", "--yes"],
        &["journal", "verify"],
        &["journal", "export"],
    ] {
        let done = site
            .run(command)
            .code(7)
            .says(&format!("in use by process {}", running.child.id()))
            .says("`phoenix apply` of ")
            .says(&run)
            .says(", since ")
            .says("phoenix history CTID --follow");
        assert!(done.out.is_empty(), "{}", done.out);
    }
    let error = site.run(&["apply", "--format", "json"]).code(7).json();
    assert_eq!(error["error"]["kind"], "journal");
    assert_eq!(site.effects().len(), before.len(), "nothing was done");
    assert_eq!(running.ended(), 0);
    site.ok(&["apply"]).prints("Nothing changed");
}

#[test]
fn the_socket_of_a_dead_process_is_no_obstacle() {
    let site = Site::new();
    Running::start(&site, 60).kill();
    assert!(socket(&site).exists(), "nobody took it away");
    let runs = site.ok(&["runs", "--format", "json"]).json();
    assert_eq!(runs[0]["outcome"], "working");
    site.ok(&["status"]);
    site.ok(&["history", "901"]);
    site.ok(&["journal", "verify"]);
    site.ok(&["resume"]);
    assert!(!socket(&site).exists());
    assert_eq!(
        site.ok(&["runs", "--format", "json"]).json()[0]["outcome"],
        "converged"
    );
}

#[test]
fn a_follower_sees_every_event_through_runs_and_deaths() {
    let mut site = Site::new();
    let mut follow = site.command(&["history", "901", "--follow", "--format", "json"]);
    let mut follow = follow
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    let mut told: Vec<Value> = Vec::new();
    let mut up_to = |told: &mut Vec<Value>, kind: &str| {
        while told.last().is_none_or(|last| last["kind"] != kind) {
            let line = lines.next().expect("a line").expect("text");
            told.push(serde_json::from_str(&line).expect("a document"));
        }
    };
    let running = Running::start(&site, 60);
    // While the run goes on, and never before it is durable.
    up_to(&mut told, "step_started");
    let known = site.ok(&["history", "901", "--format", "json"]).lines();
    assert!(seqs(&told).last() <= seqs(&known).last());
    running.kill();
    // Slow enough that the events come one by one while somebody listens.
    let mut resume = site.command(&["resume", "--jobs", "1"]);
    resume.env("PHOENIX_SIM_LATENCY", "pct/4");
    Done::of(&resume.output().expect("it starts")).code(0);
    up_to(&mut told, "run_finished");
    site.change(901, "memory_mb", json!(512));
    site.ok(&["apply"]);
    told.push(Value::Null);
    up_to(&mut told, "run_finished");
    told.retain(|line| !line.is_null());
    follow.kill().expect("killed");
    follow.wait().expect("it ends");
    let journal = site.ok(&["history", "901", "--format", "json"]).lines();
    assert_eq!(told, journal);
}

/// What a hostile client gets for what it sends.
fn answer(site: &Site, sent: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket(site)).expect("connected");
    // It may be cut off before it has sent all.
    let _ = stream.write_all(sent);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn no_client_holds_a_run_up() {
    let site = Site::new();
    let running = Running::start(&site, 12);
    for garbage in [
        &b"\n"[..],
        b"{}\n",
        b"\0\xff\xfe\n",
        b"{\"phoenix\":1,\"ask\":\"all\"}\n",
    ] {
        assert!(answer(&site, garbage).contains("that is no request"));
    }
    let newer = answer(&site, b"{\"phoenix\":2,\"ask\":\"who\"}\n");
    assert!(newer.contains("version 1 of the protocol"), "{newer}");
    answer(&site, &vec![b'x'; 1 << 20]);
    let who = answer(&site, b"{\"phoenix\":1,\"ask\":\"who\"}\n");
    assert!(who.contains("\"pid\""), "{who}");
    // Many who never ask, and one who follows and never reads.
    let connected = || UnixStream::connect(socket(&site)).expect("connected");
    let mut silent: Vec<UnixStream> = (0..60).map(|_| connected()).collect();
    let follow =
        b"{\"phoenix\":1,\"ask\":{\"entries\":{\"ctid\":null,\"after\":0,\"follow\":true}}}\n";
    silent[0].write_all(follow).expect("sent");
    // Those who were too many are told at once, the others when their time is up: while the run
    // still goes on, there is room again.
    until(|| {
        let runs = site.run(&["runs", "--format", "json"]);
        runs.code == Some(0) && runs.json()[0]["outcome"] == "working"
    });
    assert_eq!(running.ended(), 0);
    drop(silent);
    site.ok(&["plan", "--exit-code"]);
    site.ok(&["journal", "verify"]);
}

#[test]
fn a_long_path_has_a_socket_too() {
    let site = Site::new();
    let state = site.path(&["long"; 40].join("/"));
    let state = state.to_str().expect("UTF-8");
    assert!(state.len() > 108);
    let faults = json!([{ "kind": "clone", "fault": "hang", "seconds": 3 }]);
    let mut command = site.with_faults(&["apply", "--state", state], &faults);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.expect("it starts");
    until(|| {
        let runs = site.run(&["runs", "--format", "json", "--state", state]);
        runs.code == Some(0) && runs.json()[0]["outcome"] == "working"
    });
    site.run(&["apply", "--state", state])
        .code(7)
        .says("`phoenix apply` of ");
    let done = Done::of(&child.wait_with_output().expect("it ends")).code(0);
    assert!(!done.err.contains("cannot look on"), "{}", done.err);
    let mode = std::fs::metadata(state).expect("a directory").permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
}
