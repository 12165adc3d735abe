//! Whether a world shows what an action does: how an intent of unknown outcome is judged.

use super::super::action::Action;
use super::super::desired::Place;
use super::super::ids::{Ctid, RunId};
use super::super::observed::{ObservedContainer, ObservedWorld, ReceiptKey, Status, TemplateState};
use super::super::options::{Mount, Net, Source};
use super::super::setting::{Key, Value};

/// Whether the world shows the effect of an action that a run intended. Of what leaves nothing to
/// look at (a health check, a script on the host) it is never shown.
#[must_use]
pub fn shows(world: &ObservedWorld, ctid: Ctid, action: &Action, run: RunId) -> bool {
    let host = &world.host;
    match action {
        Action::FetchTemplate(template) => {
            host.templates.get(&template.file) == Some(&TemplateState::Present)
        }
        Action::EnsureDirectory(spec) => host.directories.get(&spec.path).is_some_and(|found| {
            spec.owner
                .is_none_or(|owner| owner == (found.uid, found.gid))
                && spec.mode.is_none_or(|mode| mode == found.mode)
        }),
        Action::Destroy => !world.containers.contains_key(&ctid),
        Action::Discard { .. } => world
            .containers
            .get(&ctid)
            .is_none_or(|container| !container.half_created()),
        _ => world
            .containers
            .get(&ctid)
            .is_some_and(|container| container.shows(action, run)),
    }
}

impl ObservedContainer {
    fn shows(&self, action: &Action, run: RunId) -> bool {
        match action {
            Action::Create(spec) => !self.half_created() && self.mark == Some(spec.mark),
            Action::Clone(spec) => !self.half_created() && self.mark == Some(spec.mark),
            Action::Unlock => self.lock.is_none(),
            Action::Configure { changes, .. } => changes
                .iter()
                .all(|(key, value)| self.will_have(key, value.as_ref())),
            Action::Resize { disk, size, .. } => match self.settings.get(disk) {
                Some(Value::Rootfs(rootfs)) => rootfs.size >= *size,
                Some(Value::Mount(mount)) => mount.size.is_some_and(|found| found >= *size),
                _ => false,
            },
            Action::Start => self.status == Status::Running,
            Action::Restart { keys } => {
                self.status == Status::Running
                    && keys.iter().all(|key| !self.pending.contains_key(key))
            }
            Action::RunScript(script) if script.place == Place::Container => {
                let receipt = self
                    .receipts
                    .as_ref()
                    .and_then(|all| all.get(&ReceiptKey::of(script)));
                receipt.is_some_and(|receipt| {
                    receipt.run == run
                        && receipt.content == script.content
                        && receipt.inputs == script.inputs
                })
            }
            Action::Snapshot { name } => self.snapshot(name).is_some(),
            _ => false,
        }
    }

    /// Whether a key has, at the latest after the next start, the value that it was to be given.
    fn will_have(&self, key: &Key, wanted: Option<&Value>) -> bool {
        let found = self.eventual(key);
        match (wanted, found) {
            (None, found) => found == key.default_value(),
            (Some(Value::Net(wanted)), Some(Value::Net(found))) => is_that_net(wanted, &found),
            (Some(Value::Mount(wanted)), Some(Value::Mount(found))) => {
                is_that_mount(wanted, &found)
            }
            (Some(wanted), found) => found.as_ref() == Some(wanted),
        }
    }
}

/// A host completes what was not given: the hardware address, the type.
fn is_that_net(wanted: &Net, found: &Net) -> bool {
    let hwaddr = match (&wanted.hwaddr, &found.hwaddr) {
        (Some(wanted), Some(found)) => wanted.eq_ignore_ascii_case(found),
        (wanted, _) => wanted.is_none(),
    };
    hwaddr
        && (&wanted.name, &wanted.bridge, &wanted.ip, &wanted.gw)
            == (&found.name, &found.bridge, &found.ip, &found.gw)
}

/// A volume without a name is given one when it is made.
fn is_that_mount(wanted: &Mount, found: &Mount) -> bool {
    let source = match (&wanted.source, &found.source) {
        (Source::Volume(wanted), Source::Volume(found)) if wanted.name.is_none() => {
            wanted.storage == found.storage
        }
        (wanted, found) => wanted == found,
    };
    source && wanted.path == found.path
}
