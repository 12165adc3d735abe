//! What is worth a word although nothing is done about it: other people's settings and mounts,
//! drift that no action cures, changes that wait for a restart.

use std::collections::BTreeSet;

use super::{Context, mounts, start};
use crate::domain::desired::Origin;
use crate::domain::event::Owned;
use crate::domain::observed::{ObservedContainer, Status};
use crate::domain::options::{Mount, Source};
use crate::domain::record::Made;
use crate::domain::secret::{differ_in_secrets, redacted_line};
use crate::domain::setting::{Key, Settings, Value};

/// Notes on a container as it is seen.
#[must_use]
pub fn notes(cx: &Context<'_>) -> Vec<String> {
    let Some(seen) = cx.observed else {
        return Vec::new();
    };
    if seen.half_created() || seen.half_destroyed() || cx.desired.is_absent() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    notes.extend(locked(seen));
    notes.extend(adopted(cx, seen));
    notes.extend(made_otherwise(cx));
    notes.extend(elsewhere(cx, seen));
    notes.extend(unmanaged(cx, seen));
    notes.extend(waiting(cx, seen));
    notes
}

fn locked(seen: &ObservedContainer) -> Option<String> {
    seen.lock
        .map(|lock| format!("is locked ({lock}); what is to be done waits until it is not"))
}

fn adopted(cx: &Context<'_>, seen: &ObservedContainer) -> Option<String> {
    match seen.mark {
        Some(mark) if mark.ctid == cx.desired.ctid && mark.journal != cx.journal => Some(
            "was made by phoenix with another journal; nothing in it counts as put there by this \
             one"
            .to_owned(),
        ),
        Some(mark) if mark.ctid == cx.desired.ctid => None,
        _ if cx.record.created || cx.record.outcome.is_some() => None,
        _ => Some("was not made by phoenix; it is adopted as it is".to_owned()),
    }
}

/// A container is never made anew because it is declared to be made from something else.
fn made_otherwise(cx: &Context<'_>) -> Option<String> {
    let declared = match &cx.desired.origin {
        Origin::Template(template) => Made::Template(template.file.clone()),
        Origin::Clone { source, snapshot } => Made::Clone(*source, snapshot.clone()),
        Origin::Nothing => return None,
    };
    let made = cx
        .record
        .origin
        .as_ref()
        .filter(|made| **made != declared)?;
    Some(format!(
        "was made from {made}, and {declared} is declared; it stays as it is"
    ))
}

fn elsewhere(cx: &Context<'_>, seen: &ObservedContainer) -> Vec<String> {
    let mut notes = Vec::new();
    let mut moved = |what: String, found: &str, declared: &str| {
        if found != declared {
            notes.push(format!(
                "{what} is on storage '{found}', not on '{declared}' as declared; phoenix does not \
                 move disks"
            ));
        }
    };
    if let Some(rootfs) = seen.rootfs() {
        moved(
            "its root disk".to_owned(),
            &rootfs.volume.storage,
            &cx.desired.storage,
        );
    }
    for volume in &cx.desired.volumes {
        let found = mounts::at(seen, &volume.path);
        if let Some((
            _,
            Mount {
                source: Source::Volume(found),
                ..
            },
        )) = found
        {
            moved(
                format!("the volume at {}", volume.path),
                &found.storage,
                &volume.storage,
            );
        }
    }
    notes
}

/// Everything that is set and is neither declared, nor ours, nor inherited from the snapshot that
/// the container was cloned from, nor what a creation writes by itself.
fn unmanaged(cx: &Context<'_>, seen: &ObservedContainer) -> Vec<String> {
    let declared = cx.settings();
    let settings = seen.eventual_settings();
    let found = settings.iter().flat_map(|(key, value)| parts(key, value));
    let mut foreign: Vec<Part> = found
        .filter(|part| !part.known(cx, &declared) && !part.written_by_a_creation())
        .collect();
    if let (false, Some(inherited)) = (foreign.is_empty(), inherited(cx)) {
        let inherited = inherited.iter().flat_map(|(key, value)| parts(key, value));
        let inherited: BTreeSet<Part> = inherited.collect();
        foreign.retain(|part| !inherited.contains(part));
    }
    let foreign = foreign.into_iter();
    foreign
        .map(|part| format!("unmanaged, left as it is: {}", part.text))
        .collect()
}

/// One thing that a setting says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    key: Key,
    kind: Kind,
    /// As it is shown.
    text: String,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The value as a whole.
    Whole,
    /// One option of `features`.
    Feature(String),
    /// One line of an `lxc.*` key.
    Line(String),
    /// A mount at this path.
    Mount(String),
    /// A property of a net or of a mount that the configuration has no key for.
    Property,
}

fn parts(key: &Key, value: &Value) -> Vec<Part> {
    let part = |kind, text: String| Part {
        key: key.clone(),
        kind,
        text,
    };
    let property =
        |(name, value): (&String, &String)| part(Kind::Property, format!("{key}: {name}={value}"));
    match value {
        Value::Options(options) => {
            let options = options.0.iter();
            options
                .map(|(name, value)| {
                    part(
                        Kind::Feature(name.clone()),
                        format!("{key}: {name}={value}"),
                    )
                })
                .collect()
        }
        Value::Lines(lines) => {
            let line = |line: &String| {
                let shown = redacted_line(key, line);
                let shown = shown.as_ref().unwrap_or(line);
                part(Kind::Line(line.clone()), format!("{key}: {shown}"))
            };
            lines.iter().map(line).collect()
        }
        Value::Mount(mount) => {
            let whole = part(Kind::Mount(mount.path.clone()), format!("{key}: {value}"));
            std::iter::once(whole)
                .chain(mount.other.iter().map(property))
                .collect()
        }
        Value::Net(net) => {
            let whole = part(Kind::Whole, format!("{key}: {value}"));
            let other = net.other.iter().filter(|(name, _)| *name != "type");
            std::iter::once(whole).chain(other.map(property)).collect()
        }
        _ => vec![part(Kind::Whole, format!("{key}: {value}"))],
    }
}

impl Part {
    /// Whether it is declared, or ours.
    fn known(&self, cx: &Context<'_>, declared: &Settings) -> bool {
        let owned = cx.owned();
        match &self.kind {
            Kind::Whole => {
                declared.contains_key(&self.key) || owned.contains(&Owned::Key(self.key.clone()))
            }
            Kind::Feature(name) => {
                matches!(declared.get(&self.key), Some(Value::Options(all)) if all.0.contains_key(name))
                    || owned.contains(&Owned::Feature(name.clone()))
            }
            Kind::Line(line) => {
                matches!(declared.get(&self.key), Some(Value::Lines(all)) if all.contains(line)
                    || all.iter().any(|declared| differ_in_secrets(&self.key, declared, line)))
                    || cx.owns_line(&self.key, line)
                    || owned.contains(&Owned::Key(self.key.clone()))
            }
            Kind::Mount(path) => {
                mounts::declared(cx, path) || owned.contains(&Owned::Mount(path.clone()))
            }
            Kind::Property => false,
        }
    }

    /// What every container has without anybody asking for it.
    fn written_by_a_creation(&self) -> bool {
        match &self.key {
            Key::Rootfs | Key::Hostname | Key::Memory | Key::Cores => true,
            Key::Swap => self.text == "swap: 512",
            Key::Onboot => self.text == "onboot: 0",
            Key::Other(name) => matches!(name.as_str(), "arch" | "ostype" | "parent" | "digest"),
            _ => false,
        }
    }
}

fn inherited<'a>(cx: &Context<'a>) -> Option<&'a Settings> {
    let Origin::Clone { source, snapshot } = &cx.desired.origin else {
        return None;
    };
    let source = cx.world.containers.get(source)?;
    let snapshot = source.snapshot(snapshot)?;
    Some(&snapshot.settings)
}

/// What waits for a restart: ours because it was asked for, other people's because a restart for
/// our sake would put it into effect.
fn waiting(cx: &Context<'_>, seen: &ObservedContainer) -> Vec<String> {
    if seen.status != Status::Running {
        return Vec::new();
    }
    let ours = start::waiting(cx, seen);
    // What is ours is looked for in all states already: the rest is other people's.
    let theirs = seen.pending.keys().filter(|key| !ours.contains(key));
    let shown = |keys: Vec<String>| keys.join(", ");
    let mut notes = Vec::new();
    if cx.options.no_restart && !ours.is_empty() {
        let keys = ours.iter().map(Key::to_string).collect();
        notes.push(format!(
            "waits for a restart (--no-restart): {}",
            shown(keys)
        ));
    }
    let theirs: Vec<String> = theirs.map(Key::to_string).collect();
    if !theirs.is_empty() {
        notes.push(format!(
            "not phoenix's, and put into effect by the next restart: {}",
            shown(theirs)
        ));
    }
    notes
}
