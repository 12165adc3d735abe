//! Child processes: the only place where one is started.
//!
//! A child has its own process group, a minimal environment, a deadline (SIGTERM, then SIGKILL
//! after a grace, both to the whole group), and pipes that are drained while it runs. What it
//! leaves running in the background does not hold phoenix up: after the child itself has ended,
//! only what is already in the pipes is read.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::HostError;
use crate::domain::refusal::FailureKind;
use crate::domain::secret::CUT;

/// The environment of every child.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a child may go on after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How much of the output is kept for a person.
const TAIL: usize = 4096;
/// How much of the standard output is kept for phoenix.
const KEPT: usize = 1024 * 1024;
/// How long a child may run unless its caller says otherwise.
const USUAL_DEADLINE: Duration = Duration::from_secs(120);

static STARTED: AtomicU64 = AtomicU64::new(0);

/// How many programs this process has started: on a real machine, what inspection and changes
/// cost.
#[must_use]
pub fn started() -> u64 {
    STARTED.load(Ordering::SeqCst)
}

/// A command to run.
#[derive(Debug)]
pub struct Job<'a> {
    argv: Vec<OsString>,
    stdin: Option<&'a File>,
    deadline: Duration,
    kind: FailureKind,
    keep: usize,
    environment: Vec<(OsString, OsString)>,
}

/// A command that ended by itself, well or not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finished {
    /// Its exit code.
    pub(super) code: i32,
    /// Standard output, as far as it is kept.
    pub(super) stdout: Vec<u8>,
    /// The last 4 KiB of standard error.
    pub(super) tail: String,
}

/// What a command that succeeded had to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output, up to a mebibyte.
    pub stdout: String,
    /// The last 4 KiB of both streams.
    pub tail: String,
}

impl<'a> Job<'a> {
    /// A program with its arguments.
    pub fn new<S: AsRef<OsStr>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv
                .into_iter()
                .map(|arg| arg.as_ref().to_owned())
                .collect(),
            stdin: None,
            deadline: USUAL_DEADLINE,
            kind: FailureKind::Permanent,
            keep: KEPT,
            environment: Vec::new(),
        }
    }

    /// How much of its standard output is kept, where a mebibyte is not enough.
    #[must_use]
    pub(super) fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Variables on top of the usual ones.
    #[must_use]
    pub(super) fn environment(mut self, variables: &[(OsString, OsString)]) -> Self {
        self.environment.extend_from_slice(variables);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn with<S: AsRef<OsStr>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        let more = more.into_iter().map(|arg| arg.as_ref().to_owned());
        self.argv.extend(more);
        self
    }

    /// What it reads; without it, nothing.
    #[must_use]
    pub fn stdin(mut self, file: &'a File) -> Self {
        self.stdin = Some(file);
        self
    }

    /// How long it may run.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What its failure means; a failure of this kind is worth another attempt or not.
    #[must_use]
    pub fn failing_as(mut self, kind: FailureKind) -> Self {
        self.kind = kind;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started, fails, or does not end in time (its outcome is unknown then).
    pub fn run(&self) -> Result<Output, HostError> {
        let (status, streams) = self.end(true)?;
        if status.success() {
            Ok(streams.output())
        } else {
            Err(self.failed(status, &streams))
        }
    }

    /// Runs it to its end, whatever its exit code then is.
    ///
    /// # Errors
    /// When it cannot be started, is ended by a signal, or does not end in time.
    pub(super) fn finish(&self) -> Result<Finished, HostError> {
        let (status, streams) = self.end(false)?;
        let Some(code) = status.code() else {
            return Err(self.failed(status, &streams));
        };
        let tail = streams.output().tail;
        Ok(Finished {
            code,
            stdout: streams.stdout,
            tail,
        })
    }

    /// Its end, and what came of its streams; `mixed`: the tail is of both.
    fn end(&self, mixed: bool) -> Result<(ExitStatus, Streams), HostError> {
        let mut child = self.spawn()?;
        let mut streams = Streams::of(&mut child, self.keep, mixed);
        match wait(&mut child, &mut streams, self.deadline) {
            Ok(Ending::Exited(status)) => Ok((status, streams)),
            Ok(Ending::TimedOut) => {
                let message = format!(
                    "`{}` did not end within {} s and was stopped; what it did is not known",
                    self.program(),
                    self.deadline.as_secs()
                );
                Err(self.error(FailureKind::UnknownOutcome, message, None, &streams))
            }
            Err(error) => {
                end(&mut child);
                let message = format!("cannot watch `{}`: {error}", self.program());
                Err(self.error(FailureKind::UnknownOutcome, message, None, &streams))
            }
        }
    }

    fn program(&self) -> String {
        let program = self.argv.first().map(|program| program.to_string_lossy());
        program.unwrap_or_default().into_owned()
    }

    pub(super) fn spawn(&self) -> Result<Child, HostError> {
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(HostError::new(FailureKind::Permanent, "an empty command"));
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one home of child processes"
        )]
        let mut command = Command::new(program);
        let stdin = match self.stdin.map(File::try_clone) {
            Some(Ok(file)) => Stdio::from(file),
            Some(Err(error)) => return Err(self.unstartable(&error)),
            None => Stdio::null(),
        };
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .env("HOME", "/root")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        STARTED.fetch_add(1, Ordering::SeqCst);
        command.spawn().map_err(|error| self.unstartable(&error))
    }

    fn unstartable(&self, error: &io::Error) -> HostError {
        let program = self.program();
        let message = match error.kind() {
            io::ErrorKind::NotFound => format!("`{program}` is not installed on this host"),
            _ => format!("cannot start `{program}`: {error}"),
        };
        HostError {
            command: Some(self.shown()),
            ..HostError::new(FailureKind::Permanent, message)
        }
    }

    fn failed(&self, status: ExitStatus, streams: &Streams) -> HostError {
        let program = self.program();
        let (kind, message) = match (status.code(), status.signal()) {
            (Some(code), _) => (self.kind, format!("`{program}` failed (exit code {code})")),
            (None, signal) => (
                FailureKind::UnknownOutcome,
                format!("`{program}` was ended by signal {}", signal.unwrap_or(0)),
            ),
        };
        self.error(kind, message, status.code(), streams)
    }

    fn error(
        &self,
        kind: FailureKind,
        message: String,
        exit_code: Option<i32>,
        streams: &Streams,
    ) -> HostError {
        HostError {
            kind,
            message,
            command: Some(self.shown()),
            exit_code,
            output: streams.output().tail,
            unseen: false,
        }
    }

    /// The command as a person would type it, long arguments (scripts of our own) cut.
    fn shown(&self) -> String {
        let word = |arg: &OsString| {
            let text = arg.to_string_lossy();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let short: String = text.chars().take(80).collect();
            let cut = if short.len() < text.len() { "…" } else { "" };
            match short.contains([' ', '\'', '"', '$']) || short.is_empty() {
                true => format!("'{short}{cut}'"),
                false => short,
            }
        };
        self.argv.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

enum Ending {
    Exited(ExitStatus),
    TimedOut,
}

/// Reads both pipes until the child has ended or its time is up.
fn wait(child: &mut Child, streams: &mut Streams, deadline: Duration) -> io::Result<Ending> {
    let began = Instant::now();
    let pid = Pid::from_child(child);
    let watched = pidfd_open(pid, PidfdFlags::empty())?;
    let mut timed_out = false;
    let mut limit = deadline;
    loop {
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() {
            // A child that ended while nobody looked has ended.
            let signal = if timed_out {
                Signal::KILL
            } else {
                Signal::TERM
            };
            let _ = kill_process_group(pid, signal);
            if timed_out {
                child.wait()?;
                streams.drain();
                return Ok(Ending::TimedOut);
            }
            timed_out = true;
            limit = began.elapsed().saturating_add(GRACE);
            continue;
        }
        let ended = streams.poll(watched.as_fd(), left)?;
        if ended {
            let status = child.wait()?;
            streams.drain();
            return Ok(match timed_out {
                true => Ending::TimedOut,
                false => Ending::Exited(status),
            });
        }
    }
}

fn end(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// One pipe and what came through it.
#[derive(Debug)]
struct Stream<R> {
    pipe: Option<R>,
}

impl<R: Read + AsFd> Stream<R> {
    fn of(pipe: Option<R>) -> Self {
        if let Some(pipe) = &pipe {
            // Without it a background process that holds the pipe would hold phoenix up.
            let _ = rustix::fs::fcntl_setfl(pipe, rustix::fs::OFlags::NONBLOCK);
        }
        Self { pipe }
    }

    /// Takes what is there.
    fn read(&mut self, mut take: impl FnMut(&[u8])) {
        let mut buffer = [0; 8192];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => take(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}

/// Both pipes.
#[derive(Debug)]
struct Streams {
    out: Stream<std::process::ChildStdout>,
    err: Stream<std::process::ChildStderr>,
    stdout: Vec<u8>,
    keep: usize,
    mixed: bool,
    tail: Tail,
}

impl Streams {
    fn of(child: &mut Child, keep: usize, mixed: bool) -> Self {
        Self {
            keep,
            mixed,
            out: Stream::of(child.stdout.take()),
            err: Stream::of(child.stderr.take()),
            stdout: Vec::new(),
            tail: Tail::default(),
        }
    }

    /// Waits until something is to be read or the child has ended; true if it has.
    fn poll(&mut self, child: BorrowedFd<'_>, left: Duration) -> io::Result<bool> {
        let mut watched = vec![PollFd::from_borrowed_fd(child, PollFlags::IN)];
        let pipes = [
            self.out.pipe.as_ref().map(AsFd::as_fd),
            self.err.pipe.as_ref().map(AsFd::as_fd),
        ];
        let pipes = pipes.into_iter().flatten();
        watched.extend(pipes.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        let timeout = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = !watched[0].revents().is_empty();
        drop(watched);
        self.drain();
        Ok(ended)
    }

    fn drain(&mut self) {
        let (stdout, tail) = (&mut self.stdout, &mut self.tail);
        let (keep, mixed) = (self.keep, self.mixed);
        self.out.read(|bytes| {
            let room = keep.saturating_sub(stdout.len()).min(bytes.len());
            stdout.extend_from_slice(&bytes[..room]);
            if mixed {
                tail.keep(bytes);
            }
        });
        self.err.read(|bytes| tail.keep(bytes));
    }

    fn output(&self) -> Output {
        Output {
            stdout: String::from_utf8_lossy(&self.stdout).into_owned(),
            tail: self.tail.text(),
        }
    }
}

/// The end of an output.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.cut |= self.bytes.len() > TAIL;
        let most = if self.cut { TAIL - CUT.len() } else { TAIL };
        let surplus = self.bytes.len().saturating_sub(most);
        self.bytes.drain(..surplus);
    }

    fn text(&self) -> String {
        end_of_text(&self.bytes, self.cut)
    }
}

/// A text without blanks at its end. One that was cut begins with the sign for that and with a
/// whole character: what is left of a secret at its beginning is known by both.
pub(super) fn end_of_text(bytes: &[u8], cut: bool) -> String {
    let follows = |byte: &&u8| cut && **byte & 0xC0 == 0x80;
    let broken = bytes.iter().take(3).take_while(follows).count();
    let text = String::from_utf8_lossy(&bytes[broken..]);
    let sign = if cut { CUT } else { "" };
    format!("{sign}{}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(line: &str) -> Job<'static> {
        Job::new(["sh", "-c", line])
    }

    #[test]
    fn output_of_both_streams_is_taken() {
        let output = sh("echo one; echo two >&2; pwd").run().expect("it runs");
        assert_eq!(output.stdout, "one\n/\n");
        assert!(output.tail.contains("two"));
    }

    #[test]
    fn the_environment_is_minimal() {
        let output = Job::new(["env"]).run().expect("it runs");
        let mut names: Vec<&str> = output
            .stdout
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["HOME", "LC_ALL", "PATH"]);
    }

    #[test]
    fn a_failure_is_told_with_command_code_and_output() {
        let error = sh("echo why >&2; exit 3").run().expect_err("it fails");
        assert_eq!(error.kind, FailureKind::Permanent);
        assert_eq!(error.exit_code, Some(3));
        assert_eq!(error.output, "why");
        assert_eq!(error.message, "`sh` failed (exit code 3)");
        assert_eq!(
            error.command.as_deref(),
            Some("sh -c 'echo why >&2; exit 3'")
        );
        let missing = Job::new(["phoenix-no-such-tool"]).run();
        let missing = missing.expect_err("it is not there");
        assert_eq!(
            missing.message,
            "`phoenix-no-such-tool` is not installed on this host"
        );
    }

    #[test]
    fn what_is_cut_begins_with_a_whole_character_and_says_so() {
        let mut tail = Tail::default();
        tail.keep(&[b'x'; TAIL]);
        assert!(!tail.text().starts_with(CUT), "nothing was cut");
        tail.keep("ä".repeat(TAIL / 2).as_bytes());
        tail.keep(b"x \n");
        let text = tail.text();
        assert!(text.len() <= TAIL);
        assert_eq!(text.replace('ä', ""), format!("{CUT}x"));
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let job = sh("echo begun; sleep 600 & wait").deadline(Duration::from_millis(200));
        let error = job.run().expect_err("its time is up");
        assert_eq!(error.kind, FailureKind::UnknownOutcome);
        assert_eq!(error.output, "begun");
    }

    #[test]
    fn background_processes_do_not_hold_it_up() {
        let output = sh("sleep 600 & echo $!").run().expect("it runs");
        let pid: i32 = output.stdout.trim().parse().expect("a process id");
        let pid = Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, Signal::KILL).expect("it still runs");
    }

    #[test]
    fn much_output_is_drained_and_its_end_kept() {
        let line = "i=0; while [ $i -lt 30000 ]; do echo line-$i; i=$((i+1)); done";
        let output = sh(line).run().expect("it runs");
        assert!(output.tail.len() <= TAIL);
        assert!(output.tail.starts_with(CUT));
        assert!(output.tail.ends_with("line-29999"));
    }
}
