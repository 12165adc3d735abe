//! The documents for scripts. Their shape is promised in `docs/cli.md`.

use serde_json::{Map, Value, json};

use super::describe;
use super::findings::Tally;
use super::summary::Report;
use crate::domain::action::Action;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::setting::Value as Setting;
use crate::engine::ContainerOutcome;
use crate::plan::{ContainerPlan, FleetPlan};

/// Serialises what cannot fail to be serialised.
fn value(from: &impl serde::Serialize) -> Value {
    serde_json::to_value(from).unwrap_or(Value::Null)
}

/// A plan; containers about which there is nothing to say only if `all` is wanted.
#[must_use]
pub fn plan(plan: &FleetPlan, all: bool) -> Value {
    let worth = |container: &&ContainerPlan| {
        all || !container.steps.is_empty()
            || !container.problems.is_empty()
            || !container.notes.is_empty()
            || container.blocked_by.is_some()
    };
    let containers: Vec<Value> = plan
        .containers
        .iter()
        .filter(worth)
        .map(container)
        .collect();
    json!({ "changes": plan.changes(), "containers": containers })
}

fn container(plan: &ContainerPlan) -> Value {
    let steps = plan.steps.iter().map(|step| {
        let actions = step.work.actions.iter();
        let actions: Vec<Value> = actions.map(self::action).collect();
        json!({ "step": step.step, "actions": actions })
    });
    let problems = plan.problems.iter().map(|(step, problem)| {
        json!({
            "step": step,
            "key": problem.key,
            "message": problem.message,
            "help": problem.help,
        })
    });
    json!({
        "ctid": plan.ctid,
        "name": plan.name,
        "changes": plan.changes(),
        "blocked_by": plan.blocked_by,
        "steps": steps.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
        "notes": plan.notes,
        "unmanaged": plan.unmanaged,
    })
}

/// One action: its kind, its fields, a line for a person, and of a change each key's old and new
/// value.
#[must_use]
pub fn action(action: &Action) -> Value {
    let mut shown = Map::new();
    shown.insert("action".to_owned(), action.kind().into());
    if let Value::Object(fields) = value(action) {
        shown.extend(fields.into_iter().filter(|(key, _)| key != "do"));
    }
    if let Action::Configure { changes, was } = action {
        let text = |value: &Option<Setting>| value.as_ref().map(ToString::to_string);
        let diff = describe::key_changes(changes, was);
        let diff = diff
            .iter()
            .map(|change| json!({ "key": change.key, "from": text(&change.from), "to": text(&change.to) }));
        shown.insert("diff".to_owned(), diff.collect());
    }
    shown.insert("summary".to_owned(), describe::summary(action).into());
    Value::Object(shown)
}

/// What came of a run; all numbers and `"run": null` when there was nothing to resume.
#[must_use]
pub fn outcome(report: Option<&Report<'_>>) -> Value {
    let Some(report) = report else {
        return json!({
            "run": null, "converged": 0, "unchanged": 0, "failed": 0, "skipped": 0,
            "mutations": 0, "interrupted": false, "containers": [],
        });
    };
    let summary = report.summary;
    let outcomes = summary.outcomes.iter();
    let containers = outcomes.filter_map(|(ctid, outcome)| {
        let (name, because) = match outcome {
            _ if report.destroys && outcome.reached() => ("destroyed", None),
            ContainerOutcome::Unchanged => return None,
            ContainerOutcome::Converged => ("converged", None),
            ContainerOutcome::Failed => ("failed", None),
            ContainerOutcome::Skipped { because } => ("skipped", Some(*because)),
            ContainerOutcome::Interrupted => ("interrupted", None),
        };
        let mut shown = json!({ "ctid": ctid, "outcome": name });
        if let Some(because) = because {
            shown["because"] = value(&because);
        }
        Some(shown)
    });
    let totals = &summary.totals;
    json!({
        "run": summary.run,
        "converged": totals.converged,
        "unchanged": totals.unchanged,
        "failed": totals.failed,
        "skipped": totals.skipped,
        "mutations": totals.mutations,
        "interrupted": summary.interrupted,
        "containers": containers.collect::<Vec<_>>(),
        "took_ms": report.took_ms,
        "durable_batches": report.durable_batches,
        "observations": report.observations,
        "processes": report.processes,
    })
}

/// What `validate` found.
#[must_use]
pub fn findings(diagnostics: &[Diagnostic], containers: usize) -> Value {
    let tally = Tally::of(diagnostics);
    json!({
        "valid": tally.errors == 0,
        "containers": containers,
        "errors": tally.errors,
        "warnings": tally.warnings,
        "notes": tally.notes,
        "diagnostics": diagnostics,
    })
}

/// An error.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReport<'a> {
    /// The exit code.
    pub code: u8,
    /// One word for it.
    pub kind: &'a str,
    /// What went wrong.
    pub message: &'a str,
    /// Why, outermost first.
    pub causes: &'a [String],
    /// What to do.
    pub help: Option<&'a str>,
    /// What is wrong with the configuration.
    pub diagnostics: &'a [Diagnostic],
}

/// The value of the key `error` of a document.
#[must_use]
pub fn error(report: &ErrorReport<'_>) -> Value {
    json!({
        "code": report.code,
        "kind": report.kind,
        "message": report.message,
        "causes": report.causes,
        "help": report.help,
        "diagnostics": report.diagnostics,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::RunTotals;
    use crate::domain::ids::RunId;
    use crate::engine::Summary;
    use crate::report::describe::tests as make;
    use crate::report::plan::tests::{container, mixed};

    #[test]
    fn a_plan_has_its_numbers_steps_and_old_values() {
        let shown = plan(&mixed(), false);
        assert_eq!(shown["changes"], 6);
        let containers = shown["containers"].as_array().expect("a list");
        assert_eq!(containers.len(), 5, "the unchanged one is left out");
        assert_eq!(
            containers[0]["steps"][0]["step"],
            "ensure_container_defined"
        );
        let action = &containers[0]["steps"][0]["actions"][0];
        assert_eq!(action["action"], "clone");
        assert_eq!(action["source"], 920);
        assert_eq!(action["summary"], "clone 920@pre-configured to fast");
        assert!(action.get("do").is_none());
        let diff = &containers[1]["steps"][0]["actions"][0]["diff"];
        assert_eq!(
            diff[0],
            json!({ "key": "memory", "from": "256", "to": "1024" })
        );
        assert_eq!(diff[1]["to"], Value::Null);
        assert_eq!(containers[2]["problems"][0]["key"], "storage_pool");
        assert_eq!(containers[3]["blocked_by"], 952);
        assert_eq!(plan(&mixed(), true)["containers"][5]["ctid"], 955);
    }

    #[test]
    fn nothing_to_do_is_a_list_without_entries() {
        let idle = FleetPlan {
            containers: vec![container(950, "web")],
        };
        assert_eq!(
            plan(&idle, false),
            json!({ "changes": 0, "containers": [] })
        );
    }

    #[test]
    fn an_outcome_is_numbers() {
        let summary = Summary {
            run: RunId::NONE,
            totals: RunTotals {
                converged: 3,
                unchanged: 2,
                failed: 1,
                skipped: 1,
                mutations: 7,
            },
            interrupted: false,
            outcomes: vec![
                (make::ctid(100), ContainerOutcome::Unchanged),
                (make::ctid(101), ContainerOutcome::Converged),
                (
                    make::ctid(102),
                    ContainerOutcome::Skipped {
                        because: make::ctid(103),
                    },
                ),
                (make::ctid(103), ContainerOutcome::Failed),
            ],
        };
        let report = Report {
            summary: &summary,
            destroys: false,
            helps: &std::collections::BTreeMap::new(),
            took_ms: 12,
            durable_batches: 3,
            observations: 1,
            processes: 0,
        };
        let expected = json!({
            "run": "00000000-0000-0000-0000-000000000000",
            "converged": 3, "unchanged": 2, "failed": 1, "skipped": 1, "mutations": 7,
            "interrupted": false,
            "containers": [
                { "ctid": 101, "outcome": "converged" },
                { "ctid": 102, "outcome": "skipped", "because": 103 },
                { "ctid": 103, "outcome": "failed" },
            ],
            "took_ms": 12, "durable_batches": 3, "observations": 1, "processes": 0,
        });
        assert_eq!(outcome(Some(&report)), expected);
        assert_eq!(outcome(None)["run"], Value::Null);
        assert_eq!(outcome(None)["converged"], 0);
    }
}
