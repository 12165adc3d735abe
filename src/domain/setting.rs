//! The keys of a container's configuration and their values, under Proxmox VE's normalisation.
//!
//! Rules taken from Proxmox VE 8.4 (pve-container 5.3.5) as it behaved when it was run:
//! booleans `yes/true/on` read as 1, integers lose leading zeros, tags are lower case, unique and
//! sorted, a name server list is separated by spaces, `net` and `mp` are property strings whose
//! order carries no meaning, the case of a `hwaddr` carries none either.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::options::{Mount, Net, Options, Rootfs, Startup};

/// Every key of a container with its value.
pub type Settings = BTreeMap<Key, Value>;

/// Changes to make in one step: a new value, or none to delete the key.
pub type Changes = BTreeMap<Key, Option<Value>>;

/// One key of a container's configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Key {
    /// `hostname`
    Hostname,
    /// `memory`, in MiB
    Memory,
    /// `swap`, in MiB
    Swap,
    /// `cores`
    Cores,
    /// `onboot`
    Onboot,
    /// `startup`
    Startup,
    /// `nameserver`
    Nameserver,
    /// `features` of Proxmox VE (nesting and the like), not phoenix's feature scripts
    Features,
    /// `netN`
    Net(u8),
    /// `mpN`
    Mount(u8),
    /// `rootfs`
    Rootfs,
    /// `unusedN`: a volume that is mounted no more
    Unused(u8),
    /// All lines of one `lxc.*` key
    Lxc(String),
    /// Any other key
    Other(String),
}

/// The highest slot of `mpN` in Proxmox VE.
pub const MAX_MOUNT_SLOT: u8 = 255;

/// A text that cannot be a key, or a value that its key cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(pub String);

impl Key {
    /// Whether Proxmox VE applies a change of this key to a running container at once. All
    /// others wait, as "pending", for the next start. A *new* mount is applied at once; its
    /// change or removal waits: [`super::model`] knows.
    #[must_use]
    pub fn hotplugs(&self) -> bool {
        match self {
            Self::Hostname
            | Self::Memory
            | Self::Swap
            | Self::Cores
            | Self::Onboot
            | Self::Startup
            | Self::Net(_)
            | Self::Unused(_) => true,
            Self::Other(name) => HOTPLUGGED.contains(&name.as_str()),
            Self::Nameserver | Self::Features | Self::Mount(_) | Self::Rootfs | Self::Lxc(_) => {
                false
            }
        }
    }

    /// What a container has when the key is absent; none: nothing.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        match self {
            Self::Memory | Self::Swap => Some(Value::Number(512)),
            Self::Onboot => Some(Value::Flag(false)),
            Self::Features => Some(Value::Options(Options::default())),
            Self::Lxc(_) => Some(Value::Lines(Vec::new())),
            _ => None,
        }
    }

    /// Reads a value of this key.
    ///
    /// # Errors
    /// In Proxmox VE's words where it has some, without the key's name in front.
    pub fn parse_value(&self, text: &str) -> Result<Value, InvalidSetting> {
        match self {
            Self::Hostname => hostname(text),
            Self::Memory => integer(text, 16).map(Value::Number),
            Self::Swap => integer(text, 0).map(Value::Number),
            Self::Cores => match integer(text, 1)? {
                n if n > 8192 => invalid("value must have a maximum value of 8192"),
                n => Ok(Value::Number(n)),
            },
            Self::Onboot => boolean(text).map(Value::Flag),
            Self::Startup => Startup::from_str(text).map(Value::Startup),
            Self::Nameserver => Ok(Value::Text(words(text).join(" "))),
            Self::Features => Options::from_str(text).map(Value::Options),
            Self::Net(_) => Net::from_str(text).map(Value::from),
            Self::Mount(_) => Mount::from_str(text).map(Value::from),
            Self::Rootfs => Rootfs::from_str(text).map(Value::from),
            Self::Unused(_) => Ok(Value::Text(text.to_owned())),
            Self::Lxc(_) => Ok(Value::Lines(vec![text.to_owned()])),
            Self::Other(name) => other(name, text),
        }
    }
}

const HOTPLUGGED: [&str; 8] = [
    "description",
    "protection",
    "hookscript",
    "tags",
    "cpulimit",
    "cpuunits",
    "lock",
    "template",
];

fn invalid<T>(message: impl Into<String>) -> Result<T, InvalidSetting> {
    Err(InvalidSetting(message.into()))
}

fn integer(text: &str, minimum: u64) -> Result<u64, InvalidSetting> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u64>() {
        Ok(number) if all_digits && number >= minimum => Ok(number),
        Ok(_) if all_digits => invalid(format!("value must have a minimum value of {minimum}")),
        _ => invalid(format!("type check ('integer') failed - got '{text}'")),
    }
}

/// Reads a boolean as Proxmox VE does.
///
/// # Errors
/// When it is none.
pub fn boolean(text: &str) -> Result<bool, InvalidSetting> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Ok(true),
        "0" | "off" | "no" | "false" => Ok(false),
        _ => invalid(format!("type check ('boolean') failed - got '{text}'")),
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split([' ', ',', ';', '\t', '\n'])
        .filter(|word| !word.is_empty())
        .collect()
}

/// Whether Proxmox VE takes this as a host name ("value does not look like a valid DNS name").
#[must_use]
pub fn is_dns_name(text: &str) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 255 && text.split('.').all(label)
}

fn hostname(text: &str) -> Result<Value, InvalidSetting> {
    if is_dns_name(text) {
        Ok(Value::Text(text.to_owned()))
    } else {
        invalid("invalid format - value does not look like a valid DNS name")
    }
}

fn other(name: &str, text: &str) -> Result<Value, InvalidSetting> {
    match name {
        "tags" => {
            let mut tags: Vec<String> = words(text).iter().map(|w| w.to_lowercase()).collect();
            tags.sort();
            tags.dedup();
            Ok(Value::Text(tags.join(";")))
        }
        "description" => Ok(Value::Text(text.trim_end_matches('\n').to_owned())),
        "protection" | "console" | "template" => boolean(text).map(Value::Flag),
        "cpuunits" | "tty" => integer(text, 0).map(Value::Number),
        _ => Ok(Value::Text(text.to_owned())),
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hostname => f.write_str("hostname"),
            Self::Memory => f.write_str("memory"),
            Self::Swap => f.write_str("swap"),
            Self::Cores => f.write_str("cores"),
            Self::Onboot => f.write_str("onboot"),
            Self::Startup => f.write_str("startup"),
            Self::Nameserver => f.write_str("nameserver"),
            Self::Features => f.write_str("features"),
            Self::Net(slot) => write!(f, "net{slot}"),
            Self::Mount(slot) => write!(f, "mp{slot}"),
            Self::Rootfs => f.write_str("rootfs"),
            Self::Unused(slot) => write!(f, "unused{slot}"),
            Self::Lxc(name) | Self::Other(name) => f.write_str(name),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Key {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let slot = |prefix: &str| {
            let digits = text.strip_prefix(prefix)?;
            let number: u8 = digits.parse().ok()?;
            (number.to_string() == digits).then_some(number)
        };
        let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || !text.chars().all(well_formed) {
            return invalid(format!(
                "'{text}' is not a key of a container's configuration"
            ));
        }
        Ok(match text {
            "hostname" => Self::Hostname,
            "memory" => Self::Memory,
            "swap" => Self::Swap,
            "cores" => Self::Cores,
            "onboot" => Self::Onboot,
            "startup" => Self::Startup,
            "nameserver" => Self::Nameserver,
            "features" => Self::Features,
            "rootfs" => Self::Rootfs,
            _ if text.starts_with("lxc.") => Self::Lxc(text.to_owned()),
            _ => slot("net")
                .map(Self::Net)
                .or_else(|| slot("mp").map(Self::Mount))
                .or_else(|| slot("unused").map(Self::Unused))
                .unwrap_or_else(|| Self::Other(text.to_owned())),
        })
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidSetting;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The value of a key. Which variant a key has is decided by [`Key::parse_value`]. The large ones
/// are boxed: there is a map of a dozen values for each container, wherever one is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A text that is compared as it is.
    Text(String),
    /// A whole number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// `order=,up=,down=`
    Startup(Startup),
    /// A network interface.
    Net(Box<Net>),
    /// Options by name.
    Options(Options),
    /// A mount.
    Mount(Box<Mount>),
    /// The root disk.
    Rootfs(Box<Rootfs>),
    /// The values of all lines of one `lxc.*` key, in the file's order.
    Lines(Vec<String>),
}

impl From<Net> for Value {
    fn from(net: Net) -> Self {
        Self::Net(Box::new(net))
    }
}

impl From<Mount> for Value {
    fn from(mount: Mount) -> Self {
        Self::Mount(Box::new(mount))
    }
}

impl From<Rootfs> for Value {
    fn from(rootfs: Rootfs) -> Self {
        Self::Rootfs(Box::new(rootfs))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => f.write_str(if *flag { "1" } else { "0" }),
            Self::Startup(startup) => write!(f, "{startup}"),
            Self::Net(net) => write!(f, "{net}"),
            Self::Options(options) => write!(f, "{options}"),
            Self::Mount(mount) => write!(f, "{mount}"),
            Self::Rootfs(rootfs) => write!(f, "{rootfs}"),
            Self::Lines(lines) => f.write_str(&lines.join(" | ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        for text in [
            "hostname",
            "net0",
            "mp255",
            "unused3",
            "lxc.idmap",
            "tags",
            "mp256",
            "mp01",
        ] {
            let key: Key = text.parse().expect("a key");
            assert_eq!(key.to_string(), text);
        }
        assert_eq!("mp256".parse(), Ok(Key::Other("mp256".to_owned())));
        assert!("a b".parse::<Key>().is_err());
    }

    #[test]
    fn values_are_normalised_as_proxmox_does() {
        let shown = |key: &str, text: &str| {
            key.parse::<Key>()
                .expect("a key")
                .parse_value(text)
                .map(|value| value.to_string())
        };
        assert_eq!(shown("memory", "0256"), Ok("256".to_owned()));
        assert_eq!(shown("onboot", "yes"), Ok("1".to_owned()));
        assert_eq!(shown("tags", "B,a c;a"), Ok("a;b;c".to_owned()));
        assert_eq!(
            shown("nameserver", "1.1.1.1,8.8.8.8"),
            Ok("1.1.1.1 8.8.8.8".to_owned())
        );
        assert_eq!(
            shown("memory", "8"),
            Err(InvalidSetting(
                "value must have a minimum value of 16".to_owned()
            ))
        );
        assert_eq!(
            shown("memory", "128.5"),
            Err(InvalidSetting(
                "type check ('integer') failed - got '128.5'".to_owned()
            ))
        );
        assert!(shown("hostname", "bad_name!").is_err());
    }
}
