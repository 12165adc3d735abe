//! Figures of whole processes, as a user starts them: what is compared is run in turns, so that
//! whatever else the machine does meets all of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::figure::{Figure, middle};
use crate::virtual_time::Fleet;
use crate::{COMMAND, Sizes, fleet, program};

/// The program on a configuration with a state directory of its own, on the simulated host.
struct Site {
    config: PathBuf,
    state: PathBuf,
}

impl Site {
    fn phoenix(&self, arguments: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_phoenix"));
        command
            .arg("--config")
            .arg(&self.config)
            .arg("--state")
            .arg(&self.state)
            .args(["--host", "sim", "--format", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Runs it to its end: the time, and what it said.
    fn timed(&self, arguments: &[&str]) -> io::Result<(Duration, Value)> {
        let mut command = self.phoenix(arguments);
        let began = Instant::now();
        let output = command.stdout(Stdio::piped()).output()?;
        let time = began.elapsed();
        if !output.status.success() {
            return Err(io::Error::other(format!("{command:?}: {}", output.status)));
        }
        // One document, or lines of which the last is the summary.
        let mut lines = output.stdout.trim_ascii_end().split(|byte| *byte == b'\n');
        let last = serde_json::from_slice(lines.next_back().unwrap_or_default());
        let said = last.or_else(|_| serde_json::from_slice(&output.stdout));
        Ok((time, said.unwrap_or_default()))
    }

    fn forget(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Runs a process to its end: the most memory that it had, in KB.
fn peak_of_run(command: &mut Command) -> io::Result<f64> {
    let mut child = command.spawn()?;
    let mut peak = 0.0;
    let status = loop {
        // What the kernel calls the high-water mark only grows; it is gone with the process.
        if let Some(now) = peak_of(&child) {
            peak = now;
        }
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    match status.success() {
        true => Ok(peak),
        false => Err(io::Error::other(format!("{command:?}: {status}"))),
    }
}

fn peak_of(child: &Child) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// All of them.
pub fn measure(dir: &Path, sizes: &Sizes) -> io::Result<Vec<Figure>> {
    let example = Site {
        config: Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/fleet"),
        state: dir.join("example"),
    };
    let mut figures = help(sizes)?;
    figures.extend(real_time(&example, sizes)?);
    figures.extend(nothing_to_do("15", &example, sizes.runs)?);
    let many = fresh(dir, sizes, &mut figures)?;
    figures.extend(nothing_to_do("many", &many, sizes.runs.min(5))?);
    figures.extend(history(&many, sizes)?);
    figures.extend(first_action(&many, sizes)?);
    Ok(figures)
}

fn help(sizes: &Sizes) -> io::Result<Vec<Figure>> {
    let mut runs = Vec::new();
    for _ in 0..2 * sizes.runs {
        let began = Instant::now();
        program(env!("CARGO_BIN_EXE_phoenix"))
            .arg("--help")
            .stdout(Stdio::null())
            .status()?;
        runs.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(vec![Figure::of("--help", &runs, "ms", COMMAND)])
}

/// Makes the three fleets in turns; leaves the largest as it is.
fn fresh(dir: &Path, sizes: &Sizes, figures: &mut Vec<Figure>) -> io::Result<Site> {
    let names = ["few", "some", "many"];
    let mut sites = Vec::new();
    for (name, count) in names.iter().zip(sizes.fleets) {
        let config = dir.join(format!("{name}-config"));
        fleet::write(count as usize, &config)?;
        let state = dir.join(format!("{name}-state"));
        sites.push(Site { config, state });
    }
    let mut peaks = [const { Vec::new() }; 3];
    for _ in 0..sizes.fresh {
        for (place, site) in sites.iter().enumerate() {
            site.forget()?;
            let peak = peak_of_run(&mut site.phoenix(&["apply"]))?;
            peaks[place].push(peak / f64::from(sizes.fleets[place]));
        }
    }
    for (name, peaks) in names.iter().zip(&peaks) {
        let name = format!("{name}, fresh: peak memory a container");
        figures.push(Figure::of(&name, peaks, "KB", COMMAND));
    }
    sites.pop().ok_or_else(|| io::Error::other("no fleet"))
}

/// `apply` and `plan` in turns where all is done.
fn nothing_to_do(name: &str, site: &Site, runs: usize) -> io::Result<Vec<Figure>> {
    site.timed(&["apply"])?;
    let mut times = [const { Vec::new() }; 2];
    let (mut looks, mut batches) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (time, said) = site.timed(&["apply"])?;
        times[0].push(time.as_secs_f64() * 1000.0);
        looks.push(said["observations"].as_f64().unwrap_or(f64::NAN));
        batches.push(said["durable_batches"].as_f64().unwrap_or(f64::NAN));
        let (time, _) = site.timed(&["plan"])?;
        times[1].push(time.as_secs_f64() * 1000.0);
    }
    let figure = |what: &str, runs: &[f64], unit: &str| {
        Figure::of(
            &format!("{name}, nothing to do: {what}"),
            runs,
            unit,
            COMMAND,
        )
    };
    Ok(vec![
        figure("apply", &times[0], "ms"),
        figure("plan", &times[1], "ms"),
        figure("looks at the host", &looks, "looks"),
        figure("durable batches", &batches, "batches"),
    ])
}

/// The history of one container in a long journal, beside the least that has to be done for it:
/// a process that opens sled on the same directory.
fn history(site: &Site, sizes: &Sizes) -> io::Result<Vec<Figure>> {
    let events = || -> io::Result<f64> {
        let (_, said) = site.timed(&["journal", "stat"])?;
        let events = said["events"].as_f64();
        events.ok_or_else(|| io::Error::other(format!("no number of events in {said}")))
    };
    // The same fleet is made again and again on a host that has forgotten it.
    while events()? < sizes.events {
        site.timed(&["sim", "reset"])?;
        site.timed(&["apply"])?;
    }
    let own = std::env::current_exe()?.display().to_string();
    let store = site.state.join("journal/store");
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..sizes.runs.min(9) {
        times[0].push(site.timed(&["history", "1042"])?.0.as_secs_f64() * 1000.0);
        let began = Instant::now();
        let opened = program(&own).arg(OPEN_SLED).arg(&store).status()?;
        times[1].push(began.elapsed().as_secs_f64() * 1000.0);
        if !opened.success() {
            return Err(io::Error::other("sled did not open"));
        }
    }
    let ratio = middle(&times[0]).1 / middle(&times[1]).1;
    let figure = |what: &str, runs: &[f64], unit: &str| {
        Figure::of(
            &format!("history in a long journal: {what}"),
            runs,
            unit,
            COMMAND,
        )
    };
    Ok(vec![
        figure("events", &[events()?], "events"),
        figure("of one container", &times[0], "ms"),
        figure("sled alone, opened and closed", &times[1], "ms"),
        figure("ratio to sled alone", &[ratio], "ratio"),
    ])
}

/// What this program does when it is started so: it opens sled as the journal does, and closes it.
pub const OPEN_SLED: &str = "--open-sled";

pub fn open_sled(store: &str) -> io::Result<()> {
    let config = sled::Config::new().path(store).flush_every_ms(None);
    let opened = config.cache_capacity(64 << 20).open();
    opened.map(drop).map_err(io::Error::other)
}

/// From the start of `resume` to the first line in the log of the simulated host.
fn first_action(site: &Site, sizes: &Sizes) -> io::Result<Vec<Figure>> {
    site.forget()?;
    let faults = site.config.join("faults.json");
    let half = sizes.fleets[2] / 2;
    let kill = json!([{ "kind": "start", "n": half, "fault": "exit-before" }]);
    fs::write(&faults, kill.to_string())?;
    let killed = site
        .phoenix(&["apply"])
        .env("PHOENIX_SIM_FAULTS", &faults)
        .status()?;
    if killed.success() {
        return Err(io::Error::other("the apply was to be killed halfway"));
    }
    let log = site.state.join("sim/log.jsonl");
    let mut runs = Vec::new();
    for _ in 0..sizes.fresh {
        let before = fs::metadata(&log)?.len();
        let began = Instant::now();
        let mut child = site.phoenix(&["resume"]).spawn()?;
        while fs::metadata(&log)?.len() <= before && child.try_wait()?.is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        runs.push(began.elapsed().as_secs_f64());
        // The next run goes on where this one is killed.
        child.kill()?;
        child.wait()?;
    }
    let name = "many, killed halfway, resume: first action";
    Ok(vec![Figure::of(name, &runs, "s", COMMAND)])
}

/// The real program and scheduler against the same bound as in virtual time, faster than `pct`.
fn real_time(site: &Site, sizes: &Sizes) -> io::Result<Vec<Figure>> {
    let bound = Fleet::read(&site.config).bound(4).plain();
    let mut runs = Vec::new();
    for _ in 0..sizes.fresh {
        site.forget()?;
        let began = Instant::now();
        let status = site
            .phoenix(&["--jobs", "4", "apply"])
            .env("PHOENIX_SIM_LATENCY", format!("pct/{}", sizes.faster))
            .status()?;
        let time = began.elapsed();
        if !status.success() {
            return Err(io::Error::other(format!("apply: {status}")));
        }
        runs.push(time.as_secs_f64() * f64::from(sizes.faster) / bound.as_secs_f64());
    }
    let name = "schedule, whole process in real time: the example, 4 jobs";
    Ok(vec![Figure::of(name, &runs, "ratio", COMMAND)])
}
