//! The pure model of a host: what an action makes of a world, or why the host refuses it.
//!
//! The planner looks past an action with it, the simulated host *is* it, the property tests use
//! it as their oracle. It follows `pct` of Proxmox VE 8.4 as it was recorded. What it leaves out,
//! on purpose:
//!
//! - a refused change that was written all the same (a net without a bridge on a stopped
//!   container): here a refusal never changes anything;
//! - `set --rootfs` with another volume, which breaks a container: refused here;
//! - orphaned disks of killed calls, and the space of `unusedN` volumes;
//! - a start that fails for a bind mount whose directory is missing, or for a device that is;
//! - `mounted`, the one lock that does not stop a start: here every lock does;
//! - linked clones, `pct migrate`, `suspend`, `rescan`, `move-volume`;
//! - on-line growth of a disk fails on some storages without an exit code: here it works.

mod lifecycle;
mod make;
mod operation;
mod set;
mod shows;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transcripts;
mod volumes;

use std::sync::Arc;

use super::action::{Action, DirectorySpec};
use super::desired::{Place, Script, Template};
use super::ids::{Ctid, RunId};
use super::observed::{
    Directory, HostFacts, Lock, ObservedContainer, ObservedWorld, Receipt, ReceiptKey, Status,
    TemplateState,
};
use super::refusal::Refusal;

pub use make::{killed, undestroyed, unfinished};
pub use operation::{Operation, operated, rebooted};
pub use set::set;
pub use shows::shows;
pub use volumes::space;

/// What an action does to the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The container is like this now.
    Container(Arc<ObservedContainer>),
    /// The container is no more.
    Gone,
    /// The half-created container is no more, and the source of its clone has lost the lock.
    Discarded(Option<(Ctid, Arc<ObservedContainer>)>),
    /// A host directory is like this now.
    Directory(String, Directory),
    /// A template archive is on the host now.
    Template(String),
    /// Nothing that can be seen.
    Nothing,
}

/// What an action on a container does, or why the host refuses it.
///
/// # Errors
/// In Proxmox VE's words.
pub fn after(
    world: &ObservedWorld,
    ctid: Ctid,
    action: &Action,
    run: RunId,
) -> Result<Effect, Refusal> {
    match action {
        Action::FetchTemplate(template) => fetch(&world.host, template),
        Action::EnsureDirectory(spec) => Ok(directory(&world.host, spec)),
        Action::Create(spec) => make::create(world, ctid, spec).map(Effect::of),
        Action::Clone(spec) => make::clone(world, ctid, spec).map(Effect::of),
        Action::Discard { source } => discard(world, ctid, *source),
        _ => existing(world, ctid)?.after(&world.host, ctid, action, run),
    }
}

/// The container, or the refusal that says that there is none.
fn existing(world: &ObservedWorld, ctid: Ctid) -> Result<&ObservedContainer, Refusal> {
    let found = world.containers.get(&ctid);
    found.map(Arc::as_ref).ok_or(Refusal::Missing { ctid })
}

/// Removes a half-created container; a source that its killed clone left locked is unlocked.
fn discard(world: &ObservedWorld, ctid: Ctid, source: Option<Ctid>) -> Result<Effect, Refusal> {
    let locked = source.and_then(|source| {
        let seen = world.containers.get(&source)?;
        (seen.lock == Some(Lock::Disk)).then_some((source, seen))
    });
    let unlocked = locked.map(|(source, seen)| {
        (
            source,
            Arc::new(ObservedContainer {
                lock: None,
                ..(**seen).clone()
            }),
        )
    });
    discarded(existing(world, ctid)?, ctid, unlocked)
}

fn discarded(
    container: &ObservedContainer,
    ctid: Ctid,
    unlocked: Option<(Ctid, Arc<ObservedContainer>)>,
) -> Result<Effect, Refusal> {
    if container.half_created() {
        Ok(Effect::Discarded(unlocked))
    } else {
        Err(Refusal::NotHalfCreated(ctid))
    }
}

impl Effect {
    fn of(container: ObservedContainer) -> Self {
        Self::Container(Arc::new(container))
    }
}

impl ObservedWorld {
    /// Takes an effect in; the free space of storages follows.
    pub fn absorb(&mut self, ctid: Ctid, effect: Effect) {
        match effect {
            Effect::Container(container) => {
                let before = self.containers.insert(ctid, Arc::clone(&container));
                volumes::account(&mut self.host, before.as_deref(), Some(&container));
            }
            Effect::Discarded(unlocked) => {
                self.containers.extend(unlocked);
                self.absorb(ctid, Effect::Gone);
            }
            Effect::Gone => {
                let before = self.containers.remove(&ctid);
                volumes::account(&mut self.host, before.as_deref(), None);
            }
            Effect::Directory(path, state) => {
                self.host.directories.insert(path, state);
            }
            Effect::Template(file) => {
                self.host.templates.insert(file, TemplateState::Present);
            }
            Effect::Nothing => {}
        }
    }
}

impl ObservedContainer {
    /// What an action does to a container that exists.
    ///
    /// # Errors
    /// In Proxmox VE's words.
    pub fn after(
        &self,
        host: &HostFacts,
        ctid: Ctid,
        action: &Action,
        run: RunId,
    ) -> Result<Effect, Refusal> {
        let next = match action {
            Action::Destroy => return self.destroyed(ctid),
            Action::FetchTemplate(template) => return fetch(host, template),
            Action::EnsureDirectory(spec) => return Ok(directory(host, spec)),
            Action::Create(_) | Action::Clone(_) => return Err(Refusal::Exists(ctid)),
            Action::Discard { .. } => return discarded(self, ctid, None),
            Action::CheckHealth(_) => {
                self.executes(ctid)?;
                return Ok(Effect::Nothing);
            }
            Action::RunScript(script) => match self.with_receipt(ctid, script, run)? {
                Some(next) => next,
                None => return Ok(Effect::Nothing),
            },
            Action::Unlock => self.unlocked()?,
            Action::Configure { changes, .. } => set(self, host, ctid, changes)?,
            Action::Resize { disk, size, .. } => self.resized(host, ctid, disk, *size)?,
            Action::Start => self.started(host, ctid)?,
            Action::Restart { .. } => self.restarted(host, ctid)?,
            Action::Snapshot { name } => self.snapshotted(host, name)?,
        };
        Ok(Effect::of(next))
    }

    /// Something can be run inside.
    fn executes(&self, ctid: Ctid) -> Result<(), Refusal> {
        match self.status {
            Status::Running => Ok(()),
            Status::Stopped => Err(Refusal::ExecNotRunning(ctid)),
        }
    }

    /// The container after a script, if it can be told from the one before: a script that runs
    /// on the host leaves no receipt, and on a disk that cannot be read none is seen.
    fn with_receipt(
        &self,
        ctid: Ctid,
        script: &Script,
        run: RunId,
    ) -> Result<Option<Self>, Refusal> {
        self.executes(ctid)?;
        let Some(receipts) = self
            .receipts
            .as_ref()
            .filter(|_| script.place == Place::Container)
        else {
            return Ok(None);
        };
        let mut receipts = receipts.clone();
        let key = ReceiptKey::of(script);
        let (content, inputs) = (script.content, script.inputs);
        receipts.insert(
            key,
            Receipt {
                ctid,
                content,
                inputs,
                run,
            },
        );
        Ok(Some(Self {
            receipts: Some(receipts),
            ..self.clone()
        }))
    }
}

fn fetch(host: &HostFacts, template: &Template) -> Result<Effect, Refusal> {
    match host.templates.get(&template.file) {
        Some(TemplateState::Present) => Ok(Effect::Nothing),
        Some(TemplateState::Downloadable) => Ok(Effect::Template(template.file.clone())),
        None => Err(no_template(template)),
    }
}

/// The refusal that names an archive as Proxmox VE does, by its volume id.
fn no_template(template: &Template) -> Refusal {
    let storage = template.storage.as_deref().unwrap_or("local");
    Refusal::NoTemplate(format!("{storage}:vztmpl/{}", template.file))
}

/// What a new directory is where nothing else is asked for.
const NEW_DIRECTORY: Directory = Directory {
    uid: 0,
    gid: 0,
    mode: 0o755,
};

fn directory(host: &HostFacts, spec: &DirectorySpec) -> Effect {
    let found = host
        .directories
        .get(&spec.path)
        .copied()
        .unwrap_or(NEW_DIRECTORY);
    let (uid, gid) = spec.owner.unwrap_or((found.uid, found.gid));
    let mode = spec.mode.unwrap_or(found.mode);
    Effect::Directory(spec.path.clone(), Directory { uid, gid, mode })
}
