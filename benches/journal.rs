//! Durable appends: the journal beside a raw file with one `fdatasync` per group, with the same
//! events, in the same run.
//!
//! `cargo bench --bench journal -- --quick`

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use chrono::DateTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

fn appends(criterion: &mut Criterion) {
    // A directory on the disk: /tmp is memory on many machines.
    let Ok(dir) = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    for producers in [1, 64] {
        let mut group = criterion.benchmark_group(format!("append, {producers} producers"));
        group.throughput(Throughput::Elements(1)).sample_size(10);
        group.bench_function("raw file", |bencher| {
            bencher.iter_custom(|events| {
                let Ok(file) = File::create(dir.path().join("raw")) else {
                    return Duration::MAX;
                };
                let raw = Raw::new(file);
                timed(producers, events, &|n| raw.append(&line(n)))
            });
        });
        group.bench_function("journal", |bencher| {
            bencher.iter_custom(|events| {
                let state = dir.path().join(Uuid::from_u128(events.into()).to_string());
                let options = OpenOptions {
                    dir: &state,
                    host: "bench",
                    now: DateTime::UNIX_EPOCH,
                    new_id: JournalId(Uuid::from_u128(1)),
                };
                let Ok(journal) = Journal::open(&options) else {
                    return Duration::MAX;
                };
                let time = timed(producers, events, &|n| {
                    let appended = journal.append(vec![draft(n)]);
                    assert!(black_box(&appended).is_ok(), "{appended:?}");
                });
                drop(journal);
                let removed = std::fs::remove_dir_all(&state);
                assert!(removed.is_ok(), "{removed:?}");
                time
            });
        });
        group.finish();
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
        let appended = journal.append((first..first + 200).map(draft).collect());
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
criterion_main!(benches);
