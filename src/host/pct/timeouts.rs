//! How long things may take, and who says otherwise.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// Something that has a limit of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Limit {
    /// Waiting for somebody's backup of a container.
    Backup,
    /// `pct clone`.
    Clone,
    /// Reaching a node over ssh.
    Connect,
    /// `pct create`.
    Create,
    /// `pct destroy`, of what a killed creation left.
    Destroy,
    /// `pveam download`.
    Download,
    /// Waiting for what an earlier phoenix left running.
    Leftover,
    /// Looking.
    Look,
    /// `pct resize`.
    Resize,
    /// A script of a person's.
    Script,
    /// `pct set`.
    Set,
    /// `pct snapshot`.
    Snapshot,
    /// `pct start`, and then again for the init to answer.
    Start,
    /// `pct shutdown`, before it is stopped hard.
    Stop,
}

impl Limit {
    /// Every limit with its name and its usual seconds. A start and a resize can wait 80 s for
    /// ext4's protection against double mounts.
    pub const ALL: [(Self, &'static str, u32); 14] = [
        (Self::Backup, "backup", 3600),
        (Self::Clone, "clone", 3600),
        (Self::Connect, "connect", 15),
        (Self::Create, "create", 1800),
        (Self::Destroy, "destroy", 600),
        (Self::Download, "download", 3600),
        (Self::Leftover, "leftover", 600),
        (Self::Look, "look", 120),
        (Self::Resize, "resize", 900),
        (Self::Script, "script", 3600),
        (Self::Set, "set", 300),
        (Self::Snapshot, "snapshot", 900),
        (Self::Start, "start", 180),
        (Self::Stop, "stop", 120),
    ];

    fn usual(self) -> u32 {
        let found = Self::ALL.iter().find(|(limit, ..)| *limit == self);
        found.map_or(120, |(.., seconds)| *seconds)
    }
}

/// The limits of one run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timeouts(BTreeMap<Limit, u32>);

/// A text that sets no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimeout {
    /// Not of the form.
    #[error("write it as NAME=SECONDS, such as start=300")]
    Form,
    /// No such limit.
    #[error("there is no limit '{0}'; there are {names}", names = names())]
    Name(String),
    /// Not a number of seconds.
    #[error("'{0}' is not a whole number of seconds from 1 to 604800")]
    Seconds(String),
}

fn names() -> String {
    Limit::ALL.map(|(_, name, _)| name).join(", ")
}

impl Timeouts {
    /// The limits of which some are set.
    pub fn of(set: impl IntoIterator<Item = (Limit, u32)>) -> Self {
        Self(set.into_iter().collect())
    }

    /// The seconds that something may take.
    #[must_use]
    pub fn seconds(&self, limit: Limit) -> u32 {
        self.0.get(&limit).copied().unwrap_or_else(|| limit.usual())
    }

    /// The same.
    #[must_use]
    pub fn duration(&self, limit: Limit) -> Duration {
        Duration::from_secs(self.seconds(limit).into())
    }
}

/// One limit, `NAME=SECONDS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeout(pub Limit, pub u32);

impl FromStr for Timeout {
    type Err = InvalidTimeout;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, seconds) = text.trim().split_once('=').ok_or(InvalidTimeout::Form)?;
        let found = Limit::ALL.iter().find(|(_, known, _)| *known == name);
        let (limit, ..) = found.ok_or_else(|| InvalidTimeout::Name(name.to_owned()))?;
        let number = seconds.parse().ok();
        let number = number.filter(|number| (1..=604_800).contains(number));
        let number = number.ok_or_else(|| InvalidTimeout::Seconds(seconds.to_owned()))?;
        Ok(Self(*limit, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_name() {
        let Timeout(limit, seconds) = "start=300".parse().expect("a limit");
        let timeouts = Timeouts::of([(limit, seconds)]);
        assert_eq!(timeouts.seconds(Limit::Start), 300);
        assert_eq!(timeouts.seconds(Limit::Stop), 120);
        for (text, error) in [
            ("start", InvalidTimeout::Form),
            ("begin=3", InvalidTimeout::Name("begin".to_owned())),
            ("start=0", InvalidTimeout::Seconds("0".to_owned())),
            ("start=1.5", InvalidTimeout::Seconds("1.5".to_owned())),
        ] {
            assert_eq!(text.parse::<Timeout>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_start_and_a_resize_have_time_for_the_protection_of_ext4() {
        for limit in [Limit::Start, Limit::Resize] {
            assert!(limit.usual() >= 90, "{limit:?}");
        }
    }
}
