//! A mount into a container that runs.
//!
//! The mount is made detached and handed into the container's mount namespace as a file: nothing
//! of it is ever to be seen on the host, and when phoenix is killed in between it is gone.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_bind, mount_change,
    mount_remount, move_mount, open_tree,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::super::HostError;
use super::super::process::Job;
use super::change::is_readonly;
use super::failure::{self, permanent, transient};
use super::images;
use super::observe::Instance;
use super::work::Work;
use crate::domain::options::{Mount, Source};

impl Work<'_> {
    /// Mounts a host directory or a volume into the running container.
    pub(super) fn mount_now(&self, instance: &Instance, mount: &Mount) -> Result<(), HostError> {
        if instance.has_mounted(&mount.path) {
            // By a phoenix that was killed before it could write it down.
            return Ok(());
        }
        let path = mount.path.trim_start_matches('/').to_owned();
        let readonly = is_readonly(mount);
        let detached = match &mount.source {
            Source::Host(source) => detach(None, Path::new(source), readonly)?,
            Source::Volume(volume) => {
                let image = images::existing(self.layout().volume(volume), &volume.to_string())?;
                self.detached_volume(&image, readonly)?
            }
        };
        attach(instance.init, detached, path)
    }

    /// A volume, mounted nowhere: a helper mounts it in a namespace of its own and waits there
    /// until phoenix has taken hold of it.
    fn detached_volume(&self, image: &Path, readonly: bool) -> Result<OwnedFd, HostError> {
        let keeper = Keeper::start(image, self.lock())?;
        let namespace = format!("/proc/{}/ns/mnt", keeper.pid);
        let namespace = File::open(&namespace)
            .map_err(|error| failure::at("cannot open", namespace.as_ref(), &error))?;
        detach(Some(namespace), Path::new("/mnt"), readonly)
    }
}

/// Keeps a volume mounted in a mount namespace of its own for as long as it is needed.
struct Keeper {
    pid: u32,
}

/// The helper goes by itself: it only has to live until phoenix has its mount.
const KEEP: &str = r#"
mount -o loop "$1" /mnt
exec 3<&0
sleep 30 <&3 >/dev/null 2>&1 &
echo $!
"#;

impl Keeper {
    fn start(image: &Path, lock: &File) -> Result<Self, HostError> {
        let job = Job::new([
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-euc",
        ]);
        let job = job.with([KEEP, "phoenix-keep"]).with([image]).stdin(lock);
        let pid = job.run()?.stdout.trim().parse();
        let pid = pid.map_err(|_| transient("the helper that mounts a volume did not answer"))?;
        Ok(Self { pid })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A copy of what is mounted at a path, itself mounted nowhere. Where it is to be read only, it is
/// so before anybody in the container can get at it.
fn detach(namespace: Option<File>, path: &Path, readonly: bool) -> Result<OwnedFd, HostError> {
    let shown = path.display().to_string();
    let path = path.to_owned();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let opened = apart(namespace, move || {
        if readonly {
            mount_bind(&path, &path)?;
            mount_remount(&path, MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
        open_tree(CWD, &path, flags)
    });
    opened.map_err(|error| failure::io(format!("cannot take hold of {shown}"), &error.into()))
}

/// Mounts it in a container, where it makes the directory if there is none. No symbolic link is
/// followed.
fn attach(init: u32, detached: OwnedFd, path: String) -> Result<(), HostError> {
    let namespace = format!("/proc/{init}/ns/mnt");
    let namespace = File::open(&namespace)
        .map_err(|error| failure::at("cannot open", namespace.as_ref(), &error))?;
    let shown = path.clone();
    let done = apart(Some(namespace), move || {
        let target = directory(&path)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(detached.as_fd(), "", target.as_fd(), "", flags)
    });
    done.map_err(|error| {
        let hint = match error {
            Errno::LOOP => "; phoenix follows no symbolic link there",
            _ => "",
        };
        permanent(format!(
            "cannot mount at /{shown} in the container: {error}{hint}"
        ))
    })
}

/// Does something in a mount namespace, in a thread of its own that ends with it; in a new one,
/// which ends with the thread, unless there is one.
fn apart<T: Send>(
    namespace: Option<File>,
    act: impl FnOnce() -> Result<T, Errno> + Send,
) -> Result<T, Errno> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            match namespace {
                Some(namespace) => {
                    // A thread that shares its working directory cannot change its namespace.
                    own(UnshareFlags::FS)?;
                    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
                }
                None => {
                    own(UnshareFlags::FS | UnshareFlags::NEWNS)?;
                    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                    mount_change("/", flags)?;
                }
            }
            act()
        });
        worker.join().unwrap_or(Err(Errno::IO))
    })
}

fn own(what: UnshareFlags) -> Result<(), Errno> {
    #[expect(
        deprecated,
        reason = "only descriptors make it unsafe, and those stay shared here"
    )]
    rustix::thread::unshare(what)
}

/// A directory below the root, made where it is missing.
fn directory(path: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut current = rustix::fs::open("/", flags, Mode::empty())?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let next = match openat2(&current, part, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT) => {
                mkdirat(&current, part, Mode::from_raw_mode(0o755))?;
                openat2(&current, part, flags, Mode::empty(), resolve)?
            }
            found => found?,
        };
        current = next;
    }
    Ok(current)
}
