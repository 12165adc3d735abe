//! `phoenix destroy`: containers that phoenix made, and that a person names, come to their end.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::sync::Arc;

use super::args::{DestroyArgs, Global};
use super::converge::{Work, jobs, operator, started};
use super::error::CliError;
use super::exit::Exit;
use super::out::{Out, to_stderr};
use super::{clock, host, known, load, signals, state};
use crate::domain::desired::DesiredState;
use crate::domain::event::RunStarted;
use crate::domain::ids::Ctid;
use crate::engine::{Begin, Run};
use crate::plan::{FleetPlan, Known, plan_fleet, removal};
use crate::report;
use crate::steps::Options;

pub(super) fn run(global: &Global, out: Out, args: &DestroyArgs) -> Result<Exit, CliError> {
    load::few_targets(&args.ctids)?;
    let mut loaded = load::configuration(global, out)?;
    let stop = signals::stop_flag()?;
    let dir = state::directory(global)?;
    let Some(journal) = known::open_existing(&dir)? else {
        return Err(CliError::usage(
            format!("there is no journal in {} yet", dir.display()),
            "phoenix destroys only what it made; --state names another state directory",
        ));
    };
    let server = known::serve(&dir, &journal, "destroy", operator());
    let machine = host::open(global, out, &loaded.desired)?;
    load::belongs(journal.host(), &dir, Some(&machine.get().identity()?))?;
    let record = journal.known()?;
    let seen = host::observe(machine.get(), &loaded.desired, args.patience, &stop)?;
    let known = Known {
        desired: &loaded.desired,
        world: &seen,
        record: &record,
        journal: journal.id(),
    };
    for ctid in &args.ctids {
        is_known(&known, *ctid)?;
    }
    let named: BTreeSet<Ctid> = args.ctids.iter().copied().collect();
    let present = named
        .into_iter()
        .filter(|ctid| seen.containers.contains_key(ctid));
    let targets: BTreeSet<Ctid> = present.collect();
    if targets.is_empty() {
        drop(server);
        journal.close()?;
        return nothing(out);
    }
    let again: Vec<Ctid> = targets
        .iter()
        .filter(|ctid| loaded.desired.containers.contains_key(ctid))
        .copied()
        .collect();
    loaded.desired = absent(&known, &targets)?;
    let targets: Vec<Ctid> = targets.into_iter().collect();
    let work = Work {
        run: Run {
            id: clock::new_run(),
            begin: Begin::Start(RunStarted {
                destroy: true,
                ..started(global, &seen, &loaded.desired, targets.clone())
            }),
            targets,
            jobs: jobs(global),
            options: Options::default(),
        },
        loaded,
        dir: &dir,
        machine,
        journal,
        record: Arc::new(record),
        seen,
        stop,
        trace: None,
        server,
    };
    let plan = work.plan(plan_fleet)?;
    if let Some(refused) = refused(&plan) {
        return Err(refused);
    }
    if !args.yes {
        confirm(out, &report::plan::human(&plan, &work.loaded.desired))?;
    }
    let exit = work.converge(out, args.patience)?;
    if exit == Exit::Done && !again.is_empty() {
        out.remark(&format!(
            "Still declared, so the next `phoenix apply` makes anew: {}",
            report::plan::some_of(&again)
        ));
    }
    Ok(exit)
}

/// Refuses an id that neither the configuration nor the journal nor the host knows: a slip of
/// the finger.
fn is_known(known: &Known<'_>, ctid: Ctid) -> Result<(), CliError> {
    let somewhere = known.desired.containers.contains_key(&ctid)
        || known.record.containers.contains_key(&ctid)
        || known.world.containers.contains_key(&ctid);
    if somewhere {
        return Ok(());
    }
    Err(CliError::usage(
        format!("there is no container {ctid}, and phoenix never knew one"),
        "`phoenix status` lists the containers",
    ))
}

fn nothing(out: Out) -> Result<Exit, CliError> {
    if out.json() {
        out.line(&report::json::outcome(None))?;
    } else {
        out.text("Nothing to destroy: none of them exists.\n")?;
    }
    Ok(Exit::Done)
}

/// The world without the named containers.
pub(super) fn absent(
    known: &Known<'_>,
    targets: &BTreeSet<Ctid>,
) -> Result<DesiredState, CliError> {
    removal(known, targets).map_err(|needed| CliError::Refused {
        problems: needed.iter().map(ToString::to_string).collect(),
        help: "destroy those first, or name them too".to_owned(),
    })
}

/// What speaks against a plan of destruction.
pub(super) fn refused(plan: &FleetPlan) -> Option<CliError> {
    let problems = plan.containers.iter().flat_map(|plan| &plan.problems);
    let problems: Vec<_> = problems.map(|(_, problem)| problem).collect();
    let help = problems.first()?.help.clone();
    Some(CliError::Refused {
        problems: problems
            .iter()
            .map(|problem| problem.message.clone())
            .collect(),
        help,
    })
}

/// Asks the person at the terminal.
fn confirm(out: Out, plan: &str) -> Result<(), CliError> {
    if out.json() || !io::stdin().is_terminal() {
        return Err(CliError::usage(
            "nobody is there to be asked whether the containers are to be destroyed",
            "add --yes to destroy them without a question",
        ));
    }
    to_stderr(plan);
    to_stderr(
        "Their disks, volumes and snapshots go with them; this cannot be undone.\n\
         Only `yes` is taken as a yes: ",
    );
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|source| CliError::System {
        what: "cannot read the answer",
        source,
    })?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(CliError::Declined)
}
