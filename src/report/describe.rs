//! One action in words.

use anstyle::Style;

use super::text::{ADDED, BAD, CHANGED, DONE};
use crate::domain::action::Action;
use crate::domain::desired::{Place, Script, ScriptKind};
use crate::domain::observed::ObservedContainer;
use crate::domain::setting::{Changes, Key};

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
    pub from: Option<String>,
    /// Its value after; none: it goes.
    pub to: Option<String>,
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

    /// `memory: 512 → 1024`
    #[must_use]
    pub fn line(&self) -> String {
        let key = &self.key;
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => format!("{key}: {from} → {to}"),
            (None, Some(to)) => format!("{key}: {to}"),
            (Some(from), None) => format!("{key}: {from}"),
            (None, None) => key.to_string(),
        }
    }
}

/// What a change does to each key of a container as it was before.
#[must_use]
pub fn key_changes(changes: &Changes, before: Option<&ObservedContainer>) -> Vec<KeyChange> {
    let old = |key: &Key| before.and_then(|seen| seen.eventual(key));
    let change = |(key, to): (&Key, &Option<_>)| KeyChange {
        key: key.clone(),
        from: old(key)
            .map(|value: crate::domain::setting::Value| value.to_string())
            .filter(|text| !text.is_empty()),
        to: to.as_ref().map(ToString::to_string),
    };
    changes.iter().map(change).collect()
}

/// The lines that a plan shows of an action.
#[must_use]
pub fn lines(action: &Action, before: Option<&ObservedContainer>) -> Vec<(Symbol, String)> {
    match action {
        Action::Configure { changes } => key_changes(changes, before)
            .iter()
            .map(|change| (change.symbol(), change.line()))
            .collect(),
        _ => vec![(symbol(action), summary(action, before))],
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
        Action::Discard { .. } | Action::Unlock => Symbol::Remove,
        Action::Configure { .. } | Action::Resize { .. } => Symbol::Change,
        Action::Restart { .. } => Symbol::Restart,
        Action::Start | Action::RunScript(_) => Symbol::Run,
        Action::CheckHealth(_) => Symbol::Check,
    }
}

/// An action in one line.
#[must_use]
pub fn summary(action: &Action, before: Option<&ObservedContainer>) -> String {
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
        Action::Configure { changes } => {
            let shown = key_changes(changes, before);
            let shown: Vec<String> = shown.iter().map(KeyChange::line).collect();
            shown.join("; ")
        }
        Action::Resize { disk, size } => match size_before(disk, before) {
            Some(old) => format!("{disk}: grow {old} → {size}"),
            None => format!("{disk}: grow to {size}"),
        },
        Action::Start => "start".to_owned(),
        Action::Restart { keys } => {
            let keys: Vec<String> = keys.iter().map(Key::to_string).collect();
            format!("restart, for {}", keys.join(", "))
        }
        Action::RunScript(script) => script_summary(script),
        Action::CheckHealth(check) => format!("check health: {}", check.command.join(" ")),
        Action::Snapshot { name } => format!("take snapshot {name}"),
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

fn size_before(disk: &Key, before: Option<&ObservedContainer>) -> Option<String> {
    use crate::domain::setting::Value;
    match before?.settings.get(disk)? {
        Value::Rootfs(rootfs) => Some(rootfs.size.to_string()),
        Value::Mount(mount) => mount.size.map(|size| size.to_string()),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::action::{CloneSpec, CreateSpec, DirectorySpec, Mark};
    use crate::domain::desired::{HealthCheck, Template};
    use crate::domain::ids::{Ctid, Digest, JournalId};
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
        }))
    }

    pub(in crate::report) fn check() -> Action {
        Action::CheckHealth(Box::new(HealthCheck {
            command: vec!["curl".to_owned(), "localhost".to_owned()],
            retries: 3,
            interval_s: 5,
            timeout_s: 10,
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
        }
    }

    #[test]
    fn every_kind_has_its_line() {
        let before = seen(&[("rootfs", "fast:subvol-950-disk-0,size=8G")]);
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
        ];
        let kinds: Vec<&str> = table.iter().map(|(action, _)| action.kind()).collect();
        assert_eq!(kinds, Action::KINDS);
        for (action, wanted) in table {
            let lines = lines(&action, Some(&before));
            let shown: Vec<String> = lines
                .iter()
                .map(|(symbol, text)| format!("{} {text}", symbol.sign()))
                .collect();
            assert_eq!(shown, [wanted]);
        }
    }

    #[test]
    fn each_key_shows_where_it_comes_from_and_where_it_goes() {
        let before = seen(&[
            ("memory", "256"),
            ("mp1", "fast:vm-1-disk-1,mp=/data,size=1G"),
            ("tags", "a"),
        ]);
        let action = configure(&[
            ("memory", Some("1024")),
            ("cores", Some("2")),
            ("mp1", None),
            ("onboot", Some("1")),
        ]);
        let shown: Vec<String> = lines(&action, Some(&before))
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
}
