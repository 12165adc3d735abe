//! Calls that can change something: numbered, logged, and the points at which a test strikes.
//!
//! `ROOT/standin/point` names one point, `CALL WHERE WHAT`: the number of the call, `before`,
//! `middle` or `after`, and what happens there:
//!
//! - `kill-phoenix`: SIGKILL to the process whose id is in `victim`; the tool goes on;
//! - `kill-tool`: SIGKILL to the tool alone, its worker lives on;
//! - `kill-all`: SIGKILL to phoenix, the tool's process group and the worker;
//! - `kill-tools`: SIGKILL to the tool and its worker;
//! - `term-tool`: SIGTERM to the tool;
//! - `cut`: the ssh session that the tool runs in is killed;
//! - `edit`: somebody else acts: the shell script `edit` is run, `$1` the node's root.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group};

use super::{Node, Outcome, files, worker};

pub struct Call {
    /// Nothing for a call that only asks.
    pub number: Option<u32>,
    /// The process group of the tool; a worker has its own.
    group: i32,
    worker: bool,
}

const ASKING: [&str; 5] = ["status", "list", "config", "pending", "listsnapshot"];

impl Call {
    pub fn begin(node: &Node, program: &str, words: &[&str]) -> Self {
        let asks = match program {
            "pct" => words.first().is_none_or(|word| ASKING.contains(word)),
            "pveam" => words.first() != Some(&"download"),
            // Whether init answers and what receipts there are is only asked.
            "lxc-attach" => {
                words.ends_with(&["--", "true"])
                    || words.iter().any(|word| word.contains("echo receipts"))
            }
            _ => !files::PROGRAMS.contains(&program),
        };
        let number = (!asks).then(|| counted(node));
        let call = Self {
            number,
            group: getpgrp().as_raw_nonzero().get(),
            worker: false,
        };
        let shown: Vec<String> = words
            .iter()
            .map(|word| word.replace(['\n', '\t'], " "))
            .collect();
        let shown = shown.join(" ");
        let label = number.map_or("ask".to_owned(), |number| number.to_string());
        node.note(&format!("{label}\tbegin\t{program}\t{shown}"));
        let slow = !program.starts_with("lxc-");
        let knob = node.knob("call").filter(|_| slow);
        if let Some(ms) = knob.and_then(|ms| ms.parse().ok()) {
            std::thread::sleep(Duration::from_millis(ms));
        }
        call.point(node, "before");
        call
    }

    pub fn of_worker(number: &str, group: &str) -> Self {
        Self {
            number: number.parse().ok(),
            group: group.parse().unwrap_or(0),
            worker: true,
        }
    }

    pub fn group(&self) -> i32 {
        self.group
    }

    pub fn end(&self, node: &Node, outcome: &Outcome) {
        if let Some(number) = self.number {
            let code = outcome.as_ref().err().map_or(0, |failure| failure.code);
            node.note(&format!("{number}\tend\t{code}"));
            self.point(node, "after");
        }
    }

    /// Something changed that can be seen.
    pub fn effect(&self, node: &Node, kind: &str, what: &str) {
        let number = self.number.unwrap_or(0);
        node.note(&format!("{number}\teffect\t{kind}\t{what}"));
    }

    pub fn middle(&self, node: &Node) {
        self.point(node, "middle");
    }

    fn point(&self, node: &Node, place: &str) {
        let Some(number) = self.number else { return };
        let Some(knob) = node.knob("point") else {
            return;
        };
        let Some(what) = knob.strip_prefix(&format!("{number} {place} ")) else {
            return;
        };
        let path = node.path("standin/point");
        fs::rename(&path, path.with_extension("done")).expect("a point is used once");
        self.strike(node, what);
    }

    fn strike(&self, node: &Node, what: &str) {
        let own = Pid::from_raw(self.group).expect("a process group");
        match what {
            "kill-phoenix" => kill_victim(node),
            "kill-tool" if self.worker => {
                let tool: i32 = parent(std::process::id());
                let _ = kill_process(Pid::from_raw(tool).expect("a process"), Signal::KILL);
                wait_for(tool);
                wait_for_silence();
            }
            "kill-tool" => die(),
            "kill-all" | "kill-tools" => {
                if what == "kill-all" {
                    kill_victim(node);
                }
                // A shell that a test started the tool from is not phoenix's to kill.
                if node.knob("victim").is_some() {
                    let _ = kill_process_group(own, Signal::KILL);
                } else if self.worker {
                    let tool = Pid::from_raw(parent(std::process::id())).expect("a process");
                    let _ = kill_process(tool, Signal::KILL);
                }
                die();
            }
            "term-tool" => {
                let tool = parent(std::process::id());
                let _ = kill_process(Pid::from_raw(tool).expect("a process"), Signal::TERM);
                worker::await_stop();
            }
            "cut" => cut(node),
            "edit" => {
                let mut command = command(Path::new("sh"));
                let script = node.knob("edit").expect("what somebody else does");
                command.args(["-c", &script, "edit"]).arg(&node.root);
                assert!(
                    command.status().is_ok_and(|status| status.success()),
                    "{script}"
                );
            }
            other => panic!("no such strike: {other}"),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the stand-in starts processes of its own"
)]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

fn die() -> ! {
    let own = Pid::from_raw(i32::try_from(std::process::id()).expect("an id")).expect("a process");
    let _ = kill_process(own, Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// The parent of a process; 0 if there is none any more.
pub fn parent(pid: u32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let words: Vec<&str> = behind.split_whitespace().collect();
    words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Kills phoenix and waits until it is no more.
fn kill_victim(node: &Node) {
    let began = Instant::now();
    let pid: i32 = loop {
        if let Some(pid) = node.knob("victim").and_then(|text| text.parse().ok()) {
            break pid;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "no victim was named"
        );
        std::thread::sleep(Duration::from_millis(2));
    };
    let _ = kill_process(Pid::from_raw(pid).expect("a process"), Signal::KILL);
    wait_for(pid);
}

/// Waits until nobody reads standard output any more: the threads of a killed process end one
/// after the other.
fn wait_for_silence() {
    let stdout = std::io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::OUT)];
    for _ in 0..5000 {
        let _ = poll(&mut watched, Some(&Timespec::default()));
        if watched[0].revents().contains(PollFlags::ERR) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a process is no more, or has only its parent to tell.
fn wait_for(pid: i32) {
    let lives = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z")
    };
    while lives() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Kills the processes of the ssh session that this one belongs to, not the listener.
fn cut(node: &Node) {
    let listener: i32 = node
        .knob("sshd")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut pid = parent(std::process::id());
    let mut session = Vec::new();
    while pid > 1 && pid != listener {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with("sshd") {
            session.push(pid);
        }
        pid = parent(u32::try_from(pid).expect("an id"));
    }
    assert!(
        pid == listener && !session.is_empty(),
        "not within an ssh session"
    );
    for pid in session {
        let _ = kill_process(Pid::from_raw(pid).expect("a process"), Signal::KILL);
    }
}

fn counted(node: &Node) -> u32 {
    let path = node.path("standin/counter");
    let guard = fs::File::create(node.path("standin/counter.lock")).expect("a lock file");
    flock(&guard, FlockOperation::LockExclusive).expect("the lock");
    let last: u32 = fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    fs::write(&path, (last + 1).to_string()).expect("written");
    last + 1
}
