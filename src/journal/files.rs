//! Small files and directories, made so that a power cut leaves the old or the new, whole.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::JournalError;

const LOCK: &str = "LOCK";

/// Replaces a file: a power cut leaves the old content or the new.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), JournalError> {
    let temporary = path.with_extension("tmp");
    let written = |error| JournalError::io(&temporary, "written", error);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary).map_err(written)?;
    file.write_all(content).map_err(written)?;
    file.sync_all().map_err(written)?;
    std::fs::rename(&temporary, path).map_err(|error| JournalError::io(path, "written", error))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Replaces a file that nothing depends on: a power cut leaves the old content, the new, or
/// something else, which whoever reads it must notice.
pub(super) fn replace_unsynced(
    path: &Path,
    temporary: &Path,
    content: &[u8],
) -> Result<(), JournalError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(temporary)
        .and_then(|mut file| file.write_all(content))
        .map_err(|error| JournalError::io(temporary, "written", error))?;
    std::fs::rename(temporary, path).map_err(|error| JournalError::io(path, "written", error))
}

/// Opens a regular file to be read. A pipe would make phoenix wait for whoever writes into it.
pub(super) fn open_regular(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(WITHOUT_WAITING);
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is not a regular file")),
    }
}

/// The flag by which the opening of a pipe waits for nobody.
pub(super) const WITHOUT_WAITING: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// Whether something is there. What cannot be looked at is not taken for nothing.
pub(super) fn is_there(path: &Path) -> Result<bool, JournalError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        // A link leads to something.
        Ok(_) => path.metadata().map(|_| true),
    }
    .map_err(|error| JournalError::io(path, "looked at", error))
}

/// The content of a file; none: there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, JournalError> {
    let content = open_regular(path).and_then(|mut file| {
        let mut content = Vec::new();
        file.read_to_end(&mut content).map(|_| content)
    });
    match content {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(JournalError::io(path, "read", error)),
    }
}

/// Makes a directory and those above it, for their owner only.
pub(super) fn make_dir(path: &Path) -> Result<(), JournalError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .map_err(|error| JournalError::io(path, "created", error))
}

/// Makes what was created, renamed or removed in a directory survive a power cut.
pub(super) fn sync_dir(path: &Path) -> Result<(), JournalError> {
    // The parent of a relative path of one part is "".
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let dir = File::open(path).map_err(|error| JournalError::io(path, "opened", error))?;
    dir.sync_all()
        .map_err(|error| JournalError::io(path, "synced", error))
}

/// Makes everything below a directory survive a power cut, for its owner only.
pub(super) fn sync_tree(path: &Path) -> Result<(), JournalError> {
    use std::os::unix::fs::PermissionsExt;

    let failed = |error| JournalError::io(path, "read", error);
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let mode = if entry.is_dir() { 0o700 } else { 0o600 };
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&entry, permissions)
            .map_err(|error| JournalError::io(&entry, "made private", error))?;
        if entry.is_dir() {
            sync_tree(&entry)?;
        } else {
            File::open(&entry)
                .and_then(|file| file.sync_all())
                .map_err(|error| JournalError::io(&entry, "synced", error))?;
        }
    }
    sync_dir(path)
}

/// Which generation a file of a journal belongs to; none: to all or none of them.
pub(super) fn generation_of(name: &str) -> Option<u32> {
    let rest = ["store", "anchor", "head", "checkpoint"]
        .into_iter()
        .find_map(|start| name.strip_prefix(start))?;
    match rest.strip_suffix(".json").unwrap_or(rest) {
        "" => Some(0),
        number => number.strip_prefix('-')?.parse().ok(),
    }
}

/// Removes the stores that are the journal's no more, and their anchors and heads; where repair
/// has begun to put one aside, it is put there.
pub(super) fn remove_other_generations(paths: &Paths) -> Result<(), JournalError> {
    let failed = |error| JournalError::io(&paths.dir, "read", error);
    let mut changed = false;
    for entry in std::fs::read_dir(&paths.dir).map_err(failed)? {
        changed |= put_away(paths, &entry.map_err(failed)?.path())?;
    }
    if changed {
        sync_dir(&paths.dir)?;
    }
    Ok(())
}

/// Removes or puts aside what the journal has no use for; whether it was such.
fn put_away(paths: &Paths, path: &Path) -> Result<bool, JournalError> {
    let name = path.file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    let aside = match generation_of(&name) {
        _ if matches!(&*name, "store.new" | "store.copy") || path == paths.new_checkpoint() => None,
        Some(other) if other != paths.generation => Some(paths.at(other).aside()),
        _ => return Ok(false),
    };
    let done = match aside {
        Some(aside) if aside.is_dir() => std::fs::rename(path, aside.join(&*name)),
        _ if path.is_dir() => std::fs::remove_dir_all(path),
        _ => std::fs::remove_file(path),
    };
    done.map_err(|error| JournalError::io(path, "removed", error))?;
    Ok(true)
}

/// Removes a directory and all in it, if there is one.
pub(super) fn remove_dir(dir: &Path) -> Result<(), JournalError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(JournalError::io(dir, "removed", error))
        }
        _ => Ok(()),
    }
}

/// Copies a directory and all in it.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<(), JournalError> {
    make_dir(to)?;
    let failed = |error| JournalError::io(from, "read", error);
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_tree(&from, &to)?;
        } else {
            std::fs::copy(&from, &to).map_err(|error| JournalError::io(&to, "written", error))?;
        }
    }
    Ok(())
}

/// Bytes that a directory takes on the disk.
pub(super) fn disk_usage(path: &Path) -> Result<u64, JournalError> {
    use std::os::unix::fs::MetadataExt;

    let failed = |error| JournalError::io(path, "read", error);
    let mut total = 0;
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.metadata().map_err(failed)?;
        total += if metadata.is_dir() {
            disk_usage(&entry.path())?
        } else {
            // st_blocks counts in 512 bytes whatever the file system's block is.
            metadata.blocks() * 512
        };
    }
    Ok(total)
}

/// How long the lock of a phoenix that is dead may be held.
const MOMENT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// Whether a process is no more, or only waits to be reaped.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_none_or(|rest| rest.starts_with(['Z', 'X']))
}

/// Keeps every other phoenix out for as long as it lives. sled has a lock too, but its words
/// for it are no help, and it is taken after files were touched.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(LOCK);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(WITHOUT_WAITING)
            .mode(0o600);
        let mut file = options
            .open(&path)
            .map_err(|error| JournalError::io(&path, "opened", error))?;
        match Self::patiently(&mut file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Self::held(dir, &mut file)),
            Err(TryLockError::Error(error)) => {
                return Err(JournalError::io(&path, "locked", error));
            }
        }
        // The pid is a courtesy to whoever is kept out; on a full disk there is none.
        let noted = file
            .rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::debug!(%error, path = %path.display(), "no pid in the lock file");
        }
        Ok(Self { file })
    }

    /// A phoenix that was killed while it started a tool has left a copy of itself, which holds
    /// its locks for the instant until it has become that tool. A holder that is dead is
    /// therefore given a moment; one that lives is not waited for.
    fn patiently(file: &mut File) -> Result<(), TryLockError> {
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock)
                    if began.elapsed() < MOMENT && Self::holder(file).is_some_and(is_dead) =>
                {
                    std::thread::sleep(PAUSE);
                }
                ended => return ended,
            }
        }
    }

    fn holder(file: &mut File) -> Option<u32> {
        let mut pid = String::new();
        file.rewind().ok()?;
        file.take(32).read_to_string(&mut pid).ok()?;
        pid.trim().parse().ok()
    }

    fn held(dir: &Path, file: &mut File) -> JournalError {
        JournalError::Held {
            dir: dir.to_owned(),
            pid: Self::holder(file),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that was forked a moment ago and has
        // not yet begun its program holds it open too.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the lock was not released");
        }
    }
}

/// Where the parts of a journal are.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// `journal` in the state directory.
    pub(super) dir: PathBuf,
    /// Which of the stores that it had over time: compaction and repair make another one.
    pub(super) generation: u32,
}

impl Paths {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            dir: state.join("journal"),
            generation: 0,
        }
    }

    /// The same journal with another store.
    pub(super) fn at(&self, generation: u32) -> Self {
        let dir = self.dir.clone();
        Self { dir, generation }
    }

    /// What the journal is, and which store is its own.
    pub(super) fn meta(&self) -> PathBuf {
        self.dir.join("meta.json")
    }

    /// The same again, for when that is damaged.
    pub(super) fn meta_copy(&self) -> PathBuf {
        self.dir.join("meta.copy.json")
    }

    fn own(&self, name: &str, ending: &str) -> PathBuf {
        self.dir.join(match self.generation {
            0 => format!("{name}{ending}"),
            number => format!("{name}-{number}{ending}"),
        })
    }

    /// sled's directory.
    pub(super) fn store(&self) -> PathBuf {
        self.own("store", "")
    }

    /// The end of the chain, synced.
    pub(super) fn anchor(&self) -> PathBuf {
        self.own("anchor", ".json")
    }

    /// The end of the chain, after every batch.
    pub(super) fn head(&self) -> PathBuf {
        self.own("head", "")
    }

    /// What everything up to some event comes to; not synced.
    pub(super) fn checkpoint(&self) -> PathBuf {
        self.own("checkpoint", "")
    }

    /// The same while it is being written.
    pub(super) fn new_checkpoint(&self) -> PathBuf {
        self.dir.join("checkpoint.new")
    }

    /// Where repair puts what was damaged.
    pub(super) fn aside(&self) -> PathBuf {
        self.dir.join(format!("damaged-{}", self.generation))
    }

    /// sled's directory while it is being made.
    pub(super) fn new_store(&self) -> PathBuf {
        self.dir.join("store.new")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_told_by_the_name() {
        for (name, generation) in [
            ("store", Some(0)),
            ("anchor.json", Some(0)),
            ("head-3", Some(3)),
            ("anchor-12.json", Some(12)),
            ("checkpoint-2", Some(2)),
            ("checkpoint.new", None),
            ("store.new", None),
            ("meta.json", None),
            ("headache", None),
            ("damaged-1", None),
        ] {
            assert_eq!(generation_of(name), generation, "{name}");
        }
    }

    #[test]
    fn a_lock_names_its_holder_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let held = Lock::take(dir.path()).unwrap_err();
        let pid = std::process::id();
        assert!(
            matches!(held, JournalError::Held { pid: Some(p), .. } if p == pid),
            "{held}"
        );
        // As a child process inherits it.
        let inherited = lock.file.try_clone().unwrap();
        drop(lock);
        Lock::take(dir.path()).unwrap();
        drop(inherited);
    }

    #[test]
    fn what_a_dead_holder_left_for_an_instant_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        // No process has this number.
        std::fs::write(dir.path().join(LOCK), "4294967295\n").unwrap();
        let begun = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait();
                drop(lock);
            });
            begun.wait();
            Lock::take(dir.path()).unwrap();
        });
        assert!(!is_dead(std::process::id()));
    }

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read(&path).unwrap(), None);
        for content in [b"longer".as_slice(), b"short"] {
            replace(&path, content).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(content));
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
