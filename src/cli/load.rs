//! What every command begins with: the configuration, the selection, what is seen and known.

use uuid::Uuid;

use super::args::{Global, Patience, Wishes};
use super::error::CliError;
use super::out::Out;
use super::{host, known, state, veil};
use crate::config::{self, ConfigError, Loaded};
use crate::domain::desired::DesiredState;
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::domain::ids::{Ctid, JournalId};
use crate::domain::observed::ObservedWorld;
use crate::domain::record::Record;
use crate::journal::JournalError;
use crate::plan::{FleetPlan, Graph, Planner, plan_fleet};
use crate::report::plan::some_of;
use crate::steps::Options;

/// Reads the configuration, whose secrets are not written anywhere from then on.
pub(super) fn files(global: &Global) -> Result<Loaded, ConfigError> {
    let loaded = config::load(&global.config)?;
    veil::hide(&loaded.desired.secrets);
    Ok(loaded)
}

/// Reads the configuration; goes on only without errors.
pub(super) fn configuration(global: &Global, out: Out) -> Result<Loaded, CliError> {
    let loaded = files(global)?;
    if loaded.has_errors() {
        return Err(CliError::Invalid {
            diagnostics: loaded.diagnostics,
            document: None,
        });
    }
    if !out.quiet {
        out.findings(&loaded.diagnostics, Severity::Warning);
    }
    Ok(loaded)
}

/// The named containers with everything that they need; all, if none is named.
pub(super) fn selection(desired: &DesiredState, targets: &[Ctid]) -> Result<Graph, CliError> {
    Graph::of(desired, targets).map_err(|unknown| {
        let declared: Vec<Ctid> = desired.containers.keys().copied().collect();
        let help = format!("declared are {}", some_of(&declared));
        CliError::usage(unknown.to_string(), help)
    })
}

/// Refuses more names than a person gives: a run keeps them in its first event.
pub(super) fn few_targets(targets: &[Ctid]) -> Result<(), CliError> {
    const MOST: usize = 5000;
    if targets.len() <= MOST {
        return Ok(());
    }
    Err(CliError::usage(
        format!(
            "{} containers are named; the limit is {MOST}",
            targets.len()
        ),
        "name none to work on all that are declared",
    ))
}

pub(super) fn options(
    wishes: &Wishes,
    desired: &DesiredState,
    targets: &[Ctid],
) -> Result<Options, CliError> {
    known_scripts(&wishes.rerun, desired, targets)?;
    Ok(Options {
        no_restart: wishes.no_restart,
        check_health: wishes.check_health,
        rerun: wishes.rerun.iter().cloned().collect(),
        rerun_in: targets.iter().copied().collect(),
    })
}

/// Refuses to run a script again that none of the named containers declares.
pub(super) fn known_scripts(
    names: &[String],
    desired: &DesiredState,
    targets: &[Ctid],
) -> Result<(), CliError> {
    let named = |ctid: &Ctid| targets.is_empty() || targets.contains(ctid);
    for name in names {
        let containers = desired.containers.values();
        let declared = containers
            .filter(|container| named(&container.ctid))
            .any(|container| {
                let features = container.features.iter();
                let mut scripts = features.chain(&container.application);
                scripts.any(|script| script.name == *name)
            });
        if !declared {
            let who = if targets.is_empty() {
                "no container"
            } else {
                "none of the named containers"
            };
            return Err(CliError::usage(
                format!("--rerun {name}: {who} declares a script of that name"),
                "name a feature, or the file of an application script, as the configuration does",
            ));
        }
    }
    Ok(())
}

/// What is seen and known, without making anything that is not there.
pub(super) struct View {
    pub(super) world: ObservedWorld,
    pub(super) record: Record,
    pub(super) journal: JournalId,
}

impl View {
    /// Plans the selected containers; what is planned is to be looked at, and holds no secrets.
    pub(super) fn plan(
        &self,
        desired: &DesiredState,
        graph: &Graph,
        options: &Options,
    ) -> FleetPlan {
        let planner = Planner {
            desired,
            graph,
            record: &self.record,
            journal: self.journal,
            options,
        };
        plan_fleet(&planner, &self.world).redacted(&desired.secrets)
    }
}

pub(super) fn view(
    global: &Global,
    out: Out,
    desired: &DesiredState,
    patience: Patience,
) -> Result<View, CliError> {
    let dir = state::directory(global)?;
    let (world, identity) = host::look(global, out, desired, patience)?;
    let Some(known) = known::everything(&dir)? else {
        return Ok(View {
            world,
            record: Record::default(),
            journal: JournalId(Uuid::nil()),
        });
    };
    belongs(&known.host, &dir, identity.as_deref())?;
    Ok(View {
        world,
        record: known.record,
        journal: known.journal,
    })
}

/// Refuses a journal of another host.
pub(super) fn belongs(
    journal: &str,
    dir: &std::path::Path,
    identity: Option<&str>,
) -> Result<(), CliError> {
    if identity == Some(journal) {
        return Ok(());
    }
    let host = identity.unwrap_or("a simulated one that is yet to be made");
    Err(CliError::Journal(JournalError::OtherHost {
        dir: dir.to_owned(),
        journal: journal.to_owned(),
        host: host.to_owned(),
    }))
}

/// The problems of a plan, each with its place in the files.
pub(super) fn problems(plan: &FleetPlan, loaded: &Loaded) -> Vec<Diagnostic> {
    let containers = plan.containers.iter();
    containers
        .flat_map(|plan| {
            plan.problems
                .iter()
                .map(move |(_, problem)| (plan.ctid, problem))
        })
        .map(|(ctid, problem)| loaded.sources.diagnostic(ctid, problem))
        .collect()
}
