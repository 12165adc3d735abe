//! Tables: the runs of a journal, and how each container stands.

use anstyle::Style;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::text::{ADDED, BAD, CHANGED, Cell, moment, one_line, rfc3339, table};
use super::undeclared::Undeclared;
use crate::domain::ids::{Ctid, RunId};
use crate::domain::observed::{ObservedContainer, ObservedWorld, Status};
use crate::domain::record::{ContainerRecord, Outcome, Phase, Record, RunRecord};
use crate::domain::setting::Key;
use crate::plan::{ContainerPlan, FleetPlan};

/// How one container stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The container.
    pub ctid: Ctid,
    /// Its declared name.
    pub name: String,
    /// Whether it is declared.
    pub declared: bool,
    /// `running`, `stopped`, `absent` or `half-created`.
    pub observed: &'static str,
    /// What came of the last work on it: `converged`, `failed`, `skipped`, `unfinished`; none:
    /// it was never worked on.
    pub outcome: Option<&'static str>,
    /// When that was.
    pub at: Option<DateTime<Utc>>,
    /// The run it was in.
    pub run: Option<RunId>,
    /// How many actions a plan has for it.
    pub pending: usize,
    /// What keeps it from being worked on.
    pub problems: Vec<String>,
    /// Whether it had converged and is not as declared any more: it or the files were changed.
    pub drift: bool,
}

impl Standing {
    fn desired(&self) -> &'static str {
        if self.declared { "present" } else { "absent" }
    }
}

/// How containers stand that phoenix made and that are declared no more.
#[must_use]
pub fn undeclared(found: &[Undeclared], world: &ObservedWorld, record: &Record) -> Vec<Standing> {
    let rows = found.iter().map(|(ctid, _)| {
        let seen = world.containers.get(ctid).map(|seen| &**seen);
        let unplanned = ContainerPlan {
            ctid: *ctid,
            name: seen.map(name).unwrap_or_default(),
            steps: Vec::new(),
            problems: Vec::new(),
            blocked_by: None,
            notes: Vec::new(),
            unmanaged: Vec::new(),
        };
        Standing {
            declared: false,
            ..standing(&unplanned, seen, &record.container(*ctid))
        }
    });
    rows.collect()
}

/// The name that a container has on the host.
fn name(seen: &ObservedContainer) -> String {
    let name = seen.settings.get(&Key::Hostname);
    name.map(ToString::to_string).unwrap_or_default()
}

/// How the planned containers stand, by id.
#[must_use]
pub fn standings(plan: &FleetPlan, world: &ObservedWorld, record: &Record) -> Vec<Standing> {
    let mut rows: Vec<Standing> = plan
        .containers
        .iter()
        .map(|plan| {
            let seen = world.containers.get(&plan.ctid).map(|seen| &**seen);
            standing(plan, seen, &record.container(plan.ctid))
        })
        .collect();
    rows.sort_by_key(|row| row.ctid);
    rows
}

fn standing(
    plan: &ContainerPlan,
    seen: Option<&ObservedContainer>,
    record: &ContainerRecord,
) -> Standing {
    let observed = match seen {
        None => "absent",
        Some(seen) if seen.half_created() => "half-created",
        Some(seen) if seen.status == Status::Running => "running",
        Some(_) => "stopped",
    };
    let outcome = record.outcome.as_ref().map(|outcome| match outcome {
        Outcome::Working(_) => "unfinished",
        Outcome::Converged => "converged",
        Outcome::Destroyed => "destroyed",
        Outcome::Failed { .. } => "failed",
        Outcome::Skipped { .. } => "skipped",
    });
    let problems = plan.problems.iter().map(|(_, problem)| &problem.message);
    let blocked = plan.blocked_by.map(|other| format!("waits for {other}"));
    let problems: Vec<String> = problems.cloned().chain(blocked).collect();
    let moved = plan.changes() > 0 || !plan.problems.is_empty();
    Standing {
        ctid: plan.ctid,
        name: plan.name.clone(),
        declared: true,
        observed,
        outcome,
        at: record.at,
        run: record.run,
        pending: plan.changes(),
        drift: moved && record.outcome == Some(Outcome::Converged),
        problems,
    }
}

fn outcome_style(outcome: &str) -> Style {
    match outcome {
        "converged" | "destroyed" => ADDED,
        "failed" => BAD,
        "skipped" | "unfinished" | "interrupted" | "working" => CHANGED,
        _ => Style::new(),
    }
}

/// The standings as a table.
#[must_use]
pub fn status_table(rows: &[Standing]) -> String {
    let cells = rows.iter().map(|row| {
        let observed = match row.observed {
            "running" => ADDED,
            "half-created" => BAD,
            _ => CHANGED,
        };
        let outcome = row.outcome.unwrap_or("never");
        let pending = match (row.pending, row.problems.first()) {
            (_, Some(problem)) => Cell::styled(BAD, one_line(problem)),
            (0, None) => Cell::new("none"),
            (1, None) => Cell::styled(CHANGED, "1 change"),
            (number, None) => Cell::styled(CHANGED, format!("{number} changes")),
        };
        vec![
            Cell::new(row.ctid.to_string()),
            Cell::new(one_line(&row.name)),
            Cell::new(row.desired()),
            Cell::styled(observed, row.observed),
            Cell::styled(outcome_style(outcome), outcome),
            Cell::new(row.at.map(moment).unwrap_or_default()),
            Cell::styled(CHANGED, if row.drift { "yes" } else { "" }),
            pending,
        ]
    });
    let headings = [
        "CTID", "NAME", "DESIRED", "OBSERVED", "LAST RUN", "WHEN", "DRIFT", "PENDING",
    ];
    table(&headings, &cells.collect::<Vec<_>>())
}

/// The standings as a document.
#[must_use]
pub fn status_json(rows: &[Standing]) -> Value {
    let rows = rows.iter().map(|row| {
        json!({
            "ctid": row.ctid,
            "name": row.name,
            "desired": row.desired(),
            "observed": row.observed,
            "outcome": row.outcome,
            "at": row.at.map(rfc3339),
            "run": row.run,
            "pending": row.pending,
            "drift": row.drift,
            "problems": row.problems,
        })
    });
    json!({ "containers": rows.collect::<Vec<_>>() })
}

/// The runs as a table, oldest first.
#[must_use]
pub fn runs_table(runs: &[RunRecord]) -> String {
    let cells = runs.iter().map(|run| {
        let name = run.outcome();
        let why = match &run.phase {
            Phase::Interrupted { reason } => one_line(reason),
            Phase::Superseded { by } => format!("by {by}"),
            _ => String::new(),
        };
        let mut cells = vec![
            Cell::new(run.id.to_string()),
            Cell::new(moment(run.started_at)),
            Cell::new(one_line(&run.started.operator)),
            Cell::styled(outcome_style(name), name),
        ];
        let totals = match &run.phase {
            Phase::Finished(totals) => Some(*totals),
            _ => None,
        };
        let number = |of: fn(&crate::domain::event::RunTotals) -> u64| {
            Cell::new(totals.map_or(String::new(), |totals| of(&totals).to_string()))
        };
        cells.push(number(|totals| totals.converged));
        cells.push(number(|totals| totals.failed));
        cells.push(number(|totals| totals.skipped));
        cells.push(number(|totals| totals.mutations));
        cells.push(Cell::new(why));
        cells
    });
    let headings = [
        "RUN",
        "STARTED",
        "BY",
        "OUTCOME",
        "CONVERGED",
        "FAILED",
        "SKIPPED",
        "CHANGES",
        "",
    ];
    table(&headings, &cells.collect::<Vec<_>>())
}

/// The runs as a document, oldest first.
#[must_use]
pub fn runs_json(runs: &[RunRecord]) -> Value {
    let rows = runs.iter().map(|run| {
        let (reason, by) = match &run.phase {
            Phase::Interrupted { reason } => (Some(reason.as_str()), None),
            Phase::Superseded { by } => (None, Some(*by)),
            _ => (None, None),
        };
        let totals = match &run.phase {
            Phase::Finished(totals) => Some(*totals),
            _ => None,
        };
        json!({
            "run": run.id,
            "started_at": rfc3339(run.started_at),
            "last_at": rfc3339(run.last_at),
            "operator": run.started.operator,
            "version": run.started.version,
            "outcome": run.outcome(),
            "reason": reason,
            "superseded_by": by,
            "resumed": run.resumed,
            "resumable": run.resumable(),
            "targets": run.started.targets,
            "jobs": run.started.jobs,
            "converged": totals.map(|totals| totals.converged),
            "unchanged": totals.map(|totals| totals.unchanged),
            "failed": totals.map(|totals| totals.failed),
            "skipped": totals.map(|totals| totals.skipped),
            "mutations": totals.map(|totals| totals.mutations),
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::event::{RunStarted, RunTotals};
    use crate::domain::ids::Digest;
    use crate::domain::step::Step;
    use crate::report::describe::tests as make;
    use crate::report::plan::tests::mixed;
    use crate::report::text::plain;

    fn rows() -> Vec<Standing> {
        let mut world = ObservedWorld::default();
        let running = make::seen(&[]);
        let mut stopped = running.clone();
        stopped.status = Status::Stopped;
        world.containers.insert(make::ctid(951), Arc::new(running));
        world.containers.insert(make::ctid(955), Arc::new(stopped));
        let mut record = Record::default();
        let at = DateTime::<Utc>::from_timestamp(0, 0);
        for (number, outcome) in [
            (951, Outcome::Converged),
            (952, Outcome::Working(Step::StartContainer)),
            (955, Outcome::Converged),
        ] {
            let known = ContainerRecord {
                outcome: Some(outcome),
                at,
                ..ContainerRecord::default()
            };
            record.containers.insert(make::ctid(number), known);
        }
        standings(&mixed(), &world, &record)
    }

    #[test]
    fn the_table_tells_drift_from_work_never_done() {
        let expected = "\
CTID  NAME       DESIRED  OBSERVED  LAST RUN    WHEN                  DRIFT  PENDING
950   web        present  absent    never                                    3 changes
951   db         present  running   converged   1970-01-01 00:00:00Z  yes    2 changes
952   bad        present  absent    unfinished  1970-01-01 00:00:00Z         the host has no storage 'x'
953   after-bad  present  absent    never                                    waits for 952
954   checked    present  absent    never                                    1 change
955   fine       present  stopped   converged   1970-01-01 00:00:00Z         none
";
        assert_eq!(plain(&status_table(&rows())), expected);
    }

    #[test]
    fn the_document_has_the_same() {
        let shown = status_json(&rows());
        assert_eq!(shown["containers"][1]["drift"], true);
        assert_eq!(shown["containers"][1]["pending"], 2);
        assert_eq!(shown["containers"][0]["outcome"], Value::Null);
        assert_eq!(shown["containers"][5]["observed"], "stopped");
    }

    #[test]
    fn runs_show_their_end() {
        let at = DateTime::<Utc>::UNIX_EPOCH;
        let run = |phase| RunRecord {
            id: RunId::NONE,
            started: RunStarted {
                operator: "root".to_owned(),
                version: "1".to_owned(),
                boot_id: "b".to_owned(),
                pid: 1,
                desired: Digest::of(b""),
                targets: Vec::new(),
                jobs: 4,
                rerun: Vec::new(),
                no_restart: false,
                check_health: false,
                destroy: false,
            },
            started_at: at,
            last_at: at,
            resumed: 0,
            boot_id: "b".to_owned(),
            pid: 1,
            phase,
        };
        let runs = [
            run(Phase::Finished(RunTotals {
                converged: 3,
                failed: 1,
                ..RunTotals::default()
            })),
            run(Phase::Interrupted {
                reason: "a signal".to_owned(),
            }),
        ];
        let shown = plain(&runs_table(&runs));
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].contains("root  failed       3          1"));
        assert!(lines[2].ends_with("a signal"));
        let shown = runs_json(&runs);
        assert_eq!(shown[0]["converged"], 3);
        assert_eq!(shown[0]["resumable"], true);
        assert_eq!(shown[1]["converged"], Value::Null);
        assert_eq!(shown[1]["reason"], "a signal");
    }
}
