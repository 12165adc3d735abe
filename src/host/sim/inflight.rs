//! Locks of actions that are under way. Each is a locked file, so it dies with its process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::SimError;
use crate::domain::action::Action;
use crate::domain::ids::Ctid;
use crate::domain::observed::Lock;
use crate::domain::refusal::Refusal;

/// The locks that an action takes while it is under way, by container. One without a name is
/// that of the configuration's file, which `pct list` does not show.
pub(super) fn locks_of(ctid: Ctid, action: &Action) -> Vec<(Ctid, Option<Lock>)> {
    match action {
        Action::Create(_) => vec![(ctid, Some(Lock::Create))],
        Action::Clone(spec) => vec![(spec.source, Some(Lock::Disk)), (ctid, Some(Lock::Create))],
        Action::Snapshot { .. } => vec![(ctid, Some(Lock::Snapshot))],
        Action::Destroy => vec![(ctid, Some(Lock::Destroyed))],
        Action::Discard { .. }
        | Action::Unlock
        | Action::Configure { .. }
        | Action::Resize { .. }
        | Action::Start
        | Action::Restart { .. } => vec![(ctid, None)],
        Action::FetchTemplate(_)
        | Action::EnsureDirectory(_)
        | Action::RunScript(_)
        | Action::CheckHealth(_) => Vec::new(),
    }
}

/// The directory of the locks.
#[derive(Debug)]
pub(super) struct InFlight {
    dir: PathBuf,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // What cannot be removed is no lock any more all the same.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A lock's file, taken or held by somebody else.
enum Taken {
    Mine(File),
    Theirs(Option<Lock>),
}

impl InFlight {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Takes all these locks or none.
    pub(super) fn take(&self, locks: &[(Ctid, Option<Lock>)]) -> Result<Vec<Held>, SimError> {
        std::fs::create_dir_all(&self.dir).map_err(SimError::io("create", &self.dir))?;
        let mut all = Vec::new();
        for (ctid, lock) in locks {
            let path = self.dir.join(ctid.to_string());
            match try_take(&path)? {
                Taken::Theirs(lock) => return Err(SimError::Refused(refusal(*ctid, lock))),
                Taken::Mine(mut file) => {
                    let name = lock.map(|lock| lock.to_string()).unwrap_or_default();
                    let io = SimError::io("write", &path);
                    file.set_len(0)
                        .and_then(|()| file.write_all(name.as_bytes()))
                        .map_err(io)?;
                    all.push(Held { path, _file: file });
                }
            }
        }
        Ok(all)
    }

    /// Refuses what another action that is under way stands in the way of.
    pub(super) fn check(&self, containers: impl Iterator<Item = Ctid>) -> Result<(), SimError> {
        for ctid in containers {
            if let Some(lock) = held(&self.dir.join(ctid.to_string()))? {
                return Err(SimError::Refused(refusal(ctid, lock)));
            }
        }
        Ok(())
    }

    /// The locks that a look at the host shows.
    pub(super) fn shown(&self) -> Result<Vec<(Ctid, Lock)>, SimError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(SimError::io("read", &self.dir)(error)),
        };
        let mut shown = Vec::new();
        for entry in entries.flatten() {
            let ctid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let (Some(ctid), Some(Some(lock))) = (ctid, held(&entry.path())?) {
                shown.push((ctid, lock));
            }
        }
        Ok(shown)
    }
}

/// Proxmox VE says which lock it is where the configuration does; otherwise it waits for the
/// file's lock in vain.
fn refusal(ctid: Ctid, lock: Option<Lock>) -> Refusal {
    lock.map_or(Refusal::LockTimeout(ctid), Refusal::Locked)
}

/// Whether somebody holds this lock, and its name. One that a dead process left is taken away.
fn held(path: &Path) -> Result<Option<Option<Lock>>, SimError> {
    if !path.exists() {
        return Ok(None);
    }
    match try_take(path)? {
        Taken::Theirs(lock) => Ok(Some(lock)),
        Taken::Mine(file) => {
            drop(Held {
                path: path.to_owned(),
                _file: file,
            });
            Ok(None)
        }
    }
}

fn try_take(path: &Path) -> Result<Taken, SimError> {
    loop {
        let mut options = OpenOptions::new();
        let opened = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path);
        let mut file = opened.map_err(SimError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut name = String::new();
                file.read_to_string(&mut name)
                    .map_err(SimError::io("read", path))?;
                return Ok(Taken::Theirs(name.parse().ok()));
            }
            Err(TryLockError::Error(error)) => return Err(SimError::io("lock", path)(error)),
        }
        // Its last holder may have removed the file between the opening and the locking.
        let mine = file
            .metadata()
            .map_err(SimError::io("look at", path))?
            .ino();
        if std::fs::metadata(path).is_ok_and(|found| found.ino() == mine) {
            return Ok(Taken::Mine(file));
        }
    }
}
