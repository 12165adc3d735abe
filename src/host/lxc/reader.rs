//! Takes a configuration file apart: see [`super::guest`].

use std::collections::BTreeMap;

use super::guest::{
    AUTOSTART, DELAY, Dialect, EXPLICIT, Guest, HALT, HEADER, HOSTNAME, IDMAP, INSTANCE, MAKING,
    MARK, ORDER, ROOTFS, TEMPLATE, UNPRIVILEGED, is_address, loop_path, mount_entry, volume_point,
};
use super::text::{self, Line, escaped, unescaped};
use crate::domain::action::Mark;
use crate::domain::ids::{Ctid, JournalId};
use crate::domain::options::{Mount, Net, Source, Startup};
use crate::domain::setting::{Key, Settings, Value};

/// Takes a file apart.
pub(super) struct Reader<'a> {
    dialect: &'a Dialect,
    ctid: Ctid,
    notes: Vec<(String, String)>,
    entries: Vec<(String, String)>,
    remarks: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(dialect: &'a Dialect, ctid: Ctid, text: &str) -> Self {
        let mut reader = Self {
            dialect,
            ctid,
            notes: Vec::new(),
            entries: Vec::new(),
            remarks: Vec::new(),
        };
        for line in text::parse(text) {
            match line {
                Line::Note(key, value) => reader.notes.push((key, value)),
                Line::Entry(key, value) => reader.entries.push((key, value)),
                Line::Raw(raw) if raw == HEADER => {}
                Line::Raw(raw) => reader.remarks.push(raw),
            }
        }
        reader
    }

    fn note(&self, key: &str) -> Option<&str> {
        let found = self.notes.iter().find(|(own, _)| own == key);
        found.map(|(_, value)| value.as_str())
    }

    fn notes(&self, key: &str) -> Vec<String> {
        let own = self.notes.iter().filter(|(own, _)| own == key);
        own.map(|(_, value)| value.clone()).collect()
    }

    /// The value of the last line of a key; all its lines are taken away.
    fn take(&mut self, key: &str) -> Option<String> {
        let mut last = None;
        self.entries.retain_mut(|(own, value)| {
            let mine = own == key;
            if mine {
                last = Some(std::mem::take(value));
            }
            !mine
        });
        last
    }

    pub(super) fn read(mut self) -> Guest {
        let mut guest = Guest {
            mark: self.note(MARK).and_then(mark),
            unprivileged: self.note(UNPRIVILEGED) == Some("1"),
            template: self.note(TEMPLATE) == Some("1"),
            halt: self.note(HALT).map(str::to_owned),
            instance: self.note(INSTANCE).and_then(pair),
            making: self.notes(MAKING),
            settings: Settings::new(),
            remarks: std::mem::take(&mut self.remarks),
        };
        let ours = self.note("rootfs").is_some();
        // A container made by hand says that it is unprivileged by its map alone.
        guest.unprivileged |= !ours && self.entries.iter().any(|(key, _)| key == IDMAP);
        self.noted(&mut guest.settings);
        self.hide_base(&guest);
        self.settings(&mut guest.settings, ours);
        for (key, value) in std::mem::take(&mut self.entries) {
            let lines = guest
                .settings
                .entry(Key::Lxc(key))
                .or_insert_with(|| Value::Lines(Vec::new()));
            if let Value::Lines(lines) = lines {
                lines.push(value);
            }
        }
        guest
    }

    /// Settings that stand in notes alone.
    fn noted(&self, settings: &mut Settings) {
        for (name, text) in &self.notes {
            let Ok(key) = name.parse::<Key>() else {
                continue;
            };
            let alone = match &key {
                Key::Nameserver | Key::Features | Key::Rootfs | Key::Unused(_) => true,
                Key::Memory | Key::Swap | Key::Cores => self.dialect.cgroups.lacks(&key),
                Key::Other(name) => !OWN_NOTES.contains(&name.as_str()),
                _ => false,
            };
            if let (true, Ok(value)) = (alone, key.parse_value(text)) {
                settings.insert(key, value);
            }
        }
    }

    /// Takes away the lines that every container has, unless they were asked for.
    fn hide_base(&mut self, guest: &Guest) {
        let explicit = self.notes(EXPLICIT);
        let other = Dialect {
            apparmor: !self.dialect.apparmor,
            common: true,
            ..self.dialect.clone()
        };
        let here = Dialect {
            common: true,
            ..self.dialect.clone()
        };
        for line in [guest.base(&here), guest.base(&other)].concat() {
            if let Line::Entry(key, value) = line
                && !explicit.contains(&key)
            {
                self.entries
                    .retain(|own| *own != (key.clone(), value.clone()));
            }
        }
    }

    fn settings(&mut self, settings: &mut Settings, ours: bool) {
        if let Some(name) = self.take(HOSTNAME) {
            settings.insert(Key::Hostname, Value::Text(name));
        }
        if let Some(auto) = self.take(AUTOSTART) {
            settings.insert(Key::Onboot, Value::Flag(auto == "1"));
        }
        self.startup(settings);
        self.limits(settings, ours);
        for slot in 0..=u8::MAX {
            self.net(slot, settings);
        }
        self.mounts(settings);
        if let Some(Value::Rootfs(rootfs)) = settings.get(&Key::Rootfs) {
            let image = self.dialect.layout.volume(&rootfs.volume);
            let usual = image.map(|image| (ROOTFS.to_owned(), loop_path(&image)));
            self.entries.retain(|entry| Some(entry) != usual.as_ref());
        }
    }

    fn startup(&mut self, settings: &mut Settings) {
        let noted: Option<Startup> = self.note("startup").and_then(|text| text.parse().ok());
        let order = self.take(ORDER).and_then(|text| text.parse().ok());
        let up = self.take(DELAY).and_then(|text| text.parse().ok());
        let down = noted.and_then(|noted| noted.down);
        let startup = Startup { order, up, down };
        if startup != Startup::default() {
            settings.insert(Key::Startup, Value::Startup(startup));
        }
    }

    fn limits(&mut self, settings: &mut Settings, ours: bool) {
        let cgroups = self.dialect.cgroups;
        let prefix = if cgroups.unified {
            "lxc.cgroup2."
        } else {
            "lxc.cgroup."
        };
        let mut found = BTreeMap::new();
        self.entries.retain(|(key, value)| {
            let mine = cgroups.owns(key);
            if let (true, Some(file)) = (mine, key.strip_prefix(prefix)) {
                found.insert(file.to_owned(), value.clone());
            }
            !mine
        });
        if ours || !found.is_empty() {
            settings.extend(cgroups.read(&|file| found.get(file).cloned()));
        }
    }

    fn net(&mut self, slot: u8, settings: &mut Settings) {
        let prefix = format!("lxc.net.{slot}.");
        if !self.entries.iter().any(|(key, _)| key.starts_with(&prefix)) {
            return;
        }
        let noted = self.note(&format!("net{slot}")).map(str::parse::<Net>);
        let noted = noted.and_then(Result::ok).unwrap_or_default();
        let mut part = |name: &str| self.take(&format!("{prefix}{name}"));
        let mut net = Net {
            name: part("name").unwrap_or_else(|| format!("eth{slot}")),
            bridge: part("link"),
            ip: part("ipv4.address"),
            gw: part("ipv4.gateway"),
            hwaddr: part("hwaddr"),
            other: noted.other,
        };
        let pairs = [("type", part("type")), ("mtu", part("mtu"))];
        if part("flags").is_some() {
            net.other.remove("link_down");
        } else {
            net.other.insert("link_down".to_owned(), "1".to_owned());
        }
        for (key, value) in pairs {
            match value {
                Some(value) => _ = net.other.insert(key.to_owned(), value),
                None => _ = net.other.remove(key),
            }
        }
        if net.ip.is_none() {
            net.ip = noted.ip.filter(|ip| !is_address(ip));
            net.gw = net.gw.or(noted.gw.filter(|_| net.ip.is_some()));
        }
        settings.insert(Key::Net(slot), net.into());
    }

    /// Mounts are known by their target: a line of ours whose source a person changed is still
    /// that mount, and one that a person took away is none any more.
    fn mounts(&mut self, settings: &mut Settings) {
        for slot in 0..=u8::MAX {
            let noted = self.note(&format!("mp{slot}")).map(str::parse::<Mount>);
            let Some(Ok(mut mount)) = noted else { continue };
            let usual = mount_entry(&self.dialect.layout, self.ctid, slot, &mount);
            let target = escaped(mount.path.trim_start_matches('/'));
            let found = self.entries.iter().position(|(key, line)| {
                key == "lxc.mount.entry" && line.split_whitespace().nth(1) == Some(&target)
            });
            let Some(index) = found else { continue };
            let (_, line) = self.entries.remove(index);
            if line != usual {
                amend(
                    &mut mount,
                    &line,
                    &volume_point(&self.dialect.layout, self.ctid, slot),
                );
            }
            settings.insert(Key::Mount(slot), mount.into());
        }
    }
}

/// Notes that are no settings.
const OWN_NOTES: [&str; 7] = [
    MARK,
    UNPRIVILEGED,
    TEMPLATE,
    HALT,
    INSTANCE,
    MAKING,
    EXPLICIT,
];

/// A mount as a changed line says it.
fn amend(mount: &mut Mount, line: &str, volume: &str) {
    let mut words = line.split_whitespace();
    let source = words.next().map(unescaped).unwrap_or_default();
    if source != volume {
        mount.source = Source::Host(source);
        mount.size = None;
    }
    let options = words.nth(2).unwrap_or_default();
    if options.split(',').any(|option| option == "ro") {
        mount.other.insert("ro".to_owned(), "1".to_owned());
    } else {
        mount.other.remove("ro");
    }
}

fn mark(text: &str) -> Option<Mark> {
    let (journal, ctid) = text.split_once(' ')?;
    Some(Mark {
        journal: JournalId(journal.parse().ok()?),
        ctid: ctid.parse().ok()?,
    })
}

fn pair(text: &str) -> Option<(u32, u64)> {
    let (one, other) = text.split_once(' ')?;
    Some((one.parse().ok()?, other.parse().ok()?))
}
