//! `phoenix apply` and `phoenix resume`: the same work, begun differently.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::{ApplyArgs, Global, Patience, PlanArgs, ResumeArgs};
use super::begun::{Begun, Trace, Traced};
use super::clock::{self, SystemClock};
use super::error::CliError;
use super::exit::Exit;
use super::out::{Out, to_stderr};
use super::state::{Declared, digest_of};
use super::{destroy, host, known, load, signals, state};
use crate::beside::Server;
use crate::config::Loaded;
use crate::domain::desired::DesiredState;
use crate::domain::event::{RunResumed, RunStarted};
use crate::domain::ids::Ctid;
use crate::domain::observed::ObservedWorld;
use crate::domain::record::{Phase, Record, RunRecord};
use crate::engine::{self, Begin, Env, Run};
use crate::journal::{Journal, OpenOptions};
use crate::plan::{FleetPlan, Known, Planner, problems_of_fleet};
use crate::report;
use crate::report::progress::{Progress, Tracker};
use crate::report::summary::Report;
use crate::report::text::moment;
use crate::steps::Options;

pub(super) fn apply(global: &Global, out: Out, args: ApplyArgs) -> Result<Exit, CliError> {
    if args.dry_run {
        let plan = PlanArgs {
            targets: args.targets,
            wishes: args.wishes,
            patience: args.patience,
            exit_code: false,
            all: false,
        };
        return super::plan::run(global, out, &plan);
    }
    let targets = args.targets.ctids;
    load::few_targets(&targets)?;
    let loaded = load::configuration(global, out)?;
    let desired = &loaded.desired;
    load::selection(desired, &targets)?;
    let options = load::options(&args.wishes, desired, &targets)?;
    let stop = signals::stop_flag()?;
    let dir = state::directory(global)?;
    known::unused(&dir)?;
    let machine = host::open(global, out, desired)?;
    let journal = known::open(&OpenOptions {
        dir: &dir,
        host: &machine.get().identity()?,
        now: clock::now(),
        new_id: clock::new_journal(),
    })?;
    let server = known::serve(&dir, &journal, "apply", operator());
    let trace = Trace::leave(&dir)?;
    let record = journal.known()?;
    remark_on_the_last(out, &record);
    let seen = host::observe(machine.get(), desired, args.patience, &stop)?;
    host::explain(global, out, &seen);
    let started = RunStarted {
        rerun: args.wishes.rerun.clone(),
        no_restart: options.no_restart,
        check_health: options.check_health,
        ..started(global, &seen, desired, targets.clone())
    };
    let run = Run {
        id: clock::new_run(),
        begin: Begin::Start(started),
        targets,
        jobs: jobs(global),
        options,
    };
    let work = Work {
        loaded,
        dir: &dir,
        machine,
        journal,
        record: Arc::new(record),
        seen,
        run,
        stop,
        trace: Some(trace),
        server,
    };
    work.converge(out, args.patience)
}

pub(super) fn resume(global: &Global, out: Out, args: &ResumeArgs) -> Result<Exit, CliError> {
    let mut loaded = load::configuration(global, out)?;
    let dir = state::directory(global)?;
    let Some(journal) = known::open_existing(&dir)? else {
        return nothing(out, &Record::default(), args.run.as_deref());
    };
    let server = known::serve(&dir, &journal, "resume", operator());
    let record = journal.known()?;
    let Some(last) = record.resumable().cloned() else {
        // A run that started later was begun by it, or took its place.
        let since = |begun: &Begun| {
            let last = record.runs.last();
            last.is_none_or(|run| run.started_at < begun.at)
        };
        if let Some(begun) = Begun::left(&dir).filter(since) {
            out.remark(&format!(
                "An apply (pid {}, {}) ended before it began to change anything: run `phoenix \
                 apply`.",
                begun.pid,
                moment(begun.at)
            ));
        }
        drop(server);
        journal.close()?;
        return nothing(out, &record, args.run.as_deref());
    };
    if let Some(wanted) = &args.run {
        same_run(&record, &last, wanted)?;
    }
    let stop = signals::stop_flag()?;
    let machine = host::open(global, out, &loaded.desired)?;
    load::belongs(journal.host(), &dir, Some(&machine.get().identity()?))?;
    let targets = last.started.targets.clone();
    if !last.started.destroy {
        remark_on_files(out, &dir, &last, &loaded.desired);
        still_declared(&loaded.desired, &targets)?;
        load::known_scripts(&args.rerun, &loaded.desired, &targets)?;
    }
    let seen = host::observe(machine.get(), &loaded.desired, args.patience, &stop)?;
    if last.started.destroy {
        let known = Known {
            desired: &loaded.desired,
            world: &seen,
            record: &record,
            journal: journal.id(),
        };
        loaded.desired = destroy::absent(&known, &targets.iter().copied().collect())?;
    }
    let jobs = global.jobs.unwrap_or(last.started.jobs);
    let resumed = RunResumed {
        operator: operator(),
        version: VERSION.to_owned(),
        boot_id: seen.host.boot_id.clone(),
        pid: std::process::id(),
        desired: digest_of(&loaded.desired),
        jobs,
    };
    let run = Run {
        id: last.id,
        begin: Begin::Resume(resumed),
        targets,
        jobs,
        options: Options {
            no_restart: last.started.no_restart,
            check_health: args.check_health || last.started.check_health,
            rerun: last
                .started
                .rerun
                .iter()
                .chain(&args.rerun)
                .cloned()
                .collect(),
            rerun_in: last.started.targets.iter().copied().collect(),
        },
    };
    let work = Work {
        loaded,
        dir: &dir,
        machine,
        journal,
        record: Arc::new(record),
        seen,
        run,
        stop,
        // What is resumed is in the journal already.
        trace: None,
        server,
    };
    work.converge(out, args.patience)
}

/// How a run begins that a person has just asked for.
pub(super) fn started(
    global: &Global,
    seen: &ObservedWorld,
    desired: &DesiredState,
    targets: Vec<Ctid>,
) -> RunStarted {
    RunStarted {
        operator: operator(),
        version: VERSION.to_owned(),
        boot_id: seen.host.boot_id.clone(),
        pid: std::process::id(),
        desired: digest_of(desired),
        targets,
        jobs: jobs(global),
        rerun: Vec::new(),
        no_restart: false,
        check_health: false,
        destroy: false,
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How many containers at a time: a container that is worked on mostly waits for the host.
pub(super) fn jobs(global: &Global) -> u32 {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let usual = u32::try_from(processors.saturating_mul(2)).unwrap_or(64);
    global.jobs.unwrap_or(usual.min(64))
}

/// Who asks: behind `sudo`, the person in front of it.
pub(super) fn operator() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Says that an interrupted run is given up by beginning another.
fn remark_on_the_last(out: Out, record: &Record) {
    let left = record
        .runs
        .last()
        .filter(|run| matches!(run.phase, Phase::Working | Phase::Interrupted { .. }));
    if let Some(left) = left {
        out.remark(&format!(
            "Run {} was interrupted; this one takes its place.",
            left.id
        ));
    }
}

/// There is nothing to resume, which is fine unless a certain run was asked for.
fn nothing(out: Out, record: &Record, wanted: Option<&str>) -> Result<Exit, CliError> {
    if let Some(wanted) = wanted {
        return Err(not_that_run(record, wanted, "nothing is left to resume"));
    }
    let why = match record.runs.last() {
        None => "there was no run yet".to_owned(),
        Some(run) => format!("run {} is {}", run.id, run.outcome()),
    };
    if out.json() {
        out.line(&report::json::outcome(None))?;
    } else {
        out.text(&format!("Nothing to resume: {why}.\n"))?;
    }
    Ok(Exit::Done)
}

fn same_run(record: &Record, last: &RunRecord, wanted: &str) -> Result<(), CliError> {
    if !wanted.is_empty() && last.id.to_string().starts_with(&wanted.to_lowercase()) {
        return Ok(());
    }
    let help = format!("the run that can go on is {}", last.id);
    Err(not_that_run(record, wanted, &help))
}

fn not_that_run(record: &Record, wanted: &str, help: &str) -> CliError {
    let known = |run: &&RunRecord| run.id.to_string().starts_with(&wanted.to_lowercase());
    let message = match record.runs.iter().rev().find(known) {
        Some(run) => format!("run {} cannot be resumed: it is {}", run.id, run.outcome()),
        None => format!("run {wanted} is not in the journal"),
    };
    CliError::usage(message, help)
}

/// A run goes on toward what is declared now: somebody may have cured in the files, or in a
/// script, what the run failed of. That they are other ones is said.
fn remark_on_files(out: Out, dir: &Path, last: &RunRecord, desired: &DesiredState) {
    let before = Declared::read(dir, last.id);
    let began_with = before
        .as_ref()
        .map_or(last.started.desired, |declared| declared.digest);
    if began_with == digest_of(desired) {
        return;
    }
    let now = Declared::of(last.id, desired);
    let what = before.map_or_else(String::new, |before| {
        format!(" ({})", before.difference(&now))
    });
    out.remark(&format!(
        "The configuration has changed since run {} began{what}; it goes on with the files as \
         they are now.",
        last.id
    ));
}

/// A run cannot go on for a container that is declared no more; another one can begin.
fn still_declared(desired: &DesiredState, targets: &[Ctid]) -> Result<(), CliError> {
    load::selection(desired, targets)
        .map(drop)
        .map_err(|error| {
            let declared = error.help().unwrap_or_default();
            let help =
                format!("{declared}; `phoenix apply` begins another run, which takes its place");
            CliError::usage(error.to_string(), help)
        })
}

/// Everything that a run needs, opened and looked at.
pub(super) struct Work<'a> {
    pub(super) loaded: Loaded,
    pub(super) dir: &'a Path,
    pub(super) machine: host::AnyHost,
    // Before the journal, which is closed after the last answer.
    pub(super) server: Option<Server>,
    pub(super) journal: Journal,
    pub(super) record: Arc<Record>,
    pub(super) seen: ObservedWorld,
    pub(super) run: Run,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) trace: Option<Trace>,
}

impl Work<'_> {
    /// Converges, unless something is known to fail: then nothing is changed and no run begins.
    pub(super) fn converge(self, out: Out, patience: Patience) -> Result<Exit, CliError> {
        self.preflight()?;
        // What was wanted before anything began leaves no run behind.
        if self.stop.load(Ordering::SeqCst) {
            drop(self.server);
            self.journal.close()?;
            return Err(CliError::Stopped);
        }
        let desired = &self.loaded.desired;
        Declared::begin(self.dir, self.run.id, desired)?;
        if let Some(server) = &self.server {
            server.knows(&self.record);
            server.works_on(self.run.id);
        }
        let began = clock::now();
        let progress = progress(out, desired, &self.run.targets)?;
        let watcher = Traced {
            trace: self.trace.as_ref(),
            inner: &progress,
        };
        let env = Env {
            host: self.machine.get(),
            recorder: &self.journal,
            clock: &SystemClock { stop: &self.stop },
            watcher: &watcher,
            stop: &self.stop,
            desired,
            journal: self.journal.id(),
            limits: patience.limits(),
        };
        let result = engine::converge(&env, &self.run, &self.record, self.seen);
        progress.finish();
        // Whoever follows hears of the end; then nobody reads any more.
        drop(self.server);
        let summary = result?;
        let took = clock::now().signed_duration_since(began).num_milliseconds();
        let durable_batches = self.journal.durable_batches();
        let observations = self.machine.observations();
        self.journal.close()?;
        state::make_private(&self.dir.join("journal"));
        tracing::info!(durable_batches, observations, "the run has ended");
        let report = Report {
            summary: &summary,
            destroys: self.loaded.desired.destroys(),
            helps: &progress.helps(),
            took_ms: u64::try_from(took).unwrap_or(0),
            durable_batches,
            observations,
            processes: crate::host::process::started(),
        };
        if out.json() {
            out.line(&report::json::outcome(Some(&report)))?;
        } else {
            out.text(&report::summary::human(&report))?;
        }
        Ok(if summary.interrupted {
            Exit::Interrupted
        } else if report.whole() {
            Exit::Done
        } else {
            Exit::Failed
        })
    }

    /// What would be done, or as much of it as somebody wants, without secrets.
    pub(super) fn plan(
        &self,
        by: fn(&Planner<'_>, &ObservedWorld) -> FleetPlan,
    ) -> Result<FleetPlan, CliError> {
        let desired = &self.loaded.desired;
        let planner = Planner {
            desired,
            graph: &load::selection(desired, &self.run.targets)?,
            record: &self.record,
            journal: self.journal.id(),
            options: &self.run.options,
        };
        Ok(by(&planner, &self.seen).redacted(&desired.secrets))
    }

    fn preflight(&self) -> Result<(), CliError> {
        let plan = self.plan(problems_of_fleet)?;
        if !plan.has_problems() {
            return Ok(());
        }
        if self.loaded.desired.destroys() {
            return destroy::refused(&plan).map_or(Ok(()), Err);
        }
        Err(CliError::Invalid {
            diagnostics: load::problems(&plan, &self.loaded),
            document: None,
        })
    }
}

/// Who tells the person what is going on: moving lines on a terminal, plain ones elsewhere.
fn progress(out: Out, desired: &DesiredState, targets: &[Ctid]) -> Result<Progress, CliError> {
    let graph = load::selection(desired, targets)?;
    let named = graph.containers().filter_map(|ctid| {
        let container = desired.containers.get(&ctid)?;
        Some((ctid, container.name.clone()))
    });
    let tracker = Tracker::new(named.collect(), out.quiet || out.json());
    let moving = !out.quiet && std::io::stderr().is_terminal();
    let total = graph.len() as u64;
    let sink: report::progress::Sink = if out.json() {
        Box::new(to_stderr)
    } else {
        // A run does not stop because nobody reads about it.
        Box::new(move |line| drop(out.text(line)))
    };
    Ok(Progress::new(tracker, total, moving, sink))
}
