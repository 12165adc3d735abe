//! What is aimed at, by the names of the figures. Each figure's name says which line prints it.

use crate::figure::Figure;

/// One row of the page's first table.
pub struct Target {
    /// What it is about.
    pub about: &'static str,
    /// The figure.
    pub figure: &'static str,
    pub limit: Limit,
}

pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

const fn target(about: &'static str, figure: &'static str, limit: Limit) -> Target {
    Target {
        about,
        figure,
        limit,
    }
}

pub const TARGETS: &[Target] = &[
    target(
        "Journal",
        "journal, 64 producers: ratio to a raw file",
        AtLeast(0.8),
    ),
    target(
        "Journal",
        "journal, 1 producer: ratio to a raw file",
        AtLeast(0.6),
    ),
    target(
        "Journal",
        "journal, 1 producer: median wait, ratio to a raw file",
        AtMost(1.5),
    ),
    target(
        "Journal",
        "journal, 64 producers: on disk an event",
        AtMost(300.0),
    ),
    target(
        "Convergence",
        "overhead: 10000 containers, ratio to the journal alone",
        AtMost(1.25),
    ),
    target("Convergence", "overhead: exponent of growth", AtMost(1.1)),
    target(
        "Convergence",
        "many, fresh: peak memory a container",
        AtMost(25.0),
    ),
    target(
        "Nothing to do",
        "many, nothing to do: apply",
        AtMost(1000.0),
    ),
    target("Nothing to do", "many, nothing to do: plan", AtMost(1000.0)),
    target(
        "Nothing to do",
        "many, nothing to do: looks at the host",
        AtMost(1.0),
    ),
    target(
        "Nothing to do",
        "many, nothing to do: durable batches",
        AtMost(3.0),
    ),
    target("Nothing to do", "15, nothing to do: apply", AtMost(30.0)),
    target("Nothing to do", "15, nothing to do: plan", AtMost(30.0)),
    target(
        "Schedule",
        "schedule, plain bound: the example, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target(
        "Schedule",
        "schedule, plain bound: 15 of the example's shape, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target(
        "Schedule",
        "schedule, plain bound: 15 random, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target(
        "Schedule",
        "schedule, plain bound: 15 clones of one, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target(
        "Schedule",
        "schedule, plain bound: 100 of the example's shape, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target(
        "Schedule",
        "schedule, plain bound: 100 random, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target(
        "Schedule",
        "schedule, plain bound: 100 clones of one, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target(
        "Schedule",
        "schedule, plain bound: 1000 of the example's shape, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target(
        "Schedule",
        "schedule, plain bound: 1000 random, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target(
        "Schedule",
        "schedule, plain bound: 1000 clones of one, worst of 2 to 16 jobs",
        AtMost(1.1),
    ),
    target("Start-up", "--help", AtMost(5.0)),
    target(
        "Start-up",
        "history in a long journal: ratio to sled alone",
        AtMost(1.3),
    ),
    target(
        "Start-up",
        "many, killed halfway, resume: first action",
        AtMost(1.0),
    ),
];

impl Target {
    pub fn aim(&self, unit: &str) -> String {
        match self.limit {
            AtMost(limit) => format!("at most {} {unit}", crate::figure::short(limit, unit)),
            AtLeast(limit) => format!("at least {} {unit}", crate::figure::short(limit, unit)),
        }
    }

    /// Whether it is met, or by how much it is missed.
    pub fn verdict(&self, figure: &Figure) -> String {
        let (met, off) = match self.limit {
            AtMost(limit) => (figure.value <= limit, figure.value / limit - 1.0),
            AtLeast(limit) => (figure.value >= limit, 1.0 - figure.value / limit),
        };
        match met {
            true => "met".to_owned(),
            false => format!("**missed** by {:.0} %", (off * 100.0).ceil()),
        }
    }
}
