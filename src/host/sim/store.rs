//! The directory of a simulated host: log, checkpoint, lock.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fold::Fold;
use super::log::{Line, Log, LogEntry, facts_line, line, sibling};
use super::{SimError, SimFacts};
use crate::domain::ids::Ctid;
use crate::domain::model::Effect;
use crate::domain::refusal::Refusal;

/// How many lines may lie behind the checkpoint before the next one is written.
const CHECKPOINT_EVERY: u64 = if cfg!(test) { 700 } else { 20_000 };

/// How many lines make a checkpoint worth it when the host is closed.
const CHECKPOINT_AT_CLOSE: u64 = 256;

/// The version of the checkpoint's form.
const CHECKPOINT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    version: u32,
    /// The log's bytes that it covers.
    offset: u64,
    fold: Fold,
}

/// What this process knows of the directory.
#[derive(Debug)]
pub(super) struct Store {
    checkpoint: PathBuf,
    log: Log,
    lock: File,
    offset: u64,
    behind_checkpoint: u64,
    pub(super) fold: Fold,
}

impl Store {
    /// Opens the directory, and makes it where it is missing.
    pub(super) fn open(dir: &Path) -> Result<Self, SimError> {
        std::fs::create_dir_all(dir).map_err(SimError::io("create", dir))?;
        let path = dir.join("lock");
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let lock = opened.map_err(SimError::io("open", &path))?;
        let store = Self {
            checkpoint: dir.join("world.json"),
            log: Log::open(dir.join("log.jsonl"))?,
            lock,
            offset: 0,
            behind_checkpoint: 0,
            fold: Fold::default().restored(),
        };
        Ok(store)
    }

    /// Does something while no other process does anything here, with everything that others
    /// did before known.
    pub(super) fn exclusively<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, SimError>,
    ) -> Result<T, SimError> {
        loop {
            match self.lock.lock() {
                Ok(()) => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SimError::io("lock", &self.beside("lock"))(error)),
            }
        }
        let done = self.refresh().and_then(|()| work(self));
        let unlocked = self
            .lock
            .unlock()
            .map_err(SimError::io("unlock", &self.beside("lock")));
        unlocked.and(done)
    }

    /// Reads what others appended; nothing at all when the length is what it was.
    fn refresh(&mut self) -> Result<(), SimError> {
        match self.log.length()? {
            Some(length) if length == self.offset => return Ok(()),
            Some(length) if length > self.offset && self.offset > 0 => {}
            Some(_) => self.load()?,
            None => {
                self.log = Log::open(self.log_path())?;
                self.load()?;
            }
        }
        let (lines, end) = self.log.read(self.offset)?;
        for line in lines {
            self.behind_checkpoint += 1;
            match line {
                Line::Facts(facts) => self.fold.set_facts(facts),
                Line::Entry(entry) => self.replay(&entry)?,
            }
        }
        self.offset = end;
        Ok(())
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.checkpoint.with_file_name(name)
    }

    fn log_path(&self) -> PathBuf {
        self.beside("log.jsonl")
    }

    fn replay(&mut self, entry: &LogEntry) -> Result<(), SimError> {
        let effects = self
            .fold
            .effects(entry)
            .map_err(|refusal| SimError::Invalid {
                what: "log of the simulated host",
                path: self.log_path(),
                problem: format!(
                    "entry {} cannot be done again: {refusal}; \
                 `phoenix sim reset` makes a new host",
                    entry.n
                ),
            })?;
        self.fold.take(entry, effects);
        Ok(())
    }

    /// Starts from the checkpoint, where there is one that belongs to the log.
    fn load(&mut self) -> Result<(), SimError> {
        let length = self.log.length()?.unwrap_or(0);
        let kept = std::fs::read(&self.checkpoint).ok();
        // What cannot be read is made again from the log.
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Checkpoint>(&bytes).ok());
        let fits = |kept: &Checkpoint| kept.version == CHECKPOINT_VERSION && kept.offset <= length;
        (self.offset, self.fold) = match kept.filter(fits) {
            Some(kept) => (kept.offset, kept.fold.restored()),
            None => (0, Fold::default().restored()),
        };
        self.behind_checkpoint = 0;
        Ok(())
    }

    /// Appends an entry, after the facts it was decided by, and takes its effects in.
    pub(super) fn commit(
        &mut self,
        entry: &LogEntry,
        effects: Vec<(Ctid, Effect)>,
    ) -> Result<(), SimError> {
        let bytes = line(entry).map_err(|error| self.unwritable(&error))?;
        self.offset = self.log.append(self.offset, &bytes)?;
        self.fold.take(entry, effects);
        self.behind_checkpoint += 1;
        if self.behind_checkpoint >= CHECKPOINT_EVERY {
            // The effect is there, checkpoint or not; the next one is tried as much later.
            let _ = self.save();
            self.behind_checkpoint = 0;
        }
        Ok(())
    }

    /// Makes these facts the ones in force, for everybody.
    pub(super) fn use_facts(&mut self, facts: &SimFacts) -> Result<(), SimError> {
        if self.fold.facts == *facts {
            return Ok(());
        }
        let bytes = facts_line(facts).map_err(|error| self.unwritable(&error))?;
        self.offset = self.log.append(self.offset, &bytes)?;
        self.behind_checkpoint += 1;
        self.fold.set_facts(facts.clone());
        Ok(())
    }

    fn unwritable(&self, error: &serde_json::Error) -> SimError {
        SimError::Invalid {
            what: "log of the simulated host",
            path: self.log_path(),
            problem: error.to_string(),
        }
    }

    /// The effects of an entry that is to be written.
    pub(super) fn effects(&self, entry: &LogEntry) -> Result<Vec<(Ctid, Effect)>, Refusal> {
        self.fold.effects(entry)
    }

    /// Every entry from the beginning.
    pub(super) fn entries(&mut self) -> Result<Vec<LogEntry>, SimError> {
        let (lines, _) = self.log.read(0)?;
        let entry = |line| match line {
            Line::Entry(entry) => Some(*entry),
            Line::Facts(_) => None,
        };
        Ok(lines.into_iter().filter_map(entry).collect())
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) -> Result<(), SimError> {
        match std::fs::remove_file(&self.checkpoint) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SimError::io("remove", &self.checkpoint)(error));
            }
            _ => {}
        }
        self.log.replace()?;
        self.load()
    }

    fn save(&mut self) -> Result<(), SimError> {
        let kept = Checkpoint {
            version: CHECKPOINT_VERSION,
            offset: self.offset,
            fold: self.fold.to_keep(),
        };
        let new = sibling(&self.checkpoint, "new");
        let file = File::create(&new).map_err(SimError::io("write", &new))?;
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, &kept).map_err(|error| self.unwritable(&error))?;
        file.flush().map_err(SimError::io("write", &new))?;
        std::fs::rename(&new, &self.checkpoint)
            .map_err(SimError::io("replace", &self.checkpoint))?;
        self.behind_checkpoint = 0;
        Ok(())
    }

    /// Writes a checkpoint if enough lines lie behind the last one.
    pub(super) fn close(&mut self) -> Result<(), SimError> {
        let containers = self.fold.world.containers.len() as u64;
        if self.behind_checkpoint < CHECKPOINT_AT_CLOSE.max(containers / 4) {
            return Ok(());
        }
        self.exclusively(|store| {
            if store.behind_checkpoint > 0 {
                store.save()
            } else {
                Ok(())
            }
        })
    }
}

/// The identity kept in the directory; made of the given one if there is none.
pub(super) fn identity(dir: &Path, new: Uuid) -> Result<String, SimError> {
    let path = dir.join("identity");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let uuid: Uuid = text.trim().parse().map_err(|_| SimError::Invalid {
                what: "identity of the simulated host",
                path: path.clone(),
                problem: "not a UUID; take the file away to make a new host of it".to_owned(),
            })?;
            Ok(format!("sim:{uuid}"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let unfinished = sibling(&path, "new");
            std::fs::write(&unfinished, format!("{new}\n"))
                .map_err(SimError::io("write", &unfinished))?;
            std::fs::rename(&unfinished, &path).map_err(SimError::io("replace", &path))?;
            Ok(format!("sim:{new}"))
        }
        Err(error) => Err(SimError::io("read", &path)(error)),
    }
}
