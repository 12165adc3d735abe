//! Opening the host: what must be there is looked for at once, and said at once if it is not.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::super::process::PATH;
use super::cgroup::Cgroups;
use super::guest::Dialect;
use super::layout::Layout;
use super::{LxcHost, failure, images};
use crate::domain::desired::DesiredState;
use crate::host::HostError;

/// How to open an LXC host.
#[derive(Debug)]
pub struct LxcOptions {
    /// Its directory.
    pub dir: PathBuf,
    /// What is declared: what only some containers need is asked for only then.
    pub needs: LxcNeeds,
    /// Whether containers are to be worked on, not only looked at.
    pub works: bool,
    /// Its identity, if this machine and directory have none yet.
    pub new_identity: Uuid,
}

/// What the declared containers need of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LxcNeeds {
    /// Some container's root is an ordinary user of the host.
    pub unprivileged: bool,
}

impl LxcNeeds {
    /// Those of a configuration.
    #[must_use]
    pub fn of(desired: &DesiredState) -> Self {
        let mut all = desired.containers.values();
        Self {
            unprivileged: all.any(|container| container.unprivileged),
        }
    }
}

/// Why this machine cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not root.
    #[error("real containers need root, and phoenix runs as user {0}")]
    NotRoot(u32),
    /// Tools are missing.
    #[error("these tools are not installed: {}", .0.join(", "))]
    NoTools(Vec<&'static str>),
    /// The directory's name is too long for the names of LXC's sockets.
    #[error("the directory's path is too long for LXC: {0}")]
    LongPath(PathBuf),
    /// The directory's name has characters that LXC's configuration cannot have.
    #[error("LXC cannot use this directory, since its path has unusual characters: {0}")]
    OddPath(PathBuf),
    /// Unprivileged containers cannot be made.
    #[error("unprivileged containers need ids of the host, and root has none in {0}")]
    NoIds(&'static str),
    /// Unprivileged containers cannot get to their disks.
    #[error("unprivileged containers cannot get through {0}: its permissions do not let others in")]
    ClosedPath(PathBuf),
    /// The kernel cannot.
    #[error("the kernel has no {0}")]
    Kernel(&'static str),
    /// Something of the machine cannot be used.
    #[error("{0}")]
    Host(#[from] HostError),
}

impl Unusable {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NotRoot(_) => "run it with sudo, or try the simulated host: --host sim".into(),
            Self::NoTools(_) => "install them; on Debian and Ubuntu: apt-get install lxc uidmap \
                                 e2fsprogs iproute2 util-linux tar"
                .into(),
            Self::LongPath(_) => "name a directory with a shorter path: --host lxc:DIR".into(),
            Self::OddPath(_) => {
                "name one of letters, digits, '/', '-', '_', '.': --host lxc:DIR".into()
            }
            Self::NoIds(_) => "add them: usermod --add-subuids 100000-165535 --add-subgids \
                               100000-165535 root"
                .into(),
            Self::ClosedPath(path) => format!("chmod o+x {}", path.display()),
            Self::Kernel(_) => "load the module (modprobe), or use another kernel".into(),
            Self::Host(_) => "name a directory that can be written to: --host lxc:DIR".into(),
        }
    }
}

/// Every tool that the driver runs.
const TOOLS: [&str; 23] = [
    "lxc-start",
    "lxc-stop",
    "lxc-attach",
    "lxc-info",
    "lxc-freeze",
    "lxc-unfreeze",
    "mkfs.ext4",
    "e2fsck",
    "resize2fs",
    "losetup",
    "mount",
    "umount",
    "unshare",
    "nsenter",
    "hostname",
    "tar",
    "cp",
    "grep",
    "sync",
    "readlink",
    "sh",
    "ip",
    "sleep",
];
/// What LXC's command sockets leave for the directory: 107 characters, less `/999999999/command`
/// and the byte in front.
const PATH_MAX: usize = 87;

impl LxcHost {
    /// Opens the host in a directory; makes what is missing of it, unless it is only looked at.
    ///
    /// # Errors
    /// When the machine lacks something, or the directory cannot be used.
    pub fn open(options: LxcOptions) -> Result<Self, Unusable> {
        let user = rustix::process::geteuid();
        if !user.is_root() {
            return Err(Unusable::NotRoot(user.as_raw()));
        }
        let mut missing: Vec<_> = TOOLS.into_iter().filter(|tool| !installed(tool)).collect();
        if options.needs.unprivileged && !installed("lxc-usernsexec") {
            missing.push("lxc-usernsexec");
        }
        if !missing.is_empty() {
            return Err(Unusable::NoTools(missing));
        }
        if !Path::new("/dev/loop-control").exists() {
            return Err(Unusable::Kernel("loop devices"));
        }
        let layout = prepared(&options.dir, options.works)?;
        if options.needs.unprivileged {
            unprivileged(&layout.dir)?;
        }
        let new = options.works.then_some(options.new_identity);
        let identity = identity(&layout, new)?;
        let dialect = Dialect {
            layout,
            cgroups: Cgroups::probe(),
            apparmor: apparmor(Path::new("/sys/module/apparmor/parameters/enabled")),
            common: Path::new("/usr/share/lxc/config/common.conf").exists(),
        };
        Ok(Self {
            identity,
            dialect,
            works: options.works,
            observations: 0.into(),
        })
    }
}

fn installed(tool: &str) -> bool {
    PATH.split(':')
        .any(|dir| Path::new(dir).join(tool).is_file())
}

fn apparmor(enabled: &Path) -> bool {
    fs::read_to_string(enabled).is_ok_and(|text| text.trim() == "Y")
}

fn prepared(dir: &Path, make: bool) -> Result<Layout, Unusable> {
    let io = |error: &io::Error| failure::at("cannot make", dir, error);
    if make {
        fs::create_dir_all(dir).map_err(|error| io(&error))?;
    }
    let dir = match fs::canonicalize(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::path::absolute(dir),
        found => found,
    };
    let dir = dir.map_err(|error| failure::io("cannot find the directory", &error))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if dir.as_os_str().len() > PATH_MAX {
        return Err(Unusable::LongPath(dir));
    }
    if !dir.to_string_lossy().chars().all(plain) {
        return Err(Unusable::OddPath(dir));
    }
    let layout = Layout { dir };
    for dir in [layout.locks(), layout.storages(), layout.templates()] {
        if !make {
            break;
        }
        fs::create_dir_all(&dir).map_err(|error| failure::at("cannot make", &dir, &error))?;
    }
    Ok(layout)
}

/// What unprivileged containers need: ids for root where `newuidmap` asks for them, and a way
/// to their disks.
fn unprivileged(dir: &Path) -> Result<(), Unusable> {
    if installed("newuidmap") {
        for file in ["/etc/subuid", "/etc/subgid"] {
            let text = fs::read_to_string(file).unwrap_or_default();
            let root = |line: &str| line.starts_with("root:") || line.starts_with("0:");
            if !text.lines().any(root) {
                return Err(Unusable::NoIds(file));
            }
        }
    }
    for path in dir.ancestors() {
        let closed = fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o001 == 0);
        if closed {
            return Err(Unusable::ClosedPath(path.to_owned()));
        }
    }
    Ok(())
}

/// The machine and the directory: either alone may be copied. None if there is none yet and
/// none is to be made.
fn identity(layout: &Layout, new: Option<Uuid>) -> Result<Option<String>, HostError> {
    let path = layout.identity();
    let own = match fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(new) = new else { return Ok(None) };
            images::write(&path, &format!("{new}\n"))?;
            new.to_string()
        }
        Err(error) => return Err(failure::at("cannot read", &path, &error)),
    };
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    Ok(Some(format!("lxc {} {own}", machine.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apparmor_is_there_if_the_kernel_says_yes() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("enabled");
        assert!(!apparmor(&file));
        for (text, there) in [("Y\n", true), ("N\n", false)] {
            fs::write(&file, text).expect("written");
            assert_eq!(apparmor(&file), there, "{text}");
        }
    }
}
