//! The page: the template's words, with figures in the places that it names.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::figure::{Figure, short};
use crate::targets::TARGETS;

/// Fills `{{machine}}`, `{{targets}}` and `{{figures BEGINNING}}`, which shows every figure whose
/// name begins so and that no earlier place has shown. None is left out.
///
/// # Errors
/// A place that does not exist, or a figure that no place shows.
pub fn fill(template: &str, machine: &str, figures: &[Figure]) -> Result<String, String> {
    let mut page = String::new();
    let mut left: Vec<&Figure> = figures.iter().collect();
    let mut parts = template.split("{{");
    page.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (place, rest) = part.split_once("}}").ok_or("a place without an end")?;
        match place.split_once(' ') {
            None if place == "machine" => page.push_str(machine),
            None if place == "targets" => page.push_str(&targets(figures)),
            Some(("figures", beginning)) => {
                let (here, later): (Vec<&Figure>, Vec<&Figure>) = left
                    .iter()
                    .partition(|figure| figure.name.starts_with(beginning));
                left = later;
                page.push_str(&table(&here));
            }
            _ => return Err(format!("no such place: {place}")),
        }
        page.push_str(rest);
    }
    match left.first() {
        Some(figure) => Err(format!("the template has no place for '{}'", figure.name)),
        None => Ok(page),
    }
}

fn targets(figures: &[Figure]) -> String {
    let mut text =
        "| | figure | target | measured | spread | |\n|---|---|---|---|---|---|\n".to_owned();
    for target in TARGETS {
        let found = figures.iter().find(|figure| figure.name == target.figure);
        let row = match found {
            Some(figure) => format!(
                "| {} | {} | {} | {} | {} |",
                target.figure,
                target.aim(&figure.unit),
                short(figure.value, &figure.unit),
                figure.spread,
                target.verdict(figure)
            ),
            None => format!(
                "| {} | {} | | | not measured |",
                target.figure,
                target.aim("")
            ),
        };
        let _ = writeln!(text, "| {} {row}", target.about);
    }
    text
}

/// A table for each command, below it.
fn table(figures: &[&Figure]) -> String {
    let mut text = String::new();
    let mut command = "";
    for figure in figures {
        if figure.command != command {
            command = &figure.command;
            let gap = if text.is_empty() { "" } else { "\n" };
            let head = "| figure | median | unit | spread |\n|---|---|---|---|";
            let _ = writeln!(text, "{gap}    {command}\n\n{head}");
        }
        let (value, unit) = (short(figure.value, &figure.unit), &figure.unit);
        let _ = writeln!(
            text,
            "| {} | {value} | {unit} | {} |",
            figure.name, figure.spread
        );
    }
    text
}

/// What it was measured on.
pub fn machine(dir: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let memory: f64 = line(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0.0);
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
    format!(
        "{}; {} cores ({}), {:.0} GB of memory, Linux {}, {} below the state directories; load average \
         at the start {}",
        now.format("%Y-%m-%d %H:%M UTC"),
        std::thread::available_parallelism().map_or(0, usize::from),
        line(&read("/proc/cpuinfo"), "model name"),
        memory / 1024.0 / 1024.0,
        read("/proc/sys/kernel/osrelease").trim(),
        file_system(dir, &read("/proc/self/mounts")),
        read("/proc/loadavg")
            .split(' ')
            .take(3)
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// The kind of the file system with the longest mount point above a directory.
fn file_system(dir: &Path, mounts: &str) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mounts.filter(|(point, _)| dir.starts_with(point));
    let longest = above.max_by_key(|(point, _)| point.len());
    longest.map_or("unknown", |(_, kind)| kind).to_owned()
}
