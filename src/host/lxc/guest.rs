//! A container's configuration file, both ways: what it says in phoenix's words, and the file
//! that says something.
//!
//! What LXC knows is said in LXC's own lines and read from them, so that what a person changes
//! there is seen. What LXC has no word for stands in lines `# phoenix KEY: VALUE`. Lines that
//! every container of phoenix has are known and not shown. All others are `lxc.*` settings, or
//! a person's remarks: they stay where they are.

use std::path::Path;

use super::cgroup::Cgroups;
use super::layout::Layout;
use super::reader::Reader;
use super::text::{self, Line, escaped};
use crate::domain::action::Mark;
use crate::domain::ids::Ctid;
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

pub(super) const MARK: &str = "mark";
pub(super) const UNPRIVILEGED: &str = "unprivileged";
pub(super) const TEMPLATE: &str = "template";
pub(super) const HALT: &str = "halt";
pub(super) const INSTANCE: &str = "instance";
pub(super) const MAKING: &str = "making";
pub(super) const EXPLICIT: &str = "explicit";
pub(super) const IDMAP: &str = "lxc.idmap";
const PROFILE: &str = "lxc.apparmor.profile";
pub(super) const HEADER: &str =
    "# Written by phoenix, which keeps remarks and other lxc.* lines as they are.";

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
    pub(super) fn base(&self, dialect: &Dialect) -> Vec<Line> {
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

pub(super) const HOSTNAME: &str = "lxc.uts.name";
pub(super) const AUTOSTART: &str = "lxc.start.auto";
pub(super) const ORDER: &str = "lxc.start.order";
pub(super) const DELAY: &str = "lxc.start.delay";
pub(super) const ROOTFS: &str = "lxc.rootfs.path";
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

pub(super) fn is_address(ip: &str) -> bool {
    !matches!(ip, "dhcp" | "manual")
}

/// The line that mounts something: a host directory, or the place where a volume is mounted in
/// the monitor's mount namespace.
pub(super) fn mount_entry(layout: &Layout, ctid: Ctid, slot: u8, mount: &Mount) -> String {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dialect(unified: bool) -> Dialect {
        Dialect {
            layout: Layout { dir: "/d".into() },
            cgroups: Cgroups {
                unified,
                memory: true,
                swap: true,
                cpu: true,
            },
            apparmor: false,
            common: true,
        }
    }

    fn ctid() -> Ctid {
        Ctid::try_from(900).expect("an id")
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let read = |(key, text): &(&str, &str)| {
            let key: Key = key.parse().expect("a key");
            let value = key.parse_value(text).expect("a value");
            (key, value)
        };
        pairs.iter().map(read).collect()
    }

    fn whole() -> Guest {
        Guest {
            unprivileged: true,
            halt: Some("SIGUSR2".to_owned()),
            settings: settings(&[
                ("hostname", "web"),
                ("memory", "256"),
                ("swap", "0"),
                ("cores", "2"),
                ("onboot", "1"),
                ("startup", "order=1,up=2,down=3"),
                ("nameserver", "9.9.9.9"),
                ("features", "nesting=1,keyctl=1"),
                (
                    "net0",
                    "name=eth0,bridge=br0,ip=10.0.0.2/24,gw=10.0.0.1,hwaddr=BC:24:11:00:00:01,type=veth,firewall=1",
                ),
                ("net1", "name=eth1,bridge=br0,ip=dhcp,type=veth"),
                ("mp0", "/srv/a b,mp=/srv/a b,ro=1"),
                ("mp1", "pool:vm-900-disk-1,mp=/data,size=1G"),
                ("rootfs", "pool:vm-900-disk-0,size=2G"),
                ("unused0", "pool:vm-900-disk-7"),
                ("lxc.environment", "A=b c"),
                ("lxc.apparmor.profile", "unconfined"),
                ("arch", "amd64"),
            ]),
            ..Guest::default()
        }
    }

    #[test]
    fn everything_round_trips() {
        for unified in [false, true] {
            let dialect = dialect(unified);
            let guest = whole();
            let text = guest.print(&dialect, ctid());
            assert_eq!(Guest::parse(&dialect, ctid(), &text), guest, "{text}");
        }
    }

    #[test]
    fn a_file_of_another_kernel_is_still_known() {
        let text = whole().print(&dialect(false), ctid());
        let other = Dialect {
            apparmor: true,
            ..dialect(false)
        };
        assert_eq!(Guest::parse(&other, ctid(), &text), whole());
    }

    #[test]
    fn apparmor_is_spoken_of_as_the_kernel_has_it() {
        let profile = |apparmor: bool, settings: Settings| -> Vec<String> {
            let dialect = Dialect {
                apparmor,
                ..dialect(true)
            };
            let guest = Guest {
                settings,
                ..Guest::default()
            };
            let text = guest.print(&dialect, ctid());
            let own = text.lines().filter(|line| line.starts_with("lxc.apparmor"));
            own.map(str::to_owned).collect()
        };
        let unconfined = "lxc.apparmor.profile = unconfined";
        let generated = "lxc.apparmor.profile = generated";
        assert_eq!(profile(false, Settings::new()), [unconfined]);
        assert_eq!(
            profile(true, Settings::new()),
            [generated, "lxc.apparmor.allow_nesting = 0"]
        );
        assert_eq!(
            profile(true, settings(&[("features", "nesting=1")])),
            [generated, "lxc.apparmor.allow_nesting = 1"]
        );
        // What is declared goes before what is usual.
        let own = settings(&[("lxc.apparmor.profile", "mine")]);
        assert_eq!(profile(true, own), ["lxc.apparmor.profile = mine"]);
    }

    /// What a person changes with an editor, and what is seen of it.
    #[test]
    fn a_change_by_hand_is_seen() {
        let dialect = dialect(false);
        let text = whole().print(&dialect, ctid());
        for (from, to, key, value) in [
            (
                "limit_in_bytes = 256M",
                "limit_in_bytes = 1G",
                "memory",
                Some("1024"),
            ),
            (
                "lxc.uts.name = web",
                "lxc.uts.name = other",
                "hostname",
                Some("other"),
            ),
            (
                "ipv4.address = 10.0.0.2/24",
                "ipv4.address = 10.0.0.3/24",
                "net0",
                Some(
                    "name=eth0,bridge=br0,firewall=1,gw=10.0.0.1,hwaddr=BC:24:11:00:00:01,ip=10.0.0.3/24,type=veth",
                ),
            ),
            (
                "lxc.start.auto = 1",
                "lxc.start.auto = 0",
                "onboot",
                Some("0"),
            ),
            (
                "/d/900/mnt/mp1 data none bind,",
                "/srv/x data none bind,",
                "mp1",
                Some("/srv/x,mp=/data"),
            ),
            (
                "/d/900/mnt/mp1 data none bind,create=dir 0 0",
                "tmpfs other tmpfs create=dir 0 0",
                "mp1",
                None,
            ),
            ("lxc.environment = A=b c", "", "lxc.environment", None),
        ] {
            assert!(text.contains(from), "no {from} in\n{text}");
            let guest = Guest::parse(&dialect, ctid(), &text.replace(from, to));
            let key: Key = key.parse().expect("a key");
            let shown = guest.settings.get(&key).map(Value::to_string);
            assert_eq!(shown.as_deref(), value, "{to}");
        }
        let unlimited: String = text
            .lines()
            .filter(|line| !line.contains("memory.limit"))
            .map(|line| format!("{line}\n"))
            .collect();
        let guest = Guest::parse(&dialect, ctid(), &unlimited);
        assert_eq!(guest.settings.get(&Key::Memory), Some(&Value::Number(0)));
    }

    #[test]
    fn what_is_a_persons_stays() {
        let dialect = dialect(false);
        let text = format!(
            "{}# mine\n\nlxc.mount.entry = tmpfs mine tmpfs create=dir 0 0\n",
            whole().print(&dialect, ctid())
        );
        let mut guest = Guest::parse(&dialect, ctid(), &text);
        assert_eq!(guest.remarks, ["# mine", ""]);
        guest.settings.insert(Key::Memory, Value::Number(512));
        let text = guest.print(&dialect, ctid());
        for kept in [
            "# mine\n",
            "lxc.mount.entry = tmpfs mine tmpfs create=dir 0 0\n",
        ] {
            assert!(text.contains(kept), "{text}");
        }
        assert_eq!(Guest::parse(&dialect, ctid(), &text), guest);
    }

    #[test]
    fn root_of_a_container_is_found_on_the_host() {
        assert_eq!(whole().root(), (100_000, 100_000));
        assert_eq!(Guest::default().root(), (0, 0));
        let map = vec!["u 0 200000 1000".to_owned(), "g 0 300000 1000".to_owned()];
        let mut guest = whole();
        let key = Key::Lxc(IDMAP.to_owned());
        guest.settings.insert(key, Value::Lines(map));
        assert_eq!(guest.root(), (200_000, 300_000));
    }

    fn line() -> impl Strategy<Value = String> {
        let words = prop_oneof![
            Just("lxc.uts.name = a"),
            Just("lxc.net.0.name = eth0"),
            Just("lxc.net.0.link = br"),
            Just("lxc.net.3.type = phys"),
            Just("lxc.net.0.ipv4.address = 1.2.3.4/8"),
            Just("lxc.idmap = u 0 100000 65536"),
            Just("lxc.idmap = u 5 6 7"),
            Just("# phoenix unprivileged: 1"),
            Just("# phoenix mp0: /a,mp=/b"),
            Just("# phoenix explicit: lxc.idmap"),
            Just("# phoenix features: nesting=1"),
            Just("# phoenix rootfs: p:v,size=1G"),
            Just("lxc.rootfs.path = loop:/d/storage/p/v.raw"),
            Just("lxc.mount.entry = /a b none bind,create=dir 0 0"),
            Just("lxc.mount.entry = /c b none bind 0 0"),
            Just("lxc.mount.entry = /c b"),
            Just("lxc.apparmor.profile = unconfined"),
            Just("lxc.apparmor.profile = generated"),
            Just("lxc.cgroup.memory.limit_in_bytes = 64M"),
            Just("lxc.cgroup.cpu.cfs_quota_us = -1"),
            Just("lxc.cgroup2.memory.max = max"),
            Just("lxc.start.order = x"),
            Just("# remark"),
            Just(""),
            Just("# phoenix net0: name=eth0,ip=dhcp"),
            Just("# phoenix startup: down=3"),
            Just("# phoenix instance: 1 2"),
            Just("garbage"),
            Just("lxc.net.0.flags = up"),
        ];
        prop_oneof![9 => words.prop_map(str::to_owned), 1 => "[ -~]{0,40}"]
    }

    proptest! {
        /// Whatever stands in a file: what is read of it and written is read as the same again,
        /// and then written as the same bytes.
        #[test]
        fn reading_and_writing_settle(lines in prop::collection::vec(line(), 0..25), unified: bool) {
            let dialect = dialect(unified);
            let first = Guest::parse(&dialect, ctid(), &lines.join("\n"));
            let text = first.print(&dialect, ctid());
            let second = Guest::parse(&dialect, ctid(), &text);
            let third = second.print(&dialect, ctid());
            prop_assert_eq!(Guest::parse(&dialect, ctid(), &third), second, "{}", third);
        }
    }
}
