//! The schedule beside the least time that a fleet can take, in virtual time: the real plan, the
//! real order, the `pct` latencies; the figures are the same on every machine.
//!
//! `cargo bench --bench schedule`; `-- --table` prints a JSON line a figure.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(clippy::print_stdout, reason = "its output is the result")]

mod fleets;
mod virtual_time;

use std::path::Path;

use fleets::Shape;
use serde_json::json;
use virtual_time::Fleet;

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

/// The worst of some fleets.
fn line(table: bool, name: &str, fleets: &[Fleet], jobs: usize) {
    let mut ratios: Vec<f64> = fleets.iter().map(|fleet| fleet.ratio(jobs)).collect();
    ratios.sort_by(f64::total_cmp);
    let (least, worst) = (ratios[0], ratios[ratios.len() - 1]);
    if table {
        let line = json!({
            "name": format!("schedule, {name}, {jobs} jobs"),
            "value": worst,
            "unit": "ratio",
            "spread": format!("{least:.3} to {worst:.3}"),
            "command": "cargo bench --bench schedule -- --table",
        });
        println!("{line}");
        return;
    }
    let bound = fleets[0].bound(jobs);
    println!(
        "{name:<28} {jobs:>3} jobs  {least:.3} to {worst:.3}   (the first: path {:.0} s, work {:.0} s, clones {:.0} s; {:.0} s)",
        bound.path.as_secs_f64(),
        bound.work.as_secs_f64(),
        bound.clones.as_secs_f64(),
        fleets[0].makespan(jobs).as_secs_f64(),
    );
}
