//! Durable appends: the journal beside a raw file with one `fdatasync` per group, with the same
//! events, in the same run.
//!
//! `cargo bench --bench journal -- --quick`; with `--table` both take turns, and a JSON line is
//! printed for each figure (`--table --quick`: with fewer events).

#![expect(
    unreachable_pub,
    clippy::print_stdout,
    reason = "its output is the result; figures are shared with the table"
)]

#[path = "table/figure.rs"]
mod figure;

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use chrono::DateTime;
use criterion::{Criterion, Throughput, criterion_group};
use figure::{Figure, middle};
use phoenix::domain::event::{Draft, Entry, Event, Seen};
use phoenix::domain::ids::{Ctid, Digest, JournalId, RunId};
use phoenix::domain::step::Step;
use phoenix::journal::{Journal, OpenOptions};
use uuid::Uuid;

/// An event of about the size of most.
fn draft(n: u64) -> Draft {
    let step = Step::ALL[(n % 11) as usize];
    let seen = Seen::Running(Digest::of(&n.to_be_bytes()));
    Draft {
        at: DateTime::from_timestamp_millis(1_760_000_000_000 + n as i64).unwrap_or_default(),
        run: RunId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001)),
        ctid: Ctid::try_from(100 + (n % 5000) as u32).ok(),
        event: Event::StepConverged {
            step,
            attempt: 1,
            took_ms: n % 10_000,
            seen,
        },
    }
}

/// The same event as a line of text.
fn line(seq: u64) -> Vec<u8> {
    let Draft {
        at,
        run,
        ctid,
        event,
    } = draft(seq);
    let mut line = serde_json::to_vec(&Entry {
        seq,
        at,
        run,
        ctid,
        event,
    })
    .unwrap_or_default();
    line.push(b'\n');
    line
}

/// A raw file with the least that group commit needs: whoever finds nobody writing writes
/// everything that is queued, syncs, and wakes the others.
struct Raw {
    state: Mutex<RawState>,
    done: Condvar,
}

#[derive(Default)]
struct RawState {
    file: Option<File>,
    queue: Vec<u8>,
    queued: u64,
    durable: u64,
}

impl Raw {
    fn new(file: File) -> Self {
        let state = RawState {
            file: Some(file),
            ..RawState::default()
        };
        Self {
            state: Mutex::new(state),
            done: Condvar::new(),
        }
    }

    fn append(&self, line: &[u8]) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        state.queue.extend_from_slice(line);
        state.queued += 1;
        let wanted = state.queued;
        while state.durable < wanted {
            if let Some(mut file) = state.file.take() {
                let queue = std::mem::take(&mut state.queue);
                let queued = state.queued;
                drop(state);
                let written = file.write_all(&queue).and_then(|()| file.sync_data());
                assert!(written.is_ok(), "{written:?}");
                let Ok(again) = self.state.lock() else { return };
                state = again;
                state.file = Some(file);
                state.durable = queued;
                self.done.notify_all();
            } else {
                let Ok(again) = self.done.wait(state) else {
                    return;
                };
                state = again;
            }
        }
    }
}

/// The time that `producers` threads take for `events` appends between them.
fn timed(producers: u64, events: u64, append: &(dyn Fn(u64) + Sync)) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for producer in 0..producers {
            scope.spawn(move || {
                (producer..events)
                    .step_by(producers as usize)
                    .for_each(append)
            });
        }
    });
    begun.elapsed()
}

/// Appends to a raw file.
fn to_raw_file(
    dir: &Path,
    producers: u64,
    events: u64,
    note: &(dyn Fn(Duration) + Sync),
) -> Duration {
    let file = File::create(dir.join("raw")).unwrap_or_else(|error| panic!("{error}"));
    let raw = Raw::new(file);
    timed(producers, events, &|n| {
        let begun = Instant::now();
        raw.append(&line(n));
        note(begun.elapsed());
    })
}

/// Appends to a new journal, which is removed; also what it took on the disk when it was closed.
fn to_journal(
    dir: &Path,
    producers: u64,
    events: u64,
    note: &(dyn Fn(Duration) + Sync),
) -> (Duration, u64) {
    let state = dir.join("state");
    let options = OpenOptions {
        dir: &state,
        host: "bench",
        now: DateTime::UNIX_EPOCH,
        new_id: JournalId(Uuid::from_u128(1)),
    };
    let journal = Journal::open(&options).unwrap_or_else(|error| panic!("{error}"));
    let time = timed(producers, events, &|n| {
        let begun = Instant::now();
        let appended = journal.append(&[draft(n)]);
        assert!(black_box(&appended).is_ok(), "{appended:?}");
        note(begun.elapsed());
    });
    drop(journal);
    let bytes = on_disk(&state);
    let removed = std::fs::remove_dir_all(&state);
    assert!(removed.is_ok(), "{removed:?}");
    (time, bytes)
}

/// What the files of a directory hold.
fn on_disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => on_disk(&entry.path()),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn appends(criterion: &mut Criterion) {
    // A directory on the disk: /tmp is memory on many machines.
    let Ok(dir) = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    for producers in [1, 64] {
        let mut group = criterion.benchmark_group(format!("append, {producers} producers"));
        group.throughput(Throughput::Elements(1)).sample_size(10);
        group.bench_function("raw file", |bencher| {
            bencher.iter_custom(|events| to_raw_file(dir.path(), producers, events, &drop));
        });
        group.bench_function("journal", |bencher| {
            bencher.iter_custom(|events| to_journal(dir.path(), producers, events, &drop).0);
        });
        group.finish();
    }
}

/// Half of the appends took no longer, in microseconds.
fn median_of(latencies: &Mutex<Vec<Duration>>) -> f64 {
    let mut all = latencies.lock().unwrap_or_else(|error| panic!("{error}"));
    let micros: Vec<f64> = all.drain(..).map(|one| one.as_secs_f64() * 1e6).collect();
    middle(&micros).1
}

/// Both take turns; each round gives one ratio.
fn table(quick: bool) {
    const COMMAND: &str = "cargo bench --bench journal -- --table";
    let print = |name: &str, runs: &[f64], unit: &str| {
        let line = serde_json::to_string(&Figure::of(name, runs, unit, COMMAND));
        println!("{}", line.unwrap_or_default());
    };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let dir = dir.unwrap_or_else(|error| panic!("{error}"));
    let (rounds, share) = if quick { (2, 20) } else { (9, 1) };
    for (producers, name, events) in [(1, "1 producer", 2_000), (64, "64 producers", 60_000)] {
        let (mut ratios, mut slower, mut waits, mut bytes) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rounds {
            let events = events / share;
            let latencies = Mutex::new(Vec::new());
            let note = |took| {
                let noted = latencies.lock().map(|mut all| all.push(took));
                assert!(noted.is_ok());
            };
            let raw = to_raw_file(dir.path(), producers, events, &note);
            let raw_median = median_of(&latencies);
            let (journal, on_disk) = to_journal(dir.path(), producers, events, &note);
            let median = median_of(&latencies);
            ratios.push(raw.as_secs_f64() / journal.as_secs_f64());
            slower.push(median / raw_median);
            waits.push(median);
            bytes.push(on_disk as f64 / events as f64);
        }
        print(
            &format!("journal, {name}: ratio to a raw file"),
            &ratios,
            "ratio",
        );
        print(
            &format!("journal, {name}: median wait, ratio to a raw file"),
            &slower,
            "ratio",
        );
        print(&format!("journal, {name}: median wait"), &waits, "µs");
        // Of few events most is what sled makes beforehand.
        if producers > 1 {
            let name = format!("journal, {name}: on disk an event");
            print(&name, &bytes, "bytes");
        }
    }
}

/// Opening checks the whole chain; reading decodes it; a history decodes one container's part.
fn reading(criterion: &mut Criterion) {
    const EVENTS: u64 = 100_000;
    let Ok(dir) = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let options = OpenOptions {
        dir: dir.path(),
        host: "bench",
        now: DateTime::UNIX_EPOCH,
        new_id: JournalId(Uuid::from_u128(1)),
    };
    let open = || Journal::open(&options).unwrap_or_else(|error| panic!("{error}"));
    let journal = open();
    for first in (0..EVENTS).step_by(200) {
        let appended = journal.append(&(first..first + 200).map(draft).collect::<Vec<_>>());
        assert!(appended.is_ok(), "{appended:?}");
    }
    drop(journal);

    let mut group = criterion.benchmark_group("100,000 events");
    group
        .throughput(Throughput::Elements(EVENTS))
        .sample_size(10);
    group.bench_function("open and close", |bencher| bencher.iter(open));
    let journal = open();
    group.bench_function("read all", |bencher| {
        bencher.iter(|| {
            let mut events = 0;
            let read = journal.for_each(&mut |entry| {
                events += black_box(entry).seq.min(1);
                Ok(())
            });
            assert!(read.is_ok() && events == EVENTS, "{read:?}");
        });
    });
    group.bench_function("history of one container", |bencher| {
        let Ok(ctid) = Ctid::try_from(100) else {
            return;
        };
        bencher.iter(|| journal.entries_of(ctid).map(|entries| entries.len()));
    });
    group.finish();
}

criterion_group!(benches, appends, reading);

fn main() {
    let asked = |word: &str| std::env::args().any(|given| given == word);
    if asked("--table") {
        return table(asked("--quick") || asked("--test"));
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
