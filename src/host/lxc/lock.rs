//! One lock a container, held by whoever works on it.
//!
//! The lock is a `flock` of an open file that phoenix also hands to the tools it starts, as
//! their standard input. So it is held for as long as any of them lives, also when phoenix
//! itself was killed: the next phoenix finds them by it, and waits for them or ends them before
//! it looks at anything.

use std::fs::{self, File};
use std::io;
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

/// Waits for what an earlier phoenix left running on a container, if anything.
///
/// # Errors
/// When it cannot be found out.
pub(super) fn settle(path: &Path) -> Result<(), HostError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at("cannot open", path, &error)),
    };
    if !try_lock(&file, path)? && owner(&file)?.is_none() {
        wait_for_leftovers(&file, path)?;
    }
    Ok(())
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

/// The phoenix that took the lock, if it lives: the kernel tells who called `flock`.
fn owner(file: &File) -> Result<Option<i32>, HostError> {
    let inode = file
        .metadata()
        .map_err(|error| failure::io("cannot look at a lock", &error))?;
    let locks = fs::read_to_string("/proc/locks")
        .map_err(|error| failure::io("cannot read /proc/locks", &error))?;
    let suffix = format!(":{}", inode.ino());
    for line in locks
        .lines()
        .filter(|line| line.contains("FLOCK") && !line.contains("->"))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(pid), Some(place)) = (words.get(4), words.get(5)) else {
            continue;
        };
        let pid: i32 = pid.parse().unwrap_or(0);
        if place.ends_with(&suffix) && pid > 0 && lives(pid) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// Whether a process is there and not only waits to be reaped.
fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The processes whose standard input the lock is.
fn holders(file: &File) -> Result<Vec<i32>, HostError> {
    let own = file
        .metadata()
        .map_err(|error| failure::io("cannot look at a lock", &error))?;
    let mut found = Vec::new();
    let entries =
        fs::read_dir("/proc").map_err(|error| failure::io("cannot read /proc", &error))?;
    for entry in entries.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let same = fs::metadata(entry.path().join("fd/0"))
            .is_ok_and(|facts| facts.dev() == own.dev() && facts.ino() == own.ino());
        if same {
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
}
