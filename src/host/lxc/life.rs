//! Start, stop, snapshots, and cleaning up after those that were killed.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::super::HostError;
use super::failure::{at, transient};
use super::guest::{Guest, loop_path};
use super::images;
use super::inside::Inside;
use super::layout::RECEIPTS;
use super::make::volumes;
use super::observe::{self, Instance};
use super::work::Work;
use crate::domain::observed::{ObservedContainer, Receipts, Status};
use crate::domain::setting::{Key, Settings, Value};

/// How long it may take to stop when asked, in seconds; then it is stopped hard.
const STOP: &str = "30";
const STOPPED: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(25);

impl Work<'_> {
    /// Asks its init to stop, stops it hard after a while, and waits until it has let go of
    /// everything.
    pub(super) fn stop(&self, seen: &ObservedContainer) -> Result<(), HostError> {
        self.lxc("lxc-stop")
            .with(["-t", STOP])
            .deadline(STOPPED)
            .run()?;
        self.gone(&seen.settings)
    }

    /// Stops it hard.
    pub(super) fn kill(&self, seen: &ObservedContainer) -> Result<(), HostError> {
        self.lxc("lxc-stop").with(["-k"]).deadline(STOPPED).run()?;
        self.gone(&seen.settings)
    }

    pub(super) fn gone(&self, settings: &Settings) -> Result<(), HostError> {
        let began = Instant::now();
        while observe::running(self.dialect)?.contains(&self.ctid) {
            if began.elapsed() > STOPPED {
                return Err(transient("the container's monitor does not end"));
            }
            thread::sleep(PAUSE);
        }
        for (_, volume, _) in volumes(settings) {
            if let Some(image) = self.layout().volume(&volume) {
                images::released(&image)?;
            }
        }
        Ok(())
    }

    /// Stops it, and starts it with everything that waited.
    pub(super) fn restart(
        &self,
        seen: &ObservedContainer,
        next: &ObservedContainer,
    ) -> Result<(), HostError> {
        self.stop(seen)?;
        self.start(next)
    }

    /// Takes a snapshot: a copy of every image, and the configuration with it. A running
    /// container stands still meanwhile.
    pub(super) fn snapshot(&self, seen: &ObservedContainer, name: &str) -> Result<(), HostError> {
        let (partial, whole) = (
            self.layout().snapshotting(self.ctid, name),
            self.layout().snapshot(self.ctid, name),
        );
        let mut guest = self.config()?;
        guest.settings = seen.settings.clone();
        guest
            .settings
            .retain(|key, _| !matches!(key, Key::Unused(_)));
        guest.making.clear();
        fs::create_dir_all(&partial).map_err(|error| at("cannot make", &partial, &error))?;
        let text = self.preserved(&guest, name);
        let taken = images::write(&partial.join("config"), &text)
            .and_then(|()| self.remember(&partial.join(RECEIPTS), seen.receipts.as_ref()))
            .and_then(|()| self.copies(seen, &guest, name));
        let taken = taken.and_then(|()| images::rename(&partial, &whole));
        if let Err(error) = taken {
            let error = self.for_want_of_room(&guest.settings, error);
            self.unlock()?;
            return Err(error);
        }
        Ok(())
    }

    /// The configuration as LXC's own snapshot tools want it: with the path of the copy.
    fn preserved(&self, guest: &Guest, name: &str) -> String {
        let text = guest.print(self.dialect, self.ctid);
        let Some(Value::Rootfs(rootfs)) = guest.settings.get(&Key::Rootfs) else {
            return text;
        };
        let paths = (
            self.layout().volume(&rootfs.volume),
            self.layout().preserved(&rootfs.volume, name),
        );
        match paths {
            (Some(own), Some(kept)) => {
                let own = format!("lxc.rootfs.path = {}\n", loop_path(&own));
                text.replace(&own, &format!("lxc.rootfs.path = {}\n", loop_path(&kept)))
            }
            _ => text,
        }
    }

    /// Writes down which receipts a disk has, for as long as it cannot be read.
    pub(super) fn remember(
        &self,
        path: &Path,
        receipts: Option<&Receipts>,
    ) -> Result<(), HostError> {
        let Some(receipts) = receipts else {
            return Ok(());
        };
        let text = serde_json::to_string(receipts).unwrap_or_default();
        images::write(path, &text)
    }

    fn copies(&self, seen: &ObservedContainer, guest: &Guest, name: &str) -> Result<(), HostError> {
        let frozen = match seen.status {
            Status::Running => Some(self.freeze(guest)?),
            Status::Stopped => None,
        };
        let mut copied = Ok(());
        for (_, volume, _) in volumes(&guest.settings) {
            let own = images::existing(self.layout().volume(&volume), &volume.to_string())?;
            let kept = self
                .layout()
                .preserved(&volume, name)
                .unwrap_or_else(|| own.clone());
            copied = copied.and_then(|()| images::copy(&own, &kept, self.lock()));
        }
        drop(frozen);
        copied
    }

    /// Lets the container stand still, with everything it has written on its images.
    fn freeze(&self, guest: &Guest) -> Result<Frozen<'_>, HostError> {
        let init = self.instance()?.init;
        self.lxc("lxc-freeze").run()?;
        let frozen = Frozen(self);
        let mounted = guest.settings.values().filter_map(|value| match value {
            Value::Mount(mount) => Some(mount.path.clone()),
            _ => None,
        });
        for path in std::iter::once("/".to_owned()).chain(mounted) {
            let flushed = flush(init, &path);
            flushed.map_err(|error| at("cannot write out", path.as_ref(), &error.into()))?;
        }
        Ok(frozen)
    }

    /// Cleans up after a snapshot that was killed.
    pub(super) fn unlock(&self) -> Result<(), HostError> {
        if observe::running(self.dialect)?.contains(&self.ctid) {
            self.lxc("lxc-unfreeze").run()?;
        }
        let dir = self.layout().snapshots(self.ctid);
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let name = file
                .strip_prefix('.')
                .and_then(|name| name.strip_suffix(".partial"));
            let Some(name) = name else { continue };
            let text = fs::read_to_string(entry.path().join("config")).unwrap_or_default();
            let guest = observe::preserved(self.dialect, self.ctid, name, &text);
            for (_, volume, _) in volumes(&guest.settings) {
                if let Some(image) = self.layout().preserved(&volume, name) {
                    images::remove(&image)?;
                    images::remove(&images::scratch(&image))?;
                }
            }
            images::remove_dir(&entry.path())?;
        }
        Ok(())
    }

    /// Finishes what an earlier phoenix could not: files that it was writing, and, of a running
    /// container, a start that it did not see the end of, the files of a script that was killed.
    pub(super) fn settle(&self, runs: bool) -> Result<(), HostError> {
        for path in [
            self.layout().config(self.ctid),
            self.layout().running(self.ctid),
            self.layout().receipts(self.ctid),
        ] {
            images::remove(&images::scratch(&path))?;
        }
        if !runs {
            return Ok(());
        }
        let path = self.layout().running(self.ctid);
        let Some(guest) = observe::read(self.dialect, self.ctid, &path)? else {
            // A person started it, and phoenix never did.
            return Ok(());
        };
        let Some(instance) = Instance::of(self.dialect, self.ctid)? else {
            return Ok(());
        };
        self.unplug_half_made()?;
        if guest.instance.is_none() {
            tracing::info!(ctid = %self.ctid, "finishing a start that was interrupted");
            return self.ready(&guest);
        }
        if let Ok(inside) = Inside::of(instance.init, guest.root()) {
            inside.sweep();
        }
        Ok(())
    }
}

/// A container that stands still, until this goes.
struct Frozen<'a>(&'a Work<'a>);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.lxc("lxc-unfreeze").run() {
            tracing::error!(ctid = %self.0.ctid, %error, "the container stands still");
        }
    }
}

/// Writes out the file system at a path of a container.
fn flush(init: u32, path: &str) -> Result<(), rustix::io::Errno> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2, syncfs};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(format!("/proc/{init}/root"), flags, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    syncfs(openat2(&root, path, flags, Mode::empty(), resolve)?)
}
