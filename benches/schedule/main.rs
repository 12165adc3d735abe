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
        for jobs in JOBS {
            line(table, name, fleets, jobs);
        }
    }
    Ok(())
}

/// The worst of some fleets, by both bounds.
fn line(table: bool, name: &str, fleets: &[Fleet], jobs: usize) {
    let bounds: [(&str, Least); 2] = [("plain", Bound::plain), ("tight", Bound::tight)];
    for (which, bound) in bounds {
        let ratios: Vec<f64> = fleets
            .iter()
            .map(|fleet| fleet.ratio(jobs, bound))
            .collect();
        let name = format!("schedule, {which} bound: {name}, {jobs} jobs");
        let command = "cargo bench --bench schedule -- --table";
        let mut figure = Figure::of(&name, &ratios, "ratio", command);
        figure.value = ratios.iter().copied().fold(0.0, f64::max);
        if table {
            println!("{}", json!(figure));
        } else {
            println!("{name:<64} {:.3}  {}", figure.value, figure.spread);
        }
    }
}
