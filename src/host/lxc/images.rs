//! Disk images: sparse files with ext4, made, copied, grown and removed.
//!
//! A mount that phoenix itself needs is made in a mount namespace of the tool's own, so that it
//! and its loop device go with the tool, whatever ends it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::super::HostError;
use super::super::process::Job;
use super::failure::{self, at, permanent, transient};
use super::layout::file_name;
use crate::domain::units::DiskSize;

/// How long a kernel may take to let go of an image after its last user ended.
const RELEASE: Duration = Duration::from_secs(20);
/// What is on a container's disk is nobody's on the host.
const PRIVATE: u32 = 0o600;
const PAUSE: Duration = Duration::from_millis(20);
/// How long a large disk may take.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// Makes a new image, under another name until it is whole.
pub(super) fn make(
    path: &Path,
    size: DiskSize,
    owner: (u32, u32),
    lock: &File,
) -> Result<(), HostError> {
    let scratch = scratch(path);
    remove(&scratch)?;
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&scratch);
    let file = file.map_err(|error| at("cannot make", &scratch, &error))?;
    file.set_len(size.get())
        .map_err(|error| at("cannot size", &scratch, &error))?;
    drop(file);
    let options = format!(
        "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner={}:{}",
        owner.0, owner.1
    );
    let made = Job::new(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", &options])
        .with([&scratch])
        .stdin(lock)
        .run();
    if let Err(error) = made {
        let _ = remove(&scratch);
        return Err(error);
    }
    rename(&scratch, path)
}

/// Copies an image, holes as holes.
pub(super) fn copy(from: &Path, to: &Path, lock: &File) -> Result<(), HostError> {
    copy_changed(from, to, lock, |_| Ok(()))
}

/// Copies an image and changes the copy, which gets its name once it is whole.
fn copy_changed(
    from: &Path,
    to: &Path,
    lock: &File,
    change: impl FnOnce(&Path) -> Result<(), HostError>,
) -> Result<(), HostError> {
    let scratch = scratch(to);
    remove(&scratch)?;
    let copied = Job::new(["cp", "--sparse=always", "--reflink=auto", "--"])
        .with([from, &scratch])
        .stdin(lock)
        .deadline(LONG)
        .run();
    let done = copied.and_then(|_| change(&scratch));
    if let Err(error) = done {
        let _ = remove(&scratch);
        return Err(error);
    }
    fs::set_permissions(&scratch, fs::Permissions::from_mode(PRIVATE))
        .map_err(|error| at("cannot set the permissions of", &scratch, &error))?;
    // What the journal calls done must be there after the power was cut.
    let synced = File::open(&scratch).and_then(|file| file.sync_all());
    synced.map_err(|error| at("cannot write out", &scratch, &error))?;
    rename(&scratch, to)
}

/// Gives something its name, for good: also when the power is cut right after.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), HostError> {
    let renamed = || -> io::Result<()> {
        fs::rename(from, to)?;
        match to.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    renamed().map_err(|error| at("cannot name", to, &error))
}

/// The name of an image that is not whole yet.
pub(super) fn scratch(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.new", file_name(path)))
}

/// Moves an image that nothing uses out of the way of a new one: it may hold somebody's data.
pub(super) fn set_aside(path: &Path) -> Result<(), HostError> {
    if !path.exists() {
        return Ok(());
    }
    let free = (1..=u32::MAX)
        .map(|number| path.with_file_name(format!("{}.orphan-{number}", file_name(path))))
        .find(|path| !path.exists());
    let Some(free) = free else { return Ok(()) };
    tracing::warn!(from = %path.display(), to = %free.display(), "an image that nothing uses was moved aside");
    fs::rename(path, &free).map_err(|error| at("cannot move aside", path, &error))
}

/// Removes an image, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), HostError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(at("cannot remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// The loop device of an image that is in use.
pub(super) fn device(path: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    let devices = fs::read_dir("/sys/block").ok()?;
    devices.flatten().find_map(|entry| {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        (Path::new(backing.trim_end()) == path).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

/// Whether a loop device keeps its image when nobody uses it any more. LXC says in a second call
/// that it must not: one that is killed before that leaves it attached for good.
fn stays(device: &Path) -> bool {
    let autoclear = Path::new("/sys/block").join(file_name(device));
    let autoclear = fs::read_to_string(autoclear.join("loop/autoclear"));
    autoclear.is_ok_and(|autoclear| autoclear.trim_end() == "0")
}

/// Waits until nothing uses an image any more: the kernel lets go of it a little after the
/// container has stopped.
pub(super) fn released(path: &Path) -> Result<(), HostError> {
    let began = Instant::now();
    while let Some(device) = device(path) {
        if stays(&device) {
            // Of a device that is in use (somebody has mounted it) the kernel lets go later.
            Job::new(["losetup", "--detach"]).with([&device]).run()?;
        }
        if began.elapsed() > RELEASE {
            return Err(transient(format!(
                "{} is still in use by {}",
                path.display(),
                device.display()
            )));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Makes an image's file as large as its file system is to become; never smaller.
fn lengthen(path: &Path, size: DiskSize) -> Result<(), HostError> {
    let grown = || -> io::Result<()> {
        let file = File::options().write(true).open(path)?;
        if file.metadata()?.len() < size.get() {
            file.set_len(size.get())?;
        }
        Ok(())
    };
    grown().map_err(|error| at("cannot enlarge", path, &error))
}

/// Grows an image that nothing uses: a copy of it, since a `resize2fs` that is killed leaves a
/// file system that cannot be repaired without asking.
pub(super) fn grow(path: &Path, size: DiskSize, lock: &File) -> Result<(), HostError> {
    released(path)?;
    copy_changed(path, path, lock, |copy| {
        lengthen(copy, size)?;
        let checked = Job::new(["e2fsck", "-fp"])
            .with([copy])
            .stdin(lock)
            .deadline(LONG)
            .run();
        match checked {
            // 1: it found something and corrected it.
            Err(error) if error.exit_code != Some(1) => return Err(error),
            _ => {}
        }
        let grown = Job::new(["resize2fs"]).with([copy]).stdin(lock);
        grown.deadline(LONG).run().map(drop)
    })
}

/// In a mount namespace of its own the file system is mounted a second time, where `resize2fs`
/// finds it.
const GROW_ONLINE: &str = r#"
losetup -c "$1"
mount "$1" /mnt
resize2fs "$1"
"#;

/// Grows the image of a running container, where the kernel can.
pub(super) fn grow_online(path: &Path, size: DiskSize, lock: &File) -> Result<(), HostError> {
    let Some(device) = device(path) else {
        return Err(transient(format!("no loop device has {}", path.display())));
    };
    lengthen(path, size)?;
    let job = Job::new([
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-euc",
    ]);
    let grown = job
        .with([GROW_ONLINE, "phoenix-grow"])
        .with([device])
        .stdin(lock)
        .run();
    grown.map(drop).map_err(|error| HostError {
        message: "the disk cannot grow while the container runs: this kernel refuses it. Stop \
                  the container (lxc-stop), then run the same command again; it grows, and is \
                  started"
            .to_owned(),
        ..error
    })
}

/// `$1` archive, `$2` image, `$3` mount point, `$4` and `$5` the container's root on the host,
/// `$6` how the archive is packed. GNU tar takes no member with `..`, strips a leading `/`, and
/// makes links that point elsewhere only after everything else, so nothing is written through
/// one; an archive that tries the first two is refused as a whole.
const EXTRACT: &str = r#"
if tar -tP $6 -f "$1" | grep -qE '^/|(^|/)\.\.(/|$)'; then
    echo "the archive has members with '..' or a leading '/'; nothing was unpacked" >&2
    exit 65
fi
mount -o loop "$2" "$3"
cd "$3"
chown "$4:$5" .
archive=$1 point=$3 pack=$6
if [ "$4" = 0 ]; then set --; else
    set -- lxc-usernsexec -m "u:0:$4:65536" -m "g:0:$5:65536" --
fi
"$@" tar -xp $pack --numeric-owner --xattrs '--xattrs-include=user.*' \
    --xattrs-include=security.capability --anchored '--exclude=./dev/*' '--exclude=dev/*' \
    -f - <"$archive"
sync -f .
readlink sbin/init || :
cd /
umount "$point"
"#;

/// What an archive is unpacked into.
pub(super) struct Extract<'a> {
    pub(super) archive: &'a Path,
    pub(super) image: &'a Path,
    pub(super) point: &'a Path,
    pub(super) owner: (u32, u32),
    /// The option by which `tar` reads the archive.
    pub(super) pack: &'a str,
}

/// Unpacks an archive into an image; returns what `/sbin/init` is a link to.
pub(super) fn extract(extract: &Extract<'_>, lock: &File) -> Result<String, HostError> {
    let name = file_name(extract.archive);
    fs::create_dir_all(extract.point).map_err(|error| at("cannot make", extract.point, &error))?;
    let (uid, gid) = extract.owner;
    let job = Job::new([
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-euc",
        EXTRACT,
    ]);
    let done = job
        .with(["phoenix-extract"])
        .with([extract.archive, extract.image, extract.point])
        .with([uid.to_string(), gid.to_string(), extract.pack.to_owned()])
        .stdin(lock)
        .deadline(LONG)
        .run();
    let _ = fs::remove_dir(extract.point);
    let output = done.map_err(|error| {
        let why = error.output.lines().last().unwrap_or_default().to_owned();
        HostError {
            message: format!("cannot unpack the template {name}: {why}"),
            ..error
        }
    })?;
    Ok(output.stdout.trim().to_owned())
}

/// Removes a directory of phoenix's own with all that is in it.
pub(super) fn remove_dir(path: &Path) -> Result<(), HostError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(at("cannot remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// Writes a file so that it is either the old or the new one, with the permissions of the old.
pub(super) fn write(path: &Path, text: &str) -> Result<(), HostError> {
    let scratch = scratch(path);
    let written = || -> io::Result<()> {
        let mut file = File::create(&scratch)?;
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&scratch, path)
    };
    written().map_err(|error| at("cannot write", path, &error))
}

/// The image of a volume that must be there.
pub(super) fn existing(path: Option<PathBuf>, volume: &str) -> Result<PathBuf, HostError> {
    match path {
        Some(path) if path.is_file() => Ok(path),
        Some(path) => Err(permanent(format!(
            "the image of volume {volume} is missing: {}",
            path.display()
        ))),
        None => Err(failure::permanent(format!(
            "'{volume}' does not name a volume of this host"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_read_a_file_stays_so_when_it_is_written_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config");
        write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        write(&path, "new").expect("written");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert_eq!(fs::read_to_string(&path).expect("there"), "new");
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1);
    }
}
