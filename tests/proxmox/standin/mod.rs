//! The stand-in for Proxmox VE's tools: `pct`, `pvesm`, `pveam`, `lxc-attach`, `lxc-info`.
//!
//! What a command makes of a container is decided by phoenix's own model of one; the texts, the
//! exit codes, the locks, the workers and what a death in the middle leaves are added here, as
//! they were recorded of Proxmox VE 8.4. Where a test asks for it, the node's own `mkdir`, `chown`
//! and the like are calls of this kind too ([`files`]).
//!
//! Knobs are files below `ROOT/standin`: `delay` (ms that a worker takes), `call` (ms that each
//! `pct`, `pvesm`, `pveam` and program of [`files`] takes before it does anything), `lock_timeout`
//! (ms), `point` (`CALL WHERE WHAT`, see [`call`]), `victim` (the process id of phoenix), `edit`
//! (what somebody else does), `lie` (a command that claims success once), `available` (templates
//! that can be downloaded). `log` has every call that can change something, and every effect.

pub mod call;
mod clone;
mod file;
pub mod files;
mod inside;
mod life;
mod make;
mod node;
mod options;
mod set;
mod show;
mod snapshots;
mod storage;
mod tree;
mod worker;

use std::path::Path;

use call::Call;
pub use file::File;
pub use life::kill_init;
pub use node::Node;
pub use tree::all as volumes;

/// What a command says on standard error before it ends with a code.
#[derive(Debug)]
pub struct Failure {
    pub code: i32,
    pub text: String,
}

impl Failure {
    pub fn new(code: i32, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

pub type Outcome = Result<(), Failure>;

/// The programs that a stand-in node has.
pub const PROGRAMS: [&str; 5] = ["pct", "pvesm", "pveam", "lxc-attach", "lxc-info"];

/// Runs as one of the tools if this program was started under its name, or as a worker.
pub fn as_a_tool() -> Option<i32> {
    let exe = std::env::current_exe().ok()?;
    let program = exe.file_name()?.to_str()?.to_owned();
    let known = [&PROGRAMS[..], &files::PROGRAMS].concat();
    if !known.contains(&program.as_str()) {
        return None;
    }
    let root = exe.parent()?.parent()?;
    let outcome = match std::env::var("STANDIN_WORK") {
        Ok(work) => worker::work(root, &work),
        Err(_) => run(root, &program),
    };
    Some(match outcome {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("{}", failure.text);
            }
            failure.code
        }
    })
}

fn run(root: &Path, program: &str) -> Outcome {
    let node = Node::new(root);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let call = Call::begin(&node, program, &words);
    let outcome = match program {
        "pct" => pct(&node, &call, &words),
        "pvesm" => storage::pvesm(&node, &words),
        "pveam" => storage::pveam(&node, &call, &words),
        "lxc-attach" => inside::attach(&node, &call, &words),
        "lxc-info" => inside::info(&node, &words),
        _ => files::run(program, &words),
    };
    call.end(&node, &outcome);
    outcome
}

fn pct(node: &Node, call: &Call, words: &[&str]) -> Outcome {
    let Some((command, rest)) = words.split_first() else {
        return Err(Failure::new(
            255,
            format!("ERROR: no command specified\n{}", options::usage()),
        ));
    };
    let options = options::parse(command, rest)?;
    match *command {
        "status" => show::status(node, &options),
        "list" => show::list(node),
        "config" => show::config(node, &options),
        "pending" => show::pending(node, &options),
        "listsnapshot" => show::snapshots(node, &options),
        "set" => set::set(node, call, &options),
        "unlock" => life::unlock(node, call, &options),
        "exec" => inside::exec(node, call, &options),
        "push" => inside::push(node, call, &options),
        "pull" => inside::pull(node, &options),
        "migrate" => life::migrate(node, &options),
        _ => worker::delegate(node, call, command, rest, &options),
    }
}

/// What a worker does.
fn worked(node: &Node, call: &Call, command: &str, options: &options::Options) -> Outcome {
    match command {
        "create" => make::create(node, call, options),
        "clone" => clone::clone(node, call, options),
        "destroy" => make::destroy(node, call, options),
        "start" => life::start(node, call, options),
        "stop" | "shutdown" => life::stop(node, call, options),
        "reboot" => life::reboot(node, call, options),
        "resize" => life::resize(node, call, options),
        "template" => life::template(node, call, options),
        "snapshot" => snapshots::take(node, call, options),
        "delsnapshot" => snapshots::delete(node, call, options),
        "rollback" => snapshots::roll_back(node, call, options),
        other => Err(Failure::new(
            255,
            format!("the stand-in does not know 'pct {other}'"),
        )),
    }
}
