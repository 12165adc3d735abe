//! Room on the disk. sled does not recover from a full one, and does not even open on it, so
//! phoenix stops before, and keeps a file that it can give up when others filled the disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::JournalError;

/// Bytes that must be free before anything is written.
pub(super) const MIN_FREE: u64 = 8 << 20;

/// Size of the file that is given up.
const BALLAST: usize = 1 << 20;

/// Bytes that are free to us on the file system of a path.
pub(super) fn free(path: &Path) -> Result<u64, JournalError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|error| JournalError::io(path, "looked at", error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Watches the room of a journal.
#[derive(Clone, Debug)]
pub(super) struct Space {
    dir: PathBuf,
    min_free: u64,
}

impl Space {
    pub(super) fn new(dir: &Path, min_free: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            min_free,
        }
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Refuses when fewer than the minimum and these bytes are free.
    pub(super) fn check(&self, wanted: u64) -> Result<(), JournalError> {
        let need = self.min_free.saturating_add(wanted);
        let free = free(&self.dir)?;
        if self.min_free > 0 && free < need {
            return Err(JournalError::NoSpace {
                dir: self.dir.clone(),
                free: Some(free),
                need,
            });
        }
        Ok(())
    }

    /// At open: keeps the ballast where there is room for it, and gives it up where there is
    /// not, so that sled finds some.
    pub(super) fn settle(&self) -> Result<(), JournalError> {
        if free(&self.dir)? < self.min_free {
            tracing::warn!(dir = %self.dir.display(), "too little space to record anything");
            self.release();
        } else if let Err(error) = self.take() {
            tracing::debug!(%error, dir = %self.dir.display(), "no ballast");
            self.release();
        }
        Ok(())
    }

    fn take(&self) -> std::io::Result<()> {
        let path = self.ballast();
        if path
            .metadata()
            .is_ok_and(|found| found.len() == BALLAST as u64)
        {
            return Ok(());
        }
        // File systems that compress keep no room for bytes that are alike.
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()
        })
        .take(BALLAST / 8)
        .flatten()
        .collect();
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?
            .write_all(&bytes)
    }

    /// Gives the ballast up.
    pub(super) fn release(&self) {
        match std::fs::remove_file(self.ballast()) {
            Ok(()) => tracing::debug!(dir = %self.dir.display(), "ballast released"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, dir = %self.dir.display(), "ballast kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_refused_and_the_ballast_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = dir.path().join("ballast");
        let roomy = Space::new(dir.path(), 1);
        roomy.settle().unwrap();
        assert_eq!(ballast.metadata().unwrap().len(), BALLAST as u64);
        roomy.check(1).unwrap();

        let tight = Space::new(dir.path(), u64::MAX / 2);
        assert!(matches!(
            tight.check(5),
            Err(JournalError::NoSpace { free: Some(_), .. })
        ));
        tight.settle().unwrap();
        assert!(!ballast.exists());
    }
}
