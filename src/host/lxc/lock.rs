//! One lock a container, held by whoever works on it.
//!
//! The lock is a `flock` of an open file that phoenix also hands to the tools it starts, as
//! their standard input. So it is held for as long as any of them lives, also when phoenix
//! itself was killed: the next phoenix finds them by it, and waits for them or ends them before
//! it looks at anything.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::super::HostError;
use super::failure::{self, at};
use crate::domain::refusal::FailureKind;

/// How often a held lock is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long tools that outlived their phoenix may go on: a script is better finished than cut.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long they may go on after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// The lock of one container.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
}

impl Held {
    /// The file to hand to tools as their standard input.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whatever a script left running with this file must not hold the container up.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Takes the lock.
///
/// # Errors
/// When another phoenix that lives holds it, or the file cannot be had.
pub(super) fn take(path: &Path) -> Result<Held, HostError> {
    let file = open(path)?;
    if !try_lock(&file, path)? {
        wait_for_leftovers(&file, path)?;
    }
    Ok(Held { file })
}

/// Takes the lock, unless another phoenix works on the container right now.
///
/// # Errors
/// When the file cannot be had.
pub(super) fn take_idle(path: &Path) -> Result<Option<Held>, HostError> {
    let file = open(path)?;
    if !try_lock(&file, path)? {
        if owner(&file)?.is_some() {
            return Ok(None);
        }
        wait_for_leftovers(&file, path)?;
    }
    Ok(Some(Held { file }))
}

fn open(path: &Path) -> Result<File, HostError> {
    let mut options = fs::OpenOptions::new();
    // A container that is handed the file can neither write to it nor learn anything from it.
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    drop(
        options
            .open(path)
            .map_err(|error| at("cannot make", path, &error))?,
    );
    File::open(path).map_err(|error| at("cannot open", path, &error))
}

fn try_lock(file: &File, path: &Path) -> Result<bool, HostError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(at("cannot lock", path, &error.into())),
    }
}

fn wait_for_leftovers(file: &File, path: &Path) -> Result<(), HostError> {
    let began = Instant::now();
    let mut said = false;
    let mut told: Option<Instant> = None;
    loop {
        if try_lock(file, path)? {
            return Ok(());
        }
        if let Some(pid) = owner(file)? {
            let message = format!("another phoenix (process {pid}) works on this container");
            return Err(HostError::new(FailureKind::Transient, message));
        }
        let holders = holders(file)?;
        if !said {
            tracing::warn!(?holders, lock = %path.display(), "waiting for what an earlier run left running");
            said = true;
        }
        if began.elapsed() > PATIENCE {
            let signal = match told {
                Some(at) if at.elapsed() > GRACE => Signal::KILL,
                _ => Signal::TERM,
            };
            told.get_or_insert_with(Instant::now);
            for pid in holders.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                let _ = kill_process(pid, signal);
            }
        }
        thread::sleep(PAUSE);
    }
}

/// The phoenix that took the lock, if it lives: the kernel tells who called `flock`. Its number
/// may be another's by now, who then does not have the file.
fn owner(file: &File) -> Result<Option<i32>, HostError> {
    let locks = fs::read_to_string("/proc/locks")
        .map_err(|error| failure::io("cannot read /proc/locks", &error))?;
    owner_in(&locks, &facts(file)?)
}

fn owner_in(locks: &str, own: &Metadata) -> Result<Option<i32>, HostError> {
    let suffix = format!(":{}", own.ino());
    let held = |line: &&str| line.contains("FLOCK") && !line.contains("->");
    for line in locks.lines().filter(held) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(pid), Some(place)) = (words.get(4), words.get(5)) else {
            continue;
        };
        let pid: i32 = pid.parse().unwrap_or(0);
        if place.ends_with(&suffix) && pid > 0 && lives(pid) && has_open(pid, own) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

fn facts(file: &File) -> Result<Metadata, HostError> {
    let facts = file.metadata();
    facts.map_err(|error| failure::io("cannot look at a lock", &error))
}

/// Whether a process is there and not only waits to be reaped.
fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn is_same(path: &Path, own: &Metadata) -> bool {
    fs::metadata(path).is_ok_and(|facts| facts.dev() == own.dev() && facts.ino() == own.ino())
}

/// Whether a process has the file open otherwise than as its standard input.
fn has_open(pid: i32, own: &Metadata) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|entry| entry.file_name() != "0" && is_same(&entry.path(), own))
}

/// The processes whose standard input the lock is.
fn holders(file: &File) -> Result<Vec<i32>, HostError> {
    let own = facts(file)?;
    let mut found = Vec::new();
    let entries =
        fs::read_dir("/proc").map_err(|error| failure::io("cannot read /proc", &error))?;
    for entry in entries.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        if is_same(&entry.path().join("fd/0"), &own) {
            found.push(pid);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::super::process::Job;
    use super::*;

    #[test]
    fn a_lock_is_held_by_a_tool_for_as_long_as_it_runs() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("900");
        let held = take(&path).expect("free");
        let busy = take(&path).expect_err("held by this very process");
        assert_eq!(busy.kind, FailureKind::Transient);
        let child = Job::new(["sh", "-c", "exec 3<&0; sleep 600 <&3 & echo $!"])
            .stdin(held.file())
            .run()
            .expect("it runs");
        let pid: i32 = child.stdout.trim().parse().expect("a process id");
        assert_eq!(holders(held.file()).expect("found"), [pid]);
        drop(held);
        take(&path).expect("the background process does not hold it up");
        let pid = Pid::from_raw(pid).expect("a process id");
        kill_process(pid, Signal::KILL).expect("it still runs");
    }

    #[test]
    fn a_number_that_is_anothers_by_now_owns_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("900");
        let held = take(&path).expect("free");
        let own = facts(held.file()).expect("there");
        let of = |pid: u32| {
            let locks = format!(
                "1: FLOCK  ADVISORY  WRITE {pid} fe:00:{} 0 EOF\n",
                own.ino()
            );
            owner_in(&locks, &own).expect("read")
        };
        let me = std::process::id();
        assert_eq!(of(me), i32::try_from(me).ok());
        let mut other = Job::new(["sleep", "60"]).spawn().expect("it starts");
        assert_eq!(of(other.id()), None, "it lives, and has another file");
        other.kill().expect("killed");
        other.wait().expect("reaped");
        assert_eq!(of(other.id()), None);
    }

    #[test]
    fn what_another_works_on_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("900");
        let held = take(&path).expect("free");
        assert!(take_idle(&path).expect("looked at").is_none());
        drop(held);
        assert!(take_idle(&path).expect("looked at").is_some());
    }
}
