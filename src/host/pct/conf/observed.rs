//! A configuration file as the container that phoenix compares.

use crate::domain::action::Mark;
use crate::domain::ids::Ctid;
use crate::domain::observed::{ObservedContainer, Receipts, Snapshot, Status};
use crate::domain::setting::{Changes, Key, Settings, Value, boolean};

use super::text::{read_mark, unmarked};
use super::{Conf, Section};

/// Keys that are no settings: what they say stands elsewhere in an observed container, or is
/// Proxmox VE's own book-keeping.
const NO_SETTINGS: [&str; 7] = [
    "lock",
    "template",
    "unprivileged",
    "parent",
    "snaptime",
    "snapstate",
    "delete",
];

/// The container that a file describes. A value that its key cannot have is kept as a text, so
/// that it differs from whatever is declared. The mark is no part of the description; one that
/// names another container came with a copy, and is none.
#[must_use]
pub fn observed(
    conf: &Conf,
    ctid: Ctid,
    status: Status,
    receipts: Option<Receipts>,
) -> ObservedContainer {
    let live = conf.live();
    let description = live.description();
    let mark = description.as_deref().and_then(read_mark);
    let mut settings = settings(live);
    if let Some(text) = description.as_deref().map(unmarked)
        && !text.is_empty()
    {
        settings.insert(Key::Other("description".to_owned()), Value::Text(text));
    }
    ObservedContainer {
        status,
        lock: live.get("lock").and_then(|text| text.parse().ok()),
        template: flag(live, "template"),
        unprivileged: flag(live, "unprivileged"),
        mark: mark.filter(|mark| mark.ctid == ctid),
        settings,
        pending: conf.pending().map(pending).unwrap_or_default(),
        receipts,
        snapshots: snapshots(conf, mark.filter(|mark| mark.ctid == ctid)),
    }
}

fn flag(section: &Section, key: &str) -> bool {
    section
        .get(key)
        .is_some_and(|text| boolean(text) == Ok(true))
}

fn settings(section: &Section) -> Settings {
    let mut settings = Settings::new();
    for (name, text) in section.settings() {
        if NO_SETTINGS.contains(&name) {
            continue;
        }
        if let Ok(key) = name.parse::<Key>() {
            let value = key.parse_value(text);
            settings.insert(key, value.unwrap_or_else(|_| Value::Text(text.to_owned())));
        }
    }
    settings.extend(raw_lines(section));
    settings
}

/// The `lxc.*` keys of a section, each with all its lines.
pub(in crate::host::pct) fn raw_lines(section: &Section) -> Settings {
    let mut settings = Settings::new();
    for (name, text) in section.lxc() {
        let lines = settings
            .entry(Key::Lxc(name.to_owned()))
            .or_insert_with(|| Value::Lines(Vec::new()));
        if let Value::Lines(lines) = lines {
            lines.push(text.to_owned());
        }
    }
    settings
}

/// New values, and the keys that go.
fn pending(section: &Section) -> Changes {
    let mut changes: Changes = settings(section)
        .into_iter()
        .map(|(key, value)| (key, Some(value)))
        .collect();
    for name in section.get("delete").unwrap_or_default().split(',') {
        // A `!` asks for more than a deletion: the volume goes as well.
        if let Ok(key) = name.trim().trim_start_matches('!').parse::<Key>() {
            changes.insert(key, None);
        }
    }
    changes
}

/// The snapshots, oldest first. A snapshot has no mark of its own: going back to it leaves the
/// live description as it is.
fn snapshots(conf: &Conf, mark: Option<Mark>) -> Vec<Snapshot> {
    let time = |section: &Section| -> u64 {
        let text = section.get("snaptime").unwrap_or_default();
        text.parse().unwrap_or_default()
    };
    let mut found: Vec<(u64, Snapshot)> = conf
        .snapshots()
        .map(|(name, section)| {
            let snapshot = Snapshot {
                name: name.to_owned(),
                settings: settings(section),
                mark,
                receipts: Receipts::new(),
                incomplete: section.get("snapstate").is_some(),
            };
            (time(section), snapshot)
        })
        .collect();
    found.sort_by_key(|(time, _)| *time);
    found.into_iter().map(|(_, snapshot)| snapshot).collect()
}
