//! One action in words.

use std::collections::{BTreeMap, BTreeSet};

use anstyle::Style;

use super::text::{ADDED, BAD, CHANGED, DONE};
use crate::domain::action::Action;
use crate::domain::desired::{Place, Script, ScriptKind};
use crate::domain::setting::{Changes, Key, Settings, Value};

/// What kind of change a line is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Symbol {
    /// Something comes into being.
    Create,
    /// Something becomes different.
    Change,
    /// Something goes.
    Remove,
    /// It is shut down and started again.
    Restart,
    /// Something is run.
    Run,
    /// Something is asked.
    Check,
}

impl Symbol {
    /// The sign, as in a plan.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Change => "~",
            Self::Remove => "-",
            Self::Restart => "!",
            Self::Run => ">",
            Self::Check => "?",
        }
    }

    /// Its colour.
    #[must_use]
    pub fn style(self) -> Style {
        match self {
            Self::Create => ADDED,
            Self::Change => CHANGED,
            Self::Remove | Self::Restart => BAD,
            Self::Run | Self::Check => DONE,
        }
    }
}

/// One key of a container's configuration that becomes different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyChange {
    /// The key.
    pub key: Key,
    /// Its value before, if it had one.
    pub from: Option<Value>,
    /// Its value after; none: it goes.
    pub to: Option<Value>,
}

impl KeyChange {
    /// What kind of change it is.
    #[must_use]
    pub fn symbol(&self) -> Symbol {
        match (&self.from, &self.to) {
            (_, None) => Symbol::Remove,
            (None, Some(_)) => Symbol::Create,
            (Some(_), Some(_)) => Symbol::Change,
        }
    }

    /// `memory: 512 → 1024`, in full.
    #[must_use]
    pub fn line(&self) -> String {
        let key = &self.key;
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => format!("{key}: {from} → {to}"),
            (None, Some(value)) | (Some(value), None) => format!("{key}: {value}"),
            (None, None) => key.to_string(),
        }
    }

    /// What a plan shows of it: of several lines, and of a value made of properties, only what
    /// becomes different.
    fn lines(&self) -> Vec<(Symbol, String)> {
        let key = &self.key;
        if let Key::Lxc(_) = key {
            let (old, new) = (raw_lines(self.from.as_ref()), raw_lines(self.to.as_ref()));
            let gone = old.iter().filter(|line| !new.contains(line));
            let come = new.iter().filter(|line| !old.contains(line));
            let gone = gone.map(|line| (Symbol::Remove, format!("{key}: {line}")));
            let come = come.map(|line| (Symbol::Create, format!("{key}: {line}")));
            let lines: Vec<_> = gone.chain(come).collect();
            if !lines.is_empty() {
                return lines;
            }
        }
        let shown = match (&self.from, &self.to) {
            (Some(from), Some(to)) if has_properties(key) => {
                format!("{key}: {}", properties(&from.to_string(), &to.to_string()))
            }
            _ => self.line(),
        };
        vec![(self.symbol(), shown)]
    }
}

fn raw_lines(value: Option<&Value>) -> &[String] {
    match value {
        Some(Value::Lines(lines)) => lines,
        _ => &[],
    }
}

fn has_properties(key: &Key) -> bool {
    matches!(
        key,
        Key::Net(_) | Key::Mount(_) | Key::Rootfs | Key::Features | Key::Startup
    )
}

/// `ip 10.0.0.2/24 → 10.0.0.3/24, gw=10.0.0.1 added, mtu=1500 removed`
fn properties(from: &str, to: &str) -> String {
    let pairs = |text: &str| -> BTreeMap<String, String> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        let pairs = parts.map(|part| part.split_once('=').unwrap_or(("source", part)));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let (old, new) = (pairs(from), pairs(to));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let parts: Vec<String> = names
        .into_iter()
        .filter_map(|name| match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(format!("{name} {old} → {new}")),
            (None, Some(new)) => Some(format!("{name}={new} added")),
            (Some(old), None) => Some(format!("{name}={old} removed")),
            (None, None) => None,
        })
        .collect();
    parts.join(", ")
}

/// What a change does to each key, which had the given values before.
#[must_use]
pub fn key_changes(changes: &Changes, was: &Settings) -> Vec<KeyChange> {
    let old = |key: &Key| {
        let value = was.get(key).cloned().or_else(|| key.default_value());
        value.filter(|value| !value.to_string().is_empty())
    };
    let change = |(key, to): (&Key, &Option<Value>)| KeyChange {
        key: key.clone(),
        from: old(key),
        to: to.clone(),
    };
    changes.iter().map(change).collect()
}

/// The lines that a plan shows of an action.
#[must_use]
pub fn lines(action: &Action) -> Vec<(Symbol, String)> {
    match action {
        Action::Configure { changes, was } => key_changes(changes, was)
            .iter()
            .flat_map(KeyChange::lines)
            .collect(),
        _ => vec![(symbol(action), summary(action))],
    }
}

/// What kind of change an action is.
#[must_use]
pub fn symbol(action: &Action) -> Symbol {
    match action {
        Action::FetchTemplate(_)
        | Action::Create(_)
        | Action::Clone(_)
        | Action::EnsureDirectory(_)
        | Action::Snapshot { .. } => Symbol::Create,
        Action::Discard { .. } | Action::Unlock | Action::Destroy => Symbol::Remove,
        Action::Configure { .. } | Action::Resize { .. } => Symbol::Change,
        Action::Restart { .. } => Symbol::Restart,
        Action::Start | Action::RunScript(_) => Symbol::Run,
        Action::CheckHealth(_) => Symbol::Check,
    }
}

/// An action in one line.
#[must_use]
pub fn summary(action: &Action) -> String {
    match action {
        Action::FetchTemplate(template) => format!("download template {}", template.file),
        Action::Create(spec) => {
            let (template, storage, disk) = (&spec.template.file, &spec.storage, spec.disk);
            let kind = if spec.unprivileged {
                "unprivileged"
            } else {
                "privileged"
            };
            format!("create from {template}: {disk} on {storage}, {kind}")
        }
        Action::Clone(spec) => format!(
            "clone {}@{} to {}",
            spec.source, spec.snapshot, spec.storage
        ),
        Action::Discard { .. } => "remove what a killed creation left behind".to_owned(),
        Action::Destroy => "destroy it with its volumes and snapshots".to_owned(),
        Action::Unlock => "remove the lock that a killed action left behind".to_owned(),
        Action::EnsureDirectory(directory) => {
            let mut text = format!("host directory {}", directory.path);
            if let Some((uid, gid)) = directory.owner {
                text.push_str(&format!(", owner {uid}:{gid}"));
            }
            if let Some(mode) = directory.mode {
                text.push_str(&format!(", mode {mode:04o}"));
            }
            text
        }
        Action::Configure { changes, was } => {
            let shown = key_changes(changes, was);
            let shown: Vec<String> = shown.iter().map(KeyChange::line).collect();
            shown.join("; ")
        }
        Action::Resize { disk, size, was } => match was {
            Some(old) => format!("{disk}: grow {old} → {size}"),
            None => format!("{disk}: grow to {size}"),
        },
        Action::Start => "start".to_owned(),
        Action::Restart { keys } => {
            let keys: Vec<String> = keys.iter().map(Key::to_string).collect();
            format!("restart, for {}", keys.join(", "))
        }
        Action::RunScript(script) => script_summary(script),
        Action::CheckHealth(check) => {
            let words: Vec<String> = check.command.iter().map(|word| quoted(word)).collect();
            format!("check health: {}", words.join(" "))
        }
        Action::Snapshot { name } => format!("take snapshot {name}"),
    }
}

/// A word of a command as one would type it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn script_summary(script: &Script) -> String {
    let kind = match script.kind {
        ScriptKind::Feature => "feature",
        ScriptKind::Application => "application",
    };
    let place = match script.place {
        Place::Host => ", on the host",
        Place::Container => "",
    };
    format!("run {kind} {}{place}", script.name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::action::{CloneSpec, CreateSpec, DirectorySpec, Mark};
    use crate::domain::desired::{HealthCheck, Template};
    use crate::domain::ids::{Ctid, Digest, JournalId};
    use crate::domain::observed::ObservedContainer;
    use crate::domain::observed::Status;
    use crate::domain::setting::Settings;
    use crate::domain::units::DiskSize;

    pub(in crate::report) fn ctid(number: u32) -> Ctid {
        Ctid::try_from(number).expect("an id")
    }

    fn mark() -> Mark {
        Mark {
            journal: JournalId(uuid::Uuid::nil()),
            ctid: ctid(950),
        }
    }

    fn template() -> Template {
        Template {
            file: "debian-12.tar.zst".to_owned(),
            storage: None,
        }
    }

    pub(in crate::report) fn create() -> Action {
        Action::Create(Box::new(CreateSpec {
            template: template(),
            storage: "fast".to_owned(),
            disk: DiskSize::gib(32),
            unprivileged: true,
            settings: Settings::new(),
            mark: mark(),
        }))
    }

    pub(in crate::report) fn clone() -> Action {
        Action::Clone(Box::new(CloneSpec {
            source: ctid(920),
            snapshot: "pre-configured".to_owned(),
            hostname: "web".to_owned(),
            storage: "fast".to_owned(),
            mark: mark(),
        }))
    }

    pub(in crate::report) fn script(kind: ScriptKind, name: &str, place: Place) -> Action {
        Action::RunScript(Box::new(Script {
            name: name.to_owned(),
            kind,
            place,
            path: "/bin/x".into(),
            content: Digest::of(b"x"),
            arguments: Vec::new(),
            inputs: Digest::of(b""),
            open_inputs: None,
        }))
    }

    pub(in crate::report) fn check() -> Action {
        Action::CheckHealth(Box::new(HealthCheck {
            command: vec!["curl".to_owned(), "localhost".to_owned()],
            retries: 3,
            interval_s: 5,
            timeout_s: 10,
            open_digest: None,
        }))
    }

    pub(in crate::report) fn seen(pairs: &[(&str, &str)]) -> ObservedContainer {
        let settings = pairs.iter().map(|(key, text)| {
            let key: Key = key.parse().expect("a key");
            let value = key.parse_value(text).expect("a value");
            (key, value)
        });
        ObservedContainer {
            status: Status::Running,
            lock: None,
            template: false,
            unprivileged: true,
            mark: None,
            settings: settings.collect(),
            pending: Changes::new(),
            receipts: None,
            snapshots: Vec::new(),
        }
    }

    pub(in crate::report) fn configure(pairs: &[(&str, Option<&str>)]) -> Action {
        let changes = pairs.iter().map(|(key, text)| {
            let key: Key = key.parse().expect("a key");
            let value = text.map(|text| key.parse_value(text).expect("a value"));
            (key, value)
        });
        Action::Configure {
            changes: changes.collect::<BTreeMap<_, _>>(),
            was: [(Key::Memory, Value::Number(512))].into(),
        }
    }

    pub(in crate::report) fn from(was: &[(&str, &str)], action: Action) -> Action {
        match action {
            Action::Configure { changes, .. } => Action::Configure {
                changes,
                was: seen(was).settings,
            },
            other => other,
        }
    }

    #[test]
    fn every_kind_has_its_line() {
        let table: Vec<(Action, &str)> = vec![
            (
                Action::FetchTemplate(template()),
                "+ download template debian-12.tar.zst",
            ),
            (
                create(),
                "+ create from debian-12.tar.zst: 32G on fast, unprivileged",
            ),
            (clone(), "+ clone 920@pre-configured to fast"),
            (
                Action::Discard { source: None },
                "- remove what a killed creation left behind",
            ),
            (
                Action::Unlock,
                "- remove the lock that a killed action left behind",
            ),
            (
                Action::EnsureDirectory(DirectorySpec {
                    path: "/srv/a".to_owned(),
                    owner: Some((100_000, 100_000)),
                    mode: Some(0o750),
                }),
                "+ host directory /srv/a, owner 100000:100000, mode 0750",
            ),
            (
                configure(&[("memory", Some("1024"))]),
                "~ memory: 512 → 1024",
            ),
            (
                Action::Resize {
                    disk: Key::Rootfs,
                    size: DiskSize::gib(32),
                    was: Some(DiskSize::gib(8)),
                },
                "~ rootfs: grow 8G → 32G",
            ),
            (Action::Start, "> start"),
            (
                Action::Restart {
                    keys: vec![Key::Nameserver, Key::Features],
                },
                "! restart, for nameserver, features",
            ),
            (
                script(ScriptKind::Feature, "docker", Place::Host),
                "> run feature docker, on the host",
            ),
            (check(), "? check health: curl localhost"),
            (
                Action::Snapshot {
                    name: "ready".to_owned(),
                },
                "+ take snapshot ready",
            ),
            (
                Action::Destroy,
                "- destroy it with its volumes and snapshots",
            ),
        ];
        let kinds: Vec<&str> = table.iter().map(|(action, _)| action.kind()).collect();
        assert_eq!(kinds, Action::KINDS);
        for (action, wanted) in table {
            let lines = lines(&action);
            let shown: Vec<String> = lines
                .iter()
                .map(|(symbol, text)| format!("{} {text}", symbol.sign()))
                .collect();
            assert_eq!(shown, [wanted]);
        }
    }

    #[test]
    fn each_key_shows_where_it_comes_from_and_where_it_goes() {
        let before = [
            ("memory", "256"),
            ("mp1", "fast:vm-1-disk-1,mp=/data,size=1G"),
            ("tags", "a"),
        ];
        let changes = [
            ("memory", Some("1024")),
            ("cores", Some("2")),
            ("mp1", None),
            ("onboot", Some("1")),
        ];
        let action = from(&before, configure(&changes));
        let shown: Vec<String> = lines(&action)
            .iter()
            .map(|(symbol, text)| format!("{} {text}", symbol.sign()))
            .collect();
        let expected = [
            "~ memory: 256 → 1024",
            "+ cores: 2",
            "~ onboot: 0 → 1",
            "- mp1: fast:vm-1-disk-1,mp=/data,size=1G",
        ];
        assert_eq!(shown, expected);
    }
    #[test]
    fn of_properties_and_raw_lines_only_the_difference_is_shown() {
        let mut before = seen(&[
            ("net0", "name=eth0,bridge=vmbr0,ip=10.0.0.2/24,mtu=1400"),
            ("features", "nesting=1"),
        ]);
        let raw: Key = "lxc.mount.entry".parse().expect("a key");
        let lines_of =
            |lines: &[&str]| Value::Lines(lines.iter().map(ToString::to_string).collect());
        before.settings.insert(raw.clone(), lines_of(&["a", "b"]));
        let mut changes = match configure(&[
            (
                "net0",
                Some("name=eth0,bridge=vmbr0,ip=10.0.0.3/24,gw=10.0.0.1"),
            ),
            ("features", Some("nesting=1,keyctl=1")),
        ]) {
            Action::Configure { changes, .. } => changes,
            _ => unreachable!("it is a change"),
        };
        changes.insert(raw, Some(lines_of(&["b", "c"])));
        let shown: Vec<String> = lines(&Action::Configure {
            changes,
            was: before.settings,
        })
        .iter()
        .map(|(symbol, text)| format!("{} {text}", symbol.sign()))
        .collect();
        let expected = [
            "~ features: keyctl=1 added",
            "~ net0: gw=10.0.0.1 added, ip 10.0.0.2/24 → 10.0.0.3/24, mtu=1400 removed",
            "- lxc.mount.entry: a",
            "+ lxc.mount.entry: c",
        ];
        assert_eq!(shown, expected);
    }
    #[test]
    fn commands_are_shown_as_one_types_them() {
        for (word, shown) in [
            ("curl", "curl"),
            ("-fsS", "-fsS"),
            ("http://localhost:80/", "http://localhost:80/"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }
}
