//! A container's configuration file in the way Proxmox VE has it in memory, and writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use phoenix::domain::ids::Ctid;
use phoenix::domain::observed::{ObservedContainer, Status};
use phoenix::domain::setting::{Key, Value};
use phoenix::host::pct::conf::{Conf, Section, observed};

/// One section.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Part {
    pub description: Option<String>,
    pub keys: BTreeMap<String, String>,
    pub lxc: Vec<(String, String)>,
}

/// All of it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct File {
    pub live: Part,
    pub pending: Part,
    pub snapshots: BTreeMap<String, Part>,
}

impl Part {
    fn of(section: &Section) -> Self {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            description: section.description(),
            keys: section.settings().map(owned).collect(),
            lxc: section.lxc().map(owned).collect(),
        }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.keys.insert(key.to_owned(), value.into());
    }

    /// As it stands in the file.
    fn text(&self) -> String {
        let mut text = String::new();
        for line in self.description.iter().flat_map(|all| all.split('\n')) {
            let _ = writeln!(text, "#{}", encode(line));
        }
        for (key, value) in &self.keys {
            let _ = writeln!(text, "{key}: {value}");
        }
        text + &self.lxc_text()
    }

    fn lxc_text(&self) -> String {
        let lines = self
            .lxc
            .iter()
            .map(|(key, value)| format!("{key}: {value}\n"));
        lines.collect()
    }

    /// The keys as `pct config` and `pct pending` show them, `lxc.*` left out.
    pub fn shown(&self) -> BTreeMap<String, String> {
        let mut keys = self.keys.clone();
        keys.remove("delete");
        if let Some(description) = &self.description {
            keys.insert(
                "description".to_owned(),
                encode(&format!("{description}\n")),
            );
        }
        keys
    }

    /// What `pct config` prints.
    pub fn listing(&self) -> String {
        let keys = self.shown();
        let lines = keys.iter().map(|(key, value)| format!("{key}: {value}\n"));
        lines.collect::<String>() + &self.lxc_text()
    }

    /// The keys whose deletion waits.
    pub fn deleted(&self) -> Vec<String> {
        let list = self.get("delete").unwrap_or_default().split(',');
        let names = list.map(|name| name.trim_start_matches('!').to_owned());
        names.filter(|name| !name.is_empty()).collect()
    }
}

impl File {
    pub fn read(text: &str) -> Self {
        let conf = Conf::parse(text);
        let snapshots = conf.snapshots();
        Self {
            live: Part::of(conf.live()),
            pending: conf.pending().map(Part::of).unwrap_or_default(),
            snapshots: snapshots
                .map(|(name, section)| (name.to_owned(), Part::of(section)))
                .collect(),
        }
    }

    /// What Proxmox VE writes: sorted keys, a section only where there is something in it.
    pub fn text(&self) -> String {
        let mut live = self.live.clone();
        let volume = |text: &String| text.split(',').next().unwrap_or_default().to_owned();
        let mounted = live
            .keys
            .iter()
            .filter(|(key, _)| *key == "rootfs" || key.starts_with("mp"));
        let mounted: BTreeSet<String> = mounted.map(|(_, text)| volume(text)).collect();
        live.keys
            .retain(|key, text| !key.starts_with("unused") || !mounted.contains(text));
        let mut text = live.text();
        if self.pending != Part::default() {
            let _ = write!(text, "\n[pve:pending]\n{}", self.pending.text());
        }
        for (name, part) in &self.snapshots {
            let _ = write!(text, "\n[{name}]\n{}", part.text());
        }
        text
    }

    /// The live section as it will be after the next start, as `pct config` shows it.
    pub fn eventual(&self) -> Part {
        let mut part = self.live.clone();
        for (key, value) in &self.pending.keys {
            if key != "delete" {
                part.set(key, value.as_str());
            }
        }
        for key in self.pending.deleted() {
            part.keys.remove(&key);
        }
        part
    }

    pub fn typed(&self, ctid: Ctid, status: Status) -> ObservedContainer {
        let mut seen = observed(&Conf::parse(&self.text()), ctid, status, None);
        seen.settings.remove(&Key::Other("description".to_owned()));
        seen
    }

    /// Takes in what the model made of the container. What did not change keeps its text; what
    /// was given stays as it was given where Proxmox VE does not rewrite it.
    pub fn merge(
        &mut self,
        before: &ObservedContainer,
        after: &ObservedContainer,
        given: &BTreeMap<Key, String>,
    ) {
        let waited = self.pending.keys.clone();
        let text = |key: &Key, value: &Value| {
            let name = key.to_string();
            let verbatim = given.get(key).or_else(|| waited.get(&name));
            written(key, value, verbatim.map(String::as_str))
        };
        let all: Vec<&Key> = before
            .settings
            .keys()
            .chain(after.settings.keys())
            .collect();
        for key in all {
            let (old, new) = (before.settings.get(key), after.settings.get(key));
            match (key, new) {
                (Key::Lxc(_), _) => {}
                (_, None) => _ = self.live.keys.remove(&key.to_string()),
                (_, Some(value)) => {
                    let named = given.contains_key(key) && !after.pending.contains_key(key);
                    if old != new || named {
                        self.live.set(&key.to_string(), text(key, value));
                    }
                }
            }
        }
        let mut pending = BTreeMap::new();
        let mut deleted = Vec::new();
        for (key, value) in &after.pending {
            match value {
                None => deleted.push(key.to_string()),
                Some(value) => {
                    let name = key.to_string();
                    let same = before.pending.get(key) == Some(&Some(value.clone()));
                    let kept = waited
                        .get(&name)
                        .filter(|_| same && !given.contains_key(key));
                    let shown = kept.cloned().unwrap_or_else(|| text(key, value));
                    pending.insert(name, shown);
                }
            }
        }
        deleted.sort();
        if !deleted.is_empty() {
            pending.insert("delete".to_owned(), deleted.join(","));
        }
        self.pending.keys = pending;
        self.flag("template", after.template);
        self.flag("unprivileged", after.unprivileged);
        match after.lock {
            Some(lock) => self.live.set("lock", lock.to_string()),
            None => _ = self.live.keys.remove("lock"),
        }
    }

    fn flag(&mut self, key: &str, on: bool) {
        if on {
            self.live.set(key, "1");
        } else {
            self.live.keys.remove(key);
        }
    }
}

/// The text of a value: rewritten, or as it was given.
fn written(key: &Key, value: &Value, verbatim: Option<&str>) -> String {
    let rewritten = match (key, value) {
        (Key::Other(name), Value::Text(_)) => name == "tags",
        (Key::Nameserver, _) => true,
        (_, Value::Text(_) | Value::Startup(_) | Value::Options(_)) => false,
        _ => true,
    };
    let shown = value
        .to_string()
        .replace(&format!(",bridge={NO_BRIDGE}"), "");
    match verbatim {
        Some(text) if !rewritten => text.to_owned(),
        _ => shown,
    }
}

/// What the model sees instead of a bridge that is not there: Proxmox VE complains and writes.
pub const NO_BRIDGE: &str = "-none-";

/// Control and high bytes, `:` and `%` are encoded.
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b':' | b'%' | 0..=0x1f | 0x7f.. => _ = write!(encoded, "%{byte:02X}"),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}
