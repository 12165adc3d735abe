//! What a person does to a host by hand, beside phoenix.

use serde::{Deserialize, Serialize};

use super::super::ids::Ctid;
use super::super::observed::{Lock, ObservedContainer, ObservedWorld};
use super::super::refusal::Refusal;
use super::super::setting::{Changes, Key, Value};
use super::{Effect, existing, set};

/// One thing done to one container by hand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Operation {
    /// Set and delete keys.
    Set {
        /// The new values.
        changes: Changes,
    },
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Delete the mount at a path.
    Unmount {
        /// The path in the container.
        path: String,
    },
    /// Destroy it with its disks.
    Destroy,
    /// Lock it.
    Lock {
        /// The lock.
        lock: Lock,
    },
    /// Take its lock away, and its unfinished snapshots.
    Unlock,
    /// Turn it into a template.
    Template,
    /// Take a snapshot.
    Snapshot {
        /// Its name.
        name: String,
    },
    /// Delete a snapshot.
    DeleteSnapshot {
        /// Its name.
        name: String,
    },
    /// Go back to a snapshot.
    Rollback {
        /// Its name.
        name: String,
    },
}

/// What an operation by hand does, or why the host refuses it.
///
/// # Errors
/// In Proxmox VE's words.
pub fn operated(
    world: &ObservedWorld,
    ctid: Ctid,
    operation: &Operation,
) -> Result<Effect, Refusal> {
    let container = existing(world, ctid)?;
    let host = &world.host;
    let next = match operation {
        Operation::Set { changes } => set(container, host, ctid, changes)?,
        Operation::Start => container.started(host, ctid)?,
        Operation::Stop => container.stopped(ctid)?,
        Operation::Unmount { path } => {
            let key = mounted_at(container, ctid, path)?;
            set(container, host, ctid, &[(key, None)].into())?
        }
        Operation::Destroy => {
            container.require_destroyable(ctid)?;
            return Ok(Effect::Gone);
        }
        Operation::Lock { lock } => {
            container.require_no_lock()?;
            ObservedContainer {
                lock: Some(*lock),
                ..container.clone()
            }
        }
        Operation::Unlock => container.unlocked()?,
        Operation::Template => container.templated()?,
        Operation::Snapshot { name } => container.snapshotted(host, name)?,
        Operation::DeleteSnapshot { name } => container.without_snapshot(name)?,
        Operation::Rollback { name } => container.rolled_back(name)?,
    };
    Ok(Effect::of(next))
}

fn mounted_at(container: &ObservedContainer, ctid: Ctid, path: &str) -> Result<Key, Refusal> {
    let at = |value: &Value| matches!(value, Value::Mount(mount) if mount.path == path);
    let found = container.settings.iter().find(|(_, value)| at(value));
    found
        .map(|(key, _)| key.clone())
        .ok_or_else(|| Refusal::NotMounted {
            ctid,
            path: path.to_owned(),
        })
}

/// What a reboot of the host changes: what ran and does not start at boot is down, what waited
/// is written, and the boot has the given name. A container whose start would be refused stays
/// down.
#[must_use]
pub fn rebooted(world: &ObservedWorld, boot_id: &str) -> ObservedWorld {
    let mut next = world.clone();
    next.host.boot_id = boot_id.to_owned();
    for (ctid, container) in &world.containers {
        let down = container.down();
        let starts = down.settings.get(&Key::Onboot) == Some(&Value::Flag(true));
        let up = match starts {
            true => down.started(&world.host, *ctid).unwrap_or(down),
            false => down,
        };
        if up != **container {
            next.absorb(*ctid, Effect::of(up));
        }
    }
    next
}

impl Operation {
    /// A [`Operation::Set`] of pairs `KEY=VALUE` under Proxmox VE's names; `delete=KEY,KEY`
    /// deletes, and an `lxc.*` key can be given several times.
    ///
    /// # Errors
    /// In Proxmox VE's words where it has some.
    pub fn set<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Self, Refusal> {
        let mut changes = Changes::new();
        for pair in pairs {
            let bad = |key: &str, message: String| {
                let key = Key::Other(key.to_owned());
                Refusal::BadValue { key, message }
            };
            let (name, text) = pair
                .split_once('=')
                .ok_or_else(|| bad(pair, "a pair KEY=VALUE is wanted".to_owned()))?;
            let read = |name: &str| name.parse::<Key>().map_err(|error| bad(name, error.0));
            if name == "delete" {
                for name in text.split([',', ' ']).filter(|name| !name.is_empty()) {
                    changes.insert(read(name)?, None);
                }
                continue;
            }
            let key = read(name)?;
            let value = key.parse_value(text).map_err(|error| bad(name, error.0))?;
            match (changes.get_mut(&key), value) {
                (Some(Some(Value::Lines(lines))), Value::Lines(more)) => lines.extend(more),
                (_, value) => _ = changes.insert(key, Some(value)),
            }
        }
        Ok(Self::Set { changes })
    }

    /// The name of its kind in the simulated host's log.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Unmount { .. } => "unmount",
            Self::Destroy => "destroy",
            Self::Lock { .. } => "lock",
            Self::Unlock => "unlock",
            Self::Template => "template",
            Self::Snapshot { .. } => "snapshot",
            Self::DeleteSnapshot { .. } => "delete_snapshot",
            Self::Rollback { .. } => "rollback",
        }
    }
}
