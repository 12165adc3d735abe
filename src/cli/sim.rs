//! `phoenix sim`: what a person does by hand on the simulated host.

use serde_json::json;

use super::args::{Global, SimCommand};
use super::error::CliError;
use super::exit::Exit;
use super::host;
use super::load;
use super::out::Out;
use crate::domain::desired::DesiredState;
use crate::domain::ids::Ctid;
use crate::domain::model::Operation;
use crate::host::sim::{HandOperation, LogEntry, SimHost};
use crate::report::describe;
use crate::report::text::harmless;

pub(super) fn run(global: &Global, out: Out, command: SimCommand) -> Result<Exit, CliError> {
    let dir = host::directory(global)?;
    if !dir.join("identity").exists() {
        return Err(CliError::usage(
            format!("there is no simulated host in {} yet", dir.display()),
            "`phoenix apply --host sim` makes one; `--host sim:DIR` or --state names another",
        ));
    }
    let host = host::open_in(dir, &offered(global))?;
    match command {
        SimCommand::Show { ctid } => out.document(&host.show(ctid)?)?,
        SimCommand::Log => log(out, &host)?,
        SimCommand::Reboot => {
            host.hand(HandOperation::Reboot)?;
            done(out, "reboot", None, "The simulated host was rebooted.")?;
        }
        SimCommand::Reset => {
            host.hand(HandOperation::Reset)?;
            done(out, "reset", None, "The simulated host is empty now.")?;
        }
        command => {
            if let Some((ctid, operation)) = operation(command)? {
                let kind = operation.kind();
                host.hand(HandOperation::Container { ctid, operation })?;
                let words = format!("{ctid}: {} done.", kind.replace('_', " "));
                done(out, kind, Some(ctid), &words)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Says what was done by hand, to a person or to a script.
fn done(out: Out, what: &str, ctid: Option<Ctid>, words: &str) -> Result<(), CliError> {
    if out.json() {
        return out.document(&json!({ "done": what, "ctid": ctid }));
    }
    out.remark(words);
    Ok(())
}

/// The configuration, for what the host has: where it cannot be read the host has nothing, which
/// matters only to values that name a bridge or a storage.
fn offered(global: &Global) -> DesiredState {
    match load::files(global) {
        Ok(loaded) => loaded.desired,
        Err(error) => {
            tracing::info!(%error, "the host offers nothing");
            DesiredState::default()
        }
    }
}

fn operation(command: SimCommand) -> Result<Option<(Ctid, Operation)>, CliError> {
    Ok(Some(match command {
        SimCommand::Set { ctid, pairs } => {
            let pairs = pairs.iter().map(String::as_str);
            let set = Operation::set(pairs).map_err(|refusal| {
                let help = "write KEY=VALUE by Proxmox VE's names, such as memory=512";
                CliError::usage(refusal.to_string(), help)
            })?;
            (ctid, set)
        }
        SimCommand::Start { ctid } => (ctid, Operation::Start),
        SimCommand::Stop { ctid } => (ctid, Operation::Stop),
        SimCommand::Unmount { ctid, path } => (ctid, Operation::Unmount { path }),
        SimCommand::Destroy { ctid } => (ctid, Operation::Destroy),
        SimCommand::Lock { ctid, lock } => (ctid, Operation::Lock { lock }),
        SimCommand::Unlock { ctid } => (ctid, Operation::Unlock),
        SimCommand::Snapshot { ctid, name } => (ctid, Operation::Snapshot { name }),
        SimCommand::Delsnapshot { ctid, name } => (ctid, Operation::DeleteSnapshot { name }),
        SimCommand::Reboot | SimCommand::Reset | SimCommand::Show { .. } | SimCommand::Log => {
            return Ok(None);
        }
    }))
}

fn log(out: Out, host: &SimHost) -> Result<(), CliError> {
    let entries = host.log()?;
    if out.json() {
        let lines = entries
            .iter()
            .filter_map(|entry| serde_json::to_value(entry).ok());
        out.lines(&lines.collect::<Vec<_>>())?;
        return Ok(());
    }
    out.text(&entries.iter().map(line).collect::<String>())
}

fn line(entry: &LogEntry) -> String {
    let ctid = entry
        .ctid
        .map_or_else(|| "host".to_owned(), |ctid| ctid.to_string());
    let step = entry.step.map_or("by hand", |step| step.name());
    let what = match &entry.action {
        Some(action) => describe::summary(action),
        None => entry.kind.replace('_', " "),
    };
    let half = if entry.partial { " (half of it)" } else { "" };
    format!(
        "{:>6}  {ctid:<9}  {step:<26}  {}{half}\n",
        entry.n,
        harmless(&what)
    )
}
