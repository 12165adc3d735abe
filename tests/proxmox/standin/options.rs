//! Command lines as Proxmox VE reads them, and what it says of those it cannot read.

use std::collections::BTreeMap;

use phoenix::domain::ids::Ctid;
use phoenix::domain::model;
use phoenix::domain::observed::{HostFacts, Lock, Status};
use phoenix::domain::refusal::Refusal;
use phoenix::domain::setting::{InvalidSetting, Key, Value};

use super::{Failure, File};

/// A command line that could be read.
#[derive(Debug)]
pub struct Options {
    command: String,
    positional: Vec<String>,
    named: BTreeMap<String, String>,
}

const BARE: &str = "";

/// Commands with what they take, in the order of `pct help`; an empty one ends a group.
const COMMANDS: [(&str, &str); 40] = [
    ("clone", "<vmid> <newid> [OPTIONS]"),
    ("create", "<vmid> <ostemplate> [OPTIONS]"),
    ("destroy", "<vmid> [OPTIONS]"),
    ("list", BARE),
    ("migrate", "<vmid> <target> [OPTIONS]"),
    (
        "move-volume",
        "<vmid> <volume> [<storage>] [<target-vmid>] [<target-volume>] [OPTIONS]",
    ),
    ("pending", "<vmid>"),
    ("resize", "<vmid> <disk> <size> [OPTIONS]"),
    ("restore", "<vmid> <ostemplate> [OPTIONS]"),
    ("template", "<vmid>"),
    ("", BARE),
    ("config", "<vmid> [OPTIONS]"),
    ("set", "<vmid> [OPTIONS]"),
    ("", BARE),
    ("delsnapshot", "<vmid> <snapname> [OPTIONS]"),
    ("listsnapshot", "<vmid>"),
    ("rollback", "<vmid> <snapname> [OPTIONS]"),
    ("snapshot", "<vmid> <snapname> [OPTIONS]"),
    ("", BARE),
    ("reboot", "<vmid> [OPTIONS]"),
    ("resume", "<vmid>"),
    ("shutdown", "<vmid> [OPTIONS]"),
    ("start", "<vmid> [OPTIONS]"),
    ("stop", "<vmid> [OPTIONS]"),
    ("suspend", "<vmid>"),
    ("", BARE),
    ("console", "<vmid> [OPTIONS]"),
    ("cpusets", BARE),
    ("df", "<vmid>"),
    ("enter", "<vmid> [OPTIONS]"),
    ("exec", "<vmid> [<extra-args>] [OPTIONS]"),
    ("fsck", "<vmid> [OPTIONS]"),
    ("fstrim", "<vmid> [OPTIONS]"),
    ("mount", "<vmid>"),
    ("pull", "<vmid> <path> <destination> [OPTIONS]"),
    ("push", "<vmid> <file> <destination> [OPTIONS]"),
    (
        "remote-migrate",
        "<vmid> [<target-vmid>] <target-endpoint> --target-bridge <string> --target-storage <string> [OPTIONS]",
    ),
    ("rescan", " [OPTIONS]"),
    ("status", "<vmid> [OPTIONS]"),
    ("unlock", "<vmid>"),
];

/// What `pct` alone prints.
pub fn usage() -> String {
    let mut text = "USAGE: pct <COMMAND> [ARGS] [OPTIONS]\n\n".to_owned();
    for (name, takes) in COMMANDS.iter().chain(&[
        ("unmount", "<vmid>"),
        ("", BARE),
        ("help", "[<extra-args>] [OPTIONS]"),
    ]) {
        match name.is_empty() {
            true => text.push('\n'),
            false => text.push_str(&format!("       pct {name} {takes}\n")),
        }
    }
    text.trim_end_matches('\n').to_owned()
}

/// The options of each command beside a container's keys.
const SPECIAL: [(&str, &[&str]); 16] = [
    ("status", &["verbose"]),
    ("config", &["current", "snapshot"]),
    ("set", &["digest", "delete", "revert"]),
    (
        "create",
        &[
            "storage",
            "start",
            "password",
            "force",
            "unique",
            "pool",
            "ssh-public-keys",
            "bwlimit",
        ],
    ),
    (
        "clone",
        &[
            "hostname",
            "description",
            "snapname",
            "full",
            "storage",
            "pool",
            "target",
        ],
    ),
    ("destroy", &["force", "purge", "destroy-unreferenced-disks"]),
    ("start", &["debug", "skiplock"]),
    ("stop", &["skiplock", "overrule-shutdown"]),
    ("shutdown", &["timeout", "forceStop"]),
    ("reboot", &["timeout"]),
    ("resize", &["digest"]),
    ("snapshot", &["description"]),
    ("delsnapshot", &["force"]),
    ("rollback", &["start"]),
    ("exec", &["keep-env"]),
    ("push", &["perms", "user", "group"]),
];

const FLAGS: [&str; 14] = [
    "verbose",
    "current",
    "start",
    "force",
    "full",
    "purge",
    "destroy-unreferenced-disks",
    "debug",
    "skiplock",
    "forceStop",
    "unprivileged",
    "onboot",
    "protection",
    "keep-env",
];

/// A key of a container that an option can set: raw lines cannot be, and of the others the model
/// says which ones there are.
pub fn is_key(name: &str) -> bool {
    let Ok(key) = name.parse::<Key>() else {
        return false;
    };
    let ctid = Ctid::try_from(Ctid::MIN).expect("an id");
    let blank = File::default().typed(ctid, Status::Stopped);
    let changes = [(key.clone(), Some(Value::Text(String::new())))].into();
    let tried = model::set(&blank, &HostFacts::default(), ctid, &changes);
    !matches!(key, Key::Lxc(_)) && !matches!(tried, Err(Refusal::UnknownOption(_)))
}

fn takes(command: &str) -> Option<&'static str> {
    let mut all = COMMANDS.iter().chain(&[("unmount", "<vmid>")]);
    all.find(|(name, _)| *name == command && !name.is_empty())
        .map(|(_, takes)| *takes)
}

/// Reads what follows a command.
pub fn parse(command: &str, words: &[&str]) -> Result<Options, Failure> {
    let mut options = Options {
        command: command.to_owned(),
        positional: Vec::new(),
        named: BTreeMap::new(),
    };
    let special = SPECIAL
        .iter()
        .find(|(name, _)| *name == command)
        .map_or(&[][..], |(_, all)| all);
    let mut rest = words.iter();
    let mut unknown = Vec::new();
    while let Some(word) = rest.next() {
        if *word == "--" {
            options
                .positional
                .extend(rest.map(|word| (*word).to_owned()));
            break;
        }
        let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            options.positional.push((*word).to_owned());
            continue;
        };
        let (name, inline) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let settable = matches!(command, "set" | "create") && is_key(name);
        if !settable && !special.contains(&name) {
            unknown.push(name.to_owned());
            continue;
        }
        let follows = || {
            rest.as_slice()
                .first()
                .filter(|next| !next.starts_with("--"))
        };
        let value = match (inline, follows()) {
            (Some(value), _) => value,
            (None, Some(next)) if !FLAGS.contains(&name) || is_boolean(next) => {
                let next = (*next).to_owned();
                rest.next();
                next
            }
            _ => "1".to_owned(),
        };
        options.named.insert(name.to_owned(), value);
    }
    if !options.known() {
        return Ok(options);
    }
    if let Some(first) = unknown.first() {
        let text = format!(
            "Unknown option: {first}\n400 unable to parse option\n{}",
            options.usage()
        );
        return Err(Failure::new(2, text));
    }
    options.check_arguments()?;
    Ok(options)
}

fn is_boolean(word: &str) -> bool {
    phoenix::domain::setting::boolean(word).is_ok()
}

impl Options {
    /// Whether there is such a command.
    pub fn known(&self) -> bool {
        takes(&self.command).is_some()
    }

    fn usage(&self) -> String {
        format!(
            "pct {} {}",
            self.command,
            takes(&self.command).unwrap_or_default()
        )
    }

    fn check_arguments(&self) -> Result<(), Failure> {
        let wanted = takes(&self.command).unwrap_or_default();
        let wanted = wanted
            .split_whitespace()
            .take_while(|word| word.starts_with('<'))
            .count();
        if self.positional.len() < wanted {
            let text = format!("400 not enough arguments\n{}", self.usage());
            return Err(Failure::new(2, text));
        }
        let Some(id) = self.positional.first().filter(|_| wanted > 0) else {
            return Ok(());
        };
        match id.parse::<Ctid>() {
            Ok(_) => Ok(()),
            Err(_) if id.parse::<i64>().is_ok() => {
                let message = "invalid format - value does not look like a valid VM ID\n";
                Err(self.refused(&[("vmid".to_owned(), message.to_owned())]))
            }
            Err(_) => {
                let message = format!("type check ('integer') failed - got '{id}'");
                Err(self.refused(&[("vmid".to_owned(), message)]))
            }
        }
    }

    /// The error that names parameters.
    pub fn refused(&self, errors: &[(String, String)]) -> Failure {
        let mut text = "400 Parameter verification failed.\n".to_owned();
        for (name, message) in errors {
            text.push_str(&format!("{name}: {message}\n"));
        }
        Failure::new(2, text + &self.usage())
    }

    pub fn ctid(&self) -> Result<Ctid, Failure> {
        self.id(0)
    }

    pub fn id(&self, at: usize) -> Result<Ctid, Failure> {
        let text = self
            .positional
            .get(at)
            .map(String::as_str)
            .unwrap_or_default();
        text.parse()
            .map_err(|_| Failure::new(2, format!("'{text}' is no id")))
    }

    pub fn argument(&self, at: usize) -> &str {
        self.positional
            .get(at)
            .map(String::as_str)
            .unwrap_or_default()
    }

    pub fn arguments(&self) -> &[String] {
        &self.positional
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.named.get(name).map(String::as_str)
    }

    pub fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|text| phoenix::domain::setting::boolean(text) == Ok(true))
    }

    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The keys of a container among the options.
    pub fn settings(&self) -> impl Iterator<Item = (Key, &str)> {
        self.named
            .iter()
            .filter(|(name, _)| is_key(name))
            .filter_map(|(name, text)| Some((name.parse().ok()?, text.as_str())))
    }

    /// Every value that its key cannot have, in Proxmox VE's words.
    pub fn verify(&self) -> Result<(), Failure> {
        let errors: Vec<(String, String)> = self
            .settings()
            .filter_map(|(key, text)| Some((key.to_string(), fault(&key, text)?)))
            .collect();
        match errors.is_empty() {
            true => Ok(()),
            false => Err(self.refused(&errors)),
        }
    }
}

/// What is wrong with a value.
fn fault(key: &Key, text: &str) -> Option<String> {
    if let Key::Other(name) = key
        && name == "lock"
    {
        let names = Lock::ALL.map(|lock| lock.to_string());
        let message = format!(
            "value '{text}' does not have a value in the enumeration '{}'",
            names.join(", ")
        );
        return (!names.contains(&text.to_owned())).then_some(message);
    }
    match key.parse_value(text) {
        Ok(_) if matches!(key, Key::Net(_)) => bad_gateway(key, text),
        Ok(_) => None,
        Err(InvalidSetting(message)) => Some(phrased(key, &message)),
    }
}

fn bad_gateway(key: &Key, text: &str) -> Option<String> {
    let gateway = text.split(',').find_map(|part| part.strip_prefix("gw="))?;
    let message = "invalid format - value does not look like a valid IPv4 address\n\n";
    let bad = gateway.parse::<std::net::Ipv4Addr>().is_err();
    bad.then(|| format!("invalid format - format error\n{key}.gw: {message}"))
}

/// The model's words as Proxmox VE puts them: it names the property of a property string.
fn phrased(key: &Key, message: &str) -> String {
    let named = |property: &str| format!("invalid format - format error\n{key}.{property}: ");
    if let Some((property, missing)) = message
        .strip_prefix("invalid format - format error\n")
        .and_then(|rest| rest.split_once(": "))
    {
        return format!("{}{missing}\n", named(property));
    }
    let property = match key {
        Key::Net(_) if message.contains("MAC address") => Some("hwaddr"),
        Key::Net(_) if message.contains("ipv4") => Some("ip"),
        Key::Mount(_) if message.contains("illegal character") => Some("mp"),
        _ => None,
    };
    match property {
        Some(property) => format!("{}{message}\n\n", named(property)),
        None if message.starts_with("invalid format") => format!("{message}\n"),
        None => message.to_owned(),
    }
}
