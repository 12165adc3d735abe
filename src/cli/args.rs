//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::host::HostChoice;
use super::since::Since;
use crate::domain::ids::Ctid;
use crate::domain::observed::Lock;
use crate::domain::step::Step;
use crate::engine::Limits;
use crate::host::pct::Timeout;

/// Converges Linux containers to the state that JSON files declare, and never loses its place.
#[derive(Parser, Debug)]
#[command(
    name = "phoenix",
    version,
    arg_required_else_help = true,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:\n  \
        phoenix plan                    what would change; changes nothing\n  \
        phoenix apply                   bring every container to its declared state\n  \
        phoenix apply 950 951           only these, and what they depend on\n  \
        phoenix resume                  go on with a run that was interrupted or failed\n  \
        phoenix history 950             what was done to a container, when, and why it failed\n  \
        phoenix --host sim plan         try it on a simulated host\n\n\
        Exit codes: 0 done, 2 usage, 3 configuration invalid, 4 changes pending \
        (plan --exit-code),\n5 some containers failed, 6 host unusable, 7 journal unusable, \
        130 interrupted, 1 unexpected"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command; they stand before or after it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Directory of the configuration files, or the one above it with etc/ and bin/
    #[arg(
        long,
        global = true,
        env = "PHOENIX_CONFIG",
        value_name = "DIR",
        default_value = "."
    )]
    pub(super) config: PathBuf,

    /// State directory with the journal [default: /var/lib/phoenix as root, else
    /// ~/.local/state/phoenix]
    #[arg(long, global = true, env = "PHOENIX_STATE", value_name = "DIR")]
    pub(super) state: Option<PathBuf>,

    /// Host to work on: `pct`, this Proxmox VE node; `pct+ssh://[USER@]NODE[:PORT]`, one behind
    /// ssh; `lxc` or `lxc:DIR`, real containers by this machine's LXC [default:
    /// /var/lib/phoenix/lxc]; `sim` or `sim:DIR`, a simulated one that lives in a directory
    /// [default: sim/ in the state directory]. Without it: `pct` where there is a `pct`, else `sim`
    #[arg(long, global = true, env = "PHOENIX_HOST", value_name = "HOST")]
    pub(super) host: Option<HostChoice>,

    /// Containers to work on at a time [default: twice the number of processors]
    #[arg(long, short, global = true, env = "PHOENIX_JOBS", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) jobs: Option<u32>,

    /// How long things may take on a Proxmox VE node, such as start=300,script=7200 (docs/proxmox.md
    /// lists all)
    #[arg(
        long = "timeout",
        global = true,
        env = "PHOENIX_TIMEOUT",
        value_name = "NAME=SECONDS",
        value_delimiter = ','
    )]
    pub(super) timeouts: Vec<Timeout>,

    /// Output for a person or for a script
    #[arg(
        long,
        global = true,
        env = "PHOENIX_FORMAT",
        value_enum,
        default_value_t
    )]
    pub(super) format: Format,

    /// More about what is going on, on standard error (-vv: still more)
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,

    /// Only results and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
}

/// For whom the output is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum Format {
    /// For a person.
    #[default]
    Human,
    /// For a script: documents as described in docs/cli.md.
    Json,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Show what would change; change nothing
    Plan(PlanArgs),
    /// Bring containers to their declared state
    Apply(ApplyArgs),
    /// Go on with the last run, if it was interrupted or something failed in it
    Resume(ResumeArgs),
    /// Destroy containers that phoenix made, with their volumes and snapshots
    Destroy(DestroyArgs),
    /// Show how each container stands: declared, observed, last run, pending work, drift
    Status(StatusArgs),
    /// Show what was done to a container: who, when, in which run, what changed, why it failed
    History(HistoryArgs),
    /// List the runs and what came of them
    Runs,
    /// Check the configuration files by themselves
    Validate,
    /// Print who waits for whom, for Graphviz or Mermaid
    Graph(GraphArgs),
    /// Print the JSON Schema of a configuration file
    Schema {
        /// Which file
        #[arg(value_enum, default_value_t)]
        file: SchemaFile,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Play with the simulated host: change, stop, reboot, look
    #[command(subcommand)]
    Sim(SimCommand),
    /// Look after the journal
    #[command(subcommand)]
    Journal(JournalCommand),
}

/// Containers to look at.
#[derive(Args, Debug, Default, Clone)]
pub(super) struct Targets {
    /// Only these containers, and what they depend on
    #[arg(value_name = "CTID")]
    pub(super) ctids: Vec<Ctid>,
}

#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) targets: Targets,
    #[command(flatten)]
    pub(super) patience: Patience,
}

/// What a person asks for beside the configuration.
#[derive(Args, Debug, Default, Clone)]
pub(super) struct Wishes {
    /// Run a feature's or application's script again, in the named containers or wherever it is
    /// declared (can be repeated)
    #[arg(long, value_name = "FEATURE")]
    pub(super) rerun: Vec<String>,

    /// Leave changes waiting that need a restart
    #[arg(long)]
    pub(super) no_restart: bool,

    /// Run health checks even of containers that were not changed
    #[arg(long)]
    pub(super) check_health: bool,
}

#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) targets: Targets,
    #[command(flatten)]
    pub(super) wishes: Wishes,
    #[command(flatten)]
    pub(super) patience: Patience,

    /// Exit with code 4 when there is something to do
    #[arg(long)]
    pub(super) exit_code: bool,

    /// With --format json: list containers without changes too
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    phoenix apply --dry-run         the same as `phoenix plan`\n  \
    phoenix apply --rerun docker    run the feature `docker` again where it is declared\n  \
    phoenix apply --no-restart      leave changes waiting that need a restart")]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    pub(super) targets: Targets,
    #[command(flatten)]
    pub(super) wishes: Wishes,
    #[command(flatten)]
    pub(super) patience: Patience,

    /// Show the plan and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Args, Debug)]
pub(super) struct ResumeArgs {
    /// The run to go on with; it must be the last one (the beginning of its id is enough)
    pub(super) run: Option<String>,

    /// Run a feature's or application's script again, beside those that the run began with (can
    /// be repeated)
    #[arg(long, value_name = "FEATURE")]
    pub(super) rerun: Vec<String>,

    /// Run health checks even of containers that were not changed
    #[arg(long)]
    pub(super) check_health: bool,

    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args, Debug)]
pub(super) struct DestroyArgs {
    /// The containers
    #[arg(value_name = "CTID", required = true)]
    pub(super) ctids: Vec<Ctid>,

    /// Do not ask
    #[arg(long, short)]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) patience: Patience,
}

/// How patient to be with a host.
#[derive(Args, Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Attempts at looking at the host, and at one state of a container, before it counts as failed
    #[arg(long, env = "PHOENIX_ATTEMPTS", value_name = "N", default_value_t = 6,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) attempts: u32,

    /// Pause after the first attempt in milliseconds; each later one is twice as long, up to 30 s
    #[arg(long, hide = true, env = "PHOENIX_RETRY_PAUSE_MS", value_name = "MS")]
    #[arg(default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub(super) retry_pause_ms: u64,
}

impl Patience {
    pub(super) fn limits(self) -> Limits {
        Limits {
            attempts: self.attempts,
            first_pause: Duration::from_millis(self.retry_pause_ms),
            ..Limits::default()
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    /// The container
    pub(super) ctid: Ctid,

    /// Only of this run (the beginning of its id is enough)
    #[arg(long)]
    pub(super) run: Option<String>,

    /// Not older than this: 30m, 2h, 7d, 2026-01-31, or a time such as 2026-01-31T10:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<Since>,

    /// Go on with what happens from now on, as soon as it is durable, until interrupted
    #[arg(long, short)]
    pub(super) follow: bool,

    /// Only of this state
    #[arg(long, value_parser = steps())]
    pub(super) step: Option<Step>,
}

fn steps() -> impl clap::builder::TypedValueParser<Value = Step> {
    PossibleValuesParser::new(Step::every().map(Step::name)).try_map(|name| name.parse::<Step>())
}

fn lock(text: &str) -> Result<Lock, String> {
    let found = Lock::ALL.into_iter().find(|lock| lock.to_string() == text);
    found.ok_or_else(|| {
        let names = Lock::ALL.map(|lock| lock.to_string());
        format!("no such lock; there are {}", names.join(", "))
    })
}

#[derive(Args, Debug)]
pub(super) struct GraphArgs {
    #[command(flatten)]
    pub(super) targets: Targets,

    /// The language of the picture
    #[arg(long = "as", value_enum, default_value_t, value_name = "LANGUAGE")]
    pub(super) language: Language,
}

/// In what a graph is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum Language {
    /// Graphviz.
    #[default]
    Dot,
    /// Mermaid.
    Mermaid,
}

/// A configuration file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum SchemaFile {
    /// phoenix_hypervisor_config.json
    Hypervisor,
    /// phoenix_lxc_configs.json
    #[default]
    Lxc,
}

#[derive(Subcommand, Debug)]
pub(super) enum SimCommand {
    /// Change keys of a container by hand, by Proxmox VE's names: memory=512, delete=mp0
    Set {
        /// The container
        ctid: Ctid,
        /// What to set
        #[arg(required = true, value_name = "KEY=VALUE")]
        pairs: Vec<String>,
    },
    /// Start a container by hand
    Start {
        /// The container
        ctid: Ctid,
    },
    /// Stop a container by hand
    Stop {
        /// The container
        ctid: Ctid,
    },
    /// Delete the mount at a path of a container
    Unmount {
        /// The container
        ctid: Ctid,
        /// The path in the container
        path: String,
    },
    /// Destroy a container with its disks
    Destroy {
        /// The container
        ctid: Ctid,
    },
    /// Lock a container, as a backup or another tool would
    Lock {
        /// The container
        ctid: Ctid,
        /// The lock
        #[arg(default_value = "backup", value_parser = lock)]
        lock: Lock,
    },
    /// Take a lock of a container away
    Unlock {
        /// The container
        ctid: Ctid,
    },
    /// Take a snapshot
    Snapshot {
        /// The container
        ctid: Ctid,
        /// The snapshot's name
        name: String,
    },
    /// Delete a snapshot
    Delsnapshot {
        /// The container
        ctid: Ctid,
        /// The snapshot's name
        name: String,
    },
    /// Reboot the host: containers without start-at-boot go down
    Reboot,
    /// Make an empty host of it
    Reset,
    /// Show the host, or one container
    Show {
        /// The container
        ctid: Option<Ctid>,
    },
    /// List every effect on the host, in order
    Log,
}

#[derive(Subcommand, Debug)]
pub(super) enum JournalCommand {
    /// Read everything and name the first record that was altered or lost
    Verify,
    /// Print every event as a line of JSON, and whose journal it is at the end
    Export,
    /// Make a journal of what `export` printed
    Import {
        /// The file; - is standard input
        #[arg(default_value = "-", value_name = "FILE")]
        file: PathBuf,
    },
    /// Make a new journal of all that is whole in a damaged one, which is kept aside
    Repair,
    /// Fold the events of old runs into what they came to, and give the space back
    Compact {
        /// Runs whose events are kept as they are, the last ones
        #[arg(long, value_name = "RUNS", default_value_t = 20)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
    },
    /// Show the journal in numbers
    Stat,
}
