//! State 3: everything that one `pct set` or a raw line can say.

use std::collections::{BTreeMap, BTreeSet};

use super::Lowering;
use crate::config::findings::Group;
use crate::config::raw::RawIdMap;
use crate::config::scalar::TextOrList;
use crate::domain::options::{Options, Startup};
use crate::domain::setting::{Key, Settings, Value, boolean, is_dns_name};

/// Options of Proxmox VE's `features` that phoenix knows; `mount` takes types of file systems.
const FEATURES: [&str; 6] = [
    "force_rw_sys",
    "fuse",
    "keyctl",
    "mknod",
    "mount",
    "nesting",
];

const APPARMOR: &str = "lxc.apparmor.profile";

impl Lowering<'_, '_> {
    /// The keys of state 3.
    pub(super) fn settings(&mut self) -> Settings {
        let raw = &self.declared.raw;
        self.refuse_nulls("secrets", raw.secrets.as_ref());
        let mut settings = Settings::new();
        self.hostname(&mut settings);
        self.number(
            &mut settings,
            Key::Memory,
            "memory_mb",
            raw.memory_mb.map(u64::from),
            (16, u32::MAX.into()),
        );
        self.number(&mut settings, Key::Cores, "cores", raw.cores, (1, 8192));
        if let Some(swap) = raw.swap_mb {
            settings.insert(Key::Swap, Value::Number(swap.into()));
        }
        if let Some(onboot) = raw.start_at_boot {
            settings.insert(Key::Onboot, Value::Flag(onboot));
        }
        if raw.boot_order.is_some() || raw.boot_delay.is_some() {
            let (order, delay) = (raw.boot_order, raw.boot_delay);
            let startup = Startup {
                order,
                up: delay,
                down: delay,
            };
            settings.insert(Key::Startup, Value::Startup(startup));
        }
        let options = self.options();
        if !options.0.is_empty() {
            settings.insert(Key::Features, Value::Options(options));
        }
        self.network(&mut settings);
        for (key, lines) in self.raw_lines() {
            settings.insert(Key::Lxc(key), Value::Lines(lines));
        }
        settings
    }

    fn hostname(&mut self, settings: &mut Settings) {
        let Some(name) = &self.declared.raw.name else {
            self.missing(&self.at.clone(), "name", "\"web-1\"");
            return;
        };
        if !is_dns_name(name) {
            let message = format!("'{name}' is not a host name");
            let help = "letters, digits and '-', in parts of at most 63 separated by dots; no part \
                        begins or ends with '-'";
            self.findings.error(&self.at.key("name"), message, help);
        }
        settings.insert(Key::Hostname, Value::Text(name.clone()));
    }

    fn number(
        &mut self,
        settings: &mut Settings,
        setting: Key,
        key: &str,
        value: Option<u64>,
        (least, most): (u64, u64),
    ) {
        let Some(number) = value else {
            let example = if key == "cores" { "2" } else { "2048" };
            self.missing(&self.at.clone(), key, example);
            return;
        };
        let problem = if number < least {
            Some(format!("must be {least} or more, but is {number}"))
        } else if number > most {
            Some(format!("must be {most} or less, but is {number}"))
        } else {
            None
        };
        if let Some(problem) = problem {
            self.findings.error(
                &self.at.key(key),
                problem,
                "that is the limit of Proxmox VE",
            );
        }
        settings.insert(setting, Value::Number(number));
    }

    /// `features` of Proxmox VE: declared options, and what the feature `docker` needs.
    fn options(&mut self) -> Options {
        let raw = &self.declared.raw;
        let mut found = BTreeMap::new();
        let here = self.at;
        let mut docker = false;
        match raw.features.as_ref().map(|features| &features.0) {
            Some(TextOrList::Text(text)) => {
                self.findings
                    .group(Group::OldFeatures, "features", self.ctid);
                let at = here.key("features");
                for part in text.split(',').filter(|part| !part.trim().is_empty()) {
                    self.option(part, &at, &mut found);
                }
            }
            Some(TextOrList::List(names)) => docker = names.iter().any(|name| name == "docker"),
            None => {}
        }
        self.refuse_nulls("pct_options", raw.pct_options.as_ref());
        let at = here.key("pct_options");
        for (index, part) in raw.pct_options.iter().flat_map(|list| list.iter()) {
            self.option(part, &at.index(index), &mut found);
        }
        if docker {
            // As the original did: without nesting no Docker starts in a container.
            found
                .entry("nesting".to_owned())
                .or_insert_with(|| "1".to_owned());
        }
        Options(found)
    }

    fn option(
        &mut self,
        text: &str,
        at: &crate::config::findings::At<'_>,
        found: &mut BTreeMap<String, String>,
    ) {
        let Some((name, value)) = text.split_once('=') else {
            let message = format!("'{text}' is not an option");
            self.findings
                .error(at, message, "write NAME=VALUE, such as \"nesting=1\"");
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        if !FEATURES.contains(&name) {
            let message = format!("'{name}' is not an option of Proxmox VE's features");
            self.findings
                .error(at, message, &format!("known are: {}", FEATURES.join(", ")));
            return;
        }
        let value = match (name, boolean(value)) {
            ("mount", _) => value.to_owned(),
            (_, Ok(flag)) => u8::from(flag).to_string(),
            (_, Err(_)) => {
                let message = format!("'{value}' is neither 0 nor 1");
                self.findings
                    .error(at, message, &format!("write {name}=1 or {name}=0"));
                return;
            }
        };
        let file_systems = |c: char| c.is_ascii_alphanumeric() || matches!(c, ';' | '_' | '.');
        if value.is_empty() || !value.chars().all(file_systems) {
            let message = format!("'{value}' is not a list of types of file systems");
            self.findings.error(
                at,
                message,
                "separate them by ';', such as \"mount=nfs;cifs\"",
            );
        }
        if let Some(other) = found.insert(name.to_owned(), value.clone())
            && other != value
        {
            let message = format!("'{name}' is both {other} and {value}");
            self.findings.error(at, message, "keep one of them");
        }
    }

    /// All `lxc.*` lines: written ones, the AppArmor profile, id maps.
    fn raw_lines(&mut self) -> BTreeMap<String, Vec<String>> {
        let raw = &self.declared.raw;
        let here = self.at;
        self.refuse_nulls("lxc_options", raw.lxc_options.as_ref());
        let at = here.key("lxc_options");
        let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (index, text) in raw.lxc_options.iter().flat_map(|list| list.iter()) {
            let place = at.index(index);
            let Some((key, value)) = raw_line(text) else {
                let message = format!("'{text}' is not a raw option");
                let help = "write lxc.KEY: VALUE or lxc.KEY=VALUE on one line";
                self.findings.error(&place, message, help);
                continue;
            };
            let values = lines.entry(key.to_owned()).or_default();
            if key == APPARMOR
                && let Some(first) = values.first().filter(|first| *first != value)
            {
                let message = format!("{APPARMOR} is both '{first}' and '{value}'");
                self.findings.error(&place, message, "keep one of them");
            } else if !values.iter().any(|known| known == value) {
                values.push(value.to_owned());
            }
        }
        self.apparmor(&mut lines);
        self.id_maps(&mut lines);
        lines
    }

    fn apparmor(&mut self, lines: &mut BTreeMap<String, Vec<String>>) {
        let here = self.at;
        let at = here.key("apparmor_profile");
        let Some(profile) = &self.declared.raw.apparmor_profile else {
            return;
        };
        if profile.trim().is_empty() || profile.chars().any(char::is_control) {
            let help = "write the name of a profile, such as \"generated\" or \"unconfined\"";
            self.findings
                .error(&at, "is not the name of a profile", help);
            return;
        }
        let values = lines.entry(APPARMOR.to_owned()).or_default();
        match values.first() {
            Some(other) if other != profile => {
                let message =
                    format!("is '{profile}', but lxc_options say {APPARMOR} is '{other}'");
                self.findings.error(&at, message, "keep one of them");
            }
            Some(_) => {}
            None => values.push(profile.clone()),
        }
    }

    fn id_maps(&mut self, lines: &mut BTreeMap<String, Vec<String>>) {
        let list = self.declared.raw.id_maps.as_ref();
        self.refuse_nulls("id_maps", list);
        let here = self.at;
        let all = here.key("id_maps");
        let mut maps = Vec::new();
        let mut rooted = BTreeSet::new();
        let mut whole = true;
        for (index, map) in list.into_iter().flat_map(|list| list.iter()) {
            match self.id_map(map, &all.index(index)) {
                Some((kind, line)) => {
                    maps.push(line);
                    rooted.extend((map.container_id == Some(0)).then_some(kind));
                }
                None => whole = false,
            }
        }
        let written = lines.get("lxc.idmap").is_some_and(|lines| *lines != maps);
        if !maps.is_empty() && written {
            let help = "keep one of them";
            self.findings.error(
                &all,
                "differs from the lxc.idmap lines of lxc_options",
                help,
            );
        }
        if !maps.is_empty() && whole && rooted.len() < 2 {
            let help = "a map replaces the host's own as a whole, so it must hold lines of type u \
                        and of type g that begin at container_id 0; without id_maps Proxmox VE \
                        maps 65536 ids";
            let message = "maps no root: user 0 and group 0 of the container need a place";
            self.findings.error(&all, message, help);
        }
        if !maps.is_empty() {
            lines.insert("lxc.idmap".to_owned(), maps);
        }
    }

    fn id_map(
        &mut self,
        map: &RawIdMap,
        at: &crate::config::findings::At<'_>,
    ) -> Option<(char, String)> {
        let kind = match map.kind.as_deref() {
            Some("u" | "uid") => 'u',
            Some("g" | "gid") => 'g',
            Some(other) => {
                let message = format!("'{other}' is not a kind of id");
                self.findings
                    .error(&at.key("type"), message, "write \"u\" or \"g\"");
                return None;
            }
            None => {
                self.missing(at, "type", "\"u\"");
                return None;
            }
        };
        let fields = [
            ("container_id", map.container_id),
            ("host_id", map.host_id),
            ("size", map.size),
        ];
        let mut numbers = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            match value {
                Some(0) if key == "size" => {
                    self.findings
                        .error(&at.key(key), "must be 1 or more", "such as 65536");
                }
                Some(number) => numbers.push(number.to_string()),
                None => self.missing(at, key, "0"),
            }
        }
        if let Some(size) = map.size {
            for (key, first) in &fields[..2] {
                // The last number of 32 bits stands for no id.
                if first.is_some_and(|first| first.checked_add(size).is_none()) {
                    let message = format!("with a size of {size} reaches beyond the last id");
                    let help = format!("the last id is {}; take a smaller size", u32::MAX - 1);
                    self.findings.error(&at.key(key), message, &help);
                }
            }
        }
        (numbers.len() == fields.len()).then(|| (kind, format!("{kind} {}", numbers.join(" "))))
    }

    /// Indexes of GPUs.
    pub(super) fn gpus(&mut self) -> BTreeSet<u32> {
        let text = self
            .declared
            .raw
            .gpu_assignment
            .as_deref()
            .unwrap_or("none")
            .trim();
        let mut found = BTreeSet::new();
        if matches!(text, "none" | "") {
            return found;
        }
        for part in text.split(',').map(str::trim) {
            match part.parse::<u32>() {
                Ok(index) if index <= 255 => {
                    found.insert(index);
                }
                _ => {
                    let message = format!("'{part}' is not the index of a GPU");
                    let help = "write \"none\", or indexes such as \"0\" or \"0,1\"";
                    self.findings
                        .error(&self.at.key("gpu_assignment"), message, help);
                }
            }
        }
        found
    }
}

/// Splits `lxc.a.b=v`, `lxc.a.b: v` and `lxc.a.b:v`; the value may hold any of these signs.
pub(in crate::config) fn raw_line(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let key_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let (key, rest) = text.split_at(text.find(|c| !key_char(c))?);
    let value = rest.trim_start().strip_prefix(['=', ':'])?.trim();
    let sound = key
        .strip_prefix("lxc.")
        .is_some_and(|rest| !rest.is_empty());
    (sound && !value.is_empty() && !value.chars().any(char::is_control)).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::raw_line;

    #[test]
    fn raw_lines_are_read_in_all_spellings() {
        for text in [
            "lxc.mount.auto=sys:rw",
            "lxc.mount.auto: sys:rw",
            "lxc.mount.auto:sys:rw",
        ] {
            assert_eq!(raw_line(text), Some(("lxc.mount.auto", "sys:rw")), "{text}");
        }
        assert_eq!(
            raw_line("lxc.cgroup2.devices.allow = c 195:* rwm"),
            Some(("lxc.cgroup2.devices.allow", "c 195:* rwm"))
        );
        for bad in [
            "",
            "lxc.a",
            "lxc.=x",
            "memory: 5",
            "lxc.a=",
            "lxc.a: b\nmemory: 1",
            "lxc.a b",
        ] {
            assert_eq!(raw_line(bad), None, "{bad}");
        }
    }
}
