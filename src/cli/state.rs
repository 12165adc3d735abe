//! The state directory: where it is, and what lies in it beside the journal.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::args::Global;
use super::error::CliError;
use crate::domain::desired::DesiredState;
use crate::domain::ids::{Ctid, Digest, RunId};
use crate::journal::JournalError;

/// The state directory. One that somebody else could write to is refused: the journal in it would
/// say what they like, and phoenix acts on what it says.
pub(super) fn directory(global: &Global) -> Result<PathBuf, CliError> {
    let dir = named(global)?;
    for part in [dir.clone(), dir.join("journal")] {
        must_be_ours(&part)?;
    }
    Ok(dir)
}

fn must_be_ours(dir: &Path) -> Result<(), CliError> {
    /// Write permission for the group and for others.
    const OTHERS_WRITE: u32 = 0o022;
    // One that is not there will be made; one that cannot be looked at is refused by whoever opens
    // what is in it.
    let Ok(facts) = std::fs::metadata(dir) else {
        return Ok(());
    };
    let (shown, me) = (dir.display(), rustix::process::geteuid().as_raw());
    if facts.uid() != me {
        return Err(CliError::NotOurs {
            message: format!(
                "the state directory is not yours: {shown} belongs to uid {}, this is uid {me}",
                facts.uid()
            ),
            help: "run phoenix as the user who owns it, or name another directory with --state"
                .to_owned(),
        });
    }
    let mode = facts.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        return Err(CliError::NotOurs {
            message: format!(
                "others may write to the state directory: {shown} has mode {mode:04o}"
            ),
            help: format!(
                "make sure that nobody has changed anything in it, then run `chmod go-rwx {shown}`; \
                 or name another directory with --state"
            ),
        });
    }
    Ok(())
}

/// Takes away from everybody else what sled makes with the permissions of the process's umask.
pub(super) fn make_private(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(facts) = entry.metadata() else {
            continue;
        };
        let mode = facts.mode() & 0o777;
        if !facts.is_symlink() && mode & 0o077 != 0 {
            let permissions = Permissions::from_mode(mode & 0o700);
            if let Err(error) = std::fs::set_permissions(entry.path(), permissions) {
                tracing::debug!(%error, path = %entry.path().display(), "not made private");
            }
        }
        if facts.is_dir() {
            make_private(&entry.path());
        }
    }
}

fn named(global: &Global) -> Result<PathBuf, CliError> {
    if let Some(dir) = &global.state {
        return Ok(dir.clone());
    }
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    if let Some(dir) = absolute("XDG_STATE_HOME") {
        return Ok(dir.join("phoenix"));
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/phoenix".into());
    }
    match absolute("HOME") {
        Some(home) => Ok(home.join(".local/state/phoenix")),
        None => Err(CliError::usage(
            "there is no home directory to keep the state in",
            "name a state directory with --state (or PHOENIX_STATE)",
        )),
    }
}

/// Makes a directory in the state directory, which only its owner may look into. A refusal is
/// one of the journal's: it would be refused too.
pub(super) fn make(dir: &Path) -> Result<(), CliError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| {
        CliError::Journal(JournalError::NotWritable {
            path: dir.to_owned(),
            source: Arc::new(source),
        })
    })
}

/// Writes a file of the state directory, whole or not at all, for its owner's eyes only.
pub(super) fn keep(state: &Path, name: &str, content: &impl Serialize) -> Result<(), CliError> {
    let (new, path) = (state.join(format!("{name}.new")), state.join(name));
    let write = || -> io::Result<()> {
        // One that a killed process left may have other permissions.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec(content)?)?;
        std::fs::rename(&new, &path)
    };
    write().map_err(|source| CliError::State {
        path: path.display().to_string(),
        source,
    })
}

/// The digests of what was declared when a run began: to say what changed since. The journal
/// holds only the digest of the whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Declared {
    /// The run.
    pub(super) run: RunId,
    /// Of everything.
    pub(super) digest: Digest,
    /// Of each container.
    pub(super) containers: BTreeMap<Ctid, Digest>,
}

const DECLARED: &str = "declared.json";

impl Declared {
    /// Keeps, in a state directory, what a run begins with. Takes from the one that is kept what is the same: most runs begin with the files of the
    /// last.
    pub(super) fn begin(state: &Path, run: RunId, desired: &DesiredState) -> Result<(), CliError> {
        // What is destroyed is not what is declared.
        if desired.destroys() {
            return Ok(());
        }
        let kept = Self::kept(state).filter(|kept| Some(kept.digest) == desired.digest);
        match kept {
            Some(kept) => Self { run, ..kept }.write(state),
            None => Self::of(run, desired).write(state),
        }
    }

    pub(super) fn of(run: RunId, desired: &DesiredState) -> Self {
        let digest = |container: &_| Digest::of(&serde_json::to_vec(container).unwrap_or_default());
        let containers = desired.containers.iter();
        Self {
            run,
            digest: digest_of(desired),
            containers: containers
                .map(|(ctid, container)| (*ctid, digest(&**container)))
                .collect(),
        }
    }

    fn write(&self, state: &Path) -> Result<(), CliError> {
        keep(state, DECLARED, self)
    }

    /// The one kept for a run; none where there is none: it only helps to explain.
    pub(super) fn read(state: &Path, run: RunId) -> Option<Self> {
        Self::kept(state).filter(|declared| declared.run == run)
    }

    fn kept(state: &Path) -> Option<Self> {
        let bytes = std::fs::read(state.join(DECLARED)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// What is different now: `950 changed, 951 is new, 952 is declared no more`.
    pub(super) fn difference(&self, now: &Self) -> String {
        const SHOWN: usize = 20;
        let known = self.containers.keys().chain(now.containers.keys());
        let all: std::collections::BTreeSet<&Ctid> = known.collect();
        let parts: Vec<String> = all
            .into_iter()
            .filter_map(|ctid| {
                let words = match (self.containers.get(ctid), now.containers.get(ctid)) {
                    (Some(old), Some(new)) if old != new => "changed",
                    (Some(_), None) => "is declared no more",
                    (None, Some(_)) => "is new",
                    _ => return None,
                };
                Some(format!("{ctid} {words}"))
            })
            .collect();
        match parts.len() {
            0 => "nothing about any container, but what is declared around them".to_owned(),
            number if number > SHOWN => {
                let more = number - SHOWN;
                format!("{} and {more} more", parts[..SHOWN].join(", "))
            }
            _ => parts.join(", "),
        }
    }
}

/// The digest of everything that is declared.
pub(super) fn digest_of(desired: &DesiredState) -> Digest {
    desired.digest.unwrap_or_else(|| Digest::of(b""))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::desired::DesiredContainer;

    fn declared(pairs: &[(u32, &str)]) -> Declared {
        let pairs = pairs.iter().map(|(number, text)| {
            let ctid = Ctid::try_from(*number).expect("an id");
            (ctid, Digest::of(text.as_bytes()))
        });
        Declared {
            run: RunId::NONE,
            digest: Digest::of(b""),
            containers: pairs.collect(),
        }
    }

    #[test]
    fn the_difference_names_each_container() {
        let before = declared(&[(900, "a"), (901, "b"), (902, "c")]);
        let now = declared(&[(900, "a"), (901, "x"), (903, "d")]);
        assert_eq!(
            before.difference(&now),
            "901 changed, 902 is declared no more, 903 is new"
        );
        assert!(before.difference(&before).starts_with("nothing about any"));
    }

    #[test]
    fn what_was_declared_is_found_again_for_its_run_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let before = declared(&[(900, "a")]);
        before.write(dir.path()).expect("written");
        assert_eq!(Declared::read(dir.path(), before.run), Some(before));
        let other = RunId(Uuid::from_u128(1));
        assert_eq!(Declared::read(dir.path(), other), None);
    }

    #[test]
    fn a_run_takes_over_what_is_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = |number| RunId(Uuid::from_u128(number));
        let before = declared(&[(900, "a")]);
        before.write(dir.path()).expect("written");
        let begin = |number, digest: &[u8], desired: DesiredState| {
            let digest = Some(Digest::of(digest));
            let desired = DesiredState { digest, ..desired };
            Declared::begin(dir.path(), run(number), &desired).expect("begun");
            Declared::read(dir.path(), run(number)).map(|found| found.containers)
        };
        let same = begin(1, b"", DesiredState::default());
        assert_eq!(same, Some(before.containers));
        let other = begin(2, b"other", DesiredState::default());
        assert_eq!(
            other,
            Some(BTreeMap::new()),
            "other files are digested anew"
        );
        let ctid = Ctid::try_from(900).expect("an id");
        let absent = DesiredContainer::absent(ctid, "web".to_owned(), Default::default());
        let destroyed = DesiredState {
            containers: [(ctid, Arc::new(absent))].into(),
            ..DesiredState::default()
        };
        assert_eq!(begin(3, b"other", destroyed), None, "is no declaration");
    }

    #[test]
    fn what_is_kept_is_for_its_owner_only() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("declared.json.new"), "left").expect("written");
        declared(&[]).write(dir.path()).expect("written");
        let facts = std::fs::metadata(dir.path().join(DECLARED)).expect("a file");
        assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    }
}
