//! A run from its beginning to its end.

use super::pool;
use super::reconcile::Shared;
use super::{Begin, ContainerOutcome, EngineError, Env, Run, Summary};
use crate::domain::event::{Draft, Event, RunTotals};
use crate::domain::ids::RunId;
use crate::domain::observed::ObservedWorld;
use crate::domain::record::{Phase, Record, RunRecord};
use crate::plan::Graph;

/// Converges the selected containers, starting from the world as it was just seen and from what
/// the journal knows.
///
/// # Errors
/// When the journal cannot be written. Failures of containers are in the summary.
pub fn converge(
    env: &Env<'_>,
    run: &Run,
    record: &Record,
    seen: ObservedWorld,
) -> Result<Summary, EngineError> {
    let graph = Graph::of(env.desired, &run.targets)?;
    write(env, beginning(env, run, record, &seen.host.boot_id))?;
    let shared = Shared::new(env, run.id, &run.options, record, seen);
    let done = pool::work(&shared, &graph, record, run.jobs)?;

    let outcomes: Vec<_> = done.outcomes.into_iter().collect();
    let count = |wanted: fn(&ContainerOutcome) -> bool| {
        outcomes
            .iter()
            .filter(|(_, outcome)| wanted(outcome))
            .count() as u64
    };
    let unchanged = count(|outcome| *outcome == ContainerOutcome::Unchanged);
    let totals = RunTotals {
        converged: unchanged + count(|outcome| *outcome == ContainerOutcome::Converged),
        unchanged,
        failed: count(|outcome| *outcome == ContainerOutcome::Failed),
        skipped: count(|outcome| matches!(outcome, ContainerOutcome::Skipped { .. })),
        mutations: done.mutations,
    };
    // Told to stop when everything was done already: then it is done.
    let settled = totals.converged + totals.failed + totals.skipped;
    let interrupted = settled < graph.len() as u64;
    let end = if interrupted {
        Event::RunInterrupted {
            reason: "stopped by a signal".to_owned(),
        }
    } else {
        Event::RunFinished(totals)
    };
    write(env, vec![draft(env, run.id, end)])?;
    Ok(Summary {
        run: run.id,
        totals,
        interrupted,
        outcomes,
    })
}

fn write(env: &Env<'_>, drafts: Vec<Draft>) -> Result<(), EngineError> {
    env.recorder.append(&drafts)?;
    drafts.iter().for_each(|draft| env.watcher.recorded(draft));
    Ok(())
}

fn draft(env: &Env<'_>, run: RunId, event: Event) -> Draft {
    env.draft(env.clock.now(), run, None, event)
}

/// The events that a run begins with: what is known of the one before it comes first.
fn beginning(env: &Env<'_>, run: &Run, record: &Record, boot_id: &str) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let last = record.runs.last();
    if let Some(dead) = last.filter(|last| last.phase == Phase::Working) {
        let reason = cause_of_death(dead, boot_id);
        drafts.push(draft(env, dead.id, Event::RunInterrupted { reason }));
    }
    match &run.begin {
        Begin::Resume(resumed) => {
            drafts.push(draft(
                env,
                run.id,
                Event::RunResumed(Box::new(resumed.clone())),
            ));
        }
        Begin::Start(started) => {
            let left = last
                .filter(|last| matches!(last.phase, Phase::Working | Phase::Interrupted { .. }));
            if let Some(left) = left {
                drafts.push(draft(env, left.id, Event::RunSuperseded { by: run.id }));
            }
            drafts.push(draft(
                env,
                run.id,
                Event::RunStarted(Box::new(started.clone())),
            ));
        }
    }
    drafts
}

fn cause_of_death(run: &RunRecord, boot_id: &str) -> String {
    if run.boot_id == boot_id {
        format!("phoenix (pid {}) ended without finishing it", run.pid)
    } else {
        format!(
            "the host was rebooted while phoenix (pid {}) worked on it",
            run.pid
        )
    }
}
