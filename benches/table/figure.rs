//! A figure, as every bench prints it with `--table`: one line of JSON.

use serde::{Deserialize, Serialize};

/// Something that was measured or counted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub name: String,
    /// The median.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// From the least to the greatest of all runs.
    #[serde(default)]
    pub spread: String,
    /// What prints it.
    #[serde(default)]
    pub command: String,
}

impl Figure {
    /// Of some runs.
    pub fn of(name: &str, runs: &[f64], unit: &str, command: &str) -> Self {
        let (least, median, greatest) = middle(runs);
        Self {
            name: name.to_owned(),
            value: median,
            unit: unit.to_owned(),
            spread: match runs {
                [] | [_] => String::new(),
                _ => format!(
                    "{} to {}, {} runs",
                    short(least, unit),
                    short(greatest, unit),
                    runs.len()
                ),
            },
            command: command.to_owned(),
        }
    }
}

/// The least, the median and the greatest.
pub fn middle(runs: &[f64]) -> (f64, f64, f64) {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    let half = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        at(half)
    } else {
        f64::midpoint(at(half.saturating_sub(1)), at(half))
    };
    (at(0), median, at(sorted.len().saturating_sub(1)))
}

/// A number with as many digits as mean something.
pub fn short(value: f64, unit: &str) -> String {
    match value.abs() {
        _ if unit == "ratio" => format!("{value:.2}"),
        whole if whole.fract() == 0.0 => thousands(value),
        great if great >= 1000.0 => thousands(value.round()),
        great if great >= 100.0 => format!("{value:.0}"),
        great if great >= 10.0 => format!("{value:.1}"),
        great if great >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}
