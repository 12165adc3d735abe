//! The command line: parses, wires, prints, and ends with an exit code that scripts can rely on.
//!
//! Nothing is decided here about containers. Each command has its file; clock, signals,
//! environment and standard streams are read and written nowhere else.

mod args;
mod begun;
mod clock;
mod converge;
mod destroy;
mod error;
mod exit;
mod follow;
mod history;
mod host;
mod journal;
mod known;
mod load;
mod node;
mod out;
mod plan;
mod signals;
mod sim;
mod since;
mod state;
mod status;
mod validate;
mod veil;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::domain::diagnostic::Severity;
use crate::report;
use crate::report::json::ErrorReport;
use args::{Cli, Command, Format, Global};
use error::CliError;
use out::Out;

pub use exit::Exit;

/// Runs the program with the arguments and the environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli).into(),
        Err(error) => usage(&error).into(),
    }
}

fn run(cli: Cli) -> Exit {
    log_to_stderr(&cli.global);
    let out = Out::of(&cli.global);
    match dispatch(&cli.global, out, cli.command) {
        Ok(exit) => exit,
        Err(error) => {
            show(out, &error);
            error.exit()
        }
    }
}

fn dispatch(global: &Global, out: Out, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Plan(args) => plan::run(global, out, &args),
        Command::Apply(args) => converge::apply(global, out, args),
        Command::Resume(args) => converge::resume(global, out, &args),
        Command::Destroy(args) => destroy::run(global, out, &args),
        Command::Status(args) => status::run(global, out, &args),
        Command::History(args) => history::run(global, out, &args),
        Command::Runs => history::runs(global, out),
        Command::Validate => validate::run(global, out),
        Command::Graph(args) => validate::graph(global, out, &args),
        Command::Schema { file } => validate::schema(out, file),
        Command::Completions { shell } => validate::completions(out, shell),
        Command::Sim(command) => sim::run(global, out, command),
        Command::Journal(command) => journal::run(global, out, &command),
    }
}

/// Logs what the person asked to hear of: by `PHOENIX_LOG`, else by -v and -q.
fn log_to_stderr(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = std::env::var("PHOENIX_LOG")
        .ok()
        .filter(|text| !text.is_empty())
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(format!("phoenix={level}")));
    let colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| veil::Stderr)
        .with_ansi(colours)
        .with_target(false)
        .finish();
    // Only the first one counts; a second is possible only in a test.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Shows an error: on standard error for a person, and as a document for a script.
fn show(out: Out, error: &CliError) {
    out.findings(error.diagnostics(), Severity::Warning);
    let (message, causes, help) = (error.to_string(), error.causes(), error.help());
    out::to_stderr(&report::findings::error(&message, &causes, help.as_deref()));
    if !out.json() {
        return;
    }
    let exit = error.exit();
    let shown = report::json::error(&ErrorReport {
        code: exit.code(),
        kind: exit.kind(),
        message: &message,
        causes: &causes,
        help: help.as_deref(),
        diagnostics: error.diagnostics(),
    });
    let mut document = error.document().cloned().unwrap_or_else(|| json!({}));
    if let Value::Object(fields) = &mut document {
        fields.insert("error".to_owned(), shown);
    }
    // The exit code says it too.
    let _ = out.document(&document);
}

/// Help and version, or what is wrong with the command line.
fn usage(error: &clap::Error) -> Exit {
    // Nothing can be done when nobody takes it.
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Done;
    }
    if wants_json() {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let shown = report::json::error(&ErrorReport {
            code: Exit::Usage.code(),
            kind: Exit::Usage.kind(),
            message,
            causes: &[],
            help: Some("`phoenix --help` and `phoenix COMMAND --help` say what there is"),
            diagnostics: &[],
        });
        let out = Out {
            format: Format::Json,
            quiet: false,
        };
        let _ = out.document(&json!({ "error": shown }));
    }
    Exit::Usage
}

/// Whether documents are wanted, told from a command line that could not be parsed.
fn wants_json() -> bool {
    let mut args = std::env::args_os().skip_while(|arg| arg != "--format");
    std::env::args_os().any(|arg| arg == "--format=json")
        || args.nth(1).is_some_and(|value| value == "json")
        || std::env::var_os("PHOENIX_FORMAT").is_some_and(|value| value == "json")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_made() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_has_a_word_of_help() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let silent = argument.get_help().is_none() && argument.get_long_help().is_none();
                assert!(!silent, "{} {}", command.get_name(), argument.get_id());
            }
            for inner in command.get_subcommands() {
                assert!(inner.get_about().is_some(), "{}", inner.get_name());
                check(inner);
            }
        }
        check(&Cli::command());
    }
    #[test]
    fn everything_is_in_the_documentation() {
        const PAGE: &str = include_str!("../../docs/cli.md");
        const SIMULATED: &str = include_str!("../../docs/simulated-host.md");
        fn check(command: &clap::Command, page: &str) {
            for argument in command
                .get_arguments()
                .filter(|argument| !argument.is_hide_set())
            {
                let long = argument.get_long().map(|long| format!("--{long}"));
                let variable = argument.get_env().map(|name| name.to_string_lossy().into());
                for name in [long, variable].into_iter().flatten() {
                    let own = matches!(name.as_str(), "--help" | "--version");
                    assert!(
                        own || page.contains(&name),
                        "{name} of {}",
                        command.get_name()
                    );
                }
            }
            for inner in command.get_subcommands() {
                let page = if inner.get_name() == "sim" {
                    SIMULATED
                } else {
                    page
                };
                let name = inner.get_name();
                assert!(
                    page.contains(&format!("`{name}")) || page.contains(name),
                    "{name}"
                );
                check(inner, page);
            }
        }
        check(&Cli::command(), PAGE);
    }

    #[test]
    fn every_exit_code_is_in_the_documentation() {
        let page = include_str!("../../docs/exit-codes.md");
        for exit in [
            Exit::Done,
            Exit::Unexpected,
            Exit::Usage,
            Exit::Configuration,
            Exit::Pending,
            Exit::Failed,
            Exit::Host,
            Exit::Journal,
            Exit::Interrupted,
        ] {
            assert!(page.contains(&format!("\n| {} |", exit.code())), "{exit:?}");
        }
    }
}
