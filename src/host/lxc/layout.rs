//! Where things are in the directory of an LXC host.

use std::path::{Path, PathBuf};

use crate::domain::ids::Ctid;
use crate::domain::options::Volume;

/// What is remembered of receipts, beside a configuration.
pub(super) const RECEIPTS: &str = "receipts.json";

/// The snapshots, beside a configuration.
pub(super) const SNAPSHOTS: &str = "snaps";

/// The paths of one host directory.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
}

impl Layout {
    /// A container: what LXC calls `LXCPATH/NAME`.
    pub(super) fn container(&self, ctid: Ctid) -> PathBuf {
        self.dir.join(ctid.to_string())
    }

    /// A container that is being made.
    pub(super) fn creating(&self, ctid: Ctid) -> PathBuf {
        self.dir.join(format!(".{ctid}.creating"))
    }

    /// A container that is being destroyed.
    pub(super) fn destroying(&self, ctid: Ctid) -> PathBuf {
        self.dir.join(format!(".{ctid}.destroying"))
    }

    /// Its configuration, as it will be after the next start.
    pub(super) fn config(&self, ctid: Ctid) -> PathBuf {
        self.container(ctid).join("config")
    }

    /// The configuration that the running instance has.
    pub(super) fn running(&self, ctid: Ctid) -> PathBuf {
        self.container(ctid).join("config.running")
    }

    /// The receipts that were seen last on its disk.
    pub(super) fn receipts(&self, ctid: Ctid) -> PathBuf {
        self.container(ctid).join(RECEIPTS)
    }

    /// What LXC had to say at the last start.
    pub(super) fn log(&self, ctid: Ctid) -> PathBuf {
        self.container(ctid).join("start.log")
    }

    /// Where volumes are mounted, in the monitor's own mount namespace only: on the host this
    /// is an empty directory, or none.
    pub(super) fn mounts(&self, ctid: Ctid) -> PathBuf {
        self.container(ctid).join("mnt")
    }

    pub(super) fn snapshots(&self, ctid: Ctid) -> PathBuf {
        self.container(ctid).join(SNAPSHOTS)
    }

    pub(super) fn snapshot(&self, ctid: Ctid, name: &str) -> PathBuf {
        self.snapshots(ctid).join(name)
    }

    /// A snapshot that is being taken. The dot keeps it apart from every name a snapshot has.
    pub(super) fn snapshotting(&self, ctid: Ctid, name: &str) -> PathBuf {
        self.snapshots(ctid).join(format!(".{name}.partial"))
    }

    pub(super) fn storages(&self) -> PathBuf {
        self.dir.join("storage")
    }

    pub(super) fn storage(&self, name: &str) -> PathBuf {
        self.storages().join(name)
    }

    /// The image of a volume.
    pub(super) fn image(&self, storage: &str, name: &str) -> PathBuf {
        self.storage(storage).join(format!("{name}.raw"))
    }

    /// The image of a volume that has a name, and a harmless one.
    pub(super) fn volume(&self, volume: &Volume) -> Option<PathBuf> {
        let name = volume.name.as_deref()?;
        let plain = |text: &str| !text.is_empty() && !text.starts_with('.') && !text.contains('/');
        (plain(name) && plain(&volume.storage)).then(|| self.image(&volume.storage, name))
    }

    /// The image that a snapshot keeps of a volume.
    pub(super) fn preserved(&self, volume: &Volume, snapshot: &str) -> Option<PathBuf> {
        let name = volume.name.as_deref()?;
        let volume = Volume {
            name: Some(format!("{name}@{snapshot}")),
            ..volume.clone()
        };
        self.volume(&volume)
    }

    pub(super) fn templates(&self) -> PathBuf {
        self.dir.join("template").join("cache")
    }

    fn own(&self) -> PathBuf {
        self.dir.join(".phoenix")
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.own().join("locks")
    }

    pub(super) fn lock(&self, ctid: Ctid) -> PathBuf {
        self.locks().join(ctid.to_string())
    }

    pub(super) fn identity(&self) -> PathBuf {
        self.own().join("identity")
    }
}

/// The id that a directory's name is, if it is one, written as phoenix writes it.
pub(super) fn ctid_of(name: &str) -> Option<Ctid> {
    let ctid: Ctid = name.parse().ok()?;
    (ctid.to_string() == name).then_some(ctid)
}

/// What the name of a directory says of a container.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Presence {
    /// It is being destroyed.
    Destroying,
    /// It is being made.
    Creating,
    /// It is there.
    Whole,
}

impl Presence {
    /// The container that a directory is of, by its name.
    pub(super) fn of(name: &str) -> Option<(Ctid, Self)> {
        let Some(hidden) = name.strip_prefix('.') else {
            return ctid_of(name).map(|ctid| (ctid, Self::Whole));
        };
        let (id, presence) = match hidden.split_once('.')? {
            (id, "creating") => (id, Self::Creating),
            (id, "destroying") => (id, Self::Destroying),
            _ => return None,
        };
        ctid_of(id).map(|ctid| (ctid, presence))
    }
}

/// The last part of a path.
pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_as_phoenix_writes_them_are_containers() {
        assert_eq!(ctid_of("900").map(Ctid::get), Some(900));
        for other in ["0900", "web", "99", ".900.creating", "900 "] {
            assert_eq!(ctid_of(other), None, "{other}");
        }
        let presence = |name| Presence::of(name).map(|(ctid, presence)| (ctid.get(), presence));
        assert_eq!(presence("900"), Some((900, Presence::Whole)));
        assert_eq!(presence(".900.creating"), Some((900, Presence::Creating)));
        assert_eq!(
            presence(".900.destroying"),
            Some((900, Presence::Destroying))
        );
        for other in ["900.creating", ".0900.creating", ".900.other", ".phoenix"] {
            assert_eq!(presence(other), None, "{other}");
        }
    }

    #[test]
    fn a_volume_cannot_lead_out_of_its_storage() {
        let layout = Layout { dir: "/d".into() };
        let volume = |text: &str| text.parse::<Volume>().expect("a volume");
        let image = layout.volume(&volume("pool:vm-900-disk-0"));
        assert_eq!(image, Some("/d/storage/pool/vm-900-disk-0.raw".into()));
        for bad in ["pool:../x", "..:x", "pool:", "pool:a/b", ":x"] {
            assert_eq!(layout.volume(&volume(bad)), None, "{bad}");
        }
    }
}
