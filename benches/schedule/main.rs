//! The schedule beside the least time that a fleet can take, in virtual time: the real plan, the
//! real order, the `pct` latencies; the figures are the same on every machine.
//!
//! `cargo bench --bench schedule`; `-- --table` prints a JSON line a figure.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(clippy::print_stdout, reason = "its output is the result")]

mod fleets;
mod virtual_time;

use std::path::Path;
use std::time::Duration;

use fleets::Shape;
use serde_json::json;
use virtual_time::{Bound, Fleet};

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
    let mut fleets = vec![("the example".to_owned(), vec![Fleet::read(&example)])];
    for &count in sizes {
        let real = drawn(Shape::Real, count, dir.path());
        let random = (0..SEEDS).map(|seed| drawn(Shape::Random(seed), count, dir.path()));
        let random = random.collect();
        let clones = drawn(Shape::Clones, count, dir.path());
        fleets.push((format!("{count}, the example's shape"), vec![real]));
        fleets.push((format!("{count}, {SEEDS} random fleets"), random));
        fleets.push((format!("{count}, clones of one"), vec![clones]));
    }
    for (name, fleets) in &fleets {
        for jobs in JOBS {
            line(table, name, fleets, jobs);
        }
    }
    Ok(())
}

/// The best and the worst of some fleets.
fn ends(fleets: &[Fleet], ratio: impl Fn(&Fleet) -> f64) -> (f64, f64) {
    let ratios = fleets.iter().map(ratio);
    ratios.fold((f64::MAX, 0.0), |(least, worst), ratio| {
        (ratio.min(least), ratio.max(worst))
    })
}

fn line(table: bool, name: &str, fleets: &[Fleet], jobs: usize) {
    let bounds: [(&str, fn(&Bound) -> Duration); 2] =
        [("plain", Bound::plain), ("tight", Bound::tight)];
    let [plain, tight] = bounds.map(|(which, bound)| {
        let (least, worst) = ends(fleets, |fleet| fleet.ratio(jobs, bound));
        if table {
            let line = json!({
                "name": format!("schedule, {which} bound: {name}, {jobs} jobs"),
                "value": worst,
                "unit": "ratio",
                "spread": format!("{least:.3} to {worst:.3}"),
                "command": "cargo bench --bench schedule -- --table",
            });
            println!("{line}");
        }
        worst
    });
    if !table {
        let seconds = |duration: Duration| duration.as_secs();
        let (bound, first) = (fleets[0].bound(jobs), &fleets[0]);
        println!(
            "{name:<28} {jobs:>3} jobs: {plain:.3} of the plain bound, {tight:.3} of the tight one \
             (the first: path {}, work {}, clones {}, tight {}; {} s)",
            seconds(bound.path),
            seconds(bound.work),
            seconds(bound.clones),
            seconds(bound.tight()),
            seconds(first.makespan(jobs)),
        );
    }
}
