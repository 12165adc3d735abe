//! Sizes with a unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A disk size in bytes, printed as Proxmox VE prints it: `512M`, `32G`, `0T`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskSize(u64);

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a disk size (a number with K, M, G or T, such as 32G)")]
pub struct InvalidSize(pub String);

impl DiskSize {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many gibibytes, the unit of the original's `size_gb` keys.
    #[must_use]
    pub const fn gib(gib: u32) -> Self {
        Self(gib as u64 * GIB)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DiskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, letter) in [(TIB, 'T'), (GIB, 'G'), (MIB, 'M'), (KIB, 'K')] {
            if self.0.is_multiple_of(unit) {
                return write!(f, "{}{letter}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for DiskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DiskSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || InvalidSize(text.to_owned());
        let (number, unit) = match text.chars().last() {
            Some('K') => (&text[..text.len() - 1], KIB),
            Some('M') => (&text[..text.len() - 1], MIB),
            Some('G') => (&text[..text.len() - 1], GIB),
            Some('T') => (&text[..text.len() - 1], TIB),
            _ => (text, 1),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return Err(bad());
        }
        let whole: u64 = whole.parse().map_err(|_| bad())?;
        let mut bytes = whole.checked_mul(unit).ok_or_else(bad)?;
        if !fraction.is_empty() {
            let parts: u64 = fraction.parse().map_err(|_| bad())?;
            let scale = 10_u64.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
            let extra = u128::from(parts) * u128::from(unit) / u128::from(scale);
            bytes = bytes
                .checked_add(u64::try_from(extra).map_err(|_| bad())?)
                .ok_or_else(bad)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for DiskSize {
    type Error = InvalidSize;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DiskSize> for String {
    fn from(value: DiskSize) -> Self {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_proxmox_does() {
        for (text, shown) in [
            ("0", "0T"),
            ("512M", "512M"),
            ("2.5G", "2560M"),
            ("1024G", "1T"),
            ("1025K", "1025K"),
        ] {
            assert_eq!(
                text.parse::<DiskSize>()
                    .map(|size| size.to_string())
                    .as_deref(),
                Ok(shown)
            );
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for bad in ["", "G", "-1G", "1X", "1.G2", "foo", "99999999999999999999T"] {
            assert!(bad.parse::<DiskSize>().is_err(), "{bad}");
        }
    }
}
