//! The audit trail of one container.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::describe;
use super::text::{
    BAD, FAINT, STRONG, count, duration, harmless, indented, moment, paint, rfc3339,
};
use crate::domain::event::{Entry, Event, Failure, Seen, Verdict};
use crate::domain::ids::RunId;
use crate::domain::step::Step;

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of runs whose id begins so.
    pub run: Option<String>,
    /// Not older than this.
    pub since: Option<chrono::DateTime<chrono::Utc>>,
    /// Of this state.
    pub step: Option<Step>,
}

/// The runs in which a container took part, oldest first.
#[must_use]
pub fn runs(entries: &[Entry]) -> Vec<RunId> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.ctid.is_some()) {
        if seen.insert(entry.run) {
            found.push(entry.run);
        }
    }
    found
}

impl Filter {
    /// Of a container's entries and those of all runs, the wanted ones: entries of runs in which
    /// the container did not take part are left out.
    #[must_use]
    pub fn select(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let own = entries.iter().filter(|entry| entry.ctid.is_some());
        let runs: BTreeSet<RunId> = own.map(|entry| entry.run).collect();
        let wanted = |entry: &Entry| runs.contains(&entry.run) && self.wants(entry);
        entries.into_iter().filter(|entry| wanted(entry)).collect()
    }

    /// Whether an entry is wanted, of a run in which the container takes part.
    #[must_use]
    pub fn wants(&self, entry: &Entry) -> bool {
        let of_run = |start: &String| entry.run.to_string().starts_with(start);
        self.run.as_ref().is_none_or(of_run)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.step.is_none_or(|step| about(&entry.event, step))
    }

    /// Whether it leaves anything out.
    #[must_use]
    pub fn narrows(&self) -> bool {
        self.run.is_some() || self.since.is_some() || self.step.is_some()
    }

    /// The states that a line is wanted of, of those that held.
    fn held<'a>(&'a self, steps: &'a [Step]) -> impl Iterator<Item = Step> + 'a {
        let wanted = |step: &Step| self.step.is_none_or(|only| only == *step);
        steps.iter().copied().filter(wanted)
    }
}

fn about(event: &Event, step: Step) -> bool {
    match event {
        Event::StepsHeld { steps } => steps.contains(&step),
        Event::ContainerUnchanged => true,
        _ => event.step() == Some(step),
    }
}

/// The entries as documents, one a line: `seq`, `at`, `run`, `ctid`, `step`, `kind`, `attempt`,
/// then what the event has to say.
#[must_use]
pub fn documents(entries: &[Entry], filter: &Filter) -> Vec<Value> {
    let mut lines = Vec::new();
    for entry in entries {
        match &entry.event {
            Event::StepsHeld { steps } => {
                let held = filter.held(steps);
                lines.extend(held.map(|step| document(entry, Some(step), "step_held")));
            }
            _ => lines.push(line(entry)),
        }
    }
    lines
}

/// One entry as a document, whole: a line of `journal export`.
#[must_use]
pub fn line(entry: &Entry) -> Value {
    let mut line = document(entry, entry.event.step(), entry.event.kind());
    if let (Value::Object(line), Ok(Value::Object(fields))) =
        (&mut line, serde_json::to_value(&entry.event))
    {
        for (key, value) in fields {
            line.entry(key).or_insert(value);
        }
    }
    line
}

/// Reads such a line again.
///
/// # Errors
/// What is wrong with it.
pub fn entry(line: Value) -> Result<Entry, String> {
    let field = |name: &str| line.get(name).cloned().unwrap_or_default();
    let wrong = |name: &str| format!("no usable `{name}`");
    let part = |name: &'static str| move |_| wrong(name);
    Ok(Entry {
        seq: serde_json::from_value(field("seq")).map_err(part("seq"))?,
        at: serde_json::from_value(field("at")).map_err(part("at"))?,
        run: serde_json::from_value(field("run")).map_err(part("run"))?,
        ctid: serde_json::from_value(field("ctid")).map_err(part("ctid"))?,
        event: serde_json::from_value(line).map_err(|error| error.to_string())?,
    })
}

fn document(entry: &Entry, step: Option<Step>, kind: &str) -> Value {
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    put("seq", entry.seq.into());
    put("at", rfc3339(entry.at).into());
    put("run", entry.run.to_string().into());
    put("ctid", entry.ctid.map(|ctid| ctid.get()).into());
    put("step", step.map(Step::name).into());
    put("kind", kind.into());
    put("attempt", entry.event.attempt().into());
    Value::Object(line)
}

/// The entries for a person, run by run.
#[must_use]
pub fn human(entries: &[Entry], filter: &Filter) -> String {
    let mut text = String::new();
    let mut run = None;
    for entry in entries {
        if run != Some(entry.run) {
            run = Some(entry.run);
            let header = format!("Run {}", entry.run);
            let _ = writeln!(text, "{}", paint(STRONG, &header));
        }
        let at = paint(FAINT, &moment(entry.at));
        for line in told(entry, filter) {
            let step = line.step.map_or("", Step::name);
            let what = if line.bad {
                paint(BAD, &line.what)
            } else {
                line.what
            };
            let shown = format!("  {at}  {step:<26}  {what}");
            let _ = writeln!(text, "{}", shown.trim_end());
            text.push_str(&line.details);
        }
    }
    text
}

/// A line of the human form.
struct Line {
    step: Option<Step>,
    what: String,
    bad: bool,
    details: String,
}

impl Line {
    fn new(step: Option<Step>, what: impl Into<String>) -> Self {
        Self {
            step,
            what: what.into(),
            bad: false,
            details: String::new(),
        }
    }

    fn bad(mut self) -> Self {
        self.bad = true;
        self
    }

    fn details(mut self, details: String) -> Self {
        self.details = details;
        self
    }
}

fn told(entry: &Entry, filter: &Filter) -> Vec<Line> {
    let step = entry.event.step();
    let line = match &entry.event {
        Event::StepsHeld { steps } => {
            let names: Vec<&str> = filter.held(steps).map(Step::name).collect();
            Line::new(None, format!("held: {}", names.join(", ")))
        }
        Event::StepStarted {
            attempt, actions, ..
        } => {
            let summaries = actions.iter().map(|action| {
                let sign = describe::symbol(action).sign();
                format!("{sign} {}\n", describe::summary(action))
            });
            let details = indented(&harmless(&summaries.collect::<String>()), DETAIL);
            Line::new(step, format!("attempt {attempt} begins")).details(details)
        }
        Event::ActionDone {
            index,
            took_ms,
            output,
            ..
        } => {
            let what = format!("action {} done in {}", index + 1, duration(*took_ms));
            Line::new(step, what).details(indented(&harmless(output), DETAIL))
        }
        Event::StepConverged { took_ms, seen, .. } => {
            let what = format!("reached in {}; {}", duration(*took_ms), self::seen(seen));
            Line::new(step, what)
        }
        Event::StepFailed {
            attempt,
            failure,
            retry,
            ..
        } => failed(step, *attempt, failure, *retry),
        Event::IntentInspected {
            attempt, verdict, ..
        } => {
            let what = format!("attempt {attempt} had been cut off: {}", found(*verdict));
            Line::new(step, what)
        }
        Event::ContainerFailed { .. } => Line::new(step, "container failed").bad(),
        event => whole(event),
    };
    vec![line]
}

const DETAIL: &str = "                                                      ";

/// Events about a container or a run as a whole.
fn whole(event: &Event) -> Line {
    let (what, bad) = match event {
        Event::RunStarted(started) => {
            let targets = match started.targets.len() as u64 {
                0 => "all containers".to_owned(),
                number => count(number, "container"),
            };
            let what = if started.destroy {
                "destruction"
            } else {
                "run"
            };
            let text = format!(
                "{what} started by {} with phoenix {} (pid {}), {targets}, {}",
                started.operator,
                started.version,
                started.pid,
                count(u64::from(started.jobs), "job"),
            );
            (text, false)
        }
        Event::RunResumed(resumed) => {
            let text = format!(
                "run resumed by {} with phoenix {} (pid {})",
                resumed.operator, resumed.version, resumed.pid
            );
            (text, false)
        }
        Event::RunInterrupted { reason } => (format!("run interrupted: {reason}"), true),
        Event::RunSuperseded { by } => (format!("run superseded by {by}"), false),
        Event::RunFinished(totals) => {
            let text = format!(
                "run finished: {} converged ({} unchanged), {} failed, {} skipped, {}",
                totals.converged,
                totals.unchanged,
                totals.failed,
                totals.skipped,
                count(totals.mutations, "change"),
            );
            (text, totals.failed + totals.skipped > 0)
        }
        Event::ContainerCarried { known } => {
            let made = if known.created {
                "made by phoenix; "
            } else {
                ""
            };
            let text = format!("{made}what came before was compacted away");
            (text, false)
        }
        Event::ContainerUnchanged => ("all eleven states held".to_owned(), false),
        Event::ContainerConverged { took_ms } => (
            format!("container converged in {}", duration(*took_ms)),
            false,
        ),
        Event::ContainerDestroyed { took_ms } => (
            format!("container destroyed in {}", duration(*took_ms)),
            false,
        ),
        Event::ContainerSkipped { because } => {
            (format!("skipped: {because} did not converge"), true)
        }
        event => (event.kind().replace('_', " "), false),
    };
    let line = Line::new(None, harmless(&what));
    if bad { line.bad() } else { line }
}

fn failed(step: Option<Step>, attempt: u32, failure: &Failure, retry: bool) -> Line {
    let which = if attempt == 0 {
        "refused".to_owned()
    } else {
        format!("attempt {attempt} failed")
    };
    let then = if retry { "; tried again" } else { "" };
    let what = format!("{which}: {}{then}", harmless(&failure.message));
    Line::new(step, what)
        .bad()
        .details(failure_details(failure, DETAIL))
}

/// What is known of a failure beside its message: command, exit code, output, what to do.
#[must_use]
pub fn failure_details(failure: &Failure, indent: &str) -> String {
    let mut text = String::new();
    if let Some(command) = &failure.command {
        let _ = writeln!(text, "command: {}", harmless(command));
    }
    if let Some(code) = failure.exit_code {
        let _ = writeln!(text, "exit code: {code}");
    }
    if !failure.output.trim().is_empty() {
        text.push_str("output:\n");
        text.push_str(&indented(&harmless(&failure.output), "  "));
    }
    if let Some(help) = failure.help.as_deref().filter(|help| !help.is_empty()) {
        let _ = writeln!(text, "help: {}", harmless(help));
    }
    indented(&text, indent)
}

fn seen(seen: &Seen) -> String {
    match seen {
        Seen::Absent => "absent".to_owned(),
        Seen::Stopped(digest) => format!("stopped ({})", digest.short()),
        Seen::Running(digest) => format!("running ({})", digest.short()),
        Seen::HalfCreated => "half-created".to_owned(),
    }
}

fn found(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Adopted => "it had had its effect; nothing is done again",
        Verdict::Retried => "its effect is not whole; what is missing is done",
        Verdict::AmbiguousRetried => "nobody can tell whether the script ran; it is run again",
        Verdict::AmbiguousStopped => "nobody can tell whether the script ran; stopped",
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    use super::*;
    use crate::domain::action::Action;
    use crate::domain::event::RunTotals;
    use crate::domain::ids::{Ctid, Digest};
    use crate::domain::refusal::FailureKind;
    use crate::report::describe::tests as make;
    use crate::report::text::plain;

    fn run(number: u128) -> RunId {
        RunId(Uuid::from_u128(number << 96))
    }

    fn entry(seq: u64, of: u128, ctid: Option<Ctid>, event: Event) -> Entry {
        let second = i64::try_from(seq).expect("small");
        Entry {
            seq,
            at: DateTime::<Utc>::from_timestamp(second, 5_000_000).expect("a time"),
            run: run(of),
            ctid,
            event,
        }
    }

    fn story() -> Vec<Entry> {
        let web = Some(make::ctid(950));
        let step = Step::StartContainer;
        let failure = Failure {
            kind: FailureKind::Permanent,
            message: "no init".to_owned(),
            command: Some("pct start 950".to_owned()),
            exit_code: Some(1),
            output: "tail".to_owned(),
            help: Some("look at it".to_owned()),
        };
        let reason = "pid 7 ended".to_owned();
        vec![
            entry(1, 1, None, Event::RunFinished(RunTotals::default())),
            entry(
                2,
                2,
                web,
                Event::StepsHeld {
                    steps: vec![Step::ValidateInputs, Step::EnsureContainerDefined],
                },
            ),
            entry(
                3,
                2,
                web,
                Event::StepStarted {
                    step,
                    attempt: 1,
                    actions: vec![Action::Start],
                    claims: Vec::new(),
                    seen: Seen::Stopped(Digest::of(b"")),
                },
            ),
            entry(4, 2, None, Event::RunInterrupted { reason }),
            entry(
                5,
                2,
                web,
                Event::IntentInspected {
                    step,
                    attempt: 1,
                    verdict: Verdict::Adopted,
                },
            ),
            entry(
                6,
                2,
                web,
                Event::StepFailed {
                    step,
                    attempt: 2,
                    failure,
                    retry: false,
                    absent: false,
                },
            ),
        ]
    }

    #[test]
    fn only_runs_that_the_container_took_part_in_are_told() {
        let told = Filter::default().select(story());
        let seqs: Vec<u64> = told.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, [2, 3, 4, 5, 6]);
    }

    #[test]
    fn filters_narrow() {
        let of = |filter: Filter| -> Vec<u64> {
            let told = filter.select(story());
            told.iter().map(|entry| entry.seq).collect()
        };
        let step = Some(Step::ValidateInputs);
        let step = Filter {
            step,
            ..Filter::default()
        };
        assert_eq!(of(step.clone()), [2]);
        let lines = documents(&step.select(story()), &step);
        assert_eq!(lines.len(), 1, "the other state that held is left out");
        let since = DateTime::from_timestamp(4, 0);
        assert_eq!(
            of(Filter {
                since,
                ..Filter::default()
            }),
            [4, 5, 6]
        );
        let run = Some("00000003".to_owned());
        assert!(
            of(Filter {
                run,
                ..Filter::default()
            })
            .is_empty()
        );
        let run = Some("00000002".to_owned());
        let filter = Filter {
            run,
            ..Filter::default()
        };
        assert_eq!(of(filter).len(), 5);
    }

    #[test]
    fn every_document_has_its_place_and_what_the_event_says() {
        let filter = Filter::default();
        let lines = documents(&filter.select(story()), &filter);
        let kinds: Vec<&str> = lines
            .iter()
            .map(|line| line["kind"].as_str().expect("a kind"))
            .collect();
        let expected = [
            "step_held",
            "step_held",
            "step_started",
            "run_interrupted",
            "intent_inspected",
            "step_failed",
        ];
        assert_eq!(kinds, expected);
        for line in &lines {
            let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
            let first = ["seq", "at", "run", "ctid", "step", "kind", "attempt"];
            assert_eq!(keys[..7], first);
        }
        assert_eq!(lines[0]["step"], "validate_inputs");
        assert_eq!(lines[0]["at"], "1970-01-01T00:00:02.005Z");
        assert_eq!(lines[2]["actions"][0]["do"], "start");
        assert_eq!(lines[2]["attempt"], 1);
        assert_eq!(lines[3]["ctid"], Value::Null);
        assert_eq!(lines[5]["failure"]["exit_code"], 1);
    }

    #[test]
    fn a_person_reads_what_happened() {
        let filter = Filter::default();
        let shown = plain(&human(&filter.select(story()), &filter));
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        assert_eq!(lines[0], format!("Run {}", run(2)));
        let held = "held: validate_inputs, ensure_container_defined";
        assert!(lines[1].ends_with(held), "{}", lines[1]);
        assert!(lines[2].ends_with("start_container             attempt 1 begins"));
        assert!(lines[3].ends_with("> start"));
        assert!(lines[4].ends_with("run interrupted: pid 7 ended"));
        assert!(lines[5].ends_with("it had had its effect; nothing is done again"));
        assert!(lines[6].ends_with("attempt 2 failed: no init"));
        let details: Vec<&str> = lines[7..].iter().map(|line| line.trim_start()).collect();
        let expected = [
            "command: pct start 950",
            "exit code: 1",
            "output:",
            "tail",
            "help: look at it",
        ];
        assert_eq!(details, expected);
    }
}
