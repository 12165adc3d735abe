//! How large declarations may be. Beyond this something has gone wrong with the file, and what
//! follows (journal records, command lines, messages) would only fail later and worse.

use serde_json::Value;

use super::decode::fields_of;
use super::document::{Entry, Path, Segment};
use super::findings::{At, Findings};
use super::raw::RawContainer;

/// Bytes of a text that phoenix acts on, and of a whole health command.
const TEXT: usize = 16 * 1024;
/// Lines of `lxc_options`.
const LXC_OPTIONS: usize = 1000;
/// Features of a container.
const FEATURES: usize = 200;
/// Mounts of a container: Proxmox VE has as many slots.
pub(super) const MOUNTS: usize = 256;

/// Checks the sizes of what one container declares.
pub(super) fn check(members: &[Entry<'_>], at: &At<'_>, findings: &mut Findings) {
    let known = fields_of::<RawContainer>();
    for entry in members {
        if !known.contains(&entry.key.as_ref()) {
            continue;
        }
        let place = at.key(&entry.key);
        texts(entry.value, &place, findings);
        match entry.key.as_ref() {
            "lxc_options" => list(entry.value, LXC_OPTIONS, "lines", &place, findings),
            "features" => list(entry.value, FEATURES, "features", &place, findings),
            "health_check" => command(entry.value, &place, findings),
            _ => {}
        }
    }
}

/// Checks every text below a place. Most values are too short to hold one that is too long.
pub(super) fn texts(value: &str, at: &At<'_>, findings: &mut Findings) {
    if value.len() <= TEXT {
        return;
    }
    let Ok(value) = serde_json::from_str::<Value>(value) else {
        return;
    };
    let (file, path) = at.resolve();
    let mut pending = vec![(path, &value)];
    while let Some((path, value)) = pending.pop() {
        let below = |segment| {
            let mut below: Path = path.clone();
            below.0.push(segment);
            below
        };
        match value {
            Value::String(text) if text.len() > TEXT => {
                let message = format!("is a text of {} bytes; the limit is {TEXT}", text.len());
                findings.mistyped(file, path, message, "shorten it");
            }
            Value::Array(list) => pending.extend(
                list.iter()
                    .enumerate()
                    .map(|(index, value)| (below(Segment::Index(index)), value)),
            ),
            Value::Object(members) => pending.extend(
                members
                    .iter()
                    .map(|(key, value)| (below(Segment::Key(key.clone())), value)),
            ),
            _ => {}
        }
    }
}

fn list(value: &str, limit: usize, what: &str, at: &At<'_>, findings: &mut Findings) {
    let length = super::document::elements(value).map_or(0, |all| all.len());
    if length > limit {
        let message = format!("has {length} {what}; the limit is {limit}");
        findings.key_error(at, message, "take some away");
    }
}

/// The words of a command together: each by itself is checked as a text.
fn command(value: &str, at: &At<'_>, findings: &mut Findings) {
    if value.len() <= TEXT {
        return;
    }
    let Ok(value) = serde_json::from_str::<Value>(value) else {
        return;
    };
    let words = value["command"].as_array().into_iter().flatten();
    let lengths = words.filter_map(|word| word.as_str().map(str::len));
    let length: usize = lengths.sum();
    if length > TEXT {
        let message = format!("is {length} bytes long; the limit is {TEXT}");
        findings.key_error(&at.key("command"), message, "put it into a script");
    }
}
