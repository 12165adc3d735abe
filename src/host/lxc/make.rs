//! How a container comes to be here, and how it goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::HostError;
use super::failure::{at, permanent};
use super::guest::Guest;
use super::images::{self, Extract};
use super::layout::{RECEIPTS, SNAPSHOTS};
use super::work::Work;
use super::{facts, observe};
use crate::domain::action::{CloneSpec, CreateSpec};
use crate::domain::observed::{ObservedContainer, Receipts};
use crate::domain::options::{Source, Volume};
use crate::domain::setting::{Key, Settings, Value};
use crate::domain::units::DiskSize;

/// The volumes that settings mount, with their sizes.
pub(super) fn volumes(settings: &Settings) -> Vec<(Key, Volume, DiskSize)> {
    let volume = |(key, value): (&Key, &Value)| match value {
        Value::Rootfs(rootfs) => Some((key.clone(), rootfs.volume.clone(), rootfs.size)),
        Value::Mount(mount) => match &mount.source {
            Source::Volume(volume) => {
                Some((key.clone(), volume.clone(), mount.size.unwrap_or_default()))
            }
            Source::Host(_) => None,
        },
        _ => None,
    };
    settings.iter().filter_map(volume).collect()
}

/// Every volume that settings name, mounted or not.
fn named(settings: &Settings) -> BTreeSet<String> {
    let mounted = volumes(settings)
        .into_iter()
        .map(|(_, volume, _)| volume.to_string());
    let unused = settings
        .iter()
        .filter_map(|(key, value)| match (key, value) {
            (Key::Unused(_), Value::Text(text)) => Some(text.clone()),
            _ => None,
        });
    mounted.chain(unused).collect()
}

impl Work<'_> {
    /// Makes the container from an archive, under another name until it is whole.
    pub(super) fn create(
        &self,
        spec: &CreateSpec,
        next: &ObservedContainer,
    ) -> Result<(), HostError> {
        let archive = self.layout().templates().join(&spec.template.file);
        let pack = facts::decompression(&spec.template.file)
            .ok_or_else(|| permanent(format!("'{}' is no tar archive", spec.template.file)))?;
        let mut guest = Guest {
            mark: next.mark,
            unprivileged: next.unprivileged,
            settings: next.settings.clone(),
            ..Guest::default()
        };
        self.being_made(&mut guest, next.receipts.as_ref(), |guest| {
            for (key, volume, size) in volumes(&guest.settings) {
                let image = self.place(&volume)?;
                images::make(&image, size, guest.root(), self.lock())?;
                if key == Key::Rootfs {
                    let point = self.layout().creating(self.ctid).join("mnt");
                    let extract = Extract {
                        archive: &archive,
                        image: &image,
                        point: &point,
                        owner: guest.root(),
                        pack,
                    };
                    let init = images::extract(&extract, self.lock())?;
                    // BusyBox's init does not know the signal that others take for a request.
                    guest.halt = init.ends_with("busybox").then(|| "SIGUSR2".to_owned());
                }
            }
            Ok(())
        })
    }

    /// Makes the container from a snapshot of another.
    pub(super) fn clone_from(
        &self,
        spec: &CloneSpec,
        next: &ObservedContainer,
    ) -> Result<(), HostError> {
        let dialect = self.dialect;
        let dir = self.layout().snapshot(spec.source, &spec.snapshot);
        let path = dir.join("config");
        let text = fs::read_to_string(&path).map_err(|error| at("cannot read", &path, &error))?;
        let source = observe::preserved(dialect, spec.source, &spec.snapshot, &text);
        let mut guest = Guest {
            mark: next.mark,
            unprivileged: next.unprivileged,
            halt: source.halt.clone(),
            settings: next.settings.clone(),
            ..Guest::default()
        };
        let originals = volumes(&source.settings);
        self.being_made(&mut guest, next.receipts.as_ref(), |guest| {
            for (key, volume, _) in volumes(&guest.settings) {
                let Some((_, original, _)) = originals.iter().find(|(own, _, _)| *own == key)
                else {
                    continue;
                };
                let kept = self.layout().preserved(original, &spec.snapshot);
                let kept = images::existing(kept, &format!("{original}@{}", spec.snapshot))?;
                images::copy(&kept, &self.place(&volume)?, self.lock())?;
            }
            Ok(())
        })
    }

    /// Runs what makes a container's disks, and makes the container one when all went well.
    /// What was made is removed when something did not; a killed phoenix leaves a directory
    /// that says what it was about to make.
    fn being_made(
        &self,
        guest: &mut Guest,
        receipts: Option<&Receipts>,
        fill: impl FnOnce(&mut Guest) -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        let (creating, whole) = (
            self.layout().creating(self.ctid),
            self.layout().container(self.ctid),
        );
        if observe::running(self.dialect)?.contains(&self.ctid) {
            return Err(permanent(format!(
                "a container {0} still runs here, though its configuration is gone; stop it: \
                 lxc-stop -k -P {1} -n {0}",
                self.ctid,
                self.layout().dir.display()
            )));
        }
        if whole.exists() {
            return Err(permanent(format!(
                "{} is in the way: it holds no container's configuration; move it away",
                whole.display()
            )));
        }
        for (_, volume, _) in volumes(&guest.settings) {
            images::set_aside(&self.place(&volume)?)?;
        }
        fs::create_dir(&creating).map_err(|error| at("cannot make", &creating, &error))?;
        let config = creating.join("config");
        let made = images::write(&config, &guest.print(self.dialect, self.ctid))
            .and_then(|()| self.remember(&creating.join(RECEIPTS), receipts))
            .and_then(|()| fill(guest))
            .and_then(|()| images::write(&config, &guest.print(self.dialect, self.ctid)))
            .and_then(|()| images::rename(&creating, &whole));
        if let Err(error) = made {
            let error = self.for_want_of_room(&guest.settings, error);
            self.discard()?;
            return Err(error);
        }
        Ok(())
    }

    /// Removes what a creation left that did not come to its end.
    pub(super) fn discard(&self) -> Result<(), HostError> {
        let creating = self.layout().creating(self.ctid);
        let guest = observe::read(self.dialect, self.ctid, &creating.join("config"))?;
        for volume in guest.iter().flat_map(|guest| named(&guest.settings)) {
            self.remove_volume(&volume)?;
        }
        images::remove_dir(&creating)
    }

    /// Destroys the container with its volumes and snapshots; it must not run. It has another
    /// name from the beginning, so that nobody takes half of it for the whole.
    pub(super) fn destroy(&self) -> Result<(), HostError> {
        self.unplug_all()?;
        let (whole, going) = (
            self.layout().container(self.ctid),
            self.layout().destroying(self.ctid),
        );
        if whole.exists() {
            // What is left of an earlier one of the same id.
            self.clear(&going)?;
            images::rename(&whole, &going)?;
        }
        self.clear(&going)?;
        self.discard()
    }

    /// Removes everything that a container's directory names, and the directory.
    fn clear(&self, dir: &Path) -> Result<(), HostError> {
        let mut all = BTreeSet::new();
        for name in ["config", "config.running"] {
            if let Some(guest) = observe::read(self.dialect, self.ctid, &dir.join(name))? {
                all.extend(guest.making.clone());
                all.extend(named(&guest.settings));
            }
        }
        for (name, settings) in self.snapshots(dir) {
            for (_, volume, _) in volumes(&settings) {
                if let Some(image) = self.layout().preserved(&volume, &name) {
                    images::remove(&image)?;
                    images::remove(&images::scratch(&image))?;
                }
            }
        }
        for volume in all {
            self.remove_volume(&volume)?;
        }
        images::remove_dir(dir)
    }

    /// The snapshots in a container's directory with what they preserve, whole or not.
    fn snapshots(&self, dir: &Path) -> Vec<(String, Settings)> {
        let entries = fs::read_dir(dir.join(SNAPSHOTS))
            .into_iter()
            .flatten()
            .flatten();
        let of = |entry: fs::DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = match name.strip_prefix('.') {
                Some(partial) => partial.strip_suffix(".partial")?.to_owned(),
                None => name,
            };
            let text = fs::read_to_string(entry.path().join("config")).ok()?;
            let guest = observe::preserved(self.dialect, self.ctid, &name, &text);
            Some((name, guest.settings))
        };
        entries.filter_map(of).collect()
    }

    fn remove_volume(&self, volume: &str) -> Result<(), HostError> {
        let volume: Option<Volume> = volume.parse().ok();
        // A configuration may name what is another container's; that is not ours to remove.
        let own = format!("-{}-disk-", self.ctid);
        let volume =
            volume.filter(|volume| volume.name.as_ref().is_some_and(|name| name.contains(&own)));
        let Some(image) = volume.and_then(|volume| self.layout().volume(&volume)) else {
            return Ok(());
        };
        images::released(&image)?;
        images::remove(&image)?;
        images::remove(&images::scratch(&image))
    }

    /// Where the image of a volume goes.
    pub(super) fn place(&self, volume: &Volume) -> Result<PathBuf, HostError> {
        let refused = || permanent(format!("'{volume}' cannot be the name of a volume"));
        self.layout().volume(volume).ok_or_else(refused)
    }
}
