//! How commands reach the node: on it, or over ssh. What is run is the same text either way.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use super::super::HostError;
use super::super::process::Job;
use super::failure;
use super::quote::{line, quoted};
use super::timeouts::{Limit, Timeouts};
use crate::domain::refusal::FailureKind;

/// Where the node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// Here.
    Local,
    /// Behind ssh.
    Ssh(Remote),
}

/// A node behind ssh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// `[user@]node`, as ssh takes it.
    pub destination: String,
    /// The port, where it is not what ssh takes by itself.
    pub port: Option<u16>,
    /// Where ssh may keep the socket of its one connection; none: every command connects anew.
    pub sockets: Option<PathBuf>,
    /// A configuration file of ssh's in the place of the person's own.
    pub config: Option<PathBuf>,
    /// What ssh takes from the person's environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// The way to a node.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) place: Place,
    /// What all paths of the node begin with: nothing, but in phoenix's own tests.
    pub(super) root: String,
    pub(super) timeouts: Timeouts,
}

/// The exit code by which ssh says that it is its own.
const SSH_FAILED: i32 = 255;
/// What a command may take beyond the deadline that the node itself keeps: to be stopped, and to
/// send what it said.
const SLACK: Duration = Duration::from_secs(30);
/// All of a look at ten thousand containers.
const ANSWER_MAX: usize = 256 * 1024 * 1024;
/// What every script begins with.
const PRELUDE: &str = include_str!("sh/prelude.sh");
/// What a script that does something begins with.
const ACT: &str = include_str!("sh/act.sh");

/// The end of something that was done.
pub(super) struct Done {
    pub(super) code: i32,
    /// The end of what it said.
    pub(super) said: String,
}

impl Link {
    /// Asks: runs a script that changes nothing, and returns what it wrote.
    pub(super) fn ask(
        &self,
        script: &str,
        arguments: &[String],
        input: &[u8],
    ) -> Result<Vec<u8>, HostError> {
        let input = in_memory(input)?;
        let job = self.job(&format!("{PRELUDE}{script}"), arguments);
        let job = job.stdin(&input).keep(ANSWER_MAX);
        let limit = self.timeouts.duration(Limit::Look).saturating_add(SLACK);
        let finished = job.deadline(limit).finish().map_err(passing)?;
        if finished.code == 0 {
            return Ok(finished.stdout);
        }
        Err(passing(self.refused(finished.code, &finished.tail)))
    }

    /// Does something: runs lines made of the functions of `act.sh`. `limit` is how long the
    /// node gives them. An error here means that nobody knows how they ended.
    pub(super) fn act(
        &self,
        lines: &str,
        input: &[u8],
        limit: Duration,
    ) -> Result<Done, HostError> {
        let input = in_memory(input)?;
        let script = format!("{PRELUDE}{ACT}\n{lines}\nfinish 0\n");
        let job = self.job(&script, &[]).stdin(&input);
        let finished = job.deadline(limit.saturating_add(SLACK)).finish()?;
        match exit(&finished.stdout) {
            Some(code) => Ok(Done {
                code,
                said: finished.tail,
            }),
            None => Err(self.refused(finished.code, &finished.tail)),
        }
    }

    /// A script did not say how it ended: it did not come to its end, or it never began.
    fn refused(&self, code: i32, said: &str) -> HostError {
        let why = failure::reason(said).map_or_else(String::new, |why| format!(": {why}"));
        let (kind, message) = match &self.place {
            Place::Ssh(remote) if code == SSH_FAILED => (
                ssh_kind(said),
                format!("ssh to {} failed{why}", remote.destination),
            ),
            _ => (
                FailureKind::UnknownOutcome,
                format!("a command on the node broke off (exit code {code}){why}"),
            ),
        };
        HostError {
            output: said.to_owned(),
            ..HostError::new(kind, message)
        }
    }

    fn job<'a>(&self, script: &str, arguments: &[String]) -> Job<'a> {
        let words = ["sh", "-c", script, "phoenix", &self.root];
        match &self.place {
            Place::Local => Job::new(words).with(arguments),
            Place::Ssh(remote) => {
                let words = words
                    .into_iter()
                    .chain(arguments.iter().map(String::as_str));
                let command = format!("exec {}", line(words));
                self.ssh(remote).with(["--", &remote.destination, &command])
            }
        }
    }

    fn ssh<'a>(&self, remote: &Remote) -> Job<'a> {
        let connect = self.timeouts.seconds(Limit::Connect);
        let mut options = vec![
            "BatchMode=yes".to_owned(),
            format!("ConnectTimeout={connect}"),
            "ServerAliveInterval=15".to_owned(),
            "ServerAliveCountMax=4".to_owned(),
            "RequestTTY=no".to_owned(),
            "ForwardAgent=no".to_owned(),
            "ForwardX11=no".to_owned(),
            "ClearAllForwardings=yes".to_owned(),
            "LogLevel=ERROR".to_owned(),
        ];
        match &remote.sockets {
            Some(dir) => options.extend([
                "ControlMaster=auto".to_owned(),
                format!("ControlPath={}/%C", dir.display()),
                "ControlPersist=60".to_owned(),
            ]),
            None => options.extend(["ControlMaster=no".to_owned(), "ControlPath=none".to_owned()]),
        }
        let mut job = Job::new(["ssh", "-T"]);
        if let Some(config) = &remote.config {
            job = job.with([OsString::from("-F"), config.clone().into()]);
        }
        for option in options {
            job = job.with(["-o".to_owned(), option]);
        }
        if let Some(port) = remote.port {
            job = job.with(["-p".to_owned(), port.to_string()]);
        }
        job.environment(&remote.environment)
    }
}

/// Of what only asks, nothing is left behind: it can be asked again.
fn passing(error: HostError) -> HostError {
    match error.kind {
        FailureKind::UnknownOutcome => HostError {
            kind: FailureKind::Transient,
            ..error
        },
        _ => error,
    }
}

/// What ssh could not do before it began is no unknown outcome.
fn ssh_kind(said: &str) -> FailureKind {
    const LASTING: [&str; 5] = [
        "Permission denied",
        "Host key verification failed",
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "Could not resolve hostname",
        "Bad configuration option",
    ];
    const UNBEGUN: [&str; 4] = [
        "Connection refused",
        "Connection timed out",
        "No route to host",
        "Network is unreachable",
    ];
    let last = said.trim_end().lines().last().unwrap_or_default();
    if LASTING.iter().any(|text| last.contains(text)) {
        FailureKind::Permanent
    } else if UNBEGUN.iter().any(|text| last.contains(text)) {
        FailureKind::Transient
    } else {
        FailureKind::UnknownOutcome
    }
}

/// The exit code that a script wrote last.
fn exit(stdout: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(stdout).ok()?;
    text.strip_prefix("exit ")?.strip_suffix('\n')?.parse().ok()
}

/// A file of these bytes, to be read from its beginning.
fn in_memory(bytes: &[u8]) -> Result<File, HostError> {
    let failed = |error: std::io::Error| {
        HostError::new(
            FailureKind::Transient,
            format!("cannot keep a command's input in memory: {error}"),
        )
    };
    let file =
        memfd_create("phoenix", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    let mut file = File::from(file);
    file.write_all(bytes).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(file)
}

/// Lines for [`Link::act`].
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    /// A function of `act.sh`, or a command, with its arguments.
    pub(super) fn push<S: AsRef<str>>(
        &mut self,
        function: &str,
        words: impl IntoIterator<Item = S>,
    ) -> &mut Self {
        self.0.push_str(function);
        for word in words {
            self.0.push(' ');
            self.0.push_str(&quoted(word.as_ref()));
        }
        self.0.push('\n');
        self
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(place: Place) -> Link {
        Link {
            place,
            root: String::new(),
            timeouts: Timeouts::default(),
        }
    }

    #[test]
    fn a_script_that_did_not_say_how_it_ended_is_of_unknown_outcome() {
        let link = link(Place::Local);
        let broken = link.act("exit 0", &[], SLACK);
        assert_eq!(
            broken.err().map(|error| error.kind),
            Some(FailureKind::UnknownOutcome)
        );
        let done = link.act("finish 7", &[], SLACK).expect("it ended");
        assert_eq!(done.code, 7);
    }

    #[test]
    fn what_ssh_says_is_told_apart() {
        for (said, kind) in [
            (
                "root@pve1: Permission denied (publickey).",
                FailureKind::Permanent,
            ),
            ("Host key verification failed.", FailureKind::Permanent),
            (
                "ssh: connect to host pve1 port 22: Connection refused",
                FailureKind::Transient,
            ),
            (
                "Connection to pve1 closed by remote host.",
                FailureKind::UnknownOutcome,
            ),
            (
                "client_loop: send disconnect: Broken pipe",
                FailureKind::UnknownOutcome,
            ),
        ] {
            assert_eq!(ssh_kind(said), kind, "{said}");
        }
    }
}
