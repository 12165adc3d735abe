//! A container's configuration file, both ways: what it says in phoenix's words, and the file
//! that says something.
//!
//! What LXC knows is said in LXC's own lines and read from them, so that what a person changes
//! there is seen. What LXC has no word for stands in lines `# phoenix KEY: VALUE`. Lines that
//! every container of phoenix has are known and not shown. All others are `lxc.*` settings, or
//! a person's remarks: they stay where they are.

use std::collections::BTreeMap;
use std::path::Path;

use super::cgroup::Cgroups;
use super::layout::Layout;
use super::text::{self, Line, escaped, unescaped};
use crate::domain::action::Mark;
use crate::domain::ids::{Ctid, JournalId};
use crate::domain::options::{Mount, Net, Source, Startup};
use crate::domain::setting::{Key, Settings, Value};

/// The map of an unprivileged container unless its configuration has another.
pub(super) const USUAL_MAP: [&str; 2] = ["u 0 100000 65536", "g 0 100000 65536"];

/// What the file is written for.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    pub(super) layout: Layout,
    pub(super) cgroups: Cgroups,
    /// Whether the kernel has AppArmor: where it has not, LXC must be told.
    pub(super) apparmor: bool,
    /// Whether LXC's own common settings are installed.
    pub(super) common: bool,
}

/// What a configuration file says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Guest {
    pub(super) mark: Option<Mark>,
    pub(super) unprivileged: bool,
    pub(super) template: bool,
    /// The signal that its init takes as a request to stop, where it is not the usual one.
    pub(super) halt: Option<String>,
    /// Process id and start time of the init that runs with this configuration.
    pub(super) instance: Option<(u32, u64)>,
    /// Images that are being made and that nothing uses yet, as `STORAGE:NAME`.
    pub(super) making: Vec<String>,
    pub(super) settings: Settings,
    /// What is nobody's: remarks of persons, in their order.
    pub(super) remarks: Vec<String>,
}

const MARK: &str = "mark";
const UNPRIVILEGED: &str = "unprivileged";
const TEMPLATE: &str = "template";
const HALT: &str = "halt";
const INSTANCE: &str = "instance";
const MAKING: &str = "making";
const EXPLICIT: &str = "explicit";
const IDMAP: &str = "lxc.idmap";
const PROFILE: &str = "lxc.apparmor.profile";
const HEADER: &str = "# Written by phoenix, which keeps remarks and other lxc.* lines as they are.";

impl Guest {
    /// Where root of the container is on the host.
    pub(super) fn root(&self) -> (u32, u32) {
        let lines = match self.settings.get(&Key::Lxc(IDMAP.to_owned())) {
            Some(Value::Lines(lines)) => lines.clone(),
            _ if self.unprivileged => USUAL_MAP.map(str::to_owned).to_vec(),
            _ => return (0, 0),
        };
        let of = |kind: char| {
            let ids = lines.iter().filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let [kinds, "0", outside, _] = words.as_slice() else {
                    return None;
                };
                kinds.contains(kind).then(|| outside.parse().ok())?
            });
            ids.into_iter().next().unwrap_or(0)
        };
        (of('u'), of('g'))
    }

    fn explicit(&self, key: &str) -> bool {
        self.settings.contains_key(&Key::Lxc(key.to_owned()))
    }

    /// Reads a file.
    pub(super) fn parse(dialect: &Dialect, ctid: Ctid, text: &str) -> Self {
        Reader::new(dialect, ctid, text).read()
    }

    /// Writes the file.
    pub(super) fn print(&self, dialect: &Dialect, ctid: Ctid) -> String {
        let mut lines = vec![Line::Raw(HEADER.to_owned())];
        lines.extend(self.notes(dialect));
        lines.extend(self.base(dialect));
        lines.extend(self.meant(dialect, ctid));
        for (key, value) in &self.settings {
            if let (Key::Lxc(key), Value::Lines(values)) = (key, value) {
                lines.extend(values.iter().map(|value| Line::entry(key, value)));
            }
        }
        lines.extend(self.remarks.iter().cloned().map(Line::Raw));
        text::print(&lines)
    }

    /// What LXC has no word for.
    fn notes(&self, dialect: &Dialect) -> Vec<Line> {
        let mut notes = Vec::new();
        if let Some(mark) = self.mark {
            notes.push(Line::note(MARK, format!("{} {}", mark.journal, mark.ctid)));
        }
        for (name, set) in [(UNPRIVILEGED, self.unprivileged), (TEMPLATE, self.template)] {
            notes.extend(set.then(|| Line::note(name, 1)));
        }
        notes.extend(self.halt.iter().map(|halt| Line::note(HALT, halt)));
        notes.extend(self.making.iter().map(|volume| Line::note(MAKING, volume)));
        if let Some((pid, started)) = self.instance {
            notes.push(Line::note(INSTANCE, format!("{pid} {started}")));
        }
        for (key, value) in &self.settings {
            match (key, value) {
                (Key::Lxc(name), _) => {
                    let hidden = [IDMAP, PROFILE].contains(&name.as_str());
                    notes.extend(hidden.then(|| Line::note(EXPLICIT, name)));
                }
                (Key::Hostname | Key::Onboot, _) => {}
                (Key::Memory | Key::Swap | Key::Cores, _) if !dialect.cgroups.lacks(key) => {}
                _ => notes.push(Line::note(key.to_string(), value)),
            }
        }
        notes
    }

    /// Lines that a container of phoenix has whatever is declared.
    fn base(&self, dialect: &Dialect) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut add = |key: &str, value: &str| lines.push(Line::entry(key, value));
        if dialect.common {
            add("lxc.include", "/usr/share/lxc/config/common.conf");
            if self.unprivileged {
                add("lxc.include", "/usr/share/lxc/config/userns.conf");
            }
        }
        if let Some(halt) = &self.halt {
            add("lxc.signal.halt", halt);
        }
        if self.unprivileged && !self.explicit(IDMAP) {
            USUAL_MAP.iter().for_each(|map| add(IDMAP, map));
        }
        let nesting = match self.settings.get(&Key::Features) {
            Some(Value::Options(options)) => options.agrees("nesting", "1"),
            _ => false,
        };
        if !self.explicit(PROFILE) {
            match (dialect.apparmor, nesting) {
                (false, _) => add(PROFILE, "unconfined"),
                (true, nested) => {
                    add(PROFILE, "generated");
                    add("lxc.apparmor.allow_nesting", if nested { "1" } else { "0" });
                }
            }
        }
        if nesting {
            add("lxc.mount.entry", NESTED_PROC);
            add("lxc.mount.entry", NESTED_SYS);
        }
        lines
    }

    /// The settings that LXC has words for.
    fn meant(&self, dialect: &Dialect, ctid: Ctid) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut mounts = Vec::new();
        for (key, value) in &self.settings {
            match (key, value) {
                (Key::Hostname, Value::Text(name)) => lines.push(Line::entry(HOSTNAME, name)),
                (Key::Onboot, Value::Flag(flag)) => {
                    lines.push(Line::entry(AUTOSTART, if *flag { "1" } else { "0" }));
                }
                (Key::Startup, Value::Startup(startup)) => lines.extend(startup_lines(*startup)),
                (Key::Net(slot), Value::Net(net)) => lines.extend(net_lines(*slot, net)),
                (Key::Mount(slot), Value::Mount(mount)) => mounts.push((*slot, mount)),
                (Key::Rootfs, Value::Rootfs(rootfs)) => {
                    let image = dialect.layout.volume(&rootfs.volume);
                    lines.extend(image.map(|image| Line::entry(ROOTFS, loop_path(&image))));
                }
                _ => {}
            }
        }
        lines.extend(dialect.cgroups.lines(&self.settings));
        // A mount inside of another comes after it.
        mounts.sort_by_key(|(slot, mount)| (mount.path.clone(), *slot));
        let entries = mounts.into_iter();
        lines.extend(entries.map(|(slot, mount)| {
            Line::entry(
                "lxc.mount.entry",
                mount_entry(&dialect.layout, ctid, slot, mount),
            )
        }));
        lines
    }
}

const HOSTNAME: &str = "lxc.uts.name";
const AUTOSTART: &str = "lxc.start.auto";
const ORDER: &str = "lxc.start.order";
const DELAY: &str = "lxc.start.delay";
const ROOTFS: &str = "lxc.rootfs.path";
const NESTED_PROC: &str = "proc dev/.lxc/proc proc create=dir,optional 0 0";
const NESTED_SYS: &str = "sys dev/.lxc/sys sysfs create=dir,optional 0 0";

pub(super) fn loop_path(image: &Path) -> String {
    format!("loop:{}", image.display())
}

fn startup_lines(startup: Startup) -> Vec<Line> {
    let parts = [(ORDER, startup.order), (DELAY, startup.up)];
    let known = parts.into_iter();
    known
        .filter_map(|(key, number)| number.map(|number| Line::entry(key, number.to_string())))
        .collect()
}

fn net_lines(slot: u8, net: &Net) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |key: &str, value: &str| {
        lines.push(Line::entry(format!("lxc.net.{slot}.{key}"), value));
    };
    let kind = net.other.get("type").map_or("veth", String::as_str);
    add("type", kind);
    let parts = [("link", &net.bridge), ("hwaddr", &net.hwaddr)];
    for (key, value) in parts {
        value.iter().for_each(|value| add(key, value));
    }
    add("name", &net.name);
    if let Some(mtu) = net.other.get("mtu") {
        add("mtu", mtu);
    }
    let down = net.other.get("link_down").is_some_and(|down| down == "1");
    if !down {
        add("flags", "up");
    }
    if let Some(ip) = net.ip.as_deref().filter(|ip| is_address(ip)) {
        add("ipv4.address", ip);
        net.gw.iter().for_each(|gw| add("ipv4.gateway", gw));
    }
    lines
}

fn is_address(ip: &str) -> bool {
    !matches!(ip, "dhcp" | "manual")
}

/// The line that mounts something: a host directory, or the place where a volume is mounted in
/// the monitor's mount namespace.
fn mount_entry(layout: &Layout, ctid: Ctid, slot: u8, mount: &Mount) -> String {
    let source = match &mount.source {
        Source::Host(path) => path.clone(),
        Source::Volume(_) => volume_point(layout, ctid, slot),
    };
    let readonly = mount.other.get("ro").is_some_and(|ro| ro == "1");
    let options = if readonly {
        "bind,ro,create=dir"
    } else {
        "bind,create=dir"
    };
    let target = mount.path.trim_start_matches('/');
    format!(
        "{} {} none {options} 0 0",
        escaped(&source),
        escaped(target)
    )
}

/// Where the volume of a slot is mounted in the monitor's mount namespace.
pub(super) fn volume_point(layout: &Layout, ctid: Ctid, slot: u8) -> String {
    let point = layout.mounts(ctid).join(format!("mp{slot}"));
    point.to_string_lossy().into_owned()
}

/// Takes a file apart.
struct Reader<'a> {
    dialect: &'a Dialect,
    ctid: Ctid,
    notes: Vec<(String, String)>,
    entries: Vec<(String, String)>,
    remarks: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(dialect: &'a Dialect, ctid: Ctid, text: &str) -> Self {
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

    fn read(mut self) -> Guest {
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
        settings.insert(Key::Net(slot), Value::Net(net));
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
            settings.insert(Key::Mount(slot), Value::Mount(mount));
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
