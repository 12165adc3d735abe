//! The socket's file. It is reached through a handle of its directory: the name of a socket may
//! have 107 bytes at most, and paths of state directories are longer at times.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::geteuid;

const NAME: &str = "run.sock";
const NEW: &str = "run.sock.new";

/// The directory that a socket is in.
#[derive(Debug)]
pub(super) struct Place(File);

impl Place {
    pub(super) fn open(state: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut options = File::options();
        let opened = options.read(true).custom_flags(flags.bits().cast_signed());
        opened.open(state).map(Self)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }

    /// Listens. Only whoever holds the journal may: what is there is a dead process's. The socket
    /// takes its name when it has its permissions.
    pub(super) fn listen(&self) -> io::Result<UnixListener> {
        let (new, path) = (self.path(NEW), self.path(NAME));
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        std::fs::rename(&new, &path)?;
        Ok(listener)
    }

    /// Takes the name away.
    pub(super) fn remove(&self) {
        // One that stays behind is answered by nobody, which every client understands.
        let _ = std::fs::remove_file(self.path(NAME));
    }

    /// Connects to whoever listens; none: nobody does.
    pub(super) fn connect(&self) -> io::Result<Option<UnixStream>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let address = SocketAddrUnix::new(self.path(NAME))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => return Ok(None),
            // `AGAIN`: so many wait in front of it already.
            Err(error) => return Err(error.into()),
        }
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(Some(stream))
    }
}

/// Whether the other side is a process of this user, or of root.
pub(super) fn is_ours(stream: impl AsFd) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == geteuid() || peer.uid.is_root())
}
