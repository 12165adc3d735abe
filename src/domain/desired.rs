//! What the configuration declares, lowered to what phoenix compares.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::ids::{Ctid, Digest};
use super::secret::{Secret, Secrets};
use super::setting::{Key, Settings, Value};
use super::step::Step;
use super::units::DiskSize;

/// The whole declared world.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DesiredState {
    /// Every declared container.
    pub containers: BTreeMap<Ctid, Arc<DesiredContainer>>,
    /// Guests that dependencies name and that phoenix does not manage (virtual machines).
    pub externals: BTreeMap<Ctid, String>,
    /// Storages that the configuration names, with the type it gives them (`zfspool`, `dir` …)
    /// where it gives one.
    pub storages: BTreeMap<String, Option<String>>,
    /// Digest of everything above without secrets: equal digests mean declarations that differ in
    /// nothing but these.
    pub digest: Option<Digest>,
    /// The secrets of the files.
    #[serde(skip)]
    pub secrets: Secrets,
}

impl DesiredState {
    /// Whether containers are not to be: the world of a run that destroys.
    #[must_use]
    pub fn destroys(&self) -> bool {
        let mut all = self.containers.values();
        all.any(|container| container.is_absent())
    }
}

/// One declared container.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DesiredContainer {
    /// Its id.
    pub ctid: Ctid,
    /// Its name, which is its host name.
    pub name: String,
    /// What it is made from.
    pub origin: Origin,
    /// The cluster node it belongs on; none: the node spoken to.
    pub node: Option<String>,
    /// Where its root disk lives.
    pub storage: String,
    /// Size of its root disk.
    pub disk: DiskSize,
    /// Whether its root is an ordinary user of the host.
    pub unprivileged: bool,
    /// State 3: everything a `pct set` or a raw line can say.
    pub settings: Settings,
    /// GPUs handed in, by index; their device lines need facts of the host and are made there.
    pub gpus: BTreeSet<u32>,
    /// State 4.
    pub binds: Vec<DesiredBind>,
    /// State 5.
    pub volumes: Vec<DesiredVolume>,
    /// State 8, in order.
    #[serde(serialize_with = "without_paths")]
    pub features: Vec<Script>,
    /// State 9.
    #[serde(serialize_with = "without_paths")]
    pub application: Option<Script>,
    /// State 10.
    pub health: Option<HealthCheck>,
    /// State 11: the snapshot that clones of this container start from.
    pub snapshot: Option<String>,
    /// Containers that must have converged before this one starts (without the clone source,
    /// which [`DesiredContainer::needs`] adds).
    pub dependencies: BTreeSet<Ctid>,
    /// Guests it depends on that phoenix does not manage; each is in [`DesiredState::externals`].
    pub externals: BTreeSet<Ctid>,
    /// Position of the original's `boot_order`, used to break ties.
    pub boot_order: Option<u32>,
    /// Keys that are declared, that the original knew, and that phoenix does not manage.
    pub unmanaged: Vec<String>,
    /// What to do when it is unknown whether a script on the host ran to its end.
    pub on_unknown: OnUnknown,
    /// The container's own declaration, as JSON in the shape of the file it came from: handed to
    /// its application script, never journaled, never shown.
    #[serde(skip)]
    pub document: Secret,
}

impl DesiredContainer {
    /// The container that it is cloned from, if it is made so.
    #[must_use]
    pub fn clone_source(&self) -> Option<Ctid> {
        match &self.origin {
            Origin::Clone { source, .. } => Some(*source),
            Origin::Template(_) | Origin::Nothing => None,
        }
    }

    /// Everything that must have converged first: dependencies and the clone source.
    pub fn needs(&self) -> impl Iterator<Item = Ctid> + '_ {
        let source = self.clone_source();
        let depends = self.dependencies.iter().copied();
        depends.chain(source.filter(|source| !self.dependencies.contains(source)))
    }
}

impl DesiredContainer {
    /// A container that is not to be. It goes after the given ones, which need it.
    #[must_use]
    pub fn absent(ctid: Ctid, name: String, after: BTreeSet<Ctid>) -> Self {
        Self {
            ctid,
            name,
            origin: Origin::Nothing,
            node: None,
            storage: String::new(),
            disk: DiskSize::default(),
            unprivileged: false,
            settings: Settings::new(),
            gpus: BTreeSet::new(),
            binds: Vec::new(),
            volumes: Vec::new(),
            features: Vec::new(),
            application: None,
            health: None,
            snapshot: None,
            dependencies: after,
            externals: BTreeSet::new(),
            boot_order: None,
            unmanaged: Vec::new(),
            on_unknown: OnUnknown::default(),
            document: Secret::default(),
        }
    }

    /// Whether it is not to be.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.origin == Origin::Nothing
    }

    /// What it must go through: the eleven states, or its end.
    #[must_use]
    pub fn states(&self) -> &'static [Step] {
        if self.is_absent() {
            &[Step::DestroyContainer]
        } else {
            &Step::ALL
        }
    }
}

/// Where the ids of an unprivileged container begin on the host, in Proxmox VE's default map.
const DEFAULT_ID_BASE: u32 = 100_000;

impl DesiredContainer {
    /// The host's number for a user (`u`) or group (`g`) of the container: by the declared
    /// `lxc.idmap`, else by Proxmox VE's default map, which adds 100000; the same in a
    /// privileged container.
    #[must_use]
    pub fn host_id(&self, kind: char, id: u32) -> u32 {
        let map = self.settings.get(&Key::Lxc("lxc.idmap".to_owned()));
        if let Some(Value::Lines(lines)) = map {
            return lines
                .iter()
                .find_map(|line| mapped(line, kind, id))
                .unwrap_or(id);
        }
        if self.unprivileged {
            DEFAULT_ID_BASE.saturating_add(id)
        } else {
            id
        }
    }
}

/// What a line such as `u 0 100000 65536` makes of an id, if it covers it.
fn mapped(line: &str, kind: char, id: u32) -> Option<u32> {
    let mut words = line.split_whitespace();
    let kinds = words.next()?;
    let mut number = || words.next()?.parse::<u32>().ok();
    let (inside, outside, count) = (number()?, number()?, number()?);
    let offset = id.checked_sub(inside).filter(|offset| *offset < count)?;
    kinds.contains(kind).then(|| outside.saturating_add(offset))
}

/// What a container is made from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nothing: it is not to be.
    Nothing,
    /// A template archive.
    Template(Template),
    /// A snapshot of another declared container.
    Clone {
        /// The container.
        source: Ctid,
        /// Its `template_snapshot_name`.
        snapshot: String,
    },
}

/// A template archive as the configuration names it: a path, or a volume id
/// (`local:vztmpl/NAME`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, serde::Deserialize)]
pub struct Template {
    /// The file name of the archive: what hosts are asked for.
    pub file: String,
    /// The storage, where the configuration says it.
    pub storage: Option<String>,
}

/// A host directory mounted into a container.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DesiredBind {
    /// Directory on the host.
    pub host_path: String,
    /// Where it appears in the container.
    pub path: String,
    /// Owner as the container's root sees it: (uid, gid) inside. None: not declared, so an
    /// existing directory keeps its owner and a new one belongs to the container's root.
    pub owner: Option<(u32, u32)>,
    /// Permission bits. None: not declared, so an existing directory keeps them.
    pub mode: Option<u32>,
    /// Key of the declaration, for messages (`shared_volumes.ssl_certs`, `mount_points[0]`).
    pub declared_at: String,
}

/// A volume of the container's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DesiredVolume {
    /// Its name in the configuration.
    pub name: String,
    /// Where it lives.
    pub storage: String,
    /// Its size.
    pub size: DiskSize,
    /// Where it appears in the container.
    pub path: String,
    /// Key of the declaration, for messages (`volumes[0]`).
    pub declared_at: String,
}

/// What a script is to its container.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, serde::Deserialize, Hash,
)]
#[serde(rename_all = "snake_case")]
pub enum ScriptKind {
    /// Installs something; one that a clone inherited counts.
    Feature,
    /// Sets up what the container is for; one that a clone inherited does not count.
    Application,
}

/// Where a script runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the host, with the container's id as its first argument: known to the journal only.
    Host,
    /// Inside the container: leaves a receipt on its disk.
    Container,
}

/// A script to run once per content and arguments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
pub struct Script {
    /// Its name: the feature's name, or the file name of the application script.
    pub name: String,
    /// Feature or application.
    pub kind: ScriptKind,
    /// Where it runs.
    pub place: Place,
    /// The file.
    pub path: PathBuf,
    /// Digest of the file's content when the configuration was read.
    pub content: Digest,
    /// Arguments after the container's id, which is always the first.
    pub arguments: Vec<String>,
    /// Digest of the arguments and, for an application script, of what else it is handed.
    pub inputs: Digest,
    /// The same digest of all that without its secrets, which stands for it in the journal; none:
    /// there are none.
    #[serde(skip)]
    pub open_inputs: Option<Digest>,
}

/// A declaration's scripts by what they are. It is the same one wherever the directory lies that
/// it was read from.
fn without_paths<S, T>(scripts: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    for<'s> &'s T: IntoIterator<Item = &'s Script>,
{
    serializer.collect_seq(scripts.into_iter().map(|script| {
        let Script {
            name,
            kind,
            place,
            path: _,
            content,
            arguments,
            inputs,
            open_inputs: _,
        } = script;
        (name, kind, place, content, arguments, inputs)
    }))
}

impl Script {
    /// Whether a digest that the journal keeps is that of these inputs. With secrets in them it
    /// tells only that the rest is the same.
    #[must_use]
    pub fn has_recorded_inputs(&self, recorded: Digest) -> bool {
        recorded == self.inputs || Some(recorded) == self.open_inputs
    }
}

/// How to know that a container works.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, serde::Deserialize)]
pub struct HealthCheck {
    /// What to run inside.
    pub command: Vec<String>,
    /// How often to try.
    pub retries: u32,
    /// Seconds between two tries.
    pub interval_s: u32,
    /// Seconds that one try may take.
    pub timeout_s: u32,
    /// Digest of the command without its secrets, which stands for it in the journal; none: there
    /// are none.
    #[serde(skip)]
    pub open_digest: Option<Digest>,
}

impl HealthCheck {
    /// Digest of the declaration: a passed check counts until it changes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_parts(self.command.iter().map(String::as_bytes))
    }

    /// Whether a digest that the journal keeps is that of this declaration, secrets aside.
    #[must_use]
    pub fn has_recorded_digest(&self, recorded: Digest) -> bool {
        recorded == self.digest() || Some(recorded) == self.open_digest
    }
}

/// What to do when it is unknown whether a script on the host ran to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Run it again.
    #[default]
    Retry,
    /// Stop and let a person decide (`--rerun FEATURE` says: run it again).
    Stop,
}
