//! States 8 to 10: what runs in a container.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Lowering;
use crate::config::document::Entry;
use crate::config::findings::Group;
use crate::config::scalar::TextOrList;
use crate::config::scripts::Lookup;
use crate::domain::desired::{HealthCheck, Place, Script, ScriptKind};
use crate::domain::ids::Digest;

/// Signs that a shell would read.
const SHELL_SIGNS: [char; 7] = ['|', '>', '<', '&', ';', '$', '`'];

impl Lowering<'_, '_> {
    /// The feature scripts, in their order.
    pub(super) fn features(&mut self) -> Vec<Script> {
        let raw = &self.declared.raw;
        let Some(TextOrList::List(names)) = raw.features.as_ref().map(|features| &features.0)
        else {
            return Vec::new();
        };
        let arguments: Vec<String> = raw
            .bootstrap_ca_url
            .iter()
            .filter(|url| !url.is_empty())
            .cloned()
            .collect();
        let inputs = Digest::of_parts(arguments.iter().map(String::as_bytes));
        let secrets = &self.world.secrets;
        let open: Vec<_> = arguments.iter().map(|text| secrets.scrub(text)).collect();
        let open_inputs =
            (open != arguments).then(|| Digest::of_parts(open.iter().map(|text| text.as_bytes())));
        let here = self.at;
        let all = here.key("features");
        let mut seen = BTreeSet::new();
        let mut found = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let at = all.index(index);
            if !seen.insert(name) {
                let message = format!("the feature '{name}' is declared twice");
                self.findings.error(&at, message, "take one of them away");
                continue;
            }
            match self.scripts.feature(name) {
                Lookup::Found {
                    place,
                    path,
                    content,
                } => found.push(Script {
                    name: name.clone(),
                    kind: ScriptKind::Feature,
                    place,
                    path,
                    content,
                    arguments: arguments.clone(),
                    inputs,
                    open_inputs,
                }),
                Lookup::Problem { message, help } => self.findings.error(&at, message, &help),
            }
        }
        found
    }

    /// The application script, with what it is handed.
    pub(super) fn application(&mut self, handed: &[&Entry<'_>]) -> Option<Script> {
        let text = self.declared.raw.application_script.as_deref()?;
        let at = self.at.key("application_script");
        let handed = canonical(handed);
        let open = self.world.secrets.scrub(&handed);
        let open_inputs = (open != handed).then(|| Digest::of(open.as_bytes()));
        match self.scripts.application(text) {
            Lookup::Found { path, content, .. } => Some(Script {
                name: text.rsplit('/').next().unwrap_or(text).to_owned(),
                kind: ScriptKind::Application,
                place: Place::Container,
                path,
                content,
                arguments: Vec::new(),
                inputs: Digest::of(handed.as_bytes()),
                open_inputs,
            }),
            Lookup::Problem { message, help } => {
                self.findings.error(&at, message, &help);
                None
            }
        }
    }

    /// The health check.
    pub(super) fn health(&mut self) -> Option<HealthCheck> {
        let raw = self.declared.raw.health_check.as_ref()?;
        let here = self.at;
        let at = here.key("health_check");
        for (key, value) in [("retries", raw.retries), ("timeout", raw.timeout)] {
            if value == Some(0) {
                self.findings
                    .error(&at.key(key), "must be 1 or more, but is 0", "take it away");
            }
        }
        let command = match (&raw.command, &raw.shell) {
            (Some(command), None) => match &command.0 {
                TextOrList::List(words) => words.clone(),
                TextOrList::Text(line) => {
                    if line.contains(SHELL_SIGNS) {
                        self.findings
                            .group(Group::ShellCharacters, "health_check", self.ctid);
                    }
                    line.split_whitespace().map(str::to_owned).collect()
                }
            },
            (None, Some(line)) => ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            (Some(_), Some(_)) => {
                let message = "command and shell are both declared";
                self.findings
                    .key_error(&at.key("shell"), message, "keep one of them");
                return None;
            }
            (None, None) => {
                self.missing(&at, "command", "[\"/usr/bin/true\"]");
                return None;
            }
        };
        let blank = raw
            .shell
            .as_ref()
            .is_some_and(|line| line.trim().is_empty());
        let nul = command.iter().any(|word| word.contains('\0'));
        if command.first().is_none_or(|word| word.is_empty()) || blank || nul {
            let message = "is no command: nothing can be run";
            self.findings
                .error(&at, message, "name a program and its arguments");
        }
        let mut check = HealthCheck {
            command,
            retries: raw.retries.unwrap_or(3),
            interval_s: raw.interval.unwrap_or(5),
            timeout_s: raw.timeout.unwrap_or(10),
            open_digest: None,
        };
        let open = self.world.secrets.open_check(&check);
        check.open_digest = open.map(|open| open.digest());
        Some(check)
    }
}

/// What an application is handed, in a form that the order of keys does not change.
fn canonical(handed: &[&Entry<'_>]) -> String {
    let members: BTreeMap<&str, Value> = handed
        .iter()
        .map(|entry| {
            let value = serde_json::from_str(entry.value).unwrap_or(Value::Null);
            (entry.key.as_ref(), sorted(value))
        })
        .collect();
    serde_json::to_string(&members).unwrap_or_default()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let ordered: BTreeMap<String, Value> = members
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}
