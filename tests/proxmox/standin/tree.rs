//! Volumes: directories in place of disk images, named as Proxmox VE names them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use phoenix::domain::ids::Ctid;
use phoenix::domain::options::{Source, Volume};
use phoenix::domain::setting::{Settings, Value};

use super::Node;

/// Gives new volumes a number that nothing on the storage has: the model does not know of
/// volumes that no configuration names.
pub fn renumber(node: &Node, ctid: Ctid, before: &Settings, after: &mut Settings) {
    let known: BTreeSet<String> = before
        .values()
        .filter_map(super::set::volume)
        .map(|(volume, _)| volume.to_string())
        .collect();
    let mut taken = BTreeSet::new();
    for value in after.values_mut() {
        let volume = match value {
            Value::Rootfs(rootfs) => &mut rootfs.volume,
            Value::Mount(mount) => match &mut mount.source {
                Source::Volume(volume) => volume,
                Source::Host(_) => continue,
            },
            _ => continue,
        };
        if known.contains(&volume.to_string()) {
            continue;
        }
        while taken.contains(&volume.to_string()) || is_taken(node, ctid, volume) {
            next(volume);
        }
        taken.insert(volume.to_string());
    }
}

/// Numbers are counted over all kinds of volume.
fn is_taken(node: &Node, ctid: Ctid, volume: &Volume) -> bool {
    let path = node.volume(&volume.to_string());
    let (Some(path), Some(number)) = (path, number(volume)) else {
        return false;
    };
    let folder = path.parent().map(fs::read_dir);
    let names = folder
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let wanted = format!("-{ctid}-disk-{number}");
    let same = |name: String| {
        let rest = name.split_once(&wanted).map(|(_, rest)| rest.to_owned());
        rest.is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_ascii_digit()) && !rest.contains('@')
        })
    };
    names.into_iter().any(same)
}

fn number(volume: &Volume) -> Option<u32> {
    let (_, rest) = volume.name.as_deref()?.rsplit_once("-disk-")?;
    rest.split('.').next()?.parse().ok()
}

fn next(volume: &mut Volume) {
    if let (Some(number), Some(name)) = (number(volume), volume.name.as_mut()) {
        let (head, rest) = name.rsplit_once("-disk-").expect("just seen");
        let ending = rest
            .split_once('.')
            .map_or(String::new(), |(_, ending)| format!(".{ending}"));
        *name = format!("{head}-disk-{}{ending}", number + 1);
    }
}

fn size_file(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.size"))
}

/// Makes a volume, and says what is said of it.
pub fn make(node: &Node, volid: &str, size: u64) -> Vec<String> {
    let path = node.volume(volid).expect("a known storage");
    fs::create_dir_all(&path).expect("a volume");
    fs::write(size_file(&path), size.to_string()).expect("written");
    let shown = path
        .strip_prefix(&node.root)
        .expect("within")
        .display()
        .to_string();
    let (storage, _) = volid.split_once(':').expect("a volume id");
    let kind = node.storages().remove(storage).map(|(kind, _)| kind);
    match kind.as_deref() {
        Some("dir") if size > 0 => {
            vec![format!(
                "Formatting '/{shown}', fmt=raw size={size} preallocation=off"
            )]
        }
        _ => Vec::new(),
    }
}

pub fn size(path: &Path) -> u64 {
    let text = fs::read_to_string(size_file(path)).unwrap_or_default();
    text.parse().unwrap_or(0)
}

pub fn resize(node: &Node, volid: &str, size: u64) {
    let path = node.volume(volid).expect("a known storage");
    fs::write(size_file(&path), size.to_string()).expect("written");
}

pub fn rename(node: &Node, from: &str, to: &str) {
    let (from, to) = (
        node.volume(from).expect("known"),
        node.volume(to).expect("known"),
    );
    let _ = fs::rename(size_file(&from), size_file(&to));
    let _ = fs::rename(from, to);
}

/// Frees a volume, and its folder when that is empty.
pub fn free(node: &Node, volid: &str) {
    if let Some(path) = node.volume(volid) {
        remove(&path);
    }
}

pub fn remove(path: &Path) {
    let _ = fs::remove_file(size_file(path));
    let _ = fs::remove_dir_all(path);
    if let Some(folder) = path.parent() {
        let _ = fs::remove_dir(folder);
    }
}

/// Every volume of a container on every storage, whoever names it.
pub fn all(node: &Node, ctid: Ctid) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in node.storages().keys() {
        let folder = node.volume(&format!("{name}:")).expect("a known storage");
        // Files have a folder for each container, file systems of a pool are all in one place.
        for folder in [folder.join(ctid.to_string()), folder] {
            let entries = fs::read_dir(folder).into_iter().flatten();
            let volumes = entries.filter_map(|entry| Some(entry.ok()?.path()));
            let own = format!("-{ctid}-disk-");
            found.extend(
                volumes.filter(|path| path.is_dir() && path.to_string_lossy().contains(&own)),
            );
        }
    }
    found.sort();
    found
}

/// What a snapshot of a volume is kept as.
pub fn kept(path: &Path, snapshot: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}@{snapshot}"))
}

/// A copy; large files, which nobody changes, are shared.
pub fn copy(from: &Path, to: &Path) {
    const LARGE: u64 = 256 * 1024;
    fs::create_dir_all(to).expect("a directory");
    if let Ok(facts) = fs::metadata(from) {
        let _ = fs::set_permissions(to, fs::Permissions::from_mode(facts.permissions().mode()));
    }
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry.expect("an entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            copy(&source, &target);
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).expect("a link");
            std::os::unix::fs::symlink(link, &target).expect("a link");
        } else if entry.metadata().is_ok_and(|facts| facts.len() > LARGE) {
            fs::hard_link(&source, &target).expect("a link");
        } else {
            fs::copy(&source, &target).expect("a copy");
        }
    }
}
