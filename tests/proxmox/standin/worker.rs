//! Workers: most commands do their work in a process of their own, in a session of its own. It
//! lives on when `pct` alone is killed, and dies at the next word it has to say.

use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::call::{Call, command};
use super::options::{Options, parse};
use super::{Failure, Node, Outcome, worked};

/// Whether this worker was told to stop.
static STOPPED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts a worker, passes on what it says, and ends as it ends.
pub fn delegate(node: &Node, call: &Call, name: &str, rest: &[&str], options: &Options) -> Outcome {
    if !options.known() {
        let text = format!(
            "ERROR: unknown command 'pct {name}'\n{}",
            super::options::usage()
        );
        return Err(Failure::new(255, text));
    }
    let stopped = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stopped))
        .expect("a signal handler");
    let work: Vec<&str> = [&[name], rest].concat();
    let task = format!(
        "task UPID:{}:{:08X}:00039708:6B033AF1:vz{name}:{}:root@pam:",
        node.name,
        std::process::id(),
        options.ctid()?
    );
    let mut child = command(&node.root.join("bin/pct"))
        .arg0(task)
        .env("STANDIN_WORK", serde_json::to_string(&work).expect("JSON"))
        .env(
            "STANDIN_CALL",
            call.number
                .map_or(String::new(), |number| number.to_string()),
        )
        .env("STANDIN_GROUP", call.group().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a worker");
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut stderr = child.stderr.take().expect("a pipe");
    let said = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(&buffer[..count]).and_then(|()| out.flush());
        }
    });
    let complained = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let status = loop {
        if stopped.swap(false, Ordering::Relaxed) {
            let pid = Pid::from_child(&child);
            let _ = kill_process(pid, Signal::TERM);
        }
        match child.try_wait().expect("a worker") {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let _ = said.join();
    let text = complained.join().unwrap_or_default();
    match (status.code(), status.signal()) {
        (Some(0), _) => {
            eprint!("{text}");
            Ok(())
        }
        (Some(code), _) => Err(Failure::new(code, text.trim_end_matches('\n'))),
        (None, signal) => {
            let text = format!("{text}worker ended by signal {}", signal.unwrap_or(0));
            Err(Failure::new(255, text))
        }
    }
}

/// The worker's own main function.
pub fn work(root: &Path, work: &str) -> Outcome {
    let _ = rustix::process::setsid();
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .expect("a signal handler");
    let _ = STOPPED.set(stop);
    let node = Node::new(root);
    let words: Vec<String> = serde_json::from_str(work).expect("JSON");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let call = Call::of_worker(&variable("STANDIN_CALL"), &variable("STANDIN_GROUP"));
    let options = parse(words[0], &words[1..])?;
    worked(&node, &call, words[0], &options)
}

/// Says something on standard output; a worker whose `pct` is no more dies of it, and leaves
/// everything as it is.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    if said.is_err() {
        std::process::exit(141);
    }
}

/// Takes the time that a test set, in its third part; whether it was told to stop.
pub fn pause(node: &Node) -> bool {
    let delay: u64 = node
        .knob("delay")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(delay / 3) {
        if stopped() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    stopped()
}

/// Waits until this worker is told to stop, as it is about to be.
pub fn await_stop() {
    let began = Instant::now();
    while !stopped() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn stopped() -> bool {
    STOPPED
        .get()
        .is_some_and(|flag| flag.load(Ordering::Relaxed))
}
