//! The whole table: runs every bench, measures whole processes, and writes docs/performance.md
//! from `benches/table/performance.md`.
//!
//! `cargo bench --bench table`; `-- --quick` takes small fleets and writes nothing.
#![expect(unreachable_pub, reason = "one binary, nothing outside of it")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is the result"
)]

mod figure;
#[path = "../fleet.rs"]
#[expect(dead_code, reason = "its program is not run here")]
mod fleet;
mod page;
mod processes;
mod targets;
#[path = "../schedule/virtual_time.rs"]
#[expect(dead_code, reason = "only the bound is used here")]
mod virtual_time;

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use figure::Figure;

const COMMAND: &str = "cargo bench --bench table";

/// The benches that print figures.
const BENCHES: [&str; 4] = ["journal", "overhead", "schedule", "original"];

/// How much is measured.
pub struct Sizes {
    /// Few, some and many containers.
    pub fleets: [u32; 3],
    /// Events of a long journal.
    pub events: f64,
    /// Runs of what takes long.
    pub fresh: usize,
    /// Runs of what is quick.
    pub runs: usize,
    /// How many times faster than `pct` the real-time schedule runs.
    pub faster: u32,
}

const WHOLE: Sizes = Sizes {
    fleets: [100, 1000, 10_000],
    events: 1_100_000.0,
    fresh: 3,
    runs: 21,
    faster: 20,
};

const QUICK: Sizes = Sizes {
    fleets: [10, 50, 200],
    events: 10_000.0,
    fresh: 1,
    runs: 2,
    faster: 200,
};

#[expect(clippy::disallowed_methods, reason = "whole processes are measured")]
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHOENIX_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a bench; returns what it printed.
fn cargo(words: &[&str]) -> io::Result<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = program(&cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["bench", "--quiet", "--locked", "--profile"])
        .args([if cfg!(debug_assertions) {
            "dev"
        } else {
            "bench"
        }])
        .arg("--bench")
        .args(words)
        .stderr(Stdio::inherit());
    let output = command.output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(format!("{command:?}: {}", output.status))),
    }
}

fn run(quick: bool) -> io::Result<()> {
    let sizes = if quick { &QUICK } else { &WHOLE };
    // A directory on the disk: /tmp is memory on many machines.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let machine = page::machine(dir.path());
    let mut figures = processes::measure(dir.path(), sizes)?;
    for bench in BENCHES {
        let mut words = vec![bench, "--", "--table"];
        words.extend(quick.then_some("--quick"));
        let printed = cargo(&words)?;
        let lines = printed.lines().filter(|line| line.starts_with('{'));
        for line in lines {
            figures.push(serde_json::from_str::<Figure>(line)?);
        }
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let template = fs::read_to_string(here.join("benches/table/performance.md"))?;
    let page = page::fill(&template, &machine, &figures).map_err(io::Error::other)?;
    if quick {
        println!("{page}");
        return Ok(());
    }
    fs::write(here.join("docs/performance.md"), page)?;
    println!("docs/performance.md is written");
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.as_slice() {
        [open, store] if open == processes::OPEN_SLED => processes::open_sled(store),
        words => run(words.iter().any(|word| word == "--quick")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the table was not made, and no page was written: {error}");
            ExitCode::FAILURE
        }
    }
}
