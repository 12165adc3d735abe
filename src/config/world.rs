//! The files after reading and before judging: what is declared, by id.

use std::collections::BTreeMap;

use super::document::Entry;
use super::raw::RawContainer;
use super::scalar::IdText;
use crate::domain::ids::Ctid;
use crate::domain::secret::Secrets;

/// Everything that was read.
#[derive(Default)]
pub(super) struct World<'a> {
    /// The containers.
    pub(super) containers: BTreeMap<Ctid, Declared<'a>>,
    /// The virtual machines.
    pub(super) vms: BTreeMap<Ctid, Vm>,
    /// Files that could not be read as JSON: what only they could tell is not judged.
    pub(super) blind: Blind,
    /// Storages with their types, as the hypervisor file gives them.
    pub(super) storage_types: BTreeMap<String, String>,
    /// The storage of template archives.
    pub(super) template_storage: Option<String>,
    /// Mounts of shared volumes, by container, in the order of the volumes' names.
    pub(super) shared: BTreeMap<Ctid, Vec<SharedMount>>,
    /// Scalars at the top of the container file, as members of a JSON object.
    pub(super) root_scalars: String,
    /// The secrets of all files.
    pub(super) secrets: Secrets,
}

/// Which files could not be read as JSON.
#[derive(Default)]
pub(super) struct Blind {
    /// The container file.
    pub(super) lxc: bool,
    /// The file of virtual machines.
    pub(super) vm: bool,
}

/// One container as it is written.
pub(super) struct Declared<'a> {
    /// Its text.
    pub(super) text: &'a str,
    /// Its members.
    pub(super) members: Box<[Entry<'a>]>,
    /// Its typed keys. Boxed: they are large, and a map has room for more than it holds.
    pub(super) raw: Box<RawContainer>,
}

/// A virtual machine.
pub(super) struct Vm {
    /// Its name.
    pub(super) name: String,
    /// What must be up before it.
    pub(super) needs: Vec<Ctid>,
}

/// One mount of a shared volume.
#[derive(Clone)]
pub(super) struct SharedMount {
    /// The volume.
    pub(super) volume: String,
    /// Directory on the host.
    pub(super) host_path: String,
    /// Where it appears.
    pub(super) path: String,
    /// Permission bits.
    pub(super) mode: Option<u32>,
}

impl RawContainer {
    /// What it is cloned from, with the key that says so.
    pub(super) fn source(&self) -> Option<(&'static str, &IdText)> {
        let new = self
            .clone_from_ctid
            .as_ref()
            .map(|id| ("clone_from_ctid", id));
        new.or_else(|| {
            Some((
                "clone_from_template_ctid",
                self.clone_from_template_ctid.as_ref()?,
            ))
        })
    }

    /// The id of what it is cloned from, when it is one.
    pub(super) fn source_ctid(&self) -> Option<Ctid> {
        self.source()?.1.ctid()
    }
}

impl IdText {
    /// The id, when it is one.
    pub(super) fn ctid(&self) -> Option<Ctid> {
        self.0.trim().parse().ok()
    }
}

impl World<'_> {
    /// Whether a container's root is an ordinary user of the host, declared or inherited.
    pub(super) fn unprivileged(&self, ctid: Ctid) -> Option<bool> {
        let mut current = self.containers.get(&ctid)?;
        // A chain of clones longer than the number of containers is a cycle.
        for _ in 0..=self.containers.len() {
            if let Some(declared) = current.raw.unprivileged {
                return Some(declared);
            }
            current = self.containers.get(&current.raw.source_ctid()?)?;
        }
        None
    }
}
