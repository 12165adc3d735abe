//! What phoenix adds to its journal: a fresh `phoenix apply`, the whole process, beside the same
//! events through the journal alone, in turns.
//!
//! `cargo bench --bench overhead` prints a JSON line a figure; `-- --quick` takes small fleets.
//!
//! The journal alone is opened empty in this process, takes exactly the events of that apply from
//! as many producers, which wait for the disk where the engine does (the beginning and the end of
//! the run, each intent), and is closed. Its producers need no process to start, no
//! configuration, no host, and never wait for each other's containers: what the apply takes more
//! is all of that. The simulated host is a part of the apply. It syncs nothing to the disk.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "its output is the result"
)]

#[path = "table/figure.rs"]
mod figure;
#[path = "fleet.rs"]
#[expect(dead_code, reason = "its program is not run here")]
mod fleet;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use chrono::DateTime;
use figure::{Figure, middle};
use phoenix::domain::event::{Draft, Entry, Event};
use phoenix::domain::ids::{Ctid, JournalId};
use phoenix::journal::{Journal, OpenOptions};
use uuid::Uuid;

const COMMAND: &str = "cargo bench --bench overhead";
const JOBS: usize = 4;

/// What one of the engine's threads hands over at once, and whether it waits for the disk.
struct Call {
    drafts: Vec<Draft>,
    waits: bool,
}

/// What is handed over for each container, in the order in which work on them began.
struct Stream {
    before: Vec<Call>,
    containers: Vec<Vec<Call>>,
    after: Vec<Call>,
}

impl Stream {
    fn of(entries: Vec<Entry>) -> Self {
        let mut stream = Self {
            before: Vec::new(),
            containers: Vec::new(),
            after: Vec::new(),
        };
        let mut places: BTreeMap<Ctid, usize> = BTreeMap::new();
        for Entry {
            at,
            run,
            ctid,
            event,
            ..
        } in entries
        {
            let waits = matches!(
                event,
                Event::RunStarted(_) | Event::RunFinished(_) | Event::StepStarted { .. }
            );
            let draft = Draft {
                at,
                run,
                ctid,
                event,
            };
            let calls = match ctid {
                None if stream.containers.is_empty() => &mut stream.before,
                None => &mut stream.after,
                Some(ctid) => {
                    let new = stream.containers.len();
                    let place = *places.entry(ctid).or_insert(new);
                    if place == new {
                        stream.containers.push(Vec::new());
                    }
                    &mut stream.containers[place]
                }
            };
            match calls.last_mut().filter(|call| is_open(call)) {
                Some(call) => {
                    call.drafts.push(draft);
                    call.waits = waits;
                }
                None => calls.push(Call {
                    drafts: vec![draft],
                    waits,
                }),
            }
        }
        stream
    }

    /// Sends everything through a journal that is opened empty; the seconds that it takes.
    fn send(self, dir: &Path) -> f64 {
        let began = Instant::now();
        let journal = Journal::open(&OpenOptions {
            dir,
            host: "sim:bench",
            now: DateTime::UNIX_EPOCH,
            new_id: JournalId(Uuid::from_u128(1)),
        })
        .expect("a journal");
        let hand = |calls: Vec<Call>| {
            for call in calls {
                let handed = match call.waits {
                    true => journal.append(&call.drafts),
                    false => journal.enqueue(&call.drafts),
                };
                handed.expect("an append");
            }
        };
        hand(self.before);
        let left = Mutex::new(self.containers.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..JOBS {
                scope.spawn(|| {
                    loop {
                        let next = left.lock().expect("the list").next();
                        let Some(calls) = next else { break };
                        hand(calls);
                    }
                });
            }
        });
        hand(self.after);
        journal.close().expect("closed");
        began.elapsed().as_secs_f64()
    }
}

/// Whether the last thing in it are states that held, which the engine hands over together with
/// the event that follows.
fn is_open(call: &Call) -> bool {
    let last = call.drafts.last();
    last.is_some_and(|draft| matches!(draft.event, Event::StepsHeld { .. }))
}

fn events(state: &Path) -> Vec<Entry> {
    let journal = Journal::open_existing(state).expect("a journal");
    let journal = journal.expect("one that is there");
    let mut entries = Vec::new();
    let read = journal.for_each(&mut |entry| {
        entries.push(entry);
        Ok(())
    });
    read.expect("events");
    journal.close().expect("closed");
    entries
}

/// The seconds that a fresh `phoenix apply` takes, from the start of its process to the end.
#[expect(clippy::disallowed_methods, reason = "a whole process is measured")]
fn apply(config: &Path, state: &Path) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHOENIX_") {
            command.env_remove(name);
        }
    }
    command.arg("--config").arg(config);
    command.arg("--state").arg(state);
    command.args(["--host", "sim", "--format", "json"]);
    command.args(["--jobs", &JOBS.to_string(), "apply"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().expect("phoenix");
    let time = began.elapsed().as_secs_f64();
    assert!(status.success(), "{status}");
    time
}

/// The exponent of growth that fits the medians best: the slope of their logarithms.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let together: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let alone: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    together / alone
}

fn print(name: &str, runs: &[f64], unit: &str) {
    let figure = Figure::of(&format!("overhead: {name}"), runs, unit, COMMAND);
    println!("{}", serde_json::to_string(&figure).expect("JSON"));
}

fn main() {
    let quick = std::env::args().any(|word| word == "--quick" || word == "--test");
    let (sizes, rounds) = match quick {
        true => ([10, 50, 200], 1),
        false => ([100, 1000, 10_000], 3),
    };
    // A directory on the disk: /tmp is memory on many machines.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (state, alone) = (dir.path().join("state"), dir.path().join("alone"));
    let mut times = BTreeMap::new();
    for _ in 0..rounds {
        for size in sizes {
            let config = dir.path().join(size.to_string());
            fleet::write(size, &config).expect("a configuration");
            let whole = apply(&config, &state);
            let stream = Stream::of(events(&state));
            let journal = stream.send(&alone);
            let (wholes, ratios): &mut (Vec<f64>, Vec<f64>) = times.entry(size).or_default();
            wholes.push(whole);
            ratios.push(whole / journal);
            for used in [&state, &alone] {
                fs::remove_dir_all(used).expect("removed");
            }
        }
    }
    let mut points = Vec::new();
    for (size, (wholes, ratios)) in &times {
        print(&format!("{size} containers, fresh apply"), wholes, "s");
        let name = format!("{size} containers, ratio to the journal alone");
        print(&name, ratios, "ratio");
        points.push((*size as f64, middle(wholes).1));
    }
    print("exponent of growth", &[exponent(&points)], "exponent");
}
