//! Files inside a running container, without ever following a link out of it.
//!
//! Everything goes through `/proc/PID/root` of its init with `openat2`: no symbolic link is
//! followed, whatever the container made of its directories.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, open, openat2,
    renameat, unlinkat,
};
use rustix::io::Errno;

use super::super::HostError;
use super::super::process::end_of_text;
use super::super::run::{RECEIPTS, RUNS, Stored, file_name};
use super::failure;
use crate::domain::observed::Receipts;

/// A receipt larger than this is none.
const RECEIPT_MAX: u64 = 16 * 1024;
/// More files than this are not receipts.
const RECEIPTS_MAX: usize = 4096;

const SAFE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// The root directory of a running container.
#[derive(Debug)]
pub(super) struct Inside {
    root: OwnedFd,
    owner: (u32, u32),
}

/// One file to put there.
pub(super) struct Push<'a> {
    pub(super) name: &'a str,
    pub(super) content: &'a [u8],
    pub(super) mode: u32,
}

impl Inside {
    /// The root of a container, by the process id of its init and the host's numbers for the
    /// container's root.
    pub(super) fn of(init: u32, owner: (u32, u32)) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(format!("/proc/{init}/root"), flags, Mode::empty())?;
        Ok(Self { root, owner })
    }

    fn directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.root, path, flags, Mode::empty(), SAFE)
    }

    /// A directory, made where it is missing, and its parents with it.
    pub(super) fn make(&self, path: &str, mode: u32) -> Result<OwnedFd, HostError> {
        let refused = |error: Errno| {
            failure::permanent(format!(
                "cannot make /{path} in the container: {error}; phoenix follows no symbolic link \
                 there"
            ))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut current = openat2(&self.root, ".", flags, Mode::empty(), SAFE).map_err(refused)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let next = match openat2(&current, part, flags, Mode::empty(), SAFE) {
                Err(Errno::NOENT) => {
                    self.make_one(&current, part, mode).map_err(refused)?;
                    openat2(&current, part, flags, Mode::empty(), SAFE)
                }
                found => found,
            };
            current = next.map_err(refused)?;
        }
        Ok(current)
    }

    /// It gets its name once it is the container's: a killed phoenix must not leave one there
    /// that the container's root cannot enter.
    fn make_one(&self, parent: &OwnedFd, name: &str, mode: u32) -> Result<(), Errno> {
        let scratch = scratch(name);
        let _ = unlinkat(parent, &scratch, AtFlags::REMOVEDIR);
        mkdirat(parent, &scratch, Mode::from_raw_mode(mode))?;
        self.own(parent, &scratch)?;
        renameat(parent, &scratch, parent, name)
    }

    fn own(&self, dir: &impl AsFd, name: &str) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Puts a new file into a directory, under a name that nothing has.
    pub(super) fn put(&self, dir: &impl AsFd, push: &Push<'_>) -> Result<(), HostError> {
        let name = push.name;
        let failed = |error: std::io::Error| {
            failure::io(format!("cannot write {name} into the container"), &error)
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = openat2(dir, name, flags, Mode::from_raw_mode(push.mode), SAFE)
            .map_err(|error| failed(error.into()))?;
        let mut file = File::from(fd);
        file.write_all(push.content).map_err(failed)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(push.mode))
            .map_err(|error| failed(error.into()))?;
        self.own(dir, name).map_err(|error| failed(error.into()))
    }

    /// Writes a file anew; a link of its name is replaced, not followed.
    pub(super) fn replace(&self, parent: &str, push: &Push<'_>) -> Result<(), HostError> {
        let dir = self.make(parent, 0o755)?;
        if self.read(&dir, push.name).as_deref() == Some(push.content) {
            return Ok(());
        }
        let scratch = scratch(push.name);
        let _ = unlinkat(&dir, &scratch, AtFlags::empty());
        self.put(
            &dir,
            &Push {
                name: &scratch,
                ..*push
            },
        )?;
        renameat(&dir, &scratch, &dir, push.name).map_err(|error| {
            let what = format!("cannot write /{parent}/{} in the container", push.name);
            failure::io(what, &error.into())
        })
    }

    /// A small plain file.
    fn read(&self, dir: &impl AsFd, name: &str) -> Option<Vec<u8>> {
        // Not to be held up by a pipe that somebody put there.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat2(dir, name, flags, Mode::empty(), SAFE).ok()?;
        let file = File::from(fd);
        let plain = file.metadata().is_ok_and(|facts| facts.is_file());
        let mut bytes = Vec::new();
        let taken = file.take(RECEIPT_MAX + 1).read_to_end(&mut bytes);
        (plain && taken.is_ok() && bytes.len() as u64 <= RECEIPT_MAX).then_some(bytes)
    }

    /// The end of a file, such as a script's output.
    pub(super) fn tail(&self, dir: &str, name: &str, bytes: i64) -> Option<String> {
        let dir = self.directory(dir).ok()?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat2(&dir, name, flags, Mode::empty(), SAFE).ok()?;
        let mut file = File::from(fd);
        let length = i64::try_from(file.metadata().ok()?.len()).unwrap_or(0);
        let from = u64::try_from(length - bytes).unwrap_or(0);
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(from)).ok()?;
        let mut found = Vec::new();
        file.take(u64::try_from(bytes).unwrap_or(0))
            .read_to_end(&mut found)
            .ok()?;
        Some(end_of_text(&found, from > 0))
    }

    /// Removes a directory of ours and the files in it.
    pub(super) fn remove(&self, parent: &str, name: &str) {
        let Ok(dir) = self.directory(&format!("{parent}/{name}")) else {
            return;
        };
        for file in names(&dir) {
            let _ = unlinkat(&dir, &file, AtFlags::empty());
        }
        if let Ok(parent) = self.directory(parent) {
            let _ = unlinkat(&parent, name, AtFlags::REMOVEDIR);
        }
    }

    /// What is left of scripts that were killed.
    pub(super) fn sweep(&self) {
        let Ok(dir) = self.directory(RUNS) else {
            return;
        };
        for name in names(&dir) {
            self.remove(RUNS, &name);
        }
    }

    /// The receipts on its disk; none if it cannot be read.
    pub(super) fn receipts(&self) -> Option<Receipts> {
        let dir = match self.directory(RECEIPTS) {
            Ok(dir) => dir,
            // Something else in its place is no receipt either.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Some(Receipts::new()),
            Err(_) => return None,
        };
        let mut receipts = Receipts::new();
        for name in names(&dir) {
            let stored = self.read(&dir, &name);
            let stored = stored.and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok());
            if let Some(stored) = stored.filter(|stored| file_name(&stored.script) == name) {
                receipts.insert(stored.script, stored.receipt);
            }
        }
        Some(receipts)
    }
}

/// The name of what is not whole yet.
fn scratch(name: &str) -> String {
    format!(".{name}.phoenix")
}

/// The plain files and directories of a directory.
fn names(dir: &OwnedFd) -> Vec<String> {
    let Ok(entries) = Dir::read_from(dir) else {
        return Vec::new();
    };
    let entries = entries.flatten().filter(|entry| {
        matches!(
            entry.file_type(),
            FileType::RegularFile | FileType::Directory | FileType::Unknown
        )
    });
    entries
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name != "." && name != "..")
        .take(RECEIPTS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn inside(root: &std::path::Path) -> Inside {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty()).expect("a directory");
        let me = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        Inside { root, owner: me }
    }

    #[test]
    fn no_link_leads_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        std::fs::create_dir_all(root.join("var/lib")).expect("made");
        std::fs::create_dir_all(outside.join("receipts")).expect("made");
        std::fs::write(outside.join("passwd"), "outside").expect("written");
        symlink(&outside, root.join("var/lib/phoenix")).expect("linked");
        symlink(outside.join("passwd"), root.join("resolv.conf")).expect("linked");
        let inside = inside(&root);
        inside.make(RUNS, 0o700).expect_err("not through a link");
        assert_eq!(inside.receipts(), Some(Receipts::new()));
        let push = Push {
            name: "resolv.conf",
            content: b"inside",
            mode: 0o644,
        };
        inside.replace("", &push).expect("written");
        assert_eq!(
            std::fs::read(outside.join("passwd")).expect("read"),
            b"outside"
        );
        assert_eq!(
            std::fs::read(root.join("resolv.conf")).expect("read"),
            b"inside"
        );
        assert!(!outside.join("run").exists());
    }

    #[test]
    fn what_a_killed_one_was_making_is_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let left = dir.path().join("var/.lib.phoenix");
        std::fs::create_dir_all(&left).expect("made");
        let inside = inside(dir.path());
        inside.make("var/lib", 0o700).expect("made");
        assert!(!left.exists());
        assert!(dir.path().join("var/lib").is_dir());
    }

    #[test]
    fn what_is_put_is_swept() {
        let dir = tempfile::tempdir().expect("a directory");
        let inside = inside(dir.path());
        let run = inside.make(&format!("{RUNS}/1"), 0o700).expect("made");
        let push = Push {
            name: "script",
            content: b"x",
            mode: 0o700,
        };
        inside.put(&run, &push).expect("written");
        inside
            .put(&run, &push)
            .expect_err("never over a file that is there");
        assert_eq!(
            inside.tail(&format!("{RUNS}/1"), "script", 10).as_deref(),
            Some("x")
        );
        inside.sweep();
        assert!(!dir.path().join(RUNS).join("1").exists());
    }
}
