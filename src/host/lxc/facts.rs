//! What the machine has: storages, bridges, templates, devices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::super::HostError;
use super::super::devices;
use super::failure;
use super::layout::{Layout, file_name};
use crate::domain::observed::{Directory, HostFacts, Storage, TemplateState};
use crate::domain::units::DiskSize;

/// The type of every storage here: image files, which can be copied while frozen.
const KIND: &str = "loop";
/// What a template archive's name ends in, with the option by which `tar` reads it.
const ARCHIVES: [(&str, &str); 6] = [
    (".tar", ""),
    (".tar.gz", "--gzip"),
    (".tgz", "--gzip"),
    (".tar.xz", "--xz"),
    (".tar.zst", "--zstd"),
    (".tar.bz2", "--bzip2"),
];

/// The option by which `tar` reads an archive; none if it is no archive by its name.
pub(super) fn decompression(name: &str) -> Option<&'static str> {
    let found = ARCHIVES.iter().find(|(ending, _)| name.ends_with(ending));
    found
        .map(|(_, option)| *option)
        .filter(|_| !name.starts_with('.'))
}

/// Looks at the machine.
pub(super) fn look(
    layout: &Layout,
    directories: &BTreeSet<String>,
) -> Result<HostFacts, HostError> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|error| failure::io("cannot read the boot id", &error))?;
    Ok(HostFacts {
        boot_id: boot_id.trim().to_owned(),
        storages: storages(layout),
        bridges: bridges(),
        templates: templates(layout),
        directories: states(directories),
        device_majors: devices::majors(&fs::read_to_string("/proc/devices").unwrap_or_default()),
        guests: None,
        node: None,
        elsewhere: BTreeMap::new(),
    })
}

fn entries(dir: PathBuf) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(dir).into_iter().flatten().flatten()
}

fn storages(layout: &Layout) -> BTreeMap<String, Storage> {
    let dirs = entries(layout.storages()).filter(|entry| entry.path().is_dir());
    dirs.map(|entry| {
        let storage = Storage {
            kind: KIND.to_owned(),
            free: free(&entry.path()),
        };
        (file_name(&entry.path()), storage)
    })
    .collect()
}

/// What is free in a directory, in whole MiB: nobody wants to read more.
pub(super) fn free(dir: &Path) -> Option<DiskSize> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some(DiskSize::bytes(bytes >> 20 << 20))
}

fn bridges() -> BTreeSet<String> {
    let bridges = entries("/sys/class/net".into());
    bridges
        .filter(|entry| entry.path().join("bridge").is_dir())
        .map(|entry| file_name(&entry.path()))
        .collect()
}

fn templates(layout: &Layout) -> BTreeMap<String, TemplateState> {
    let files = entries(layout.templates()).filter(|entry| entry.path().is_file());
    files
        .map(|entry| file_name(&entry.path()))
        .filter(|name| decompression(name).is_some())
        .map(|name| (name, TemplateState::Present))
        .collect()
}

/// Owner and permissions of directories; what is not there is left out.
pub(super) fn states(paths: &BTreeSet<String>) -> BTreeMap<String, Directory> {
    let state = |path: &String| {
        let facts = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
        let mode = facts.mode() & 0o7777;
        Some((
            path.clone(),
            Directory {
                uid: facts.uid(),
                gid: facts.gid(),
                mode,
            },
        ))
    };
    paths.iter().filter_map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_known_by_their_names() {
        assert_eq!(decompression("debian-12.tar.zst"), Some("--zstd"));
        assert_eq!(decompression("plain.tar"), Some(""));
        assert_eq!(decompression("notes.txt"), None);
        assert_eq!(decompression(".part.tar.gz"), None);
    }
}
