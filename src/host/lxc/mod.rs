//! Real containers through the machine's LXC tools, in a directory that is LXC's `lxcpath`.
//!
//! What an action does is decided by the pure model, as on the simulated host; this driver makes
//! it so. What is there is read from files: `docs/lxc.md` tells which.

mod cgroup;
mod change;
mod facts;
mod failure;
mod guest;
mod hotplug;
mod images;
mod inside;
mod layout;
mod life;
mod lock;
mod make;
mod observe;
mod open;
mod reader;
mod room;
mod scripts;
mod start;
mod text;
mod veth;
mod work;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Applied, Call, Host, HostError, ObserveRequest};
use crate::domain::action::{Action, DirectorySpec};
use crate::domain::ids::Ctid;
use crate::domain::model::{self, Effect};
use crate::domain::observed::{ObservedWorld, Status};

use self::failure::at;
use self::guest::Dialect;
use self::layout::ctid_of;
use self::work::Work;

pub use self::open::{LxcNeeds, LxcOptions, Unusable};

/// A machine with LXC.
#[derive(Debug)]
pub struct LxcHost {
    /// None: it is only looked at, and has none yet.
    identity: Option<String>,
    dialect: Dialect,
    /// Whether to wait for what an earlier phoenix left running before anything is looked at.
    works: bool,
    observations: std::sync::atomic::AtomicU64,
}

impl LxcHost {
    /// How often this process looked at the host.
    #[must_use]
    pub fn observations(&self) -> u64 {
        self.observations.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Its identity; none: it was never worked on.
    #[must_use]
    pub fn known_identity(&self) -> Option<String> {
        self.identity.clone()
    }

    fn work<'a>(&'a self, ctid: Ctid, held: &'a lock::Held) -> Work<'a> {
        Work {
            dialect: &self.dialect,
            ctid,
            held,
        }
    }

    /// Everything that an action concerns, as it is now.
    fn world(&self, ctid: Ctid, action: &Action) -> Result<ObservedWorld, HostError> {
        let mut containers = std::collections::BTreeSet::from([ctid]);
        let mut directories = std::collections::BTreeSet::new();
        match action {
            Action::Clone(spec) => _ = containers.insert(spec.source),
            Action::EnsureDirectory(spec) => _ = directories.insert(spec.path.clone()),
            _ => {}
        }
        let request = ObserveRequest {
            containers: Some(containers),
            directories,
        };
        observe::look(&self.dialect, &request)
    }

    fn act(&self, call: &Call<'_>, action: &Action) -> Result<Applied, HostError> {
        let ctid = call.ctid;
        let held = lock::take(&self.dialect.layout.lock(ctid))?;
        let work = self.work(ctid, &held);
        let world = self.world(ctid, action)?;
        let next = model::after(&world, ctid, action, call.run)?;
        let seen = world.containers.get(&ctid).map(AsRef::as_ref);
        match (action, seen, &next) {
            (Action::RunScript(script), _, _) => return work.run_script(call, script),
            (Action::CheckHealth(check), _, _) => return work.check_health(check),
            (Action::EnsureDirectory(spec), _, _) => ensure_directory(spec)?,
            (Action::Create(spec), _, Effect::Container(next)) => work.create(spec, next)?,
            (Action::Clone(spec), _, Effect::Container(next)) => work.clone_from(spec, next)?,
            (Action::Discard { .. }, _, _) => work.discard()?,
            (Action::Unlock, _, _) => work.unlock()?,
            (Action::Configure { .. }, Some(seen), Effect::Container(next)) => {
                work.configure(seen, next)?;
            }
            (Action::Resize { disk, size, .. }, Some(seen), Effect::Container(next)) => {
                work.resize(seen, next, disk, *size)?;
            }
            (Action::Start, _, Effect::Container(next)) => work.start(next)?,
            (Action::Restart { .. }, Some(seen), Effect::Container(next)) => {
                work.restart(seen, next)?;
            }
            (Action::Snapshot { name }, Some(seen), _) => work.snapshot(seen, name)?,
            (Action::Destroy, Some(seen), _) => {
                if seen.status == Status::Running {
                    work.kill(seen)?;
                }
                work.destroy()?;
            }
            // A template is there or the model has refused; nothing else is left.
            _ => {}
        }
        Ok(Applied::default())
    }
}

/// Makes a directory with its declared owner and permissions, or gives them to one.
fn ensure_directory(spec: &DirectorySpec) -> Result<(), HostError> {
    let whole = Path::new(&spec.path);
    if whole.is_dir() {
        return own(whole, spec);
    }
    // It gets its name once it is whole: an owner that nobody declared is given only here, and a
    // killed phoenix would leave one that the container cannot enter.
    let new = images::scratch(whole);
    let made = || -> std::io::Result<()> {
        fs::create_dir_all(whole.parent().unwrap_or(whole))?;
        let _ = fs::remove_dir(&new);
        fs::create_dir(&new)
    };
    made().map_err(|error| at("cannot make", whole, &error))?;
    own(&new, spec)?;
    images::rename(&new, whole)
}

/// Gives a directory its owner and mode.
fn own(path: &Path, spec: &DirectorySpec) -> Result<(), HostError> {
    if let Some((uid, gid)) = spec.owner {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .map_err(|error| at("cannot give an owner to", path, &error))?;
    }
    if let Some(mode) = spec.mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| at("cannot set the permissions of", path, &error))?;
    }
    Ok(())
}

impl Host for LxcHost {
    fn identity(&self) -> Result<String, HostError> {
        let none = || failure::permanent("this host was never worked on");
        self.identity.clone().ok_or_else(none)
    }

    fn observe(&self, request: &ObserveRequest) -> Result<ObservedWorld, HostError> {
        self.observations
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if self.works && request.containers.is_none() {
            self.settle()?;
        }
        observe::look(&self.dialect, request)
    }

    fn apply(&self, call: &Call<'_>, action: &Action) -> Result<Applied, HostError> {
        self.act(call, action)
    }
}

impl LxcHost {
    /// Waits for what an earlier phoenix left running, and finishes what it could not.
    fn settle(&self) -> Result<(), HostError> {
        let layout = &self.dialect.layout;
        let names = fs::read_dir(layout.locks()).into_iter().flatten().flatten();
        let worked_on = names.filter_map(|entry| ctid_of(&entry.file_name().to_string_lossy()));
        let worked_on: Vec<Ctid> = worked_on.collect();
        for ctid in &worked_on {
            lock::take_idle(&layout.lock(*ctid))?;
        }
        let running = observe::running(&self.dialect)?;
        for ctid in worked_on {
            // What another phoenix, with a journal of its own, works on is its own to finish.
            if let Some(held) = lock::take_idle(&layout.lock(ctid))? {
                self.work(ctid, &held).settle(running.contains(&ctid))?;
            }
        }
        Ok(())
    }
}

/// Reads any text as everything that is read of a machine: a container's configuration, the
/// kernel's lists of sockets and of devices.
#[cfg(fuzzing)]
pub fn fuzz(text: &str) {
    let dir = std::path::PathBuf::from("/d");
    for unified in [false, true] {
        let dialect = guest::Dialect {
            layout: layout::Layout { dir: dir.clone() },
            cgroups: cgroup::Cgroups {
                unified,
                memory: true,
                swap: true,
                cpu: true,
            },
            apparmor: unified,
            common: !unified,
        };
        if let Ok(ctid) = crate::domain::ids::Ctid::try_from(950) {
            let guest = reader::Reader::new(&dialect, ctid, text).read();
            let _ = guest.base(&dialect);
        }
    }
    let lines = text::parse(text);
    assert_eq!(
        text::parse(&text::print(&lines)),
        lines,
        "it reads what it wrote"
    );
    assert_eq!(
        text::unescaped(&text::escaped(text)),
        text,
        "a path comes back"
    );
    let _ = super::sockets::of(text, &dir);
    let _ = super::devices::majors(text);
}
