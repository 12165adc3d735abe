//! What came of a run, for a person.

use std::collections::BTreeMap;

use super::plan::as_declared;
use super::text::{BAD, STRONG, count, duration, harmless, paint};
use crate::domain::ids::Ctid;
use crate::engine::{ContainerOutcome, Summary};

/// A run that came to its end, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What came of it.
    pub summary: &'a Summary,
    /// Whether containers were to be destroyed.
    pub destroys: bool,
    /// What a person can do about those that failed, where that is known.
    pub helps: &'a BTreeMap<Ctid, String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How many times events were made durable together.
    pub durable_batches: u64,
    /// How often the host was looked at.
    pub observations: u64,
    /// How many programs were started for it.
    pub processes: u64,
}

impl Report<'_> {
    /// Whether all containers are as declared.
    #[must_use]
    pub fn whole(&self) -> bool {
        let totals = &self.summary.totals;
        !self.summary.interrupted && totals.failed + totals.skipped == 0
    }

    fn first_failed(&self) -> Option<Ctid> {
        let mut outcomes = self.summary.outcomes.iter();
        outcomes
            .find(|(_, outcome)| *outcome == ContainerOutcome::Failed)
            .map(|(ctid, _)| *ctid)
    }
}

/// The last lines of `apply` and `resume`.
#[must_use]
pub fn human(report: &Report<'_>) -> String {
    let Report {
        summary, took_ms, ..
    } = report;
    let totals = &summary.totals;
    if !report.destroys
        && report.whole()
        && totals.mutations == 0
        && totals.converged == totals.unchanged
    {
        return format!("{}\n", as_declared("Nothing changed:", totals.converged));
    }
    let failed = format!("{} failed", totals.failed);
    let failed = if totals.failed > 0 {
        paint(BAD, &failed)
    } else {
        failed
    };
    let lead = if summary.interrupted {
        paint(BAD, "Interrupted. ")
    } else {
        String::new()
    };
    let mut text = format!(
        "{lead}{}, {failed}, {} skipped; {} in {}. Run {}\n",
        reached(report),
        totals.skipped,
        count(totals.mutations, "change"),
        duration(*took_ms),
        summary.run,
    );
    if summary.interrupted {
        text.push_str("Go on with `phoenix resume`.\n");
    } else if let Some(ctid) = report.first_failed() {
        let what = match report.helps.get(&ctid) {
            Some(help) => format!("What to do: {}", harmless(help)),
            None => "When the cause is cured: `phoenix resume`.".to_owned(),
        };
        text.push_str(&format!(
            "What happened: `phoenix history {ctid}`. {what}\n"
        ));
    }
    text
}

fn reached(report: &Report<'_>) -> String {
    let totals = &report.summary.totals;
    let containers = count(totals.converged, "container");
    if report.destroys {
        return format!("{} {containers}", paint(STRONG, "Destroyed"));
    }
    format!(
        "{} {containers} ({} changed, {} unchanged)",
        paint(STRONG, "Converged"),
        totals.converged.saturating_sub(totals.unchanged),
        totals.unchanged
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::RunTotals;
    use crate::domain::ids::RunId;
    use crate::report::describe::tests::ctid;
    use crate::report::text::plain;

    fn shown(totals: RunTotals, interrupted: bool, outcomes: &[(u32, ContainerOutcome)]) -> String {
        let outcomes = outcomes
            .iter()
            .map(|(number, outcome)| (ctid(*number), outcome.clone()));
        let summary = Summary {
            run: RunId::NONE,
            totals,
            interrupted,
            outcomes: outcomes.collect(),
        };
        plain(&human(&Report {
            summary: &summary,
            destroys: false,
            helps: &BTreeMap::from([(ctid(951), "look\x1b[2J at it".to_owned())]),
            took_ms: 3_200,
            durable_batches: 1,
            observations: 1,
            processes: 0,
        }))
    }

    const RUN: &str = "00000000-0000-0000-0000-000000000000";

    #[test]
    fn nothing_changed_is_one_line() {
        let totals = RunTotals {
            converged: 15,
            unchanged: 15,
            ..RunTotals::default()
        };
        assert_eq!(
            shown(totals, false, &[]),
            "Nothing changed: 15 containers are as declared.\n"
        );
    }

    #[test]
    fn success_counts_everything() {
        let totals = RunTotals {
            converged: 15,
            unchanged: 1,
            mutations: 87,
            ..RunTotals::default()
        };
        assert_eq!(
            shown(totals, false, &[]),
            format!(
                "Converged 15 containers (14 changed, 1 unchanged), 0 failed, 0 skipped; \
                 87 changes in 3.2 s. Run {RUN}\n"
            )
        );
    }

    #[test]
    fn failure_and_interruption_say_what_to_do() {
        let totals = RunTotals {
            converged: 1,
            unchanged: 1,
            failed: 1,
            skipped: 1,
            mutations: 1,
        };
        let failed = shown(totals, false, &[(950, ContainerOutcome::Failed)]);
        let expected = format!(
            "Converged 1 container (0 changed, 1 unchanged), 1 failed, 1 skipped; \
             1 change in 3.2 s. Run {RUN}\n\
             What happened: `phoenix history 950`. When the cause is cured: `phoenix resume`.\n"
        );
        assert_eq!(failed, expected);
        let failed = shown(totals, false, &[(951, ContainerOutcome::Failed)]);
        assert!(failed.ends_with("What happened: `phoenix history 951`. What to do: look at it\n"));
        let interrupted = shown(RunTotals::default(), true, &[]);
        assert!(interrupted.starts_with("Interrupted. Converged 0 containers"));
        assert!(interrupted.ends_with("Go on with `phoenix resume`.\n"));
    }
}
