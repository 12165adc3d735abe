//! Finds the secrets of the files: what their `secrets` lists mark, and what names and texts say
//! by themselves. It reads the texts as they stand, so that a value is known before anything is
//! said about it, whatever else is wrong with it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use serde_json::Value;

use super::decode::fields_of;
use super::document::{self, Entry, Path, Segment};
use super::findings::{At, Findings};
use super::lower::settings::raw_line;
use super::raw::RawContainer;
use super::raw_host::RawHypervisor;
use super::world::World;
use crate::domain::secret::{Secrets, TooMany, names};

/// A marked value must be as long as this: what is shorter stands in every text by accident.
const MARKED: usize = 4;
/// From this length on a value counts that is known by a name only.
const NAMED: usize = 6;

/// Keys of a container that phoenix acts on and that may hold secrets. All others of its own it
/// shows wherever it works on them.
const HOLDERS: [&str; 3] = ["bootstrap_ca_url", "health_check", "lxc_options"];

/// The key of the lists that mark secrets.
const LIST: &str = "secrets";

/// What stands in every text in which a secret can be known by a name, besides `@`.
const HINTS: [&str; 10] = [
    "\\u",
    "authorization",
    "bearer",
    "credential",
    "env",
    "key",
    "pass",
    "pwd",
    "secret",
    "token",
];

fn hints(text: &str) -> bool {
    static SEARCHER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
        let mut builder = AhoCorasick::builder();
        builder.ascii_case_insensitive(true).build(HINTS).ok()
    });
    text.contains('@')
        || SEARCHER
            .as_ref()
            .is_none_or(|searcher| searcher.is_match(text))
}

/// The secrets found so far.
#[derive(Default)]
pub(super) struct Collector {
    marked: BTreeSet<String>,
    named: BTreeSet<String>,
    /// Values of variables whose names say nothing.
    variables: BTreeSet<String>,
}

/// What the place of a value says about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Open,
    Environment,
    Secret,
}

/// What is never secret in an object.
fn is_structure(holder: Holder, key: &str) -> bool {
    match holder {
        Holder::Container => !HOLDERS.contains(&key) && fields_of::<RawContainer>().contains(&key),
        Holder::LxcFile => matches!(key, "lxc_configs" | "$schema" | LIST),
        Holder::HypervisorFile => key == "$schema" || fields_of::<RawHypervisor>().contains(&key),
    }
}

/// What a list of secrets stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Container,
    LxcFile,
    HypervisorFile,
}

impl Collector {
    /// Takes in what one object holds: `text` with its members.
    pub(super) fn object(
        &mut self,
        holder: Holder,
        text: &str,
        members: &[Entry<'_>],
        at: &At<'_>,
        findings: &mut Findings,
    ) {
        for entry in members {
            let key = entry.key.as_ref();
            if key == LIST {
                self.marks(holder, text, entry.value, &at.key(LIST), findings);
            } else if !is_structure(holder, key) && (hints(key) || hints(entry.value)) {
                self.member(key, entry.value);
            }
        }
    }

    /// Takes in a whole text of which nothing is known.
    pub(super) fn anything(&mut self, text: &str) {
        if hints(text) {
            for entry in document::entries(text).unwrap_or_default() {
                self.member(&entry.key, entry.value);
            }
        }
    }

    fn member(&mut self, key: &str, text: &str) {
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            return;
        };
        if key == "lxc_options" {
            let lines = value.as_array().into_iter().flatten();
            lines
                .filter_map(Value::as_str)
                .for_each(|line| self.line(line));
        } else {
            self.below(place(Place::Open, key), &value);
        }
    }

    fn line(&mut self, line: &str) {
        match raw_line(line) {
            Some(("lxc.environment", variable)) => self.variable(variable),
            _ => self.inline(line),
        }
    }

    /// Everything below a place.
    fn below(&mut self, place_of: Place, value: &Value) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    match (place_of, value) {
                        (Place::Environment, Value::String(text)) => self.variable_of(key, text),
                        _ => self.below(place(place_of, key), value),
                    }
                }
            }
            Value::Array(list) => {
                let mut flag = false;
                for value in list {
                    let place_of = if flag { Place::Secret } else { place_of };
                    self.below(place_of, value);
                    flag = value.as_str().is_some_and(|text| {
                        text.starts_with('-') && !text.contains('=') && names::is_secret(text)
                    });
                }
            }
            Value::String(text) => match place_of {
                Place::Secret => self.add(text),
                Place::Environment => self.variable(text),
                Place::Open => self.inline(text),
            },
            Value::Number(number) if place_of == Place::Secret => self.add(&number.to_string()),
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    fn add(&mut self, text: &str) {
        if text.trim().len() >= NAMED && !text.starts_with('$') {
            self.named.insert(text.to_owned());
        }
    }

    /// What a text holds that it calls secret itself.
    fn inline(&mut self, text: &str) {
        for at in names::in_text(text) {
            self.add(&text[at]);
        }
    }

    /// `NAME=VALUE`
    fn variable(&mut self, text: &str) {
        if let Some((name, value)) = text.split_once('=') {
            self.variable_of(name.trim(), value);
        }
    }

    fn variable_of(&mut self, name: &str, value: &str) {
        self.inline(value);
        if names::is_secret(name) {
            self.add(value);
        } else if !names::is_ordinary(name)
            && value.trim().len() >= NAMED
            && !value.bytes().all(|byte| byte.is_ascii_digit())
        {
            self.variables.insert(value.to_owned());
        }
    }

    /// Takes in a list of paths. What is wrong with its type is said by the decoder, but at the
    /// top of the container file, which is read piece by piece.
    fn marks(
        &mut self,
        holder: Holder,
        text: &str,
        list: &str,
        at: &At<'_>,
        findings: &mut Findings,
    ) {
        let list: Value = serde_json::from_str(list).unwrap_or_default();
        let paths = list.as_array();
        let texts = paths.is_some_and(|paths| paths.iter().all(Value::is_string));
        if holder == Holder::LxcFile && !texts && !list.is_null() {
            let help = "write a list of paths, such as [\"nvidia_repo_url\"]";
            findings.error(at, "must be a list of texts", help);
        }
        for (index, path) in paths.into_iter().flatten().enumerate() {
            let Some(path) = path.as_str() else { continue };
            if let Err((message, help)) = self.mark(holder, text, path) {
                findings.error(&at.index(index), message, &help);
            }
        }
    }

    fn mark(&mut self, holder: Holder, text: &str, named: &str) -> Result<(), (String, String)> {
        let path = Path::parse(named);
        if path.0.is_empty() || path.to_string() != named {
            let help = "separate keys by dots and write elements as [N], from 0, such as \
                        env.DB_PASSWORD or vllm_args[1]";
            return Err((format!("'{named}' is not a path"), help.to_owned()));
        }
        if let Some(Segment::Key(first)) = path.0.first()
            && is_structure(holder, first)
        {
            let (message, help) = if holder == Holder::LxcFile && first == "lxc_configs" {
                (
                    format!("'{named}' is marked at the top of the file"),
                    "mark it in the list \"secrets\" of the container, by its path in there",
                )
            } else {
                (
                    format!("'{first}' cannot be secret: phoenix shows it where it works on it"),
                    "take the path away; what can be secret are keys of applications, \
                     health_check, bootstrap_ca_url and lines of lxc.environment",
                )
            };
            return Err((message, help.to_owned()));
        }
        let found = document::locate(text, 0..text.len(), &path.0);
        if found.depth < path.0.len() {
            return Err(nothing_there(text, &path, found.depth));
        }
        let value = text.get(found.value).unwrap_or_default();
        let value: Value = serde_json::from_str(value).unwrap_or_default();
        let mut texts = Vec::new();
        every_text(&value, &mut texts);
        if matches!(path.0.first(), Some(Segment::Key(key)) if key == "lxc_options") {
            texts = variables(named, &texts)?;
        }
        if texts.is_empty() {
            let help = "mark a text, a number, or a list or an object with some in it";
            return Err((
                format!("'{named}' holds neither text nor number"),
                help.to_owned(),
            ));
        }
        if texts.iter().any(|text| text.trim().len() < MARKED) {
            let help = "make it longer, or take the path away: what is so short stands in many \
                        texts by accident, and is guessed at once";
            let message = format!("what '{named}' holds is shorter than {MARKED} characters");
            return Err((message, help.to_owned()));
        }
        self.marked.extend(texts);
        Ok(())
    }

    /// All of them. The value of a variable that is part of a name or a path is none: those are
    /// shown.
    pub(super) fn finish(self, world: &World<'_>) -> Result<Secrets, TooMany> {
        let mut variables: Vec<Option<&String>> = self.variables.iter().map(Some).collect();
        if !variables.is_empty() {
            let searcher = AhoCorasick::new(&self.variables).map_err(|_| TooMany)?;
            for at in searcher.find_overlapping_iter(&shown(world)) {
                variables[at.pattern().as_usize()] = None;
            }
        }
        let variables = variables.into_iter().flatten();
        let named = self.marked.iter().chain(&self.named);
        Secrets::of(named.chain(variables).map(String::as_str))
    }
}

fn place(above: Place, key: &str) -> Place {
    if above == Place::Secret || names::is_secret(key) {
        Place::Secret
    } else if names::is_environment(key) {
        Place::Environment
    } else {
        Place::Open
    }
}

fn every_text(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(list) => list.iter().for_each(|value| every_text(value, found)),
        Value::Object(members) => members.values().for_each(|value| every_text(value, found)),
        Value::Bool(_) | Value::Null => {}
    }
}

/// Of raw lines only values of variables can be marked: what phoenix put there it knows again by
/// the rest of the line.
fn variables(named: &str, lines: &[String]) -> Result<Vec<String>, (String, String)> {
    let value = |line: &String| match raw_line(line) {
        Some(("lxc.environment", variable)) => {
            let (_, value) = variable.split_once('=')?;
            Some(value.to_owned())
        }
        _ => None,
    };
    let values: Option<Vec<String>> = lines.iter().map(value).collect();
    values.ok_or_else(|| {
        let help = "mark lines of lxc.environment, one by one (lxc_options[N]); other lines are \
                    shown, but for what stands in them as password=…";
        (
            format!("'{named}' is no line that sets a variable"),
            help.to_owned(),
        )
    })
}

/// What is said of a path that ends before its end.
fn nothing_there(text: &str, path: &Path, depth: usize) -> (String, String) {
    const NAMED_KEYS: usize = 12;
    let above = Path(path.0[..depth].to_vec());
    let missing = Path(path.0[depth..=depth].to_vec());
    let found = document::locate(text, 0..text.len(), &above.0);
    let value = text.get(found.value).unwrap_or_default();
    let keys = document::entries(value).unwrap_or_default();
    let keys: Vec<&str> = keys
        .iter()
        .map(|entry| entry.key.as_ref())
        .filter(|key| *key != LIST)
        .take(NAMED_KEYS)
        .collect();
    let place = if depth == 0 {
        "here".to_owned()
    } else {
        format!("in '{above}'")
    };
    let help = match (document::elements(value), keys.is_empty()) {
        (Some(list), _) => format!("there are {} elements, from [0]", list.len()),
        (None, false) => format!("there are: {}", keys.join(", ")),
        (None, true) => "correct the path, or take it away".to_owned(),
    };
    (
        format!("'{path}' names nothing: there is no '{missing}' {place}"),
        help,
    )
}

/// Names and paths that phoenix shows, one a line.
fn shown(world: &World<'_>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for declared in world.containers.values() {
        let raw = &declared.raw;
        let texts = [&raw.name, &raw.template, &raw.storage_pool, &raw.node];
        all.extend(texts.into_iter().flatten().map(String::as_str));
        all.extend(raw.template_snapshot_name.as_deref());
        for (_, mount) in raw.mount_points.iter().flat_map(|list| list.iter()) {
            all.extend(mount.host_path.as_deref());
            all.extend(mount.container_path.as_deref());
        }
        let volumes = raw.volumes.iter().chain(&raw.zfs_volumes);
        for (_, volume) in volumes.flat_map(|list| list.iter()) {
            all.extend(volume.name.as_deref());
            all.extend(volume.pool.as_deref());
            all.extend(volume.mount_point.as_deref());
        }
    }
    for mount in world.shared.values().flatten() {
        all.extend([mount.host_path.as_str(), mount.path.as_str()]);
    }
    all.join("\n")
}
