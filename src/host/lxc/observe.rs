//! One look at all containers: files, `/proc/net/unix` and control groups; no process for a
//! container that phoenix started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, open, openat2, statx,
};
use rustix::io::Errno;

use super::super::process::Job;
use super::super::sockets;
use super::super::{HostError, ObserveRequest};
use super::facts;
use super::failure::{self, at};
use super::guest::{Dialect, Guest};
use super::inside::Inside;
use super::layout::{Presence, RECEIPTS, file_name};
use crate::domain::ids::Ctid;
use crate::domain::model::{undestroyed, unfinished};
use crate::domain::observed::{Lock, ObservedContainer, ObservedWorld, Receipts, Snapshot, Status};
use crate::domain::options::Source;
use crate::domain::setting::{Changes, Key, Settings, Value};

/// Looks at the host and at containers.
pub(super) fn look(
    dialect: &Dialect,
    request: &ObserveRequest,
) -> Result<ObservedWorld, HostError> {
    let host = facts::look(&dialect.layout, &request.directories)?;
    let mut containers = BTreeMap::new();
    let running = running(dialect)?;
    for (ctid, presence) in present(dialect, request.containers.as_ref())? {
        let seen = match presence {
            Presence::Creating => Some(unfinished()),
            Presence::Destroying => Some(undestroyed()),
            Presence::Whole => container(dialect, ctid, running.contains(&ctid))?,
        };
        containers.extend(seen.map(|seen| (ctid, Arc::new(seen))));
    }
    Ok(ObservedWorld { host, containers })
}

/// The containers that are there, whole or not.
fn present(
    dialect: &Dialect,
    wanted: Option<&BTreeSet<Ctid>>,
) -> Result<BTreeMap<Ctid, Presence>, HostError> {
    let layout = &dialect.layout;
    let mut found = BTreeMap::new();
    let mut note = |ctid: Ctid, presence: Presence| {
        if presence != Presence::Whole || layout.config(ctid).exists() {
            let known = found.entry(ctid).or_insert(presence);
            *known = presence.max(*known);
        }
    };
    if let Some(wanted) = wanted {
        for ctid in wanted {
            note(*ctid, Presence::Whole);
            for (path, presence) in [
                (layout.creating(*ctid), Presence::Creating),
                (layout.destroying(*ctid), Presence::Destroying),
            ] {
                if path.exists() {
                    note(*ctid, presence);
                }
            }
        }
        return Ok(found);
    }
    let dir = &layout.dir;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(|error| at("cannot read", dir, &error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| at("cannot read", dir, &error))?;
        if let Some((ctid, presence)) = Presence::of(&file_name(&entry.path())) {
            note(ctid, presence);
        }
    }
    Ok(found)
}

/// The containers that run: LXC's monitor of each listens at an abstract socket.
pub(super) fn running(dialect: &Dialect) -> Result<BTreeSet<Ctid>, HostError> {
    let sockets = fs::read_to_string("/proc/net/unix")
        .map_err(|error| failure::io("cannot read /proc/net/unix", &error))?;
    Ok(sockets::of(&sockets, &dialect.layout.dir)
        .into_keys()
        .collect())
}

/// Reads a configuration; none if there is none.
pub(super) fn read(dialect: &Dialect, ctid: Ctid, path: &Path) -> Result<Option<Guest>, HostError> {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(Some(Guest::parse(dialect, ctid, &text)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("cannot read", path, &error)),
    }
}

fn container(
    dialect: &Dialect,
    ctid: Ctid,
    runs: bool,
) -> Result<Option<ObservedContainer>, HostError> {
    let Some(declared) = read(dialect, ctid, &dialect.layout.config(ctid))? else {
        return Ok(None);
    };
    let (snapshots, lock) = snapshots(dialect, ctid)?;
    let mut seen = ObservedContainer {
        status: Status::Stopped,
        lock,
        template: declared.template,
        unprivileged: declared.unprivileged,
        mark: declared.mark,
        settings: declared.settings.clone(),
        pending: Changes::new(),
        receipts: remembered(&dialect.layout.receipts(ctid)),
        snapshots,
    };
    if runs {
        seen.status = Status::Running;
        let instance = Instance::of(dialect, ctid)?;
        if let Some(instance) = instance {
            seen.receipts = instance.receipts(&declared);
            (seen.settings, seen.pending) = instance.settings(dialect, &declared);
        }
    }
    Ok(Some(seen))
}

/// A running container: its init, and the configuration that it was started with.
pub(super) struct Instance {
    pub(super) init: u32,
    config: Option<Guest>,
}

impl Instance {
    /// Finds it; none when it has just stopped.
    pub(super) fn of(dialect: &Dialect, ctid: Ctid) -> Result<Option<Self>, HostError> {
        let config = read(dialect, ctid, &dialect.layout.running(ctid))?;
        if let Some((init, started)) = config.as_ref().and_then(|config| config.instance)
            && start_time(init) == Some(started)
        {
            return Ok(Some(Self { init, config }));
        }
        // Nobody noted its init: phoenix was killed while it started the container, or a person
        // started it by hand. In the second case what was noted is of an earlier instance.
        let config = config.filter(|config| config.instance.is_none());
        let init = init_of(dialect, ctid)?;
        Ok(init.map(|init| Self { init, config }))
    }

    pub(super) fn receipts(&self, declared: &Guest) -> Option<Receipts> {
        let inside = Inside::of(self.init, declared.root()).ok()?;
        inside.receipts()
    }

    /// The settings that phoenix gave it, at its start or since.
    pub(super) fn given<'a>(&'a self, declared: &'a Guest) -> &'a Settings {
        let config = self.config.as_ref().unwrap_or(declared);
        &config.settings
    }

    /// The settings in force, and what waits for the next start. What a running container takes
    /// at once never waits: there a person's change is shown, be it of the kernel's limit or of
    /// the file.
    fn settings(&self, dialect: &Dialect, declared: &Guest) -> (Settings, Changes) {
        let given = self.given(declared);
        let (mut live, mut pending) = (given.clone(), Changes::new());
        let kernel = self.limits(dialect);
        let keys: BTreeSet<&Key> = given.keys().chain(declared.settings.keys()).collect();
        for key in keys {
            let (noted, filed) = (given.get(key), declared.settings.get(key));
            let limit = kernel.get(key).filter(|_| noted.is_some());
            let shown = match limit {
                Some(limit) if Some(limit) != noted => Some(limit),
                _ => filed,
            };
            if key.hotplugs() {
                match shown {
                    Some(value) => _ = live.insert(key.clone(), value.clone()),
                    None => _ = live.remove(key),
                }
            } else if noted != filed {
                pending.insert(key.clone(), filed.cloned());
            } else if let Some(Value::Mount(mount)) = noted
                && matches!(mount.source, Source::Host(_))
                && !self.has_mounted(&mount.path)
            {
                // Somebody took it away inside. A volume is never missed so: a new one, empty,
                // would come in its place.
                live.remove(key);
            }
        }
        (live, pending)
    }

    /// Whether something is mounted at a path of it. A kernel that does not tell is believed to
    /// have mounted what it was told to.
    pub(super) fn has_mounted(&self, path: &str) -> bool {
        let looked = || -> Result<bool, Errno> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = open(format!("/proc/{}/root", self.init), flags, Mode::empty())?;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let place = match openat2(&root, path, flags, Mode::empty(), resolve) {
                Err(Errno::NOENT) => return Ok(false),
                found => found?,
            };
            let facts = statx(&place, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
            let told = facts
                .stx_attributes_mask
                .contains(StatxAttributes::MOUNT_ROOT);
            Ok(!told || facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        };
        looked().unwrap_or(true)
    }

    /// What the kernel says of its limits.
    fn limits(&self, dialect: &Dialect) -> Settings {
        let membership = fs::read_to_string(format!("/proc/{}/cgroup", self.init));
        let membership = membership.unwrap_or_default();
        dialect.cgroups.read(&|name: &str| {
            let file = dialect.cgroups.file(&membership, name)?;
            fs::read_to_string(file).ok()
        })
    }
}

/// When a process started, in ticks since boot: with its id, who it is.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// The init of a running container, as LXC knows it.
pub(super) fn init_of(dialect: &Dialect, ctid: Ctid) -> Result<Option<u32>, HostError> {
    let job = Job::new(["lxc-info", "-P"]);
    let job = job.with([dialect.layout.dir.as_os_str()]);
    let found = job.with(["-n", &ctid.to_string(), "-p", "-H"]).run()?;
    Ok(found.stdout.trim().parse().ok())
}

/// The receipts that phoenix saw last on a disk that cannot be read now. Once the container
/// runs, its disk decides.
pub(super) fn remembered(path: &Path) -> Option<Receipts> {
    let bytes = fs::read(path).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The snapshots, oldest first, and the lock of one that was never finished.
fn snapshots(dialect: &Dialect, ctid: Ctid) -> Result<(Vec<Snapshot>, Option<Lock>), HostError> {
    let dir = dialect.layout.snapshots(ctid);
    let mut found = Vec::new();
    let mut lock = None;
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        let name = file_name(&entry.path());
        let partial = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".partial"));
        if partial.is_some() {
            lock = Some(Lock::Snapshot);
        }
        let name = partial.unwrap_or(&name).to_owned();
        let Some(text) = fs::read_to_string(entry.path().join("config")).ok() else {
            continue;
        };
        let made = entry.metadata().and_then(|facts| facts.modified()).ok();
        let guest = preserved(dialect, ctid, &name, &text);
        let receipts = remembered(&entry.path().join(RECEIPTS));
        found.push((
            made,
            Snapshot {
                name,
                settings: guest.settings,
                mark: guest.mark,
                receipts: receipts.unwrap_or_default(),
                incomplete: partial.is_some(),
            },
        ));
    }
    found.sort_by(|(made, one), (later, other)| (made, &one.name).cmp(&(later, &other.name)));
    Ok((
        found.into_iter().map(|(_, snapshot)| snapshot).collect(),
        lock,
    ))
}

/// The configuration that a snapshot keeps: the container's, but for the path of its root disk.
pub(super) fn preserved(dialect: &Dialect, ctid: Ctid, name: &str, text: &str) -> Guest {
    let suffix = format!("@{name}.raw");
    let text: String = text
        .lines()
        .map(|line| match line.strip_suffix(&suffix) {
            Some(line) if line.starts_with("lxc.rootfs.path") => format!("{line}.raw\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let mut guest = Guest::parse(dialect, ctid, &text);
    guest
        .settings
        .retain(|key, _| !matches!(key, Key::Unused(_)));
    guest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_time() {
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(0), None);
    }
}
