//! The schedule beside the least time that a fleet can take, in virtual time: the real plan, the
//! real order, the `pct` latencies; the figures are the same on every machine.
//!
//! `cargo bench --bench schedule`; `-- --table` prints a JSON line a figure.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(clippy::print_stdout, reason = "its output is the result")]

#[path = "../table/figure.rs"]
mod figure;
#[path = "../fleet.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod fleet;
mod fleets;
mod virtual_time;

use std::path::Path;

use figure::Figure;
use fleets::Shape;
use serde_json::json;
use virtual_time::{Bound, Fleet, Least};

const SEEDS: u64 = 10;
const JOBS: [usize; 4] = [2, 4, 8, 16];

fn drawn(shape: Shape, count: usize, dir: &Path) -> Fleet {
    let written = fleets::write(shape, count, dir);
    assert!(written.is_ok(), "{written:?}");
    Fleet::read(dir)
}

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let asked = |word: &str| words.iter().any(|other| other == word);
    let sizes: &[usize] = if asked("--test") || asked("--quick") {
        &[15, 100]
    } else {
        &[15, 100, 1000]
    };
    let table = asked("--table");
    let dir = tempfile::tempdir()?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/fleet");
    let mut all = vec![("the example".to_owned(), vec![Fleet::read(&example)])];
    for &count in sizes {
        let random = (0..SEEDS).map(|seed| drawn(Shape::Random(seed), count, dir.path()));
        for (name, fleets) in [
            (
                "of the example's shape",
                vec![drawn(Shape::Real, count, dir.path())],
            ),
            ("random", random.collect()),
            (
                "clones of one",
                vec![drawn(Shape::Clones, count, dir.path())],
            ),
        ] {
            all.push((format!("{count} {name}"), fleets));
        }
    }
    for (name, fleets) in &all {
        let worst = JOBS.map(|jobs| {
            let tight = ratios(fleets, jobs, Bound::tight);
            let plain = ratios(fleets, jobs, Bound::plain);
            print(table, &format!("plain bound: {name}, {jobs} jobs"), &plain);
            print(table, &format!("tight bound: {name}, {jobs} jobs"), &tight);
            largest(&plain)
        });
        let [.., most] = JOBS;
        let name = format!("plain bound: {name}, worst of {} to {most} jobs", JOBS[0]);
        print(table, &name, &worst);
    }
    Ok(())
}

fn ratios(fleets: &[Fleet], jobs: usize, bound: Least) -> Vec<f64> {
    let ratio = |fleet: &Fleet| fleet.ratio(jobs, bound);
    fleets.iter().map(ratio).collect()
}

fn largest(ratios: &[f64]) -> f64 {
    ratios.iter().copied().fold(0.0, f64::max)
}

/// The worst of some ratios.
fn print(table: bool, name: &str, ratios: &[f64]) {
    let name = format!("schedule, {name}");
    let command = "cargo bench --bench schedule -- --table";
    let mut figure = Figure::of(&name, ratios, "ratio", command);
    figure.value = largest(ratios);
    if table {
        println!("{}", json!(figure));
    } else {
        println!("{name:<68} {:.3}  {}", figure.value, figure.spread);
    }
}
