//! `phoenix validate`, `graph`, `schema` and `completions`: what needs no host and no journal.

use clap::CommandFactory as _;

use super::args::{Cli, Global, GraphArgs, Language, SchemaFile};
use super::error::CliError;
use super::exit::Exit;
use super::load;
use super::out::Out;
use crate::config;
use crate::domain::diagnostic::Severity;
use crate::report::findings::{self, Tally};
use crate::report::{graph, json};

pub(super) fn run(global: &Global, out: Out) -> Result<Exit, CliError> {
    let loaded = load::files(global)?;
    let found = loaded.diagnostics;
    let containers = loaded.desired.containers.len();
    let tally = Tally::of(&found);
    let document = json::findings(&found, containers);
    if tally.errors > 0 {
        return Err(CliError::Invalid {
            diagnostics: found,
            document: Some(document),
        });
    }
    out.findings(&found, Severity::Warning);
    out.either(
        || document,
        || {
            let notes = found
                .iter()
                .filter(|found| found.severity == Severity::Note);
            let mut text: String = notes.map(findings::diagnostic).collect();
            text.push_str(&findings::verdict(&tally, containers as u64));
            text.push('\n');
            text
        },
    )?;
    Ok(Exit::Done)
}

pub(super) fn graph(global: &Global, out: Out, args: &GraphArgs) -> Result<Exit, CliError> {
    let loaded = load::configuration(global, out)?;
    let selected = load::selection(&loaded.desired, &args.targets.ctids)?;
    out.either(
        || graph::json(&loaded.desired, &selected),
        || match args.language {
            Language::Dot => graph::dot(&loaded.desired, &selected),
            Language::Mermaid => graph::mermaid(&loaded.desired, &selected),
        },
    )?;
    Ok(Exit::Done)
}

pub(super) fn schema(out: Out, file: SchemaFile) -> Result<Exit, CliError> {
    out.document(&match file {
        SchemaFile::Hypervisor => config::schema_hypervisor(),
        SchemaFile::Lxc => config::schema_lxc(),
    })?;
    Ok(Exit::Done)
}

pub(super) fn completions(out: Out, shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "phoenix", &mut script);
    out.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
