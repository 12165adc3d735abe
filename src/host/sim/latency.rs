//! How long the real tool takes for what the simulated host does at once.

use std::str::FromStr;
use std::time::Duration;

use crate::domain::action::Action;
use crate::domain::desired::Place;

/// A profile of latencies: `none`, `pct`, or `pct/N` (an N-th of `pct`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Latency {
    /// Everything is done at once.
    #[default]
    None,
    /// Medians measured for `pct` of Proxmox VE 8.4, divided by this.
    Pct(u32),
}

/// A text that is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a latency profile of the simulated host (none, pct or pct/N)")]
pub struct InvalidLatency(String);

impl FromStr for Latency {
    type Err = InvalidLatency;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || InvalidLatency(text.to_owned());
        match text {
            "none" | "" => Ok(Self::None),
            "pct" => Ok(Self::Pct(1)),
            _ => {
                let divisor = text.strip_prefix("pct/").ok_or_else(bad)?;
                let divisor: u32 = divisor.parse().map_err(|_| bad())?;
                if divisor == 0 {
                    Err(bad())
                } else {
                    Ok(Self::Pct(divisor))
                }
            }
        }
    }
}

/// One `pct list`, and the files of all containers, which cost next to nothing.
const OBSERVE_MS: u64 = 1039;

impl Latency {
    /// Of one look at all containers.
    #[must_use]
    pub fn of_observation(self) -> Duration {
        self.scaled(OBSERVE_MS)
    }

    /// Of one action.
    #[must_use]
    pub fn of(self, action: &Action) -> Duration {
        self.scaled(milliseconds(action))
    }

    fn scaled(self, milliseconds: u64) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Pct(divisor) => Duration::from_millis(milliseconds) / divisor,
        }
    }
}

/// Medians in milliseconds. A download was not measured and counts like one call; of two calls
/// that make one action the sum counts.
fn milliseconds(action: &Action) -> u64 {
    match action {
        Action::FetchTemplate(_) => 872,
        Action::Create(_) => 1500,
        Action::Clone(_) => 1770,
        Action::Discard { .. } => 892 + 1193,
        Action::Unlock => 892,
        Action::EnsureDirectory(_) => 2,
        Action::Configure { .. } => 1238,
        Action::Resize { .. } => 23_500,
        Action::Start => 3500,
        Action::Restart { .. } => 4504 + 3500,
        Action::RunScript(script) => match script.place {
            Place::Container => 1243 + 1389,
            Place::Host => 1389,
        },
        Action::CheckHealth(_) => 1389,
        Action::Snapshot { .. } => 965,
        Action::Destroy => 3067 + 1193,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_and_scaled() {
        assert_eq!("none".parse(), Ok(Latency::None));
        assert_eq!("pct".parse(), Ok(Latency::Pct(1)));
        let scaled: Latency = "pct/100".parse().expect("a profile");
        assert_eq!(scaled.of(&Action::Start), Duration::from_millis(35));
        assert_eq!(Latency::None.of(&Action::Start), Duration::ZERO);
        for bad in ["pct/0", "pct/", "pct/x", "fast"] {
            assert!(bad.parse::<Latency>().is_err(), "{bad}");
        }
    }
}
