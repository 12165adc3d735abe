//! A simulated host in one canonical form: equal worlds print the same bytes.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::fold::Fold;
use crate::domain::observed::{ObservedContainer, Receipts, Snapshot};
use crate::domain::setting::{Changes, Settings};

/// Everything that phoenix or a person made, without times, runs, journals and boots.
pub(super) fn world(fold: &Fold) -> Json {
    let containers = fold.world.containers.iter();
    let made = fold.made.iter().map(|(path, state)| {
        let mode = format!("{:04o}", state.mode);
        (
            path.clone(),
            json!({"gid": state.gid, "mode": mode, "uid": state.uid}),
        )
    });
    json!({
        "containers": sorted(containers.map(|(ctid, one)| (ctid.to_string(), container(one)))),
        "directories": sorted(made),
        "fetched_templates": fold.fetched,
    })
}

/// One container.
pub(super) fn container(container: &ObservedContainer) -> Json {
    json!({
        "lock": container.lock,
        "mark": container.mark.map(|mark| mark.ctid),
        "pending": pending(&container.pending),
        "receipts": container.receipts.as_ref().map(receipts),
        "settings": settings(&container.settings),
        "snapshots": container.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        "status": container.status,
        "template": container.template,
        "unprivileged": container.unprivileged,
    })
}

fn snapshot(snapshot: &Snapshot) -> Json {
    json!({
        "incomplete": snapshot.incomplete,
        "mark": snapshot.mark.map(|mark| mark.ctid),
        "name": snapshot.name,
        "receipts": receipts(&snapshot.receipts),
        "settings": settings(&snapshot.settings),
    })
}

fn settings(settings: &Settings) -> Json {
    sorted(
        settings
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string().into())),
    )
}

fn pending(changes: &Changes) -> Json {
    sorted(changes.iter().map(|(key, value)| {
        let text = value.as_ref().map(ToString::to_string);
        (key.to_string(), text.into())
    }))
}

fn receipts(receipts: &Receipts) -> Json {
    sorted(receipts.iter().map(|(key, receipt)| {
        let value = json!({
            "content": receipt.content,
            "ctid": receipt.ctid,
            "inputs": receipt.inputs,
        });
        (key.to_string(), value)
    }))
}

/// An object with its keys in the order of their text, numbers by their size.
fn sorted(pairs: impl Iterator<Item = (String, Json)>) -> Json {
    let by_number = |key: String| (key.parse::<u64>().unwrap_or(u64::MAX), key);
    let pairs: BTreeMap<_, _> = pairs.map(|(key, value)| (by_number(key), value)).collect();
    Json::Object(
        pairs
            .into_iter()
            .map(|((_, key), value)| (key, value))
            .collect::<Map<_, _>>(),
    )
}
