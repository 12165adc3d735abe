//! The structured values of a container's configuration: property strings.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::setting::{InvalidSetting, boolean};
use super::units::DiskSize;

/// `name=value` pairs whose order carries no meaning, such as `nesting=1,keyctl=1`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options(pub BTreeMap<String, String>);

/// `startup`: position and waiting times in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Startup {
    /// Position, lowest first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub order: Option<u32>,
    /// Seconds to wait after the start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub up: Option<u32>,
    /// Seconds to wait for the shutdown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub down: Option<u32>,
}

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Net {
    /// Name inside, such as `eth0`.
    pub name: String,
    /// Bridge on the host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bridge: Option<String>,
    /// `ADDRESS/PREFIX`, `dhcp` or `manual`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ip: Option<String>,
    /// Gateway.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gw: Option<String>,
    /// Hardware address; none: the host chooses one and keeps it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hwaddr: Option<String>,
    /// Everything else, as it stands.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub other: BTreeMap<String, String>,
}

/// What is mounted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A directory of the host.
    Host(String),
    /// A volume of a storage.
    Volume(Volume),
}

/// A volume: `STORAGE:NAME`, or, before it exists, only its storage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// The storage.
    pub storage: String,
    /// Its name there; none: to be allocated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
}

/// A mount: `SOURCE,mp=PATH,…`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// Where, in the container.
    pub path: String,
    /// Size of a volume; for one that is to be allocated, the size to allocate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<DiskSize>,
    /// Everything else (`ro`, `backup` …), as it stands.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub other: BTreeMap<String, String>,
}

/// The root disk: `STORAGE:NAME,size=…`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rootfs {
    /// The volume.
    pub volume: Volume,
    /// Its size.
    pub size: DiskSize,
    /// Everything else, as it stands.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub other: BTreeMap<String, String>,
}

fn format_error(message: &str) -> InvalidSetting {
    InvalidSetting(format!("invalid format - {message}"))
}

/// Splits `a,k=v,…` into the value without a name, if any, and the named ones.
fn properties(
    text: &str,
    default_key: Option<&str>,
) -> Result<BTreeMap<String, String>, InvalidSetting> {
    let mut found = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = match (part.split_once('='), default_key) {
            (Some((key, value)), _) => (key, value),
            (None, Some(key)) => (key, part),
            (None, None) => return Err(format_error("format error")),
        };
        if found.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format_error(&format!(
                "duplicate key in comma-separated list property: {key}"
            )));
        }
    }
    Ok(found)
}

fn take_number(
    fields: &mut BTreeMap<String, String>,
    key: &str,
) -> Result<Option<u32>, InvalidSetting> {
    fields
        .remove(key)
        .map(|text| {
            text.parse()
                .map_err(|_| format_error("unable to parse value"))
        })
        .transpose()
}

fn write_pairs(f: &mut fmt::Formatter<'_>, pairs: &BTreeMap<String, String>) -> fmt::Result {
    pairs
        .iter()
        .try_for_each(|(key, value)| write!(f, ",{key}={value}"))
}

impl FromStr for Options {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        properties(text, None).map(Self)
    }
}

impl Options {
    /// Whether `name` is declared here and has this value, booleans compared as booleans.
    #[must_use]
    pub fn agrees(&self, name: &str, value: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|own| match (boolean(own), boolean(value)) {
                (Ok(own), Ok(value)) => own == value,
                _ => own == value,
            })
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        f.write_str(&pairs.join(","))
    }
}

impl FromStr for Startup {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = properties(text, Some("order"))?;
        let startup = Self {
            order: take_number(&mut fields, "order")?,
            up: take_number(&mut fields, "up")?,
            down: take_number(&mut fields, "down")?,
        };
        if fields.is_empty() {
            Ok(startup)
        } else {
            Err(format_error("format error"))
        }
    }
}

impl fmt::Display for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("order", self.order), ("up", self.up), ("down", self.down)];
        let shown: Vec<String> = parts
            .iter()
            .filter_map(|(key, value)| value.map(|value| format!("{key}={value}")))
            .collect();
        f.write_str(&shown.join(","))
    }
}

impl FromStr for Net {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = properties(text, None)?;
        let name = fields.remove("name").ok_or_else(|| {
            format_error("format error\nname: property is missing and it is not optional")
        })?;
        let net = Self {
            name,
            bridge: fields.remove("bridge"),
            ip: fields.remove("ip"),
            gw: fields.remove("gw"),
            hwaddr: fields.remove("hwaddr"),
            other: fields,
        };
        if net
            .hwaddr
            .as_deref()
            .is_some_and(|text| !is_unicast_mac(text))
        {
            return Err(format_error(
                "value does not look like a valid unicast MAC address",
            ));
        }
        if net.ip.as_deref().is_some_and(|text| !is_ip_config(text)) {
            return Err(format_error(
                "value does not look like a valid ipv4 network configuration",
            ));
        }
        Ok(net)
    }
}

/// Whether this is `dhcp`, `manual`, or an IPv4 address with its prefix length.
#[must_use]
pub fn is_ip_config(text: &str) -> bool {
    if matches!(text, "dhcp" | "manual") {
        return true;
    }
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    address.parse::<std::net::Ipv4Addr>().is_ok()
        && prefix
            .parse::<u8>()
            .is_ok_and(|bits| bits <= 32 && bits.to_string() == prefix)
}

/// Whether this is a hardware address that an interface can have.
#[must_use]
pub fn is_unicast_mac(text: &str) -> bool {
    let bytes: Vec<&str> = text.split(':').collect();
    let hex = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    bytes.len() == 6
        && bytes.iter().all(hex)
        && u8::from_str_radix(bytes[0], 16).is_ok_and(|first| first & 1 == 0)
}

impl fmt::Display for Net {
    /// In pct's order: `name`, `bridge`, then the rest alphabetically.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name={}", self.name)?;
        if let Some(bridge) = &self.bridge {
            write!(f, ",bridge={bridge}")?;
        }
        let mut rest = self.other.clone();
        for (key, value) in [("gw", &self.gw), ("hwaddr", &self.hwaddr), ("ip", &self.ip)] {
            if let Some(value) = value {
                rest.insert(key.to_owned(), value.clone());
            }
        }
        write_pairs(f, &rest)
    }
}

impl FromStr for Volume {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (storage, name) = text
            .split_once(':')
            .ok_or_else(|| InvalidSetting(format!("unable to parse volume ID '{text}'")))?;
        Ok(Self {
            storage: storage.to_owned(),
            name: Some(name.to_owned()),
        })
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.storage,
            self.name.as_deref().unwrap_or("(new)")
        )
    }
}

/// `STORAGE:NUMBER` asks for a new volume of so many GiB.
fn new_volume(text: &str) -> Option<(Volume, DiskSize)> {
    let (storage, gib) = text.split_once(':')?;
    let plain = gib
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let size: DiskSize = format!("{gib}G").parse().ok().filter(|_| plain)?;
    // Proxmox VE allocates whole MiB: 0.1 G is shown as 102M.
    let whole = DiskSize::bytes(size.get() / (1024 * 1024) * 1024 * 1024);
    Some((
        Volume {
            storage: storage.to_owned(),
            name: None,
        },
        whole,
    ))
}

fn take_size(fields: &mut BTreeMap<String, String>) -> Result<Option<DiskSize>, InvalidSetting> {
    let size = fields.remove("size");
    size.map(|text| {
        text.parse()
            .map_err(|error| InvalidSetting(format!("{error}")))
    })
    .transpose()
}

impl FromStr for Mount {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = properties(text, Some("volume"))?;
        let missing = |key: &str| {
            format_error(&format!(
                "format error\n{key}: property is missing and it is not optional"
            ))
        };
        let path = fields.remove("mp").ok_or_else(|| missing("mp"))?;
        if path.split('/').any(|part| part == ".." || part == ".") {
            return Err(format_error(&format!(
                "{path} contains illegal character sequences"
            )));
        }
        let volume = fields.remove("volume").ok_or_else(|| missing("volume"))?;
        let declared = take_size(&mut fields)?;
        let (source, size) = if volume.starts_with('/') {
            (Source::Host(volume), None)
        } else if let Some((new, size)) = new_volume(&volume) {
            (Source::Volume(new), Some(size))
        } else {
            (Source::Volume(volume.parse()?), declared)
        };
        Ok(Self {
            source,
            path,
            size,
            other: fields,
        })
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Host(path) => f.write_str(path)?,
            Source::Volume(volume) => write!(f, "{volume}")?,
        }
        write!(f, ",mp={}", self.path)?;
        write_pairs(f, &self.other)?;
        self.size.map_or(Ok(()), |size| write!(f, ",size={size}"))
    }
}

impl FromStr for Rootfs {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = properties(text, Some("volume"))?;
        let volume = fields.remove("volume").ok_or_else(|| {
            format_error("format error\nvolume: property is missing and it is not optional")
        })?;
        let declared = take_size(&mut fields)?;
        let (volume, size) = match new_volume(&volume) {
            Some(new) => new,
            None => (volume.parse()?, declared.unwrap_or_default()),
        };
        Ok(Self {
            volume,
            size,
            other: fields,
        })
    }
}

impl fmt::Display for Rootfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.volume)?;
        write_pairs(f, &self.other)?;
        write!(f, ",size={}", self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<T: FromStr<Err = InvalidSetting> + fmt::Display>(text: &str) -> String {
        match text.parse::<T>() {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn net_is_printed_in_the_order_of_pct() {
        assert_eq!(
            shown::<Net>(
                "type=veth,ip=10.99.0.100/24,gw=10.99.0.1,name=eth0,hwaddr=bc:24:11:aa:bb:0c,bridge=vmbr0"
            ),
            "name=eth0,bridge=vmbr0,gw=10.99.0.1,hwaddr=bc:24:11:aa:bb:0c,ip=10.99.0.100/24,type=veth"
        );
    }

    #[test]
    fn net_refuses_what_pct_refuses() {
        for bad in [
            "bridge=vmbr0",
            "name=eth0,hwaddr=zz",
            "name=eth0,hwaddr=01:00:00:00:00:01",
            "name=eth0,ip=10.0.0.1",
            "name=eth0,ip=010.0.0.1/24",
            "name=eth0,name=eth1",
        ] {
            assert!(bad.parse::<Net>().is_err(), "{bad}");
        }
    }

    #[test]
    fn mount_knows_binds_volumes_and_new_volumes() {
        assert_eq!(shown::<Mount>("/srv/host,mp=/mnt/h"), "/srv/host,mp=/mnt/h");
        assert_eq!(
            shown::<Mount>("local:100/vm-100-disk-2.raw,mp=/d2,ro=1,size=512M,backup=1"),
            "local:100/vm-100-disk-2.raw,mp=/d2,backup=1,ro=1,size=512M"
        );
        assert_eq!(
            shown::<Mount>("local:0.1,mp=/x"),
            "local:(new),mp=/x,size=102M"
        );
        assert_eq!(shown::<Mount>("local:0,mp=/x"), "local:(new),mp=/x,size=0T");
        assert_eq!(shown::<Mount>("mp=/h,volume=/srv/host"), "/srv/host,mp=/h");
        assert!("local:1".parse::<Mount>().is_err());
        assert!("local:1,mp=relative/../x".parse::<Mount>().is_err());
    }

    #[test]
    fn rootfs_and_startup_round_trip() {
        assert_eq!(
            shown::<Rootfs>("local:100/vm-100-disk-0.raw,size=1G"),
            "local:100/vm-100-disk-0.raw,size=1G"
        );
        assert_eq!(shown::<Startup>("up=5,order=3"), "order=3,up=5");
        assert_eq!(shown::<Startup>("3"), "order=3");
    }
}
